//! Where tokens, secrets and services are.

use std::path::Path;

use http::Uri;
use longhaul_gateway::config::{Algorithm, TokenSource};
use longhaul_policy::redact;

use super::{cookie_name, header_name};

/// Where a token may be.
pub(in crate::config) fn token_source(text: &str) -> Result<TokenSource, String> {
    let (kind, name) = text.split_once(':').map_or((text, None), |(k, n)| (k, Some(n)));
    match (kind, name) {
        ("authorization", None) => Ok(TokenSource::Authorization),
        ("header", Some(name)) => header_name(name).map(TokenSource::Header),
        ("cookie", Some(name)) => cookie_name(name).map(TokenSource::Cookie),
        ("subprotocol", Some(marker)) => {
            header_name(marker).map_err(|_| "is not the name of a subprotocol".to_owned())?;
            Ok(TokenSource::Subprotocol(marker.to_owned()))
        }
        ("query", Some(name)) => {
            if name.is_empty() || name.contains(['&', '=', '#', '?', '%']) {
                return Err(
                    "is not the name of a query parameter; as in \"query:token\"".to_owned()
                );
            }
            if !redact::hides_values_of(name) {
                return Err(
                    "has a name that logs would not hide; use one with \"token\" in it, as in \
                            \"query:access_token\""
                        .to_owned(),
                );
            }
            Ok(TokenSource::Query(name.to_owned()))
        }
        ("header" | "cookie" | "subprotocol" | "query", None) => {
            Err(format!("does not say which; write \"{kind}:NAME\""))
        }
        _ => Err("is not known; use \"authorization\", \"subprotocol:MARKER\", \"cookie:NAME\", \
                  \"query:NAME\" or \"header:NAME\""
            .to_owned()),
    }
}

pub(in crate::config) fn algorithm(text: &str) -> Result<Algorithm, String> {
    text.parse().map_err(|()| {
        let known = Algorithm::ALL.map(Algorithm::name).join(", ");
        format!("is not known; use {known}")
    })
}

/// Whether a text says where something is, and is not the thing itself.
pub(in crate::config) fn is_elsewhere(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

/// A secret that is elsewhere: `env:NAME` or `file:PATH`.
pub(in crate::config) fn secret(text: &str, directory: &Path) -> Result<String, String> {
    let secret = match text.split_once(':') {
        Some(("env", name)) => std::env::var(name)
            .map_err(|_| format!("names a variable that is not set; set {name}"))?,
        Some(("file", path)) => std::fs::read_to_string(directory.join(path))
            .map_err(|error| format!("cannot be read ({error}); check the path"))?,
        _ => {
            return Err(
                "is no place of a secret, and a secret does not belong into this file; use \
                        \"env:NAME\" or \"file:PATH\""
                    .to_owned(),
            );
        }
    };
    let secret = secret.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        Err("is empty; put a secret there".to_owned())
    } else {
        Ok(secret.to_owned())
    }
}

/// A service that is asked over HTTP.
#[derive(Debug)]
pub(in crate::config) struct ServiceUrl {
    pub(in crate::config) is_secure: bool,
    pub(in crate::config) host: String,
    pub(in crate::config) port: u16,
    /// Path and query.
    pub(in crate::config) path: String,
}

/// `https://id.example/keys`.
pub(in crate::config) fn service_url(text: &str) -> Result<ServiceUrl, String> {
    let wrong = || "is not a URL; as in \"https://id.example/keys\"".to_owned();
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(wrong()),
    };
    let authority = uri.authority().ok_or_else(wrong)?;
    if authority.as_str().contains('@') {
        return Err("has a user in it; use `headers` for what proves who asks".to_owned());
    }
    let port = authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(ServiceUrl { is_secure, host: authority.host().to_owned(), port, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_say_what_they_are_and_logs_hide_what_a_query_holds() {
        assert_eq!(token_source("query:token"), Ok(TokenSource::Query("token".into())));
        assert_eq!(token_source("cookie:login"), Ok(TokenSource::Cookie("login".into())));
        for text in ["query:t", "query", "cookie:", "bearer", "subprotocol:a b", "query:a=b"] {
            assert!(token_source(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_never_in_the_file_itself() {
        assert!(secret("hunter2hunter2hunter2hunter2hunter2", Path::new("")).is_err());
        assert!(secret("env:LONGHAUL_THERE_IS_NO_SUCH_VARIABLE", Path::new("")).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc\n").unwrap();
        let text = format!("file:{}", file.path().display());
        assert_eq!(secret(&text, Path::new("/tmp")).as_deref(), Ok("abc"));
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = service_url("https://id.example/keys?a=b").unwrap();
        assert_eq!((url.is_secure, url.host.as_str(), url.port), (true, "id.example", 443));
        assert_eq!(url.path, "/keys?a=b");
        assert_eq!(service_url("http://[::1]:81").unwrap().host, "[::1]");
        for text in ["id.example", "ftp://a/", "https://u:p@a/", "/keys", ""] {
            assert!(service_url(text).is_err(), "{text}");
        }
    }
}

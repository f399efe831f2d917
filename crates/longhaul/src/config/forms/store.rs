//! Where a store is.

use std::path::PathBuf;

use http::Uri;

/// Port of Redis, where the URL names none.
const PORT: u16 = 6379;

/// What the URL of a store says.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct StoreUrl {
    pub(in crate::config) place: StorePlace,
    pub(in crate::config) user: Option<String>,
    pub(in crate::config) password: Option<String>,
    pub(in crate::config) database: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) enum StorePlace {
    Tcp { host: String, port: u16, is_secure: bool },
    Unix(PathBuf),
}

/// `redis://user:password@host:6379/0`, `rediss://host`, `unix:/run/redis.sock`.
pub(in crate::config) fn store_url(text: &str) -> Result<StoreUrl, String> {
    const WRONG: &str = "is not the URL of a store; as in \"redis://store.internal:6379/0\" or \
                         \"unix:/run/redis.sock\"";
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            return Err("has no absolute path; as in \"unix:/run/redis.sock\"".to_owned());
        }
        let place = StorePlace::Unix(PathBuf::from(path));
        return Ok(StoreUrl { place, user: None, password: None, database: 0 });
    }
    let uri: Uri = text.parse().map_err(|_| WRONG.to_owned())?;
    let is_secure = match uri.scheme_str() {
        Some("rediss") => true,
        Some("redis") => false,
        _ => return Err(WRONG.to_owned()),
    };
    if uri.query().is_some() {
        return Err("has a query, which says nothing here; leave it out".to_owned());
    }
    let authority = uri.authority().ok_or(WRONG)?;
    let (user, password) = match authority.as_str().rsplit_once('@') {
        None => (None, None),
        Some((who, _)) => {
            let (user, password) = who.split_once(':').map_or((who, None), |(u, p)| (u, Some(p)));
            (said(user)?, password.map(said).transpose()?.flatten())
        }
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(WRONG.to_owned());
    }
    let database = uri.path().trim_start_matches('/');
    let database = match database {
        "" => 0,
        number => number
            .parse()
            .map_err(|_| "names a database that is no number; as in \"/0\"".to_owned())?,
    };
    let port = authority.port_u16().unwrap_or(PORT);
    let place = StorePlace::Tcp { host, port, is_secure };
    Ok(StoreUrl { place, user, password, database })
}

/// Whether there is a password in what may be a URL.
pub(in crate::config) fn has_password(text: &str) -> bool {
    let who = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    who.is_some_and(|(who, _)| who.contains(':'))
}

/// Whether a host is this machine, by how it is written.
pub(in crate::config) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What keys may begin with.
pub(in crate::config) fn key_prefix(text: &str) -> Result<String, String> {
    const CHARACTERS_MAX: usize = 100;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    match text.len() <= CHARACTERS_MAX && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("has other characters than letters, digits, `-`, `_`, `.` and `:`, or more than 100; use \
                      \"longhaul:\" and its like"
            .to_owned()),
    }
}

/// A part of a URL as it was meant; `None`: there is none.
fn said(text: &str) -> Result<Option<String>, String> {
    const WRONG: &str = "has a `%` that stands for nothing; write it as %25";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or(WRONG)?, digit().ok_or(WRONG)?);
        bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte"));
    }
    let text = String::from_utf8(bytes).map_err(|_| WRONG.to_owned())?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_at_a_url_or_a_socket() {
        let url = store_url("rediss://ann:p%40ss%25@store.internal:6380/2").unwrap();
        let place = StorePlace::Tcp { host: "store.internal".into(), port: 6380, is_secure: true };
        assert_eq!((url.place, url.database), (place, 2));
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("ann"), Some("p@ss%")));
        assert!(has_password("redis://:secret@a") && !has_password("redis://ann@a:1/0"));
        let url = store_url("redis://:secret@[::1]").unwrap();
        let place = StorePlace::Tcp { host: "::1".into(), port: 6379, is_secure: false };
        assert_eq!((url.place, url.user, url.password.as_deref()), (place, None, Some("secret")));
        for text in ["unix:/run/redis.sock", "unix:///run/redis.sock"] {
            let place = store_url(text).unwrap().place;
            assert_eq!(place, StorePlace::Unix("/run/redis.sock".into()));
        }
        for text in [
            "",
            "store:6379",
            "http://store:6379",
            "redis://",
            "redis://store/zero",
            "redis://store/0?timeout=1",
            "redis://a%4:b@store",
            "unix:run/redis.sock",
        ] {
            assert!(store_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_begin_with_what_every_tool_can_type() {
        assert!(key_prefix("chat:blue:").is_ok() && key_prefix("").is_ok());
        assert!(key_prefix("a b").is_err() && key_prefix("a*").is_err());
    }
}

//! Who may see and who may change, told apart by where a request comes from and what it carries.
//!
//! | | from this machine | by the Unix socket, as the gateway's user or root | from elsewhere |
//! |---|---|---|---|
//! | health, metrics, the page itself | open | open | open |
//! | everything else that only reads | open | open | token |
//! | whatever changes something | token | open | token |
//!
//! Without a token in the configuration, what needs one is refused to everybody.

use std::fmt;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use subtle::ConstantTimeEq;

use crate::api::problem;
use crate::desk::Desk;

/// A secret that lets its bearer change things. Shown nowhere.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Shorter ones can be guessed.
    pub const LENGTH_MIN: usize = 16;

    /// A token of visible ASCII, so that it fits into a header field.
    ///
    /// # Errors
    /// In words, when it is too short or does not fit.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() < Self::LENGTH_MIN {
            return Err(format!(
                "is shorter than {} characters; make one by `openssl rand -hex 32`",
                Self::LENGTH_MIN
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "has spaces or other characters that fit into no header; make one by `openssl \
                 rand -hex 32`"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// Compares in a time that tells nothing but the length.
    fn is(&self, said: &str) -> bool {
        self.0.as_bytes().ct_eq(said.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Another process of this machine, over loopback.
    Local,
    /// By the Unix socket, as the gateway's own user or root.
    Owner,
    /// From the network, or as another user.
    Foreign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Open,
    Read,
    Change,
}

/// Lets a request pass if its sender may ask for this.
pub(crate) async fn admit(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Foreign);
    let need = need(request.method(), request.uri().path());
    if need == Need::Change
        && let Err(reason) = comes_from_no_page(request.headers())
    {
        return problem(StatusCode::FORBIDDEN, reason);
    }
    let needs_token = match need {
        Need::Open => false,
        Need::Read => peer == Peer::Foreign,
        Need::Change => peer != Peer::Owner,
    };
    if !needs_token {
        return next.run(request).await;
    }
    let Some(token) = &desk.token else {
        return problem(
            StatusCode::FORBIDDEN,
            "this needs a token, and the gateway was given none; set LONGHAUL_ADMIN_TOKEN or \
             server.admin_token_file, or use the Unix socket (server.admin = \"unix:PATH\")",
        );
    };
    match bearer(request.headers()) {
        Some(said) if token.is(said) => next.run(request).await,
        said => {
            let reason = match said {
                Some(_) => "this is not the token of this gateway",
                None => "this needs the token of this gateway; send it as Authorization: Bearer",
            };
            let mut response = problem(StatusCode::UNAUTHORIZED, reason);
            let scheme = HeaderValue::from_static("Bearer realm=\"longhaul\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            response.into_response()
        }
    }
}

fn need(method: &Method, path: &str) -> Need {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Need::Change;
    }
    let is_open = matches!(path, "/" | "/metrics" | "/openapi.json" | "/health")
        || path.starts_with("/health/")
        || path.starts_with("/dashboard.");
    if is_open { Need::Open } else { Need::Read }
}

/// A page of somebody else can have a browser send a form, but neither this content type nor, from
/// another origin, these fields.
fn comes_from_no_page(headers: &HeaderMap) -> Result<(), &'static str> {
    let said = |name: header::HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let is_json = said(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(b"application/json")
    });
    if !is_json {
        return Err("what changes something is sent with Content-Type: application/json");
    }
    if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return Err("a page of another site cannot change anything here");
    }
    if let Some(origin) = said(header::ORIGIN) {
        let host = said(header::HOST).unwrap_or_default();
        let from = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        if from.is_none_or(|from| !from.eq_ignore_ascii_case(host)) {
            return Err("a page of another origin cannot change anything here");
        }
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let said = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = said.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &[(&'static str, &str)], is_let_through: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        assert_eq!(comes_from_no_page(&headers).is_ok(), is_let_through, "{fields:?}");
    }

    #[test]
    fn pages_of_others_are_told_by_what_their_browsers_send() {
        let json = ("content-type", "application/json; charset=utf-8");
        let host = ("host", "127.0.0.1:9090");
        check(&[json, host], true);
        check(&[json, host, ("origin", "http://127.0.0.1:9090")], true);
        check(&[json, host, ("sec-fetch-site", "same-origin")], true);
        check(&[host], false);
        check(&[("content-type", "text/plain"), host], false);
        check(&[("content-type", "application/x-www-form-urlencoded"), host], false);
        check(&[json, host, ("origin", "http://evil.example")], false);
        check(&[json, host, ("origin", "null")], false);
        check(&[json, host, ("origin", "http://127.0.0.1:9091")], false);
        check(&[json, host, ("sec-fetch-site", "same-site")], false);
        check(&[json, host, ("sec-fetch-site", "cross-site")], false);
    }

    #[test]
    fn reading_and_changing_are_told_apart() {
        for path in ["/", "/metrics", "/health", "/health/ready", "/dashboard.js", "/openapi.json"]
        {
            assert_eq!(need(&Method::GET, path), Need::Open, "{path}");
            assert_eq!(need(&Method::POST, path), Need::Change, "{path}");
        }
        for path in ["/status", "/healthy", "/api/v1/config", "//metrics"] {
            assert_eq!(need(&Method::HEAD, path), Need::Read, "{path}");
        }
    }

    #[test]
    fn a_token_can_be_sent_and_not_be_guessed_and_is_not_printed() {
        assert!(Token::new("short").is_err());
        assert!(Token::new("a token with spaces in it").is_err());
        let token = Token::new("0123456789abcdef").unwrap();
        assert!(token.is("0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert!(!token.is(wrong), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token(***)");
    }
}

//! Finds the token in a request, and takes it out again.
//!
//! Browsers let pages set no header on a WebSocket. What is left to them is a cookie, the query, or
//! a subprotocol: `new WebSocket(url, ["bearer", token, "chat"])`.

use http::HeaderValue;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::uri::{PathAndQuery, Uri};

use crate::affinity::cookie;
use crate::query;

/// Where a token may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer TOKEN` (RFC 6750 §2.1).
    Authorization,
    /// The whole value of a header.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// Two subprotocols in a row, this one and the token; or one, this and the token with a dot.
    Subprotocol(String),
    /// A parameter of the query.
    Query(String),
}

impl TokenSource {
    /// The token that is here. What is there twice is not there.
    pub fn find(&self, headers: &HeaderMap, uri: &Uri) -> Option<String> {
        let token = match self {
            Self::Authorization => {
                let value = only(headers, &AUTHORIZATION)?;
                let (scheme, token) = value.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())?
            }
            Self::Header(name) => only(headers, name)?.to_owned(),
            Self::Cookie(name) => {
                let mut values = cookie::values(headers, name);
                let value = values.next()?;
                values.next().is_none().then(|| value.to_owned())?
            }
            Self::Subprotocol(marker) => carried(headers, marker)?.token,
            Self::Query(name) => query::parameter(uri.query()?, name)?.into_owned(),
        };
        (!token.is_empty()).then_some(token)
    }

    /// Takes the token out of what goes on to the replica.
    pub fn remove(&self, headers: &mut HeaderMap, uri: &mut Uri) {
        match self {
            Self::Authorization => drop(headers.remove(AUTHORIZATION)),
            Self::Header(name) => drop(headers.remove(name)),
            Self::Cookie(name) => remove_cookie(headers, name),
            Self::Subprotocol(marker) => drop(take_subprotocol(headers, marker)),
            Self::Query(name) => remove_parameter(uri, name),
        }
    }
}

/// Takes the subprotocols out that only carry a token. Returns the one to answer with, should the
/// application choose none: browsers take nothing else for a yes.
pub fn take_subprotocol(headers: &mut HeaderMap, marker: &str) -> Option<HeaderValue> {
    let carried = carried(headers, marker)?;
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Ok(rest) = HeaderValue::from_str(&carried.rest.join(", "))
        && !rest.is_empty()
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, rest);
    }
    HeaderValue::from_str(&carried.echo).ok()
}

/// Takes one parameter out of a query, and leaves everything else as it was.
pub fn remove_parameter(uri: &mut Uri, name: &str) {
    let Some(query) = uri.query().filter(|query| query::parameter(query, name).is_some()) else {
        return;
    };
    let is_other = |piece: &&str| piece.split('=').next() != Some(name);
    let kept = query.split('&').filter(is_other).collect::<Vec<_>>().join("&");
    let path =
        if kept.is_empty() { uri.path().to_owned() } else { format!("{}?{kept}", uri.path()) };
    let mut parts = std::mem::take(uri).into_parts();
    // A part of what was valid is valid.
    parts.path_and_query = PathAndQuery::try_from(path).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

struct Carried {
    token: String,
    /// What is answered when nothing else is chosen.
    echo: String,
    rest: Vec<String>,
}

fn carried(headers: &HeaderMap, marker: &str) -> Option<Carried> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered: Vec<&str> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    let at = offered.iter().position(|name| *name == marker || behind(name, marker).is_some())?;
    let (token, echo, taken) = match behind(offered[at], marker) {
        Some(token) => (token, offered[at], 1),
        None => (*offered.get(at + 1)?, marker, 2),
    };
    let rest = [&offered[..at], &offered[at + taken..]].concat();
    Some(Carried {
        token: token.to_owned(),
        echo: echo.to_owned(),
        rest: rest.into_iter().map(str::to_owned).collect(),
    })
}

/// The token in `bearer.TOKEN`.
fn behind<'n>(name: &'n str, marker: &str) -> Option<&'n str> {
    name.strip_prefix(marker)?.strip_prefix('.')
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok())?
}

fn remove_cookie(headers: &mut HeaderMap, name: &str) {
    let values = headers.get_all(COOKIE).iter();
    let kept: Vec<String> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .map(str::trim)
        .filter(|pair| pair.split('=').next().map(str::trim) != Some(name))
        .map(str::to_owned)
        .collect();
    headers.remove(COOKIE);
    if let Ok(value) = HeaderValue::from_str(&kept.join("; "))
        && !value.is_empty()
    {
        headers.insert(COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check(source: TokenSource, fields: &[(&'static str, &str)], uri: &str, found: Option<&str>) {
        let uri: Uri = uri.parse().unwrap();
        assert_eq!(source.find(&headers(fields), &uri).as_deref(), found);
    }

    #[test]
    fn a_token_is_found_where_it_is_said_to_be_and_once() {
        let bearer = TokenSource::Authorization;
        check(bearer.clone(), &[("authorization", "bearer t.o.k")], "/", Some("t.o.k"));
        check(bearer.clone(), &[("authorization", "Basic abc")], "/", None);
        let two = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        check(bearer, &two, "/", None);
        let cookie = TokenSource::Cookie("login".into());
        check(cookie.clone(), &[("cookie", "a=b; login=tok")], "/", Some("tok"));
        check(cookie, &[("cookie", "login=a; login=b")], "/", None);
        let query = TokenSource::Query("token".into());
        check(query.clone(), &[], "/ws?a=b&token=tok%2E", Some("tok."));
        check(query, &[], "/ws?token=", None);
        let header = TokenSource::Header(HeaderName::from_static("x-token"));
        check(header, &[("x-token", "tok")], "/", Some("tok"));
    }

    #[test]
    fn a_subprotocol_carries_a_token_and_is_not_offered_to_the_application() {
        let source = TokenSource::Subprotocol("bearer".into());
        for (offered, token, echo, rest) in [
            ("bearer, tok, chat", "tok", "bearer", Some("chat")),
            ("chat, bearer, tok, more", "tok", "bearer", Some("chat, more")),
            ("bearer.tok", "tok", "bearer.tok", None),
            ("bearer,tok", "tok", "bearer", None),
        ] {
            let field = [("sec-websocket-protocol", offered)];
            check(source.clone(), &field, "/", Some(token));
            let mut headers = headers(&field);
            let answer = take_subprotocol(&mut headers, "bearer").unwrap();
            assert_eq!(answer, echo);
            let left = headers.get(SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().unwrap());
            assert_eq!(left, rest);
        }
        check(source.clone(), &[("sec-websocket-protocol", "chat, bearer")], "/", None);
        check(source, &[("sec-websocket-protocol", "bearers, a")], "/", None);
    }

    #[test]
    fn what_is_taken_out_leaves_the_rest_as_it_was() {
        let mut headers = headers(&[("cookie", "a=b; login=tok; c=d")]);
        let mut uri: Uri = "/ws?a=%20&token=tok&b".parse().unwrap();
        TokenSource::Cookie("login".into()).remove(&mut headers, &mut uri);
        TokenSource::Query("token".into()).remove(&mut headers, &mut uri);
        assert_eq!(headers[COOKIE], "a=b; c=d");
        assert_eq!(uri, "/ws?a=%20&b");
        let mut uri: Uri = "/ws?token=tok".parse().unwrap();
        remove_parameter(&mut uri, "token");
        assert_eq!(uri, "/ws");
    }
}

//! Decides which header fields end at this hop (RFC 9110 §7.6.1).
//!
//! Strip before adding fields of our own: then nothing that a stranger nominates in `Connection`
//! can take ours away. Framing (`Content-Length`, chunks) is decided anew by whoever sends.

use http::header::{self, HeaderMap, HeaderName};

/// Fields that concern one connection only, nominated or not.
static ALWAYS: [HeaderName; 8] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Request fields that were meant for a proxy. `Proxy` is no field at all, but CGI programs read it
/// as the variable that names their outgoing proxy.
static REQUEST_ONLY: [HeaderName; 2] =
    [header::PROXY_AUTHORIZATION, HeaderName::from_static("proxy")];

/// Response fields that were meant for a proxy (RFC 9110 §11.7).
static RESPONSE_ONLY: [HeaderName; 2] =
    [header::PROXY_AUTHENTICATE, HeaderName::from_static("proxy-authentication-info")];

/// End-to-end fields that nobody may nominate: removing one of them changes what a message means or
/// whom it comes from. RFC 9110 §7.6.1 forbids senders to list fields meant for all recipients;
/// whoever does it anyway is not obeyed.
static ESSENTIAL: [HeaderName; 20] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::FORWARDED,
    header::HOST,
    header::LOCATION,
    header::ORIGIN,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
    header::SET_COOKIE,
    header::VARY,
    header::WWW_AUTHENTICATE,
];

/// Removes what concerns only the connection a request came by, `Upgrade` (h2c included) and its
/// `HTTP2-Settings` among it. Who relays an upgrade reads it before and writes its own after.
pub fn strip_request(headers: &mut HeaderMap) {
    strip(headers, &REQUEST_ONLY);
}

/// Removes what concerns only the connection a response came by.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers, &RESPONSE_ONLY);
}

fn strip(headers: &mut HeaderMap, also: &[HeaderName]) {
    let mut doomed = nominated(headers);
    // Most heads have one or two of these.
    let ends_here = |name: &&HeaderName| ALWAYS.contains(*name) || also.contains(*name);
    doomed.extend(headers.keys().filter(ends_here).cloned());
    for name in doomed {
        headers.remove(name);
    }
}

/// Fields that `Connection` names, essential ones left out.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        // Goes anyway, and is what nearly everybody says.
        .filter(|option| !option.eq_ignore_ascii_case(b"upgrade"))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !ESSENTIAL.contains(name) && !is_identity(name))
        .collect()
}

/// Whether the field says who the client is: a proxy that we trust put it there, and a client that
/// nominates it must not be able to hide behind that proxy.
fn is_identity(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded") || name.as_str() == "x-real-ip"
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(field).collect()
    }

    #[track_caller]
    fn check(strip: fn(&mut HeaderMap), before: &[(&'static str, &'static str)], left: &[&str]) {
        let mut headers = fields(before);
        strip(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, left);
    }

    #[test]
    fn connection_fields_end_here() {
        check(
            strip_request,
            &[
                ("connection", "Upgrade, HTTP2-Settings"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABkAAQAAP__"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("te", "trailers"),
                ("trailer", "expires"),
                ("transfer-encoding", "chunked"),
                ("proxy-authorization", "Basic eA=="),
                ("proxy", "http://evil.example"),
                ("accept", "*/*"),
            ],
            &["accept"],
        );
    }

    #[test]
    fn nominated_fields_go_wherever_they_are_named() {
        let before = [
            ("connection", "close , X-One,,"),
            ("connection", "x-two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
        ];
        check(strip_request, &before, &["x-three"]);
        check(strip_response, &before, &["x-three"]);
    }

    #[test]
    fn essential_and_identity_fields_cannot_be_nominated() {
        check(
            strip_request,
            &[
                ("connection", "host, cookie, authorization, origin, content-length"),
                ("connection", "x-forwarded-for, x-real-ip, forwarded, sec-websocket-key"),
                ("host", "a.example"),
                ("cookie", "a=b"),
                ("authorization", "Bearer x"),
                ("origin", "https://a.example"),
                ("content-length", "3"),
                ("x-forwarded-for", "192.0.2.1"),
            ],
            &["authorization", "content-length", "cookie", "host", "origin", "x-forwarded-for"],
        );
    }

    #[test]
    fn each_direction_drops_what_was_meant_for_a_proxy() {
        let before = [("proxy-authenticate", "Basic"), ("www-authenticate", "Basic")];
        check(strip_response, &before, &["www-authenticate"]);
    }
}

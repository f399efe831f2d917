//! Turns a request of HTTP/2 into what the rest of the gateway knows: HTTP/1.1.

use http::header::{CONNECTION, COOKIE, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use hyper::ext::Protocol;
use longhaul_proto::http1::Violation;
use longhaul_proto::http2::head::{self, Ask, Head};
use longhaul_proto::websocket::handshake;

/// Judges a request and rewrites its head: an extended CONNECT becomes the upgrade that a replica
/// understands, with a key of the gateway's own. The answer says which of the two it was.
///
/// # Errors
/// The first rule that it breaks; the request is as it was then, or nearly.
pub(super) fn translate<B>(request: &mut Request<B>, fields_max: usize) -> Result<Ask, Violation> {
    let uri = request.uri();
    let protocol = request.extensions().get::<Protocol>();
    let head = Head {
        method: request.method().as_str().as_bytes(),
        authority: uri.authority().map(|authority| authority.as_str().as_bytes()),
        path: uri.path_and_query().map_or(&b""[..], |path| path.as_str().as_bytes()),
        protocol: protocol.map(|protocol| protocol.as_str().as_bytes()),
    };
    let ask = head::judge(&head, fields(request.headers()), fields_max)?;
    join_cookies(request.headers_mut());
    if ask == Ask::WebSocket {
        *request.method_mut() = Method::GET;
        *request.version_mut() = Version::HTTP_11;
        request.extensions_mut().remove::<Protocol>();
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let key = handshake::new_key(fastrand::u128(..).to_ne_bytes());
        headers.insert(SEC_WEBSOCKET_KEY, key.try_into().expect("base64 is ASCII"));
        let fields: Vec<_> = fields(headers).collect();
        handshake::validate_request(b"GET", fields.iter().copied())?;
    }
    Ok(ask)
}

/// Clients send cookies one by one to compress them better; HTTP/1.1 knows only one field
/// (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = crumbs.join(&b"; "[..]);
    headers.insert(
        COOKIE,
        HeaderValue::from_bytes(&joined).expect("values joined by what may stand in one"),
    );
}

fn fields(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HOST;
    use longhaul_proto::websocket::handshake::HandshakeFault;

    fn connect(version: &'static str) -> Request<()> {
        Request::builder()
            .method("CONNECT")
            .uri("https://a.example/ws?a=b")
            .version(Version::HTTP_2)
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", version)
            .header("sec-websocket-protocol", "chat")
            .header("sec-websocket-key", "mine")
            .body(())
            .unwrap()
    }

    #[test]
    fn an_extended_connect_becomes_an_upgrade_with_a_key_of_the_gateways_own() {
        let (mut first, mut second) = (connect("13"), connect("13"));
        assert_eq!(translate(&mut first, 100), Ok(Ask::WebSocket));
        assert_eq!(translate(&mut second, 100), Ok(Ask::WebSocket));
        assert_eq!(first.method(), Method::GET);
        assert_eq!(first.version(), Version::HTTP_11);
        assert_eq!(first.headers()[UPGRADE], "websocket");
        assert_eq!(first.headers()["sec-websocket-protocol"], "chat");
        assert_ne!(first.headers()[SEC_WEBSOCKET_KEY], second.headers()[SEC_WEBSOCKET_KEY]);
    }

    #[test]
    fn another_version_is_refused_as_over_http1() {
        let refused = Violation::Handshake(HandshakeFault::Version);
        assert_eq!(translate(&mut connect("12"), 100), Err(refused));
    }

    #[test]
    fn cookie_crumbs_are_joined() {
        let mut request = Request::builder()
            .uri("https://a.example/")
            .header(COOKIE, "a=b")
            .header(COOKIE, "c=d; e=f")
            .header(HOST, "a.example")
            .body(())
            .unwrap();
        assert_eq!(translate(&mut request, 100), Ok(Ask::Answer));
        let cookies: Vec<_> = request.headers().get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=b; c=d; e=f"]);
    }
}

use super::*;
use crate::config::{HostPattern, WebSocketPolicy};

/// Recorded from a real client; it asks for chat.example.
const HELLO: &[u8] = include_bytes!("../../../../fuzz/seeds/client_hello/openssl-tls13");
const HELLO_WITHOUT_NAME: &[u8] =
    include_bytes!("../../../../fuzz/seeds/client_hello/openssl-no-name");

fn http() -> Route {
    Route {
        name: "all".into(),
        pattern: RoutePattern::default(),
        listeners: Vec::new(),
        upstream: 0,
        preserve_host: true,
        websocket: WebSocketPolicy::default(),
        admission: Default::default(),
    }
}

fn named(names: &[HostPattern]) -> TcpRoute {
    TcpRoute { server_names: Some(names.to_vec()), ..TcpRoute::new("named", 0, 0) }
}

fn rest() -> TcpRoute {
    TcpRoute::new("rest", 0, 0)
}

fn exact(name: &str) -> HostPattern {
    HostPattern::Exact(name.into())
}

/// Checks the verdict, and that no shorter piece has another one.
#[track_caller]
fn check(front: &Front, bytes: &[u8], expected: Kind) {
    for len in 0..bytes.len() {
        let earlier = front.judge(&bytes[..len]);
        assert!(earlier.is_none() || earlier.as_ref() == Some(&expected), "{earlier:?} at {len}");
    }
    assert_eq!(front.judge(bytes), Some(expected));
}

#[test]
fn a_listener_with_one_use_needs_no_byte() {
    assert_eq!(Front::new(&[http()], &[], 0).only_kind(), Some(Kind::Http));
    assert_eq!(Front::new(&[], &[rest()], 0).only_kind(), Some(Kind::Tcp(0)));
    assert_eq!(Front::new(&[http()], &[rest()], 0).only_kind(), None);
    assert_eq!(Front::new(&[], &[named(&[exact("a")])], 0).only_kind(), None);
    // What another listener serves is not this one's affair.
    assert_eq!(Front::new(&[http()], &[rest()], 1).only_kind(), Some(Kind::Http));
}

#[test]
fn the_most_specific_name_wins_and_the_rest_goes_on() {
    let below = HostPattern::Below("example".into());
    let tcp = [rest(), named(&[exact("other.example"), below]), named(&[exact("chat.example")])];
    let front = Front::new(&[http()], &tcp, 0);
    check(&front, HELLO, Kind::Tcp(2));
    check(&Front::new(&[http()], &tcp[..2], 0), HELLO, Kind::Tcp(1));
    check(&front, HELLO_WITHOUT_NAME, Kind::Tcp(0));
    check(&front, b"GET / HTTP/1.1\r\n", Kind::Http);
    check(&front, b"EHLO chat.example\r\n", Kind::Tcp(0));
}

#[test]
fn a_name_that_nobody_serves_is_told_apart_from_other_bytes() {
    let front = Front::new(&[], &[named(&[exact("other.example")])], 0);
    check(&front, HELLO, Kind::UnknownName(Some("chat.example".into())));
    check(&front, HELLO_WITHOUT_NAME, Kind::UnknownName(None));
    check(&front, b"GET / HTTP/1.1\r\n", Kind::Unknown);
    check(&front, b"EHLO chat.example\r\n", Kind::Unknown);
    let any = Front::new(&[], &[named(&[HostPattern::Any])], 0);
    check(&any, HELLO_WITHOUT_NAME, Kind::Tcp(0));
}

#[test]
fn a_broken_hello_has_no_name() {
    let mut broken = HELLO.to_vec();
    // The length of the whole message: too long for its record.
    broken[6] = 0xff;
    let front = Front::new(&[], &[named(&[HostPattern::Any])], 0);
    check(&front, &broken, Kind::Unknown);
}

#[test]
fn http2_is_served_where_the_listener_says_so() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let front = |plain, secure| Front::new(&[http()], &[], 0).with_http2(plain, secure);
    check(&front(true, false), PREFACE, Kind::Http2);
    check(&front(true, false), b"GET / HTTP/1.1\r\n", Kind::Http);
    // Without it, the parser of HTTP/1 says so.
    check(&front(false, true), PREFACE, Kind::Http);
    // Where TLS is a must, it is one for HTTP/2 too.
    let strict = front(true, true).with_tls(Some(&TlsTerms::default()));
    check(&strict, PREFACE, Kind::Unknown);
    assert_eq!(front(true, false).behind_tls().only_kind(), Some(Kind::Http));
    check(&front(false, true).behind_tls(), PREFACE, Kind::Http2);
    assert_eq!(front(true, true).protocols(), [&b"h2"[..], b"http/1.1"]);
    assert_eq!(front(true, false).protocols(), [b"http/1.1"]);
    // Where raw bytes may be inside, nothing is promised.
    let mixed = Front::new(&[http()], &[rest()], 0).with_http2(true, true);
    assert!(mixed.protocols().is_empty());
}

/// Terms that require TLS, or only allow it.
fn terms(takes_plain: bool) -> TlsTerms {
    TlsTerms { takes_plain, ..TlsTerms::default() }
}

#[test]
fn where_tls_must_be_nothing_else_is_served() {
    let front = Front::new(&[http()], &[], 0).with_tls(Some(&terms(false)));
    assert_eq!(front.only_kind(), None);
    check(&front, HELLO, Kind::Tls);
    check(&front, b"GET / HTTP/1.1\r\n", Kind::HttpWithoutTls);
    check(&front, b"SSH-2.0-x\r\n", Kind::Unknown);
    assert_eq!((front.silent(), front.other()), (Kind::Unknown, Kind::Unknown));

    // The raw route is for what is inside, not for who comes without.
    let front = Front::new(&[], &[rest()], 0).with_tls(Some(&terms(false)));
    check(&front, HELLO, Kind::Tls);
    check(&front, b"SSH-2.0-x\r\n", Kind::Unknown);
    assert_eq!((front.rest(), front.other()), (None, Kind::Unknown));
    assert_eq!(front.behind_tls().only_kind(), Some(Kind::Tcp(0)));
}

#[test]
fn where_tls_may_be_the_first_bytes_tell() {
    let front = Front::new(&[http()], &[rest()], 0).with_tls(Some(&terms(true)));
    check(&front, HELLO, Kind::Tls);
    check(&front, b"GET / HTTP/1.1\r\n", Kind::Http);
    check(&front, b"SSH-2.0-x\r\n", Kind::Tcp(0));
    assert_eq!((front.silent(), front.rest()), (Kind::Http, Some(0)));
}

#[test]
fn names_are_passed_through_before_tls_ends_here() {
    let tcp = [rest(), named(&[exact("chat.example")])];
    let front = Front::new(&[http()], &tcp, 0).with_tls(Some(&terms(false)));
    check(&front, HELLO, Kind::Tcp(1));
    check(&front, HELLO_WITHOUT_NAME, Kind::Tls);
    // Inside, a hello is bytes like any others: there is no second layer.
    check(&front.behind_tls(), HELLO, Kind::Tcp(0));
    check(&front.behind_tls(), b"GET / HTTP/1.1\r\n", Kind::Http);
}

//! Stories of honest proxies, of strangers, and of strangers behind honest proxies.

use super::*;
use proptest::prelude::*;

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec()
}

fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn arrive(peer: &str, headers: &mut HeaderMap) -> Client {
    let arrival = Arrival {
        peer: peer.parse().unwrap(),
        scheme: Scheme::Http,
        host: Some("chat.example"),
        port: 8080,
        trusted: &trusted(),
    };
    apply(headers, &arrival)
}

fn client(address: &str, scheme: Scheme) -> Client {
    Client { address: address.parse().unwrap(), scheme }
}

#[track_caller]
fn check(headers: &HeaderMap, expected: &[(&str, &str)]) {
    let mut sent: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    sent.sort_unstable();
    assert_eq!(sent, expected);
}

const FROM_A_STRANGER: &[(&str, &str)] = &[
    ("forwarded", "for=192.0.2.7;host=\"chat.example\";proto=http"),
    ("x-forwarded-for", "192.0.2.7"),
    ("x-forwarded-host", "chat.example"),
    ("x-forwarded-port", "8080"),
    ("x-forwarded-proto", "http"),
    ("x-real-ip", "192.0.2.7"),
];

#[test]
fn a_stranger_is_whom_the_connection_shows() {
    let mut headers = HeaderMap::new();
    assert_eq!(arrive("192.0.2.7", &mut headers), client("192.0.2.7", Scheme::Http));
    check(&headers, FROM_A_STRANGER);
}

#[test]
fn nothing_that_a_stranger_tells_survives_in_any_spelling() {
    let mut headers = fields(&[
        ("x-forwarded-for", "127.0.0.1"),
        ("x_forwarded_for", "127.0.0.1"),
        ("x.forwarded.for", "127.0.0.1"),
        ("x-forwarded_for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/admin"),
        ("x_forwarded_prefix", "/admin"),
        ("x-forwarded-client-cert", "CN=root"),
        ("x-forwarded", "for=127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x_real_ip", "127.0.0.1"),
        ("true-client-ip", "127.0.0.1"),
        ("x-original-url", "/admin"),
        ("cf.connecting.ip", "127.0.0.1"),
    ]);
    assert_eq!(arrive("192.0.2.7", &mut headers), client("192.0.2.7", Scheme::Http));
    check(&headers, FROM_A_STRANGER);
}

#[test]
fn every_name_that_tells_who_a_client_is_is_deleted() {
    let mut headers = HeaderMap::new();
    for name in IDENTITY.iter().chain(&["x-forwarded"]) {
        for separator in ["-", "_", "."] {
            let spelled = name.replace('-', separator).parse::<HeaderName>().unwrap();
            headers.append(spelled, HeaderValue::from_static("127.0.0.1"));
        }
    }
    arrive("192.0.2.7", &mut headers);
    check(&headers, FROM_A_STRANGER);
}

#[test]
fn a_trusted_peer_is_believed_and_added() {
    let mut headers = fields(&[
        ("x-forwarded-for", "192.0.2.7, 10.0.0.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "public.example"),
        ("x-forwarded-prefix", "/chat"),
    ]);
    assert_eq!(arrive("10.0.0.1", &mut headers), client("192.0.2.7", Scheme::Https));
    check(
        &headers,
        &[
            (
                "forwarded",
                "for=192.0.2.7;host=\"public.example\";proto=https, for=10.0.0.9, for=10.0.0.1",
            ),
            ("x-forwarded-for", "192.0.2.7, 10.0.0.9, 10.0.0.1"),
            ("x-forwarded-host", "public.example"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/chat"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.7"),
        ],
    );
}

#[test]
fn a_client_cannot_hide_behind_addresses_it_made_up() {
    let mut headers = fields(&[("x-forwarded-for", "127.0.0.1, 10.1.1.1, 192.0.2.7")]);
    assert_eq!(arrive("10.0.0.1", &mut headers).address, client("192.0.2.7", Scheme::Http).address);
    assert_eq!(headers[X_FORWARDED_FOR], "127.0.0.1, 10.1.1.1, 192.0.2.7, 10.0.0.1");
    assert_eq!(headers[X_REAL_IP], "192.0.2.7");
}

#[test]
fn forwarded_does_not_count_beside_x_forwarded_for() {
    let mut headers = fields(&[
        ("x-forwarded-for", "192.0.2.7"),
        ("forwarded", "for=127.0.0.1"),
        ("x_forwarded_for", "127.0.0.1"),
    ]);
    assert_eq!(arrive("10.0.0.1", &mut headers).address.to_string(), "192.0.2.7");
    assert!(!headers.iter().any(|(_, value)| value.to_str().unwrap().contains("127.0.0.1")));
}

#[test]
fn forwarded_alone_is_read() {
    let mut headers = fields(&[
        ("forwarded", "for=\"[2001:db8::7]:4711\";proto=https"),
        ("forwarded", "for=10.0.0.9"),
    ]);
    assert_eq!(arrive("fd00::1", &mut headers).address.to_string(), "2001:db8::7");
    assert_eq!(headers[X_FORWARDED_FOR], "2001:db8::7, 10.0.0.9, fd00::1");
}

#[test]
fn what_stands_left_of_garbage_is_forgotten() {
    let mut headers = fields(&[("x-forwarded-for", "127.0.0.1, unknown, 10.0.0.9")]);
    assert_eq!(arrive("10.0.0.1", &mut headers).address.to_string(), "10.0.0.9");
    assert_eq!(headers[X_FORWARDED_FOR], "10.0.0.9, 10.0.0.1");
}

#[test]
fn a_mapped_peer_is_an_ipv4_peer() {
    let mut headers = fields(&[("x-forwarded-for", "192.0.2.7")]);
    assert_eq!(arrive("::ffff:10.0.0.1", &mut headers).address.to_string(), "192.0.2.7");
}

#[test]
fn the_port_comes_from_the_host_before_the_listener() {
    for (host, port) in [
        ("chat.example:81", "81"),
        ("[::1]:82", "82"),
        ("[::1]", "8080"),
        ("::1", "8080"),
        ("chat.example:", "8080"),
    ] {
        let mut headers = HeaderMap::new();
        let arrival = Arrival {
            peer: "192.0.2.7".parse().unwrap(),
            scheme: Scheme::Http,
            host: Some(host),
            port: 8080,
            trusted: &[],
        };
        apply(&mut headers, &arrival);
        assert_eq!(headers[X_FORWARDED_PORT], port, "{host}");
    }
}

#[test]
fn a_host_cannot_break_out_of_its_quotes() {
    let mut headers = HeaderMap::new();
    let arrival = Arrival {
        peer: "192.0.2.7".parse().unwrap(),
        scheme: Scheme::Http,
        host: Some("a\";for=127.0.0.1;x=\""),
        port: 80,
        trusted: &[],
    };
    apply(&mut headers, &arrival);
    assert_eq!(headers["forwarded"], "for=192.0.2.7;proto=http");
}

proptest! {
    #[test]
    fn whatever_a_trusted_peer_passes_on_the_list_stays_bounded_and_ends_with_it(
        told in prop::collection::vec("[ -~]{0,40}", 0..40),
    ) {
        let mut headers = HeaderMap::new();
        for value in &told {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        arrive("10.0.0.1", &mut headers);
        let sent = headers[X_FORWARDED_FOR].to_str().unwrap();
        prop_assert!(sent.ends_with("10.0.0.1"));
        prop_assert!(sent.split(", ").count() <= HOPS_MAX + 1);
        prop_assert_eq!(headers.get_all(X_FORWARDED_FOR).iter().count(), 1);
    }
}

//! HTTP/1.1 through the gateway: connections, connection fields, routes, the gateway's own answers.

use crate::support::gateway::Gateway;
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let recorder = Recorder::start(|request| Answer::text(request.line()));
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    let requests: String =
        (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(requests);
    for number in 0..50 {
        assert_eq!(client.response().text(), format!("GET /{number} HTTP/1.1"));
    }
    assert_eq!(recorder.faults(), [""; 0]);
}

#[test]
fn connections_to_the_replica_are_used_again() {
    let recorder = Recorder::start(|request| Answer::text(request.line()));
    let gateway = Gateway::with_flags(&[recorder.address], &["--workers", "1"]);
    for number in 0..20 {
        let response = raw::get(gateway.address(), &format!("/{number}"));
        assert_eq!(response.text(), format!("GET /{number} HTTP/1.1"));
    }
    let connections: Vec<usize> = recorder.seen().iter().map(|seen| seen.connection).collect();
    let distinct: std::collections::BTreeSet<_> = connections.iter().collect();
    assert!(distinct.len() <= 2, "20 requests one by one took {distinct:?}");
}

#[test]
fn fields_of_one_hop_stay_on_their_hop() {
    let recorder = Recorder::start(|_| {
        Answer::Bytes(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\n\
             Keep-Alive: timeout=5\r\nX-End: 2\r\n\r\n"
                .into(),
        )
    });
    let gateway = Gateway::before(&[recorder.address]);
    let fields = "Connection: X-Private, X-Forwarded-For, Host\r\nX-Private: 1\r\nKeep-Alive: 300\r\n\
                  Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\n\
                  HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nX-Public: 2\r\n";
    let response = raw::request(gateway.address(), "/", fields);
    assert_eq!(response.status, 200, "{}", response.head);
    assert_eq!(response.header("x-end"), Some("2"));
    for name in ["x-hop", "keep-alive"] {
        assert_eq!(response.header(name), None, "{}", response.head);
    }
    let seen = &recorder.seen()[0];
    for name in ["x-private", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings"] {
        assert_eq!(seen.headers(name), [""; 0], "{}", seen.head);
    }
    assert_eq!(seen.headers("x-public"), ["2"]);
    // A client cannot talk the gateway out of what it says itself.
    assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.headers("host"), ["test"]);
}

const CLAIMS: &str = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: evil.example\r\nX-Real-IP: 203.0.113.9\r\n\
                      Forwarded: for=203.0.113.9;proto=https\r\nX_Forwarded_For: 203.0.113.9\r\n\
                      X-Forwarded-Prefix: /admin\r\n";

#[test]
fn strangers_claims_about_their_address_are_replaced() {
    let recorder = Recorder::start(|_| Answer::text("ok"));
    let gateway = Gateway::before(&[recorder.address]);
    assert_eq!(raw::request(gateway.address(), "/", CLAIMS).status, 200);
    let seen = &recorder.seen()[0];
    assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.headers("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.headers("x-forwarded-host"), ["test"]);
    for name in ["x_forwarded_for", "x-forwarded-prefix"] {
        assert_eq!(seen.headers(name), [""; 0], "{}", seen.head);
    }
    assert!(!seen.head.contains("203.0.113.9") && !seen.head.contains("evil"), "{}", seen.head);
}

#[test]
fn a_trusted_proxys_claims_are_kept_and_added_to() {
    let recorder = Recorder::start(|_| Answer::text("ok"));
    let flags = ["--trusted-proxy", "127.0.0.0/8"];
    let gateway = Gateway::with_flags(&[recorder.address], &flags);
    assert_eq!(raw::request(gateway.address(), "/", CLAIMS).status, 200);
    let seen = &recorder.seen()[0];
    assert_eq!(seen.headers("x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(seen.headers("x-forwarded-proto"), ["https"]);
}

#[test]
fn the_most_specific_route_takes_the_request() {
    let replicas = ["any", "chat", "ws"].map(|name| Recorder::start(move |_| Answer::text(name)));
    let mut config = "[server]\nlisten = [\"127.0.0.1:0\"]\n".to_owned();
    for (name, replica) in ["any", "chat", "ws"].iter().zip(&replicas) {
        config +=
            &format!("[[upstreams]]\nname = \"{name}\"\nreplicas = [\"{}\"]\n", replica.address);
    }
    config += "[[routes]]\nupstream = \"any\"\n\
               [[routes]]\nhost = \"chat.example\"\nupstream = \"chat\"\n\
               [[routes]]\npath = \"/ws\"\nheaders = { X-Kind = \"test\" }\nupstream = \"ws\"\n";
    let gateway = Gateway::with_config(&config);
    let ask = |host: &str, target: &str, fields: &str| {
        let mut client = Raw::connect(gateway.address());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        client.response().text()
    };
    assert_eq!(ask("other.example", "/", ""), "any");
    assert_eq!(ask("CHAT.example:8080", "/", ""), "chat");
    assert_eq!(ask("other.example", "/ws/x", "X-Kind: test\r\n"), "ws");
    assert_eq!(ask("other.example", "/wsx", "X-Kind: test\r\n"), "any");
}

#[test]
fn a_request_that_no_route_takes_is_told_so() {
    let recorder = Recorder::start(|_| Answer::text("ok"));
    let gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[upstreams]]\nname = \"one\"\nreplicas = [\"{}\"]\n\
         [[routes]]\nhost = \"chat.example\"\nupstream = \"one\"\n",
        recorder.address
    ));
    let response = raw::get(gateway.address(), "/");
    assert_eq!((response.status, response.header("longhaul-cause")), (404, Some("no_route")));
}

#[test]
fn own_answers_are_html_for_browsers_and_json_for_programs() {
    let nobody = crate::support::apps::free_address();
    let gateway = Gateway::before(&[nobody]);
    for (accept, kind, start) in [
        (
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/html; charset=utf-8",
            "<!doctype html>",
        ),
        ("*/*", "application/json", "{"),
    ] {
        let fields = format!("Accept: {accept}\r\n");
        let response = raw::request(gateway.address(), "/", &fields);
        assert_eq!(response.status, 502);
        assert_eq!(response.header("longhaul-cause"), Some("replica_unreachable"));
        assert_eq!(response.header("content-type"), Some(kind));
        assert!(response.text().starts_with(start), "{}", response.text());
        // Strangers learn what happened, not where the replica is.
        assert!(!response.text().contains(&nobody.to_string()), "{}", response.text());
    }
}

//! A stranger on a raw socket, and a backend that keeps no rule.
//!
//! Each row of a table is one attack with the answers that are right for it. Behind the gateway a
//! backend parses by the letter and keeps what it saw: nothing of an attack may reach it.

mod mutation;
mod rows;

use rows::{CHUNKS, FRAMING, HANDSHAKES, Row, SYNTAX, UPGRADES};

use crate::support::gateway::Gateway;
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{frames, s};

/// In the target of every request that hides behind another one.
const MARK: &str = "smuggled";

fn harmless() -> Recorder {
    Recorder::start(|_| Answer::text("ok"))
}

/// Sends each row alone and checks the answer, the end of the connection and the backend's view.
#[track_caller]
fn refused(rows: &[Row]) {
    let recorder = harmless();
    let gateway = Gateway::before(&[recorder.address]);
    let mut wrong = Vec::new();
    for (name, bytes, right) in rows {
        let mut client = Raw::connect(gateway.address());
        client.send_anyway(bytes);
        match client.try_response() {
            Ok(response) if right.contains(&response.status) => {
                // Whatever comes behind a refused head can no longer be trusted.
                client.send_anyway("GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n");
                if !client.read_to_end().is_empty() {
                    wrong.push(format!("{name}: went on after {}", response.status));
                }
            }
            Ok(response) => wrong.push(format!("{name}: {} instead of {right:?}", response.status)),
            Err(error) => wrong.push(format!("{name}: no answer ({error})")),
        }
    }
    for seen in recorder.seen() {
        wrong.push(format!("the backend saw {:?}", seen.head));
    }
    assert!(wrong.is_empty() && recorder.faults().is_empty(), "{wrong:#?} {:?}", recorder.faults());
}

#[test]
fn ambiguous_framing_is_refused() {
    refused(FRAMING);
}

#[test]
fn wrong_syntax_is_refused() {
    refused(SYNTAX);
}

#[test]
fn upgrades_that_are_none_are_refused() {
    refused(UPGRADES);
}

/// RFC 9110 §7.8: a server ignores Upgrade in HTTP/1.0, and so no such request may become a tunnel.
#[test]
fn upgrades_in_http_1_0_are_refused_or_ignored() {
    let recorder = Recorder::start(|_| Answer::text("a plain answer"));
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    client.send(frames::handshake("/", "").replace("HTTP/1.1", "HTTP/1.0"));
    let response = client.response();
    assert!(matches!(response.status, 200 | 400 | 426 | 505), "{}", response.head);
    for seen in recorder.seen() {
        assert_eq!(seen.headers("upgrade"), [""; 0], "the backend saw an upgrade: {}", seen.head);
    }
}

#[test]
fn a_wrong_version_is_told_the_right_one() {
    let gateway = Gateway::before(&[harmless().address]);
    let mut client = Raw::connect(gateway.address());
    client.send(frames::handshake("/", "").replace("Version: 13", "Version: 8"));
    let response = client.response();
    assert_eq!(response.status, 426);
    assert_eq!(response.header("sec-websocket-version"), Some("13"));
}

#[test]
fn broken_chunks_end_the_request_and_the_connection() {
    let recorder = harmless();
    let gateway = Gateway::before(&[recorder.address]);
    for (name, body) in CHUNKS {
        let mut client = Raw::connect(gateway.address());
        client.send_anyway(format!(
            "POST /{name_} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}",
            name_ = name.replace(' ', "-")
        ));
        let answer = client.try_response();
        assert!(!answer.as_ref().is_ok_and(|a| a.status == 200), "{name}: {answer:?}");
        client.send_anyway("GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n");
        let rest = client.read_to_end();
        assert!(rest.is_empty(), "{name}: went on with {:?}", String::from_utf8_lossy(&rest));
    }
    let seen: Vec<String> = recorder.seen().into_iter().map(|seen| seen.head).collect();
    assert!(seen.is_empty(), "a broken body was taken for whole: {seen:#?}");
}

#[test]
fn what_is_too_large_is_refused_with_its_name() {
    let recorder = harmless();
    let gateway = Gateway::before(&[recorder.address]);
    let long = "x".repeat(20_000);
    let many = "X: 1\r\n".repeat(200);
    for (name, head, right) in [
        ("target", format!("GET /{long} HTTP/1.1\r\nHost: t\r\n\r\n"), 414),
        ("value", format!("GET / HTTP/1.1\r\nHost: t\r\nX: {long}\r\n\r\n"), 431),
        ("fields", format!("GET / HTTP/1.1\r\nHost: t\r\n{many}\r\n"), 431),
    ] {
        let mut client = Raw::connect(gateway.address());
        client.send_anyway(head);
        assert_eq!(client.response().status, right, "{name}");
    }
    assert!(recorder.seen().is_empty());
}

#[test]
fn trickled_heads_are_cut_off_in_time() {
    let recorder = harmless();
    let gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[timeouts]\nhead = \"2s\"\n\
         [[upstreams]]\nname = \"one\"\nreplicas = [\"{}\"]\n",
        recorder.address
    ));
    let started = std::time::Instant::now();
    let mut client = Raw::connect(gateway.address());
    let mut writer = Raw::from_parts(client.stream.try_clone().unwrap(), Vec::new());
    let trickle = std::thread::spawn(move || {
        for byte in "GET / HTTP/1.1\r\nHost: t\r\nX-Slow: ".bytes().chain([b'x'; 100]) {
            writer.send_anyway([byte]);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    assert_eq!(client.response().status, 408);
    assert!(started.elapsed() < s(4), "cut off after {:?}", started.elapsed());
    drop(client);
    trickle.join().unwrap();
    assert!(recorder.seen().is_empty());
}

/// Absolute form: the target's authority replaces Host (RFC 9112 §3.2.2).
#[test]
fn the_authority_of_an_absolute_target_replaces_host() {
    let recorder = harmless();
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    client.send("GET http://real.example/x HTTP/1.1\r\nHost: other.example\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let seen = &recorder.seen()[0];
    assert_eq!((seen.line(), seen.headers("host")), ("GET /x HTTP/1.1", vec!["real.example"]));
    assert_eq!(recorder.faults(), [""; 0]);
}

#[test]
fn an_injected_value_stays_one_value() {
    let recorder = harmless();
    let gateway = Gateway::before(&[recorder.address]);
    let response = raw::get(gateway.address(), "/%0d%0aX-Injected:%201?a=%0d%0a");
    assert_eq!(response.status, 200);
    let seen = &recorder.seen()[0];
    assert_eq!(seen.line(), "GET /%0d%0aX-Injected:%201?a=%0d%0a HTTP/1.1");
    assert_eq!(seen.headers("x-injected"), [""; 0]);
}

/// Only a validated 101 opens a tunnel; bytes pipelined behind the upgrade go nowhere otherwise.
#[test]
fn no_tunnel_without_a_valid_101() {
    for (name, answer, right) in HANDSHAKES {
        let answer = answer.replace(frames::ACCEPT, "ACCEPT");
        let recorder = Recorder::start(move |request| {
            // The gateway may offer a key of its own; the right accept follows from that.
            Answer::Last(
                answer
                    .replace("ACCEPT", &accept_for(request.headers("sec-websocket-key")[0]))
                    .into(),
            )
        });
        let gateway = Gateway::before(&[recorder.address]);
        let mut client = Raw::connect(gateway.address());
        client.send(frames::handshake("/", "") + "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n");
        let response = client.response();
        assert_eq!(response.status, *right, "{name}: {}", response.head);
        assert!(client.read_to_end().is_empty(), "{name}: the connection went on");
        let smuggled = recorder.seen().iter().any(|seen| seen.head.contains(MARK));
        assert!(!smuggled && recorder.faults().is_empty(), "{name}: {:?}", recorder.faults());
    }
}

/// RFC 6455 §4.2.2, computed by tungstenite.
fn accept_for(key: &str) -> String {
    tungstenite::handshake::derive_accept_key(key.as_bytes())
}

#[test]
fn a_101_that_nobody_asked_for_is_an_error() {
    let recorder = Recorder::start(|_| Answer::Last(frames::accepted().into()));
    let gateway = Gateway::before(&[recorder.address]);
    assert_eq!(raw::get(gateway.address(), "/").status, 502);
}

#[test]
fn a_websocket_whose_backend_leaves_at_once_ends_at_once() {
    let recorder = Recorder::start(|request| {
        let accept = accept_for(request.headers("sec-websocket-key")[0]);
        Answer::Last(frames::accepted().replace(frames::ACCEPT, &accept).into())
    });
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = frames::open(gateway.address(), "/");
    let started = std::time::Instant::now();
    // The backend vanished without a close frame: the client is told in one that it may come back.
    assert_eq!(frames::close_code(&mut client).unwrap(), 1012);
    assert!(started.elapsed() < s(1), "told after {:?}", started.elapsed());
}

/// What a backend sends beyond its answer must never be taken for the answer of the next client.
#[test]
fn bytes_behind_an_answer_reach_nobody() {
    let recorder = Recorder::start(|request| {
        match request.line().contains("first") {
        true => Answer::Bytes(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
                .into(),
        ),
        false => Answer::text("clean"),
    }
    });
    let gateway = Gateway::with_flags(&[recorder.address], &["--workers", "1"]);
    for _ in 0..20 {
        assert_eq!(raw::get(gateway.address(), "/first").text(), "ok");
        assert_eq!(raw::get(gateway.address(), "/second").text(), "clean");
    }
}

#[test]
fn answers_with_two_framings_are_refused() {
    for head in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Content-Length: +2",
    ] {
        let recorder = Recorder::start(move |_| {
            Answer::Last(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok").into())
        });
        let gateway = Gateway::before(&[recorder.address]);
        let mut client = Raw::connect(gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        // Refused, or cut off; but never a whole answer with one of the two readings.
        if let Ok(response) = client.try_response() {
            assert_eq!(response.status, 502, "{head}: {}", response.head);
        }
    }
}

/// The fields of one hop are taken off upgrades as off any request (RFC 9110 §7.6.1).
#[test]
fn an_upgrade_carries_no_field_of_the_hop_before_and_one_protocol() {
    let recorder = harmless();
    let gateway = Gateway::before(&[recorder.address]);
    let hop = "X-Private: 1\r\nKeep-Alive: 300\r\nHTTP2-Settings: AAMAAABk\r\nTE: trailers\r\n\
               X-Forwarded-For: 203.0.113.9\r\nX-Public: 2\r\n";
    let handshake = frames::handshake("/", hop)
        .replace("Connection: Upgrade", "Connection: Upgrade, X-Private, HTTP2-Settings, Origin");
    let mut client = Raw::connect(gateway.address());
    client.send(handshake);
    assert_eq!(client.response().status, 200);
    let seen = &recorder.seen()[0];
    for name in ["x-private", "keep-alive", "http2-settings", "te"] {
        assert_eq!(seen.headers(name), [""; 0], "{}", seen.head);
    }
    assert_eq!(seen.headers("connection"), ["Upgrade"]);
    assert_eq!(seen.headers("upgrade"), ["websocket"]);
    assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.headers("x-public"), ["2"]);
}

#[test]
fn another_protocol_is_never_upgraded_to() {
    let recorder = harmless();
    let gateway = Gateway::before(&[recorder.address]);
    for protocol in ["h2c", "websocket, h2c", "TLS/1.0"] {
        let mut client = Raw::connect(gateway.address());
        client.send(frames::handshake("/", "").replace("websocket", protocol));
        let status = client.response().status;
        assert!(matches!(status, 200 | 400 | 426), "{protocol}: {status}");
    }
    for seen in recorder.seen() {
        assert!(!seen.head.contains("h2c") && !seen.head.contains("TLS/1.0"), "{}", seen.head);
    }
}

#[test]
fn trailers_reach_nobody() {
    let recorder = Recorder::start(|request| {
        assert_eq!(request.body, b"hello");
        Answer::Bytes(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Admin\r\n\r\n\
             5\r\nhello\r\n0\r\nX-Admin: yes\r\n\r\n"
                .into(),
        )
    });
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    client.send(
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Admin: yes\r\n\r\n",
    );
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("X-Admin: yes"), "{answer}");
    assert!(!recorder.seen()[0].head.contains("X-Admin"), "{}", recorder.seen()[0].head);
    assert_eq!(recorder.faults(), [""; 0]);
}

/// A backend that answers before it reads the body, and then takes the body for a request: nobody
/// else may get the answer to that.
#[test]
fn an_early_answer_poisons_no_other_client() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut raw = Raw::from_parts(stream, Vec::new());
                while let Ok(head) = raw.read_head() {
                    let text = match head {
                        _ if head.contains("/early") => "early",
                        _ if head.contains(MARK) => "poison",
                        _ => "clean",
                    };
                    let length = text.len();
                    raw.send_anyway(format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}"
                    ));
                }
            });
        }
    });
    let gateway = Gateway::with_flags(&[address], &["--workers", "1"]);
    for _ in 0..20 {
        let mut client = Raw::connect(gateway.address());
        let body = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
        let length = body.len() + 10;
        client.send(format!(
            "POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(client.response().text(), "early");
        assert_eq!(raw::get(gateway.address(), "/next").text(), "clean");
        client.send_anyway("0123456789");
        assert_eq!(raw::get(gateway.address(), "/next").text(), "clean");
    }
}

//! A stranger on a raw socket, and a backend that keeps no rule.
//!
//! Each row of a table is one attack with the answers that are right for it. Behind the gateway a
//! backend parses by the letter and keeps what it saw: nothing of an attack may reach it.

use crate::support::gateway::Gateway;
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{frames, s};

/// One request that must not pass: its name, its bytes, the statuses that are right.
type Row = (&'static str, &'static str, &'static [u16]);

const MARK: &str = "smuggled";

/// Ambiguous framing (RFC 9112 §6, §7, §11.2): two parsers could see two different requests.
const FRAMING: &[Row] = &[
    (
        "both framings",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
        &[400],
    ),
    (
        "both framings, chunked first",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
        &[400],
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "chunked as a list",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    ("identity", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\n\r\n", &[400, 501]),
    (
        "gzip, chunked",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "tab before chunked",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "chunked in quotes",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "chunked with a parameter",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "chunked misspelt",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "chunked in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    ("signed length", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +5\r\n\r\nhello", &[400]),
    ("negative length", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: -5\r\n\r\nhello", &[400]),
    (
        "hexadecimal length",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0x5\r\n\r\nhello",
        &[400],
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        &[400],
    ),
    (
        "the same length twice",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        &[400],
    ),
    ("list of lengths", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5, 5\r\n\r\nhello", &[400]),
    (
        "empty length",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
        &[400],
    ),
    (
        "length beyond 64 bits",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        &[400],
    ),
    (
        "length beyond 63 bits",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9223372036854775808\r\n\r\nhello",
        &[400],
    ),
];

/// Chunks that two parsers could read differently (RFC 9112 §7.1); the head alone is in order.
const CHUNKS: &[(&str, &str)] = &[
    ("size overflows", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
    ("size with a space", " 5\r\nhello\r\n0\r\n\r\n"),
    ("size empty", "\r\nhello\r\n0\r\n\r\n"),
    ("size with an underscore", "1_0\r\nhellohellohelloh\r\n0\r\n\r\n"),
    ("bare LF after the size", "5\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("bare LF in an extension", "5;a\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("no CRLF after the data", "5\r\nhelloXX0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("bare LF after the data", "5\r\nhello\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
];

/// Syntax (RFC 9112 §2 to §5).
const SYNTAX: &[Row] = &[
    ("bare LF after the request line", "GET / HTTP/1.1\nHost: t\r\n\r\n", &[400]),
    ("bare LF between fields", "GET / HTTP/1.1\r\nHost: t\nX: 1\r\n\r\n", &[400]),
    ("bare LFs at the end", "GET / HTTP/1.1\r\nHost: t\n\n", &[400]),
    ("bare CR in a value", "GET / HTTP/1.1\r\nHost: t\r\nX: a\rb\r\n\r\n", &[400]),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: t\r\nX: a\0b\r\n\r\n", &[400]),
    ("control byte in a value", "GET / HTTP/1.1\r\nHost: t\r\nX: a\x01b\r\n\r\n", &[400]),
    ("folded field", "GET / HTTP/1.1\r\nHost: t\r\nX: a\r\n b\r\n\r\n", &[400]),
    ("space before the colon", "GET / HTTP/1.1\r\nHost : t\r\n\r\n", &[400]),
    ("space in a name", "GET / HTTP/1.1\r\nHost: t\r\nX Y: 1\r\n\r\n", &[400]),
    ("empty name", "GET / HTTP/1.1\r\nHost: t\r\n: 1\r\n\r\n", &[400]),
    ("no colon", "GET / HTTP/1.1\r\nHost: t\r\nnonsense\r\n\r\n", &[400]),
    ("space before the first field", "GET / HTTP/1.1\r\n Host: t\r\n\r\n", &[400]),
    ("no Host", "GET / HTTP/1.1\r\n\r\n", &[400]),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: t\r\nHost: u\r\n\r\n", &[400]),
    ("the same Host twice", "GET / HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n", &[400]),
    ("invalid Host", "GET / HTTP/1.1\r\nHost: t/x@y\r\n\r\n", &[400]),
    ("list of Hosts", "GET / HTTP/1.1\r\nHost: t, u\r\n\r\n", &[400]),
    ("HTTP/0.9", "GET /smuggled\r\n\r\n", &[400, 505]),
    ("HTTP/2.0 in a line", "GET / HTTP/2.0\r\nHost: t\r\n\r\n", &[400, 505]),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: t\r\n\r\n", &[400, 505]),
    ("http in lower case", "GET / http/1.1\r\nHost: t\r\n\r\n", &[400, 505]),
    ("two spaces", "GET  / HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("tab for a space", "GET\t/\tHTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("space in the target", "GET /a b HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("fragment in the target", "GET /a#b HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("target without a slash", "GET a HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("method with a space", "GE T / HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("method that is no token", "G{}T / HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("CONNECT", "CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\n\r\n", &[400, 405, 501]),
    ("TRACE", "TRACE / HTTP/1.1\r\nHost: t\r\n\r\n", &[405, 501]),
    ("TLS on a plain port", "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03", &[400]),
    ("SSH", "SSH-2.0-OpenSSH_9.2p1\r\n", &[400]),
];

/// Upgrades that RFC 6455 §4.1 does not allow; what follows them must not become a tunnel.
const UPGRADES: &[Row] = &[
    (
        "POST",
        "POST / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n\r\n",
        &[400, 405, 426],
    ),
    (
        "with a body",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 5\r\n\r\nhello",
        &[400],
    ),
    (
        "with chunks",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "no key",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
        &[400],
    ),
    (
        "two keys",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        &[400],
    ),
    (
        "short key",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n\r\n",
        &[400],
    ),
    (
        "key that is not base64",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==\r\n\r\n",
        &[400],
    ),
    (
        "version 8",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        &[426],
    ),
    (
        "no version",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        &[400, 426],
    ),
];

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

/// What a backend answers to an upgrade, and what the client must get for it.
const HANDSHAKES: &[(&str, &str, u16)] = &[
    ("200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
    ("403", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
    (
        "426",
        "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n",
        426,
    ),
    (
        "wrong Accept",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
        502,
    ),
    (
        "no Accept",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        502,
    ),
    (
        "no Upgrade",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        502,
    ),
    (
        "no Connection",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        502,
    ),
    (
        "another protocol",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        502,
    ),
    (
        "a subprotocol nobody offered",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: evil\r\n\r\n",
        502,
    ),
    ("garbage", "\x00\x01\x02 not HTTP at all\r\n\r\n", 502),
    ("HTTP/0.9", "hello", 502),
];

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

//! HTTP/1.1 through the gateway: streams both ways, framing, connection fields, own answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::s;

const GIB: u64 = 1 << 30;
/// The gateway's whole memory while a GiB passes; far more than it needs, far less than a body.
const MEMORY_MAX_KIB: u64 = 64 * 1024;
/// The period of the pattern that `bulk.mjs` sends and expects.
const PERIOD: usize = 65_521;

#[test]
fn server_sent_events_arrive_one_by_one() {
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(Some(may_go));
    let recorder = Recorder::start(move |_| {
        let may_go = may_go.lock().unwrap().take().expect("one request");
        Answer::Take(Box::new(move |mut raw| {
            raw.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            for number in 0..20 {
                let event = format!("data: {number}\n\n");
                raw.send(format!("{:x}\r\n{event}\r\n", event.len()));
                // The next event is only made once the client has this one.
                may_go.recv_timeout(s(10)).expect("the client has the event");
            }
            raw.send("0\r\n\r\n");
        }))
    });
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    client.send("GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n");
    assert_eq!(client.response_head().unwrap().status, 200);
    for number in 0..20 {
        assert_eq!(client.chunk().unwrap(), format!("data: {number}\n\n").as_bytes());
        go.send(()).unwrap();
    }
    assert!(client.chunk().unwrap().is_empty());
}

#[test]
fn events_of_fastapi_keep_their_pace() {
    let app = App::start("echo_fastapi.py", "one");
    let gateway = Gateway::before(&[app.address]);
    let mut client = Raw::connect(gateway.address());
    client.send("GET /sse?count=4&gap_ms=300 HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = client.response_head().unwrap();
    assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let mut arrivals = Vec::new();
    while !client.chunk().unwrap().is_empty() {
        arrivals.push(Instant::now());
    }
    assert_eq!(arrivals.len(), 4);
    let spread = arrivals[3] - arrivals[0];
    assert!(spread.as_millis() >= 600, "four events 300 ms apart came within {spread:?}");
}

#[test]
fn an_upload_reaches_the_replica_while_it_is_being_sent() {
    let (at_replica, seen) = mpsc::channel();
    let address = raw_replica(move |mut raw| {
        let head = raw.read_head().expect("a head");
        while let Ok(chunk) = raw.chunk() {
            at_replica.send(chunk.clone()).expect("the story listens");
            if chunk.is_empty() {
                break;
            }
        }
        assert_eq!(raw::values(&head, "transfer-encoding"), ["chunked"]);
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let gateway = Gateway::before(&[address]);
    let mut client = Raw::connect(gateway.address());
    client.send("POST /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in ["first", "second", "third"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        // The next piece is only sent once the replica has this one.
        assert_eq!(seen.recv_timeout(s(10)).unwrap(), piece.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().body, b"ok");
}

/// A replica for whoever connects first and is not a probe, on a connection of its own.
fn raw_replica(serve: impl FnOnce(Raw) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        serve(Raw::from_parts(stream, Vec::new()));
    });
    address
}

#[test]
fn a_gib_comes_down_without_growth_of_memory() {
    let app = App::start("bulk.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    for framing in ["", "&chunked"] {
        let mut stream = TcpStream::connect(gateway.address()).unwrap();
        stream.set_read_timeout(Some(s(30))).unwrap();
        let request = format!("GET /down?bytes={GIB}{framing} HTTP/1.0\r\nHost: test\r\n\r\n");
        // HTTP/1.0 gets no chunks: the body ends with the connection, whatever the replica framed.
        stream.write_all(request.as_bytes()).unwrap();
        let mut client = Raw::from_parts(stream.try_clone().unwrap(), Vec::new());
        assert_eq!(client.response_head().unwrap().status, 200);
        let first = client.take_ahead();
        let body = std::io::Cursor::new(first).chain(stream);
        assert_eq!(matching(body), GIB, "{framing:?}");
    }
    assert_memory(&gateway);
}

#[test]
fn a_gib_goes_up_without_growth_of_memory() {
    let app = App::start("bulk.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    let window = pattern();
    for chunked in [false, true] {
        let mut client = Raw::connect(gateway.address());
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {GIB}"),
        };
        client.send(format!("PUT /up HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n"));
        let mut left = GIB as usize;
        while left > 0 {
            let piece = &window[..PERIOD.min(left)];
            left -= piece.len();
            if chunked {
                client.send(format!("{:x}\r\n", piece.len()));
                client.send(piece);
                client.send("\r\n");
            } else {
                client.send(piece);
            }
        }
        if chunked {
            client.send("0\r\n\r\n");
        }
        assert_eq!(client.response().text(), GIB.to_string(), "chunked: {chunked}");
    }
    assert_memory(&gateway);
}

#[test]
fn a_client_that_stops_reading_stops_the_replica() {
    let app = App::start("bulk.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    let mut clients: Vec<Raw> = Vec::new();
    for _ in 0..20 {
        let mut client = Raw::connect(gateway.address());
        client.send(format!("GET /down?bytes={GIB} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(client.response_head().unwrap().status, 200);
        clients.push(client);
    }
    // Twenty GiB wait; the kernel's buffers fill within moments.
    thread::sleep(s(2));
    assert_memory(&gateway);
}

#[track_caller]
fn assert_memory(gateway: &Gateway) {
    let most = gateway.process.memory_max_kib();
    assert!(most < MEMORY_MAX_KIB, "the gateway took {most} KiB");
    println!("the gateway took {most} KiB at most");
}

/// Three periods of what `bulk.mjs` sends.
fn pattern() -> Vec<u8> {
    let one: Vec<u8> = (0..PERIOD).map(|index| (index % 251) as u8).collect();
    one.repeat(3)
}

/// How many bytes come until the end or the first difference.
fn matching(mut body: impl Read) -> u64 {
    let window = pattern();
    let mut buffer = vec![0; PERIOD];
    let mut right = 0;
    loop {
        let count = body.read(&mut buffer).expect("the body goes on");
        let start = (right % PERIOD as u64) as usize;
        if count == 0 || buffer[..count] != window[start..start + count] {
            return right;
        }
        right += count as u64;
    }
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let recorder = Recorder::start(|request| match request.line().starts_with("HEAD") {
        true => Answer::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".into()),
        false => Answer::text("after"),
    });
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    client.send("HEAD /one HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.response_head().unwrap();
    assert_eq!(head.header("content-length"), Some("1234"));
    // Were a body expected, or sent, the next answer on this connection would be lost.
    client.send("GET /two HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().text(), "after");
    assert_eq!(recorder.faults(), [""; 0]);
}

#[test]
fn continue_is_asked_for_and_passed_on() {
    let recorder = Recorder::start(|request| Answer::text(&request.body.len().to_string()));
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    client.send(
        "POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.response_head().unwrap().status, 100);
    client.send("12345");
    assert_eq!(client.response().text(), "5");
}

#[test]
fn curl_uploads_with_expect_and_gets_its_answer() {
    let app = App::start("echo_fastapi.py", "one");
    let gateway = Gateway::before(&[app.address]);
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(8 << 20).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--verbose", "--max-time", "30", "--expect100-timeout", "20"]);
    curl.args(["--header", "Expect: 100-continue", "--upload-file"]).arg(file.path());
    let mut curl = Process::start("curl", curl.arg(format!("{}/mirror", gateway.http())));
    assert!(curl.end(s(40)).success());
    let lines = curl.lines().join("\n");
    assert!(lines.contains("100 Continue"), "{lines}");
    assert!(lines.contains("\"length\":8388608"), "{lines}");
}

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

#[test]
fn an_answer_cut_short_is_never_completed() {
    let recorder = Recorder::start(|request| {
        Answer::Last(match request.line().contains("chunked") {
            true => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".into(),
            false => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".into(),
        })
    });
    let gateway = Gateway::before(&[recorder.address]);
    for target in ["/chunked", "/length"] {
        let mut client = Raw::connect(gateway.address());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let head = client.response_head().unwrap();
        assert!(client.body(&head.head).is_err(), "{target} seemed whole");
    }
}

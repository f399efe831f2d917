//! Bodies of HTTP/1.1 through the gateway: streamed both ways, of any size, never cut in silence.

use std::io;
use std::net::{SocketAddr, TcpListener};
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
    // With a length, in chunks, and to HTTP/1.0, which knows no chunks, until the end.
    for (version, framing) in [("1.1", ""), ("1.1", "&chunked"), ("1.0", "&chunked")] {
        let mut client = Raw::connect(gateway.address());
        client.send(format!("GET /down?bytes={GIB}{framing} HTTP/{version}\r\nHost: test\r\n\r\n"));
        let head = client.response_head().unwrap();
        assert_eq!(head.status, 200);
        let is_chunked = head.header("transfer-encoding").is_some();
        assert_eq!(is_chunked, (version, framing) == ("1.1", "&chunked"), "{}", head.head);
        let right = matching(|| if is_chunked { client.chunk() } else { client.read_some() });
        assert_eq!(right, GIB, "{version} {framing}");
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

/// How many bytes come until the whole GiB, the end, or the first difference.
fn matching(mut next: impl FnMut() -> io::Result<Vec<u8>>) -> u64 {
    let window = pattern();
    let mut right = 0;
    while right < GIB {
        let piece = next().expect("the body goes on");
        for part in piece.chunks(PERIOD) {
            let start = (right % PERIOD as u64) as usize;
            if part != &window[start..start + part.len()] {
                return right;
            }
            right += part.len() as u64;
        }
        if piece.is_empty() {
            return right;
        }
    }
    right
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

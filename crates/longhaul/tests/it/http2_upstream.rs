//! HTTP/2 toward replicas: Node, nginx and gRPC behind the gateway, clients of either version before
//! it.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::raw::{self, Raw, Response};
use crate::support::tls::Authority;
use crate::support::{clients, frames, proxies, s, wait_until};

/// A gateway that speaks HTTP/2 with its replica, with more lines for the upstream. One worker: each
/// has connections of its own.
#[track_caller]
fn gateway(replica: SocketAddr, upstream: &str) -> Gateway {
    Gateway::with_config(&config(&replica.to_string(), upstream))
}

fn config(replica: &str, upstream: &str) -> String {
    format!(
        r#"
        [server]
        workers = 1
        config_watch = "100ms"
        [[listeners]]
        name = "plain"
        address = "127.0.0.1:0"
        h2c = true
        [[upstreams]]
        name = "app"
        replicas = ["{replica}"]
        http2 = true
        {upstream}
        "#
    )
}

fn json(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}\n{}", response.head, response.text());
    serde_json::from_slice(&response.body).expect("the app answers JSON")
}

/// Runs `ask` so many times at once.
fn at_once<T: Send>(count: usize, ask: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let ask = &ask;
    thread::scope(|scope| {
        let asking: Vec<_> = (0..count).map(|number| scope.spawn(move || ask(number))).collect();
        asking.into_iter().map(|one| one.join().expect("asking does not panic")).collect()
    })
}

/// What curl gets for a POST, with these flags.
#[track_caller]
fn curl(flags: &[&str], address: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30"]).args(flags);
    let output = command.arg(address).output().expect("curl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("answers are text")
}

#[test]
fn clients_of_either_version_reach_a_replica_by_http2() {
    let app = App::start("http2.mjs", "one");
    let gateway = gateway(app.address, "");
    let address = format!("{}/mirror?a=b", gateway.http());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let told = ["-H", "Host: chat.example", "-H", "Keep-Alive: 5", "--data", "hello"];
        let answer = curl(&[&[version][..], &told].concat(), &address);
        let seen: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(seen["httpVersion"], "2.0", "{seen}");
        assert_eq!((&seen["method"], &seen["url"]), (&"POST".into(), &"/mirror?a=b".into()));
        assert_eq!(seen["body"], "hello");
        let fields = &seen["headers"];
        assert_eq!(fields[":authority"], "chat.example", "{fields}");
        assert_eq!(fields[":scheme"], "http");
        assert_eq!(fields["x-forwarded-for"], "127.0.0.1");
        assert_eq!(fields["content-length"], "5");
        // Passed on by a gateway that passes trailers on, so only where the client knows them.
        assert_eq!(fields["te"].as_str(), (version != "--http1.1").then_some("trailers"));
        for ours in ["host", "connection", "keep-alive", "transfer-encoding"] {
            assert_eq!(fields[ours], Value::Null, "{fields}");
        }
    }
}

#[test]
fn requests_of_many_clients_share_one_connection() {
    let app = App::start("http2.mjs", "one");
    let gateway = gateway(app.address, "");
    // The replica answers none of them before all of them are there.
    let answers = at_once(40, |_| json(&raw::get(gateway.address(), "/together?count=40")));
    assert!(answers.iter().all(|answer| answer["session"] == 1), "{answers:?}");
}

#[test]
fn a_full_connection_gets_a_second_one_and_beyond_its_bound_requests_wait() {
    let app = App::start_with("http2.mjs", &[("STREAMS_MAX", "5")]);
    let gateway = gateway(app.address, "http2_connections_max = 2");
    let answers = at_once(30, |_| json(&raw::get(gateway.address(), "/together?count=10")));
    let of = |session: u32| answers.iter().filter(|one| one["session"] == session).count();
    assert_eq!((of(1), of(2)), (15, 15), "{answers:?}");
}

#[test]
fn a_request_that_finds_no_place_in_time_is_504() {
    let mut app = App::start("http2.mjs", "one");
    let bounds = "http2_connections_max = 1\nhttp2_streams_max = 1\nconnect_deadline = \"1s\"";
    let gateway = gateway(app.address, bounds);
    let mut first = Raw::connect(gateway.address());
    first.send("GET /never HTTP/1.1\r\nHost: test\r\n\r\n");
    app.process.line("the first is there", s(30), |line| (line == "asked").then_some(()));
    let second = raw::get(gateway.address(), "/mirror");
    assert_eq!((second.status, second.header("longhaul-cause")), (504, Some("connect_timeout")));
    // The client's end is the stream's end, and makes room.
    drop(first);
    app.process.line("the first is gone", s(30), |line| (line == "aborted").then_some(()));
    assert_eq!(raw::get(gateway.address(), "/mirror").status, 200);
}

#[test]
fn a_replica_that_says_goaway_under_load_loses_no_request() {
    let app = App::start_with("http2.mjs", &[("GOAWAY_AFTER", "7")]);
    let gateway = gateway(app.address, "");
    at_once(8, |client| {
        let mut raw = Raw::connect(gateway.address());
        for turn in 0..50 {
            let body = format!("{client}/{turn}");
            let target = format!("/count?id={client}-{turn}");
            // Reads and writes in turn: what is not idempotent must survive as well.
            match turn % 2 {
                0 => raw.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")),
                _ => raw.send(format!(
                    "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )),
            }
            let answer = json(&raw.response());
            let sent = if turn % 2 == 0 { "" } else { &body };
            assert_eq!(answer["body"], *sent);
        }
    });
    let counted = json(&raw::get(gateway.address(), "/counted"));
    assert_eq!((&counted["total"], &counted["twice"]), (&400.into(), &Value::Array(vec![])));
    assert!(counted["sessions"].as_u64() > Some(20), "{counted}");
}

#[test]
fn nginx_that_ends_its_connections_under_load_loses_no_request() {
    let nginx = proxies::nginx(
        "http { server { listen {bind} http2; keepalive_requests 50; \
         location / { return 200 fine; } } }",
    );
    let gateway = gateway(nginx.address, "");
    let mut command = Command::new("h2load");
    command.args(["-n", "3000", "-c", "10", "-m", "10"]).arg(format!("{}/", gateway.http()));
    let mut load = Process::start("h2load", &mut command);
    assert!(load.end(s(90)).success());
    let lines = load.lines();
    assert!(lines.iter().any(|line| line.starts_with("status codes: 3000 2xx")), "{lines:#?}");
}

#[test]
fn a_refused_stream_is_tried_again_with_its_body() {
    let app = App::start_with("http2.mjs", &[("REFUSE", "3")]);
    let gateway = gateway(app.address, "");
    let body = "x".repeat(20_000);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl(&[version, "--data", &body], &format!("{}/mirror", gateway.http()));
        let seen: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(seen["body"], *body);
    }
    // One that goes on refusing is not asked for ever.
    let app = App::start_with("http2.mjs", &[("REFUSE", "1000")]);
    let gateway = self::gateway(app.address, "");
    let answer = raw::get(gateway.address(), "/mirror");
    assert_eq!((answer.status, answer.header("longhaul-cause")), (502, Some("answer_missing")));
}

#[test]
fn pieces_go_both_ways_one_by_one() {
    let app = App::start("http2.mjs", "one");
    let gateway = gateway(app.address, "");
    let mut client = Raw::connect(gateway.address());
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.response_head().unwrap().header("content-type"), Some("text/event-stream"));
    for number in 0..20 {
        let event = format!("data: {number}\n\n");
        client.send(format!("{:x}\r\n{event}\r\n", event.len()));
        // The next event is only made once this one has come back.
        assert_eq!(client.chunk().unwrap(), event.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert!(client.chunk().unwrap().is_empty());
}

#[test]
fn a_conversation_may_be_silent_for_longer_than_an_upload() {
    let app = App::start("grpc_echo.py", "one");
    let gateway = gateway(app.address, "[timeouts]\nbody_stall = \"1s\"\n");
    let port = gateway.address().port().to_string();
    clients::run("grpc_echo.py", &["127.0.0.1", &port, "silent"], s(90));
}

#[test]
fn grpc_works_in_all_its_kinds() {
    let app = App::start("grpc_echo.py", "one");
    let gateway = gateway(app.address, "");
    let port = gateway.address().port().to_string();
    clients::run("grpc_echo.py", &["127.0.0.1", &port], s(120));
}

/// Bytes of a body, and what the whole gateway may take of memory while several of them pass.
const BULK: usize = 128 << 20;
const MEMORY_MAX_KIB: u64 = 64 * 1024;

#[test]
fn large_bodies_pass_in_bounded_memory_and_an_unread_one_stops_nobody() {
    let app = App::start_with("bulk.mjs", &[("HTTP2", "1")]);
    let gateway = gateway(app.address, "");
    // More of them than the windows of a connection that all streams shared would take.
    let unread: Vec<Raw> = (0..40)
        .map(|_| {
            let mut client = Raw::connect(gateway.address());
            client.send(format!("GET /down?bytes={BULK} HTTP/1.1\r\nHost: test\r\n\r\n"));
            assert_eq!(client.response_head().unwrap().status, 200);
            client
        })
        .collect();
    let address = gateway.http();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let down = format!("{address}/down?bytes={BULK}");
        let flags = [version, "--output", "/dev/null", "--write-out", "%{size_download}"];
        assert_eq!(curl(&flags, &down), BULK.to_string());
        assert_eq!(upload(version, &format!("{address}/up")), BULK.to_string());
    }
    drop(unread);
    let peak = gateway.process.memory_max_kib();
    assert!(peak < MEMORY_MAX_KIB, "the gateway took {peak} KiB");
}

/// What curl is answered to an upload of the pattern that `bulk.mjs` expects.
#[track_caller]
fn upload(version: &str, address: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", version, "--upload-file", "-"]);
    command.arg(address).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut curl = command.spawn().expect("curl is installed");
    let period: Vec<u8> = (0..65_521_u32).map(|index| (index % 251) as u8).collect();
    let mut stdin = curl.stdin.take().unwrap();
    let mut left = BULK;
    while left > 0 {
        let piece = left.min(period.len());
        stdin.write_all(&period[..piece]).expect("curl reads");
        left -= piece;
    }
    drop(stdin);
    String::from_utf8(curl.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let mut app = App::start("http2.mjs", "one");
    let gateway = gateway(app.address, "idle_connection = \"1s\"");
    assert_eq!(json(&raw::get(gateway.address(), "/mirror"))["session"], 1);
    app.process.line("its end", s(30), |line| (line == "session 1 closed").then_some(()));
    assert_eq!(json(&raw::get(gateway.address(), "/mirror"))["session"], 2);
}

#[test]
fn a_replica_that_is_killed_and_returns_is_spoken_to_again() {
    let app = App::start("http2.mjs", "one");
    let gateway = gateway(app.address, "");
    assert_eq!(raw::get(gateway.address(), "/mirror").status, 200);
    let address = app.address;
    drop(app);
    let answer = raw::get(gateway.address(), "/mirror");
    let cause = answer.header("longhaul-cause");
    assert_eq!((answer.status, cause), (502, Some("replica_unreachable")));
    let _app = App::start_on("http2.mjs", "one", address.port());
    wait_until("it is found again", s(30), || raw::get(gateway.address(), "/mirror").status == 200);
}

#[test]
fn a_replica_that_speaks_no_http2_is_told_of_in_time() {
    let app = App::start("echo_ws.mjs", "one");
    let mut gateway = gateway(app.address, "");
    let answer = raw::get(gateway.address(), "/");
    assert_eq!((answer.status, answer.header("longhaul-cause")), (502, Some("answer_garbled")));
    gateway.process.line("what to do about it", s(30), |line| {
        line.contains("does the replica speak HTTP/2").then_some(())
    });

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = self::gateway(silent.local_addr().unwrap(), "connect_attempt = \"1s\"");
    let answer = raw::get(gateway.address(), "/");
    assert_eq!((answer.status, answer.header("longhaul-cause")), (504, Some("connect_timeout")));
}

const PROBE: &str = "probe = { kind = \"http\", path = \"/mirror\", status = 200 }";

#[test]
fn probes_speak_http2_as_well() {
    let app = App::start("http2.mjs", "one");
    let probe =
        "probe = { kind = \"http\", path = \"/mirror\", status = 200, interval = \"200ms\" }";
    let gateway = gateway(app.address, probe);
    assert_eq!(raw::get(gateway.address(), "/mirror").status, 200);
    let lines = gateway.process.lines();
    assert!(!lines.iter().any(|line| line.contains("replica is down")), "{lines:#?}");
}

/// A replica with TLS, with more in its environment, and a configuration that probes it as well.
fn secure(environment: &[(&str, &str)]) -> (App, String, Authority) {
    let authority = Authority::new("http2");
    let files = authority.issue("replica", &["127.0.0.1"]);
    let pair = [
        ("TLS_CERT", files.certificate.to_str().unwrap()),
        ("TLS_KEY", files.key.to_str().unwrap()),
    ];
    let app = App::start_with("http2.mjs", &[&pair, environment].concat());
    let upstream = format!("{PROBE}\ntls = {{ ca = {:?} }}", authority.file());
    let text = config(&format!("https://{}", app.address), &upstream);
    (app, text, authority)
}

#[test]
fn a_replica_with_tls_chooses_http2_and_websockets_stay_on_http1() {
    let (_app, text, _files) = secure(&[]);
    let gateway = Gateway::with_config(&text);
    let seen = json(&raw::get(gateway.address(), "/mirror"));
    assert_eq!((&seen["httpVersion"], &seen["alpn"]), (&"2.0".into(), &"h2".into()));
    assert_eq!(seen["headers"][":scheme"], "https");
    let mut client = frames::open(gateway.address(), "/");
    let first = frames::read(&mut client).unwrap();
    assert_eq!(String::from_utf8_lossy(&first.payload), "alpn http/1.1");
}

#[test]
fn a_replica_with_tls_that_does_not_choose_http2_is_spoken_to_by_http1() {
    let (_app, text, _files) = secure(&[("HTTP1", "1")]);
    let gateway = Gateway::with_config(&text);
    let answers = at_once(10, |_| json(&raw::get(gateway.address(), "/mirror")));
    for seen in &answers {
        assert_eq!((&seen["httpVersion"], &seen["alpn"]), (&"1.1".into(), &"http/1.1".into()));
    }
    let told = || {
        let lines = gateway.process.lines();
        lines.iter().filter(|line| line.contains("does not choose HTTP/2")).count()
    };
    wait_until("the log says so", s(30), || told() > 0);
    assert_eq!(told(), 1, "{:#?}", gateway.process.lines());
}

#[test]
fn a_reload_turns_http2_off_for_the_next_request() {
    let (_app, text, _files) = secure(&[]);
    let gateway = Gateway::with_config(&text);
    let version = || json(&raw::get(gateway.address(), "/mirror"))["httpVersion"].clone();
    assert_eq!(version(), "2.0");
    gateway.rewrite_config(&text.replace("http2 = true", "http2 = false"));
    wait_until("the new file is in use", s(30), || version() == "1.1");
    gateway.rewrite_config(&text);
    wait_until("the old one is again", s(30), || version() == "2.0");
}

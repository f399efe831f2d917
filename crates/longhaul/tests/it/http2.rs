//! HTTP/2 from clients, with WebSockets in its streams (RFC 9113, RFC 8441).
//!
//! The clients are curl, h2load, Python's `h2`, which can be as slow and as hostile as a story needs
//! it, and Chromium.

use std::net::SocketAddr;
use std::process::Command;

use super::support::apps::{App, script};
use super::support::clients;
use super::support::gateway::Gateway;
use super::support::process::{Process, Signal};
use super::support::recorder::{Answer, Recorder};
use super::support::tls::{Authority, Files};
use super::support::{e2e, s, wait_until};

/// A gateway that takes HTTP/2 without TLS.
#[track_caller]
fn gateway(replica: SocketAddr, more: &str) -> Gateway {
    Gateway::with_config(&format!(
        r#"
        [[listeners]]
        name = "plain"
        address = "127.0.0.1:0"
        h2c = true
        [[upstreams]]
        name = "app"
        replicas = ["{replica}"]
        [[routes]]
        upstream = "app"
        {more}
        "#
    ))
}

#[track_caller]
fn run(case: &str, gateway: &Gateway) -> Vec<String> {
    let port = gateway.address().port().to_string();
    clients::run("http2.py", &[case, "127.0.0.1", &port], s(120))
}

#[test]
fn a_websocket_in_a_stream_echoes_every_size_through_windows_of_every_size() {
    let app = App::start("echo_websockets.py", "a");
    let gateway = gateway(app.address, "");
    run("echo", &gateway);
}

#[test]
fn many_websockets_and_requests_share_one_connection() {
    let app = App::start("echo_websockets.py", "a");
    run("many", &gateway(app.address, ""));
}

#[test]
fn what_is_no_request_is_refused_without_harm_to_the_connection() {
    let app = App::start("echo_fastapi.py", "a");
    run("refusals", &gateway(app.address, ""));
}

#[test]
fn a_replica_sees_a_request_of_http1_with_its_cookies_in_one_field() {
    let replica = Recorder::start(|_| Answer::text("fine"));
    run("crumbs", &gateway(replica.address, ""));
    let seen = replica.seen();
    let request = seen.iter().find(|request| request.line().contains("/crumbs")).unwrap();
    assert_eq!(request.line(), "GET /crumbs HTTP/1.1");
    assert_eq!(request.headers("host"), ["test"]);
    assert_eq!(request.headers("cookie"), ["a=b; c=d"]);
    assert_eq!(request.headers("te"), [""; 0]);
}

#[test]
fn a_reset_stream_ends_its_websocket_and_no_other() {
    let app = App::start("echo_websockets.py", "a");
    let gateway = gateway(app.address, "");
    run("reset", &gateway);
    wait_until("all three are closed", s(20), || {
        let lines = gateway.process.lines();
        lines.iter().filter(|line| line.contains("websocket closed")).count() == 3
    });
}

#[test]
fn a_reader_that_never_reads_stops_its_sender_in_bounded_memory() {
    let app = App::start("echo_websockets.py", "a");
    let gateway = gateway(app.address, "");
    run("unread", &gateway);
    let peak = gateway.process.memory_max_kib();
    assert!(peak < 64 * 1024, "the gateway took {peak} KiB");
}

#[test]
fn a_stream_whose_client_owes_something_ends_alone() {
    let replica = Recorder::start(|request| {
        if request.line().contains("/bytes") {
            return Answer::text(&"x".repeat(300_000));
        }
        if request.line().contains("/upload") {
            return Answer::text("too early");
        }
        Answer::text("fine")
    });
    let app = App::start("echo_websockets.py", "a");
    let more = format!(
        r#"
        [[upstreams]]
        name = "echo"
        replicas = ["{}"]
        [[routes]]
        path = "/echo"
        upstream = "echo"
        [timeouts]
        body_stall = "1s"
        "#,
        app.address
    );
    run("patience", &gateway(replica.address, &more));
}

#[test]
fn clients_that_begin_and_do_not_go_on_are_ended_in_time() {
    let app = App::start("echo_websockets.py", "a");
    run("slow", &gateway(app.address, "[timeouts]\nhead = \"1s\"\nkeep_alive = \"2s\"\n"));
}

#[test]
fn floods_end_in_goaway_and_harm_nobody_else() {
    let app = App::start("echo_websockets.py", "a");
    let mut gateway = gateway(app.address, "");
    run("floods", &gateway);
    run("many", &gateway);
    assert!(gateway.process.is_running());
}

#[test]
fn a_drain_says_1012_in_the_stream_and_goaway_behind_it() {
    let app = App::start("echo_websockets.py", "a");
    let mut gateway = gateway(app.address, "[timeouts]\ndrain = \"5s\"\n");
    let port = gateway.address().port().to_string();
    let mut command = script(&e2e().join("clients/http2.py"));
    let mut client = Process::start("http2.py drain", command.args(["drain", "127.0.0.1", &port]));
    client.line("open", s(30), |line| (line == "open").then_some(()));
    gateway.process.signal(Signal::TERM);
    client.line("done", s(30), |line| (line == "done").then_some(()));
    assert!(gateway.process.end(s(30)).success());
}

/// A gateway that terminates TLS.
#[track_caller]
fn secure_gateway(replica: SocketAddr, http2: bool) -> (Gateway, Authority) {
    let authority = Authority::new("http2");
    let Files { certificate, key } = authority.issue("server", &["127.0.0.1"]);
    let text = format!(
        r#"
        [[listeners]]
        name = "secure"
        address = "127.0.0.1:0"
        http2 = {http2}
        tls = {{ mode = "auto" }}
        [[certificates]]
        certificate = {certificate:?}
        key = {key:?}
        [[upstreams]]
        name = "app"
        replicas = ["{replica}"]
        [[routes]]
        upstream = "app"
        "#
    );
    (Gateway::with_config(&text), authority)
}

#[test]
fn chromium_opens_a_websocket_in_a_stream_of_the_pages_connection() {
    let app = App::start("echo_websockets.py", "a");
    for (http2, protocol, status) in [(true, "h2", "200"), (false, "http/1.1", "101")] {
        let (gateway, _files) = secure_gateway(app.address, http2);
        let base = format!("https://{}", gateway.address());
        clients::run("http2_browser.mjs", &[&base, protocol, status], s(90));
    }
}

#[test]
fn tls_clients_agree_on_a_version_by_alpn() {
    let replica = Recorder::start(|_| Answer::text("fine"));
    let (gateway, _files) = secure_gateway(replica.address, true);
    let base = format!("https://{}", gateway.address());
    assert_eq!(curl(&["--insecure"], &base), ["fine", "2 200"]);
    assert_eq!(curl(&["--insecure", "--http1.1"], &base), ["fine", "1.1 200"]);
    let seen = replica.seen();
    let schemes: Vec<_> = seen.iter().flat_map(|one| one.headers("x-forwarded-proto")).collect();
    assert_eq!(&schemes[schemes.len() - 2..], ["https", "https"]);
}

#[test]
fn curl_speaks_either_version_on_one_port() {
    let replica = Recorder::start(|_| Answer::text("fine"));
    let gateway = gateway(replica.address, "");
    let base = gateway.http();
    assert_eq!(curl(&["--http2-prior-knowledge"], &base), ["fine", "2 200"]);
    assert_eq!(curl(&["--http1.1"], &base), ["fine", "1.1 200"]);
    assert!(replica.faults().is_empty(), "{:?}", replica.faults());
}

/// Posts something; the lines of the answer, with version and status behind them.
#[track_caller]
fn curl(flags: &[&str], address: &str) -> Vec<String> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20"]).args(flags);
    command.args(["--data", "hello", "--write-out", "\n%{http_version} %{http_code}\n"]);
    let mut curl = Process::start("curl", command.arg(address));
    assert!(curl.end(s(30)).success());
    curl.lines()
}

#[test]
fn h2load_gets_an_answer_to_every_request() {
    let replica = Recorder::start(|_| Answer::text("fine"));
    let gateway = gateway(replica.address, "");
    let mut command = Command::new("h2load");
    command.args(["-n", "5000", "-c", "10", "-m", "20"]).arg(format!("{}/", gateway.http()));
    let mut load = Process::start("h2load", &mut command);
    assert!(load.end(s(60)).success());
    let lines = load.lines();
    assert!(lines.iter().any(|line| line.starts_with("status codes: 5000 2xx")), "{lines:#?}");
}

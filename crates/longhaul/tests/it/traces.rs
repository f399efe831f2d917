//! What a collector is told of requests, by the gateway and by the backend behind it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::admin::Admin;
use crate::support::apps::{App, free_address};
use crate::support::gateway::Gateway;
use crate::support::raw::{self, Raw};
use crate::support::{frames, s, wait_until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn gateway(replica: impl ToString, collector: impl ToString, rest: &str) -> Gateway {
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
         [traces]\ncollector = \"http://{}/v1/traces\"\n{rest}\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n\
         [[routes]]\nname = \"chat\"\nupstream = \"app\"\n",
        collector.to_string(),
        replica.to_string()
    ))
}

/// All spans that the collector has, whoever told of them.
fn spans(collector: &App) -> Vec<Value> {
    let lines = collector.process.lines();
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The one span of this service and name in a trace, once it has come.
#[track_caller]
fn span(collector: &App, trace: &str, service: &str, name: &str) -> Value {
    let mut found = Vec::new();
    wait_until(&format!("{service} tells of {name}"), s(60), || {
        found = spans(collector);
        found.retain(|span| {
            span["trace"] == trace && span["service"] == service && span["name"] == name
        });
        !found.is_empty()
    });
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn traceparent(trace: &str, flags: &str) -> String {
    format!("traceparent: 00-{trace}-{CALLER}-{flags}\r\n")
}

#[test]
fn one_trace_shows_an_upgrade_across_the_gateway_and_its_backend() {
    let collector = App::start("otlp_collector.py", "collector");
    let url = format!("http://{}/v1/traces", collector.address);
    let backend = App::start_with("traced.py", &[("COLLECTOR", &url)]);
    let gateway =
        gateway(backend.address, collector.address, "one_in = 1000000\nservice = \"edge\"");
    let at = gateway.address();

    // One whose caller says that it is not traced, and one whose caller says nothing.
    let untraced = TRACE.replace('4', "5");
    let refused = frames::try_open(at, "/echo", &traceparent(&untraced, "00")).unwrap();
    assert_eq!(refused.1.status, 101);
    assert!(raw::get(at, "/page").text().contains("null"), "one in a million was followed");

    let opened = frames::try_open(at, "/echo?token=secret", &traceparent(TRACE, "01"));
    let (mut client, answer) = opened.unwrap();
    assert_eq!(answer.status, 101);
    frames::echo(&mut client, "hello");
    let upgrade = span(&collector, TRACE, "edge", "upgrade chat");
    assert_eq!((&upgrade["parent"], &upgrade["kind"]), (&CALLER.into(), &"server".into()));
    assert_eq!(upgrade["attributes"]["http.response.status_code"], 101);
    assert_eq!(upgrade["attributes"]["url.path"], "/echo");
    assert_eq!(upgrade["attributes"]["client.address"], "127.0.0.1");
    for name in ["admission", "pick", "dial"] {
        let child = span(&collector, TRACE, "edge", name);
        assert_eq!(child["parent"], upgrade["span"], "{name}");
        let times = [&upgrade["began"], &child["began"], &child["ended"], &upgrade["ended"]];
        assert!(times.map(|time| time.as_u64().unwrap()).is_sorted(), "{name}: {times:?}");
    }
    let dial = span(&collector, TRACE, "edge", "dial");
    assert_eq!(dial["attributes"]["longhaul.replica"], backend.address.to_string());
    let accept = span(&collector, TRACE, "backend", "accept");
    assert_eq!(accept["parent"], dial["span"]);

    client.send(frames::close_from_client(1000, ""));
    assert_eq!(frames::close_code(&mut client).unwrap(), 1000);
    let closed = span(&collector, TRACE, "edge", "websocket closed");
    assert_eq!(closed["parent"], upgrade["span"]);
    let told = &closed["attributes"];
    assert_eq!(
        (&told["longhaul.cause"], &told["longhaul.messages_up"]),
        (&"client_closed".into(), &1.into())
    );
    assert_eq!(told["longhaul.id"], upgrade["attributes"]["longhaul.id"]);

    let asked = TRACE.replace('4', "6");
    let page = raw::request(at, "/page", &traceparent(&asked, "01"));
    let get = span(&collector, &asked, "edge", "GET chat");
    let passed = format!("00-{asked}-{}-01", get["span"].as_str().unwrap());
    assert!(page.text().contains(&passed), "{} in {}", passed, page.text());
    assert_eq!(span(&collector, &asked, "backend", "page")["parent"], get["span"]);

    let all = spans(&collector);
    assert!(all.iter().all(|span| span["trace"] != untraced), "{all:#?}");
    assert!(!format!("{all:?}").contains("secret"), "{all:#?}");
}

#[test]
fn a_handshake_that_fails_says_where() {
    let collector = App::start("otlp_collector.py", "collector");
    let gateway = gateway(free_address(), collector.address, "one_in = 1");
    let answer = frames::try_open(gateway.address(), "/echo", "").unwrap().1;
    assert_eq!(answer.status, 502);
    let find = |name: &str| {
        let all = spans(&collector);
        all.into_iter().find(|span| span["name"] == name && span["service"] == "longhaul")
    };
    wait_until("the collector has it", s(60), || find("upgrade chat").is_some());
    let upgrade = find("upgrade chat").unwrap();
    assert_eq!(upgrade["parent"], "");
    assert_eq!(upgrade["error"], "replica_unreachable");
    assert_eq!(upgrade["attributes"]["longhaul.cause"], "replica_unreachable");
    let dial = find("dial").unwrap();
    assert_eq!((&dial["error"], &dial["kind"]), (&"no connection".into(), &"client".into()));
}

#[test]
fn a_collector_that_takes_nothing_delays_nobody() {
    let app = App::start("echo_ws.mjs", "one");
    // It lets connect, and never reads.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = collector.local_addr().unwrap();
    let mut gateway = gateway(app.address, address, "one_in = 1");
    let (at, admin) = (gateway.address(), Admin::of(&mut gateway));
    let mut times = Vec::new();
    let mut client = Raw::connect(at);
    for _ in 0..3000 {
        let asked = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(client.response().text(), "one");
        times.push(asked.elapsed());
    }
    times.sort_unstable();
    println!("traced without a collector: median {:?}", times[times.len() / 2]);
    assert!(times[times.len() / 2] < Duration::from_secs(1));
    frames::echo(&mut frames::open(at, "/echo"), "as ever");
    let outcome =
        |word: &str| admin.metric(&format!("longhaul_trace_spans_total{{outcome=\"{word}\"}}"));
    assert!(outcome("dropped") > 0.0, "the queue has no bound");
    wait_until("what was not taken is counted", s(60), || outcome("failed") > 0.0);
    assert_eq!(outcome("exported"), 0.0);
    let said = || {
        let lines = gateway.process.lines();
        lines.iter().filter(|line| line.contains("traces are not taken")).count()
    };
    wait_until("it is said", s(30), || said() > 0);
    assert_eq!(said(), 1);
}

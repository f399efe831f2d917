//! The API as clients see it: a real gateway, a real server, plain sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_gateway::config::{
    Config, HealthPaths, Limits, Listener, Probe, ProbeKind, ReplicaSource, Route, RoutePattern,
    Timeouts, UpstreamConfig, WebSocketPolicy,
};
use longhaul_gateway::readiness::Readiness;
use longhaul_gateway::{Gateway, Handle};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::server::{Address, LIMITS, Limits as AdminLimits};
use crate::{House, Terms, Token};

const SOON: Duration = Duration::from_secs(5);
const REPLICA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

struct Story {
    /// Held, so that it runs as long as the story.
    _gateway: Gateway,
    handle: Handle,
    readiness: Readiness,
    admin: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

async fn begin() -> Story {
    begin_with(config(), LIMITS).await
}

async fn begin_with(config: Config, limits: AdminLimits) -> Story {
    let readiness = Readiness::default();
    let gateway = Gateway::start(config, readiness.clone()).unwrap();
    let handle = gateway.handle();
    let mut admin = crate::bind(Address::Tcp(loopback()), handle.clone(), Arc::new(Quiet), terms())
        .await
        .unwrap();
    admin.limits = limits;
    let Address::Tcp(address) = *admin.address() else { unreachable!("it was bound to TCP") };
    let stop = CancellationToken::new();
    let running = tokio::spawn(admin.run(stop.clone(), || false));
    Story { _gateway: gateway, handle, readiness, admin: address, stop, running }
}

const TOKEN: &str = "0123456789abcdef";

fn terms() -> Terms {
    Terms { token: Some(Token::new(TOKEN).unwrap()), hosts: vec!["gateway.internal".into()] }
}

/// A process with nothing to say.
struct Quiet;

impl House for Quiet {
    fn config(&self) -> Value {
        serde_json::json!({ "server": { "workers": { "value": 1, "from": "default" } } })
    }

    fn log_level(&self) -> String {
        "info".to_owned()
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        if level == "debug" { Ok(()) } else { Err("is no level".to_owned()) }
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// One listener, one route, one replica that nobody asks for anything.
fn config() -> Config {
    let replica = ReplicaSource::Static { address: REPLICA, weight: 1 };
    Config {
        authorities: Vec::new(),
        tickets: None,
        store: None,
        bypass_key: None,
        listeners: vec![Listener::new("public", loopback())],
        certificates: Vec::new(),
        certificate_watch: None,
        workers: 1,
        limits: Limits::default(),
        timeouts: Timeouts { drain: Duration::ZERO, ..Timeouts::default() },
        health_paths: HealthPaths::default(),
        trusted_proxies: Vec::new(),
        upstreams: vec![UpstreamConfig::new("chat", vec![replica])],
        routes: vec![Route {
            name: "all".into(),
            pattern: RoutePattern::default(),
            listeners: Vec::new(),
            upstream: 0,
            preserve_host: true,
            websocket: WebSocketPolicy::default(),
            admission: Default::default(),
        }],
        tcp_routes: Vec::new(),
        affinity_key: [0; 32],
        inherited: Vec::new(),
        left: Vec::new(),
        dns_servers: Vec::new(),
        durable: Default::default(),
        traces: None,
        metrics: None,
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn ask(story: &Story, method: &str, path: &str, fields: &str) -> Answer {
    send(story, &format!("{method} {path} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n")).await
}

async fn send(story: &Story, request: &str) -> Answer {
    let mut stream = TcpStream::connect(story.admin).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(SOON, stream.read_to_string(&mut text)).await.expect("it answers soon").unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

async fn get(story: &Story, path: &str) -> Answer {
    ask(story, "GET", path, "Host: localhost\r\n").await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_what_is_waited_for_and_live_does_not_wait() {
    let story = begin().await;
    let step = story.readiness.startup_step("first answer of the app");
    let hold = story.readiness.hold("the app restarts");
    for path in ["/health/ready", "/health/startup"] {
        let answer = get(&story, path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
        let health = answer.json();
        assert_eq!(health["status"], "unavailable");
        assert_eq!(health["waiting_for"][0]["name"], "first answer of the app");
        assert_eq!(health["waiting_for"][0]["kind"], "startup");
        assert_eq!(health["waiting_for"][1]["kind"], "hold");
        assert!(health["waiting_for"][0]["for_s"].as_f64().unwrap() >= 0.0);
    }
    for path in ["/health", "/health/live"] {
        assert_eq!(get(&story, path).await.status, 200, "{path}");
    }

    drop(step);
    assert_eq!(get(&story, "/health/startup").await.status, 200);
    assert_eq!(get(&story, "/health/ready").await.status, 503);
    drop(hold);
    let answer = get(&story, "/health/ready").await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"ok".into()));
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_process_is_live_and_not_ready() {
    let story = begin().await;
    story.readiness.start_draining();
    assert_eq!(get(&story, "/health/live").await.status, 200);
    let ready = get(&story, "/health/ready").await;
    assert_eq!((ready.status, &ready.json()["draining"]), (503, &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_listeners_and_replicas() {
    let story = begin().await;
    let status = get(&story, "/status").await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["listeners"][0], story.handle.listeners()[0].to_string());
    assert_eq!(status["upstreams"][0]["name"], "chat");
    let replica = &status["upstreams"][0]["replicas"][0];
    assert_eq!(replica["address"], REPLICA.to_string());
    assert_eq!(replica["state"], "up");
    assert_eq!((&replica["websockets_open"], &status["websockets_open"]), (&0.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_why_a_replica_is_down_and_how_its_probe_fares() {
    // A port that was free a moment ago and refuses connections.
    let refusing = std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let mut config = config();
    config.upstreams[0].sources = vec![ReplicaSource::Static { address: refusing, weight: 1 }];
    config.upstreams[0].probe = Some(Probe::new(ProbeKind::Tcp));
    let story = begin_with(config, LIMITS).await;
    let story = &story;
    let until_down = async move {
        loop {
            let status = get(story, "/status").await.json();
            if status["upstreams"][0]["replicas"][0]["state"] == "down" {
                return status;
            }
        }
    };
    let status = timeout(SOON, until_down).await.expect("its first probe decides");
    let failure = &status["upstreams"][0]["replicas"][0]["probe_failure"];
    assert!(failure.as_str().unwrap().contains("refused"), "{failure}");
    let probe =
        status["tasks"].as_array().unwrap().iter().find(|task| task["name"] == "probe chat");
    let probe = probe.expect("the probes of an upstream are one task");
    assert_eq!((&probe["state"], &probe["restarts"]), (&"running".into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_like_get_without_a_body() {
    let story = begin().await;
    let answer = ask(&story, "HEAD", "/health/ready", "Host: localhost\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_is_refused_in_words() {
    let story = begin().await;
    for (method, path, fields, status) in [
        ("GET", "/nowhere", "Host: localhost\r\n", 404),
        ("POST", "/status", "Host: localhost\r\nContent-Length: 0\r\n", 403),
        ("GET", "/status", "Host: evil.example\r\n", 403),
        ("GET", "http://evil.example/status", "Host: localhost\r\n", 403),
        ("GET", "/status", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("GET", "/status", "", 400),
    ] {
        let answer = ask(&story, method, path, fields).await;
        assert_eq!(answer.status, status, "{method} {path} {fields:?}");
        assert!(answer.json()["error"].is_string(), "{}", answer.body);
        assert!(!answer.head.contains("access-control"), "{}", answer.head);
    }
    let large = format!("Host: localhost\r\nX: {}\r\n", "x".repeat(16 * 1024));
    assert_eq!(ask(&story, "GET", "/status", &large).await.status, 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_nothing_or_never_stop_are_cut() {
    let limits = AdminLimits {
        head: Duration::from_millis(200),
        lifetime: Duration::from_millis(600),
        ..LIMITS
    };
    let story = begin_with(config(), limits).await;
    let started = Instant::now();
    let mut silent = TcpStream::connect(story.admin).await.unwrap();
    let mut byte = [0];
    let end = timeout(SOON, silent.read(&mut byte)).await.expect("it is cut soon");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(started.elapsed() >= limits.head);

    let mut busy = TcpStream::connect(story.admin).await.unwrap();
    let started = Instant::now();
    let mut answer = vec![0; 4096];
    let until_cut = async {
        loop {
            let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
            if busy.write_all(request).await.is_err() {
                return;
            }
            if matches!(busy.read(&mut answer).await, Ok(0) | Err(_)) {
                return;
            }
        }
    };
    timeout(SOON, until_cut).await.expect("it is cut soon");
    assert!(started.elapsed() >= limits.lifetime);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_no_more_than_it_may_and_stops_when_told() {
    let story = begin_with(config(), AdminLimits { connections_max: 1, ..LIMITS }).await;
    let mut first = TcpStream::connect(story.admin).await.unwrap();
    first.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    assert!(timeout(SOON, first.read(&mut answer)).await.unwrap().unwrap() > 0);

    // The first one holds the only place until it leaves.
    let mut waits = Box::pin(get(&story, "/health"));
    assert!(timeout(Duration::from_millis(300), &mut waits).await.is_err());
    drop(first);
    assert_eq!(waits.await.status, 200);

    story.stop.cancel();
    timeout(SOON, story.running).await.expect("it stops soon").unwrap();
    assert!(TcpStream::connect(story.admin).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_need_the_token_and_come_from_no_page() {
    let story = begin().await;
    let json = "Content-Type: application/json\r\n";
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for (fields, status) in [
        (format!("{json}{bearer}"), 200),
        (json.to_owned(), 401),
        (format!("{json}Authorization: Bearer 0123456789abcdeF\r\n"), 401),
        (bearer.clone(), 403),
        (format!("{json}{bearer}Origin: http://evil.example\r\n"), 403),
        (format!("{json}{bearer}Sec-Fetch-Site: cross-site\r\n"), 403),
    ] {
        let body = "{\"level\":\"debug\"}";
        let head = format!(
            "PUT /api/v1/log-level HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = send(&story, &head).await;
        assert_eq!(answer.status, status, "{fields} {}", answer.body);
        assert!(!answer.body.contains(TOKEN));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_to_names_of_the_configuration() {
    let story = begin().await;
    assert_eq!(ask(&story, "GET", "/status", "Host: gateway.internal\r\n").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_described_is_there() {
    let story = begin().await;
    let api = get(&story, "/openapi.json").await.json();
    let paths = api["paths"].as_object().unwrap();
    assert!(paths.len() > 5, "{api}");
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys().filter(|method| *method == "get") {
            let answer = get(&story, &path.replace("{id}", "1")).await;
            let is_there = answer.status == 200 || path.contains('{');
            assert!(is_there, "{method} {path}: {} {}", answer.status, answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_no_series_that_strangers_made() {
    let story = begin().await;
    let count = |page: &str| page.lines().filter(|line| !line.starts_with('#')).count();
    let public = story.handle.listeners()[0];
    let knock = async |path: String| {
        let mut stream = TcpStream::connect(public).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {path}.example\r\n\r\n");
        stream.write_all(head.replace("Host: /", "Host: ").as_bytes()).await.unwrap();
        let mut byte = [0];
        let _ = timeout(SOON, stream.read(&mut byte)).await.expect("it is answered");
    };
    knock("/first".into()).await;
    let before = count(&get(&story, "/metrics").await.body);
    for n in 0..300 {
        knock(format!("/{n}")).await;
    }
    let page = get(&story, "/metrics").await;
    assert!(page.head.contains("text/plain; version=0.0.4"), "{}", page.head);
    assert_eq!(count(&page.body), before, "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_its_owner_without_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let gateway = Gateway::start(config(), Readiness::default()).unwrap();
    // One that a process left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let bind = || {
        let address = Address::Unix(path.clone());
        crate::bind(address, gateway.handle(), Arc::new(Quiet), Terms::default())
    };
    let admin = bind().await.unwrap();
    assert!(bind().await.is_err(), "a second one took the place of the first");
    let stop = CancellationToken::new();
    let running = tokio::spawn(admin.run(stop.clone(), || false));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let body = "{\"level\":\"debug\"}";
    let request = format!(
        "PUT /api/v1/log-level HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(SOON, stream.read_to_string(&mut text)).await.expect("it answers soon").unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    stop.cancel();
    timeout(SOON, running).await.expect("it stops soon").unwrap();
    assert!(!path.exists(), "the socket stays behind");
}

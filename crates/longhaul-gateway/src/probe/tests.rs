//! Probes against real servers on loopback, honest ones and liars.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use http::StatusCode;
use longhaul_policy::health::{HealthPolicy, State};
use longhaul_proto::proxy_protocol::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::config::{ProbeKind, ReplicaSource, UpstreamConfig};

/// Serves every connection with `serve`, for as long as the test runs.
async fn server<F>(mut serve: impl FnMut(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Answers the first request with these bytes, and keeps the connection open.
async fn says(answer: &'static str) -> SocketAddr {
    server(move |mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.read(&mut [0; 64]).await;
    })
    .await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// An address that nobody listens on: it was free a moment ago.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn http_probe(status: Option<u16>) -> Probe {
    let status = status.map(|status| StatusCode::from_u16(status).unwrap());
    Probe::new(ProbeKind::Http { path: "/healthz?full=1".into(), host: None, status })
}

fn websocket_probe() -> Probe {
    Probe::new(ProbeKind::WebSocket { path: "/ws".into(), host: Some("app.example".into()) })
}

async fn ask(probe: &Probe, replica: SocketAddr) -> Result<(), ask::ProbeFault> {
    ask::ask(probe, replica, &UpstreamConfig::new("app", Vec::new())).await
}

#[track_caller]
fn check(outcome: Result<(), ask::ProbeFault>, expected: Option<&str>) {
    let reason = outcome.err().map(|fault| fault.to_string());
    match (&reason, expected) {
        (None, None) => {}
        (Some(reason), Some(expected)) if reason.contains(expected) => {}
        _ => panic!("{reason:?} instead of {expected:?}"),
    }
}

#[tokio::test]
async fn a_tcp_probe_asks_for_a_connection_alone() {
    let probe = Probe::new(ProbeKind::Tcp);
    check(ask(&probe, server(|_| async {}).await).await, None);
    check(ask(&probe, nobody().await).await, Some("cannot connect: Connection refused"));
}

#[tokio::test]
async fn an_http_probe_judges_the_status() {
    let no_content = says("HTTP/1.1 204 No Content\r\n\r\n").await;
    check(ask(&http_probe(None), no_content).await, None);
    check(ask(&http_probe(Some(204)), no_content).await, None);
    check(
        ask(&http_probe(Some(200)), no_content).await,
        Some("answered 204 No Content, expected 200"),
    );
    let ill = says("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    check(ask(&http_probe(None), ill).await, Some("expected 2xx or 3xx"));
    check(ask(&http_probe(Some(503)), ill).await, None);
    // It closes right behind the answer, and its body is not waited for.
    let curt = server(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n").await.unwrap();
    });
    check(ask(&http_probe(None), curt.await).await, None);
}

#[tokio::test]
async fn an_http_probe_names_itself_and_the_replica() {
    let (heads, mut received) = mpsc::channel(1);
    let address = server(move |mut stream| {
        let heads = heads.clone();
        async move {
            heads.send(read_head(&mut stream).await).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    check(ask(&http_probe(None), address).await, None);
    let head = received.recv().await.unwrap().to_lowercase();
    assert!(head.starts_with("get /healthz?full=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
    assert!(head.contains("user-agent: longhaul-probe\r\n"), "{head}");
}

#[tokio::test]
async fn garbage_and_silence_fail_in_time() {
    let garbage = says("SSH-2.0-OpenSSH_9.2\r\n").await;
    check(ask(&http_probe(None), garbage).await, Some("no HTTP answer"));
    let hangs_up = server(|stream| async move { drop(stream) }).await;
    check(ask(&http_probe(None), hangs_up).await, Some("no HTTP answer"));
    let silent = says("").await;
    for probe in [http_probe(None), websocket_probe()] {
        let hasty = Probe { timeout: Duration::from_millis(100), ..probe };
        check(ask(&hasty, silent).await, Some("no answer within 100ms"));
    }
}

#[tokio::test]
async fn a_websocket_probe_upgrades_and_closes_normally() {
    let (closes, mut closed) = mpsc::channel(1);
    let address = server(move |stream| {
        let closes = closes.clone();
        async move {
            let (request, mut socket) =
                tokio_websockets::ServerBuilder::new().accept(stream).await.unwrap();
            let message = socket.next().await.unwrap().unwrap();
            let code = message.as_close().map(|(code, _)| u16::from(code));
            closes.send((request.uri().to_string(), code)).await.unwrap();
        }
    })
    .await;
    check(ask(&websocket_probe(), address).await, None);
    assert_eq!(closed.recv().await.unwrap(), ("/ws".to_owned(), Some(1000)));
}

#[tokio::test]
async fn a_websocket_probe_believes_no_false_upgrade() {
    let plain = says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    check(ask(&websocket_probe(), plain).await, Some("answered 200 OK to a WebSocket upgrade"));
    let echo = says(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    )
    .await;
    check(ask(&websocket_probe(), echo).await, Some("Sec-WebSocket-Accept does not match"));
}

/// Waits until the first replica stands so, or fails after ten seconds.
async fn until(upstream: &Upstream, expected: State) {
    let mut changes = upstream.changes();
    let reached = async {
        while upstream.replicas()[0].state(Instant::now()) != expected {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached)
        .await
        .unwrap_or_else(|_| panic!("never {expected:?}"));
}

#[tokio::test]
async fn a_replica_goes_down_comes_back_and_is_told_apart() {
    let address = nobody().await;
    let sources = vec![ReplicaSource::Static { address, weight: 1 }];
    let quick = Probe { interval: Duration::from_millis(5), ..Probe::new(ProbeKind::Tcp) };
    let upstream = Upstream::new(
        UpstreamConfig {
            probe: Some(quick),
            health: HealthPolicy { rise: 2, fall: 3, ..HealthPolicy::default() },
            ..UpstreamConfig::new("chat", sources)
        },
        [0; 32],
        1,
    );
    let (lost, mut told) = mpsc::channel(8);
    upstream.on_lost(move |replica| lost.try_send(replica).unwrap());
    let (tasks, stop) = (Tasks::default(), CancellationToken::new());
    start(&upstream, &tasks, &stop);

    until(&upstream, State::Down).await;
    assert_eq!(told.recv().await, Some(address));
    let listener = TcpListener::bind(address).await.unwrap();
    until(&upstream, State::Up).await;
    assert!(upstream.is_settled(Instant::now()));
    drop(listener);
    until(&upstream, State::Down).await;
    assert_eq!(told.recv().await, Some(address));
    assert_eq!(tasks.snapshot()[0].restarts, 0);
    stop.cancel();
}

#[tokio::test]
async fn a_replica_that_joins_is_probed_and_one_that_leaves_is_not() {
    let (connects, mut connected) = mpsc::channel(64);
    let address = server(move |_| {
        let connects = connects.clone();
        async move {
            let _ = connects.try_send(());
        }
    })
    .await;
    let sources = vec![ReplicaSource::Dns { name: "app".into(), port: 1, weight: 1 }];
    let quick = Probe { interval: Duration::from_millis(5), ..Probe::new(ProbeKind::Tcp) };
    let config = UpstreamConfig { probe: Some(quick), ..UpstreamConfig::new("chat", sources) };
    let upstream = Upstream::new(config, [0; 32], 1);
    let stop = CancellationToken::new();
    start(&upstream, &Tasks::default(), &stop);

    let endpoint = crate::upstream::Endpoint { address, weight: 1 };
    upstream.set_endpoints(upstream.sources()[0].0, vec![endpoint], Instant::now());
    until(&upstream, State::Up).await;
    upstream.set_endpoints(upstream.sources()[0].0, Vec::new(), Instant::now());
    // Probes end once the change was seen: then the channel stays empty for many intervals.
    let silence = async {
        loop {
            let pause = Duration::from_millis(200);
            if tokio::time::timeout(pause, connected.recv()).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), silence).await.expect("probes end");
    stop.cancel();
}

#[tokio::test]
async fn a_probe_speaks_for_nobody_where_headers_are_wanted() {
    let (sender, mut received) = mpsc::channel(2);
    let address = server(move |mut stream| {
        let sender = sender.clone();
        async move {
            let mut header = Vec::new();
            stream.read_to_end(&mut header).await.unwrap();
            sender.send(header).await.unwrap();
        }
    });
    let address = address.await;
    let probe = Probe::new(ProbeKind::Tcp);
    for version in [Version::V1, Version::V2] {
        let mut config = UpstreamConfig::new("app", Vec::new());
        config.proxy_protocol = Some(version);
        check(ask::ask(&probe, address, &config).await, None);
        let expected = longhaul_proto::proxy_protocol::encode(version, None);
        assert_eq!(received.recv().await.unwrap(), expected);
    }
}

//! Stories of the chat service alone; those with the gateway in front are in `tests/it`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Error, MaybeTlsStream, Message, WebSocketStream};

use super::replica::Cluster;

const SOON: Duration = Duration::from_secs(5);

struct Page(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Page {
    async fn open(address: SocketAddr) -> Self {
        Self(join(address, None).await.unwrap())
    }

    async fn says(&mut self, what: Value) {
        self.0.send(Message::text(what.to_string())).await.unwrap();
    }

    /// The next news of this kind; others are skipped.
    async fn hears(&mut self, kind: &str) -> Value {
        let wait = async {
            loop {
                let message = self.0.next().await.unwrap().unwrap();
                let news: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
                if news["kind"] == kind {
                    return news;
                }
            }
        };
        timeout(SOON, wait).await.unwrap_or_else(|_| panic!("no {kind} within {SOON:?}"))
    }

    /// How it ends: `None` without a close frame, otherwise the code.
    async fn ends(mut self) -> Option<u16> {
        let wait = async {
            while let Some(Ok(message)) = self.0.next().await {
                if let Some((code, _)) = message.as_close() {
                    return Some(code.into());
                }
            }
            None
        };
        timeout(SOON, wait).await.expect("it ends soon")
    }
}

async fn join(
    address: SocketAddr,
    origin: Option<&'static str>,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Error> {
    let uri = format!("ws://{address}/chat").parse().unwrap();
    let mut builder = ClientBuilder::from_uri(uri);
    if let Some(origin) = origin {
        builder = builder.add_header(header::ORIGIN, HeaderValue::from_static(origin)).unwrap();
    }
    Ok(builder.connect().await?.0)
}

async fn start() -> (Arc<Cluster>, SocketAddr, SocketAddr) {
    let cluster = Cluster::start(&["amber", "teal"]).await.unwrap();
    let mut addresses = cluster.addresses();
    let (amber, teal) = (addresses.next().unwrap(), addresses.next().unwrap());
    drop(addresses);
    (cluster, amber, teal)
}

/// Sends a request as a program would and returns the whole answer.
async fn ask(address: SocketAddr, request_line: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("{request_line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.expect("it answers soon").unwrap();
    answer
}

#[tokio::test]
async fn visitors_of_both_replicas_hear_each_other() {
    let (_cluster, amber, teal) = start().await;
    let (mut ada, mut grace) = (Page::open(amber).await, Page::open(teal).await);
    assert_eq!(ada.hears("welcome").await["replica"], "amber");
    assert_eq!(grace.hears("welcome").await["replica"], "teal");
    ada.says(json!({ "kind": "say", "id": "1", "from": "Ada", "text": " hello " })).await;
    let expected = json!({
        "kind": "said", "number": 1, "id": "1", "from": "Ada", "text": "hello", "through": "amber",
    });
    assert_eq!(grace.hears("said").await, expected);
    assert_eq!(ada.hears("said").await, expected);
}

#[tokio::test]
async fn a_message_sent_again_is_confirmed_and_said_once() {
    let (cluster, amber, _) = start().await;
    let mut ada = Page::open(amber).await;
    for _ in 0..2 {
        ada.says(json!({ "kind": "say", "id": "1", "from": "Ada", "text": "hello" })).await;
        assert_eq!(ada.hears("said").await["number"], 1);
    }
    assert_eq!(cluster.room().join().0.len(), 1);
}

#[tokio::test]
async fn a_stopped_replica_breaks_its_websockets_and_comes_back_on_its_port() {
    let (cluster, amber, teal) = start().await;
    let (mut ada, mut grace) = (Page::open(amber).await, Page::open(teal).await);
    ada.hears("welcome").await;
    grace.hears("welcome").await;

    // Served by the very replica that it stops, and answered all the same.
    let answer = ask(amber, "POST /replicas/amber/stop", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#"{"name":"amber","is_up":false"#), "{answer}");
    assert_eq!(ada.ends().await, None);
    assert!(TcpStream::connect(amber).await.is_err());

    let answer = ask(teal, "POST /replicas/teal/stop", "").await;
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    cluster.restart(0).await.unwrap();
    assert_eq!(Page::open(amber).await.hears("welcome").await["replica"], "amber");
    grace.says(json!({ "kind": "ping", "sent_at": 1.5 })).await;
    assert_eq!(grace.hears("pong").await["sent_at"], 1.5);
}

#[tokio::test]
async fn pages_of_others_neither_join_nor_switch() {
    let (_cluster, amber, _) = start().await;
    assert!(matches!(join(amber, Some("http://evil.example")).await, Err(Error::Upgrade(_))));
    let answer = ask(amber, "POST /replicas/teal/stop", "Origin: http://evil.example\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn what_is_no_message_ends_the_conversation_with_1008() {
    let (_cluster, amber, _) = start().await;
    for what in ["nonsense", r#"{"kind":"say","id":"1","from":"Ada","text":"  "}"#] {
        let mut page = Page::open(amber).await;
        page.0.send(Message::text(what)).await.unwrap();
        assert_eq!(page.ends().await, Some(1008), "{what}");
    }
}

#[tokio::test]
async fn the_page_and_its_parts_are_served() {
    let (_cluster, amber, _) = start().await;
    for (path, part) in
        [("/", "<!doctype html>"), ("/chat.css", ":root"), ("/chat.js", "connect()")]
    {
        let answer = ask(amber, &format!("GET {path}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(part), "{path}");
    }
    assert!(ask(amber, "GET /chat", "").await.starts_with("HTTP/1.1 400"));
    assert!(ask(amber, "GET /nowhere", "").await.starts_with("HTTP/1.1 404"));
    assert!(ask(amber, "POST /tunnel/cut", "").await.starts_with("HTTP/1.1 400"));
    assert!(ask(amber, "POST /tunnel/cut?tab=nobodys", "").await.ends_with("\r\n\r\n0"));
    assert!(ask(amber, "HEAD /", "").await.ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn a_taken_default_moves_on_and_a_taken_wish_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let place = super::first_free(address).await.unwrap();
    assert!(place.address.port() > address.port());
    assert_eq!(place.instead_of, Some(address));
    let error = super::asked_for(address).await.unwrap_err().to_string();
    assert!(error.contains("--listen"), "{error}");
}

#[test]
fn addresses_to_open_are_addresses_one_can_go_to() {
    let check = |bound: &str, shown: &str| {
        assert_eq!(super::reachable(bound.parse().unwrap()), shown.parse().unwrap());
    };
    check("0.0.0.0:8080", "127.0.0.1:8080");
    check("[::]:8080", "[::1]:8080");
    check("192.0.2.1:80", "192.0.2.1:80");
}

#[tokio::test]
async fn the_settings_of_the_demo_are_accepted_without_a_warning() {
    let (cluster, amber, teal) = start().await;
    let sources = super::sources(&cluster);
    let loaded = crate::config::load(sources).map_err(|report| report.render(false)).unwrap();
    assert_eq!(loaded.report.warnings().collect::<Vec<_>>(), [""; 0]);
    let upstreams = &loaded.settings.gateway.upstreams;
    assert_eq!((upstreams.len(), upstreams[0].sources.len()), (1, 2));
    let shown = format!("{:?}", upstreams[0].sources);
    assert!(shown.contains(&amber.to_string()) && shown.contains(&teal.to_string()), "{shown}");
}

//! The program itself, as it is started from a shell.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Error, MaybeTlsStream, Message, WebSocketStream};

const SOON: Duration = Duration::from_secs(60);

/// One replica.
struct Replica {
    process: Child,
    address: SocketAddr,
}

impl Replica {
    fn start(data: &std::path::Path, name: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_messaging"))
            .args(["--listen", "127.0.0.1:0", "--name", name, "--data"])
            .arg(data)
            .env_remove("RUST_LOG")
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().split(" is listening on ").nth(1)?.trim().parse().ok());
        // Whatever else it says is read, so that it never waits for that.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.expect("it listens") }
    }

    fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Client(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

impl Client {
    async fn join(replica: &Replica, room: &str, origin: &'static str) -> Result<Self, Error> {
        let uri = format!("ws://{}/ws?room={room}", replica.address).parse().unwrap();
        let mut builder = ClientBuilder::from_uri(uri);
        if !origin.is_empty() {
            builder = builder.add_header(header::ORIGIN, HeaderValue::from_static(origin)).unwrap();
        }
        Ok(Self(builder.connect().await?.0))
    }

    async fn says(&mut self, what: Value) {
        self.0.send(Message::text(what.to_string())).await.unwrap();
    }

    /// The next news, which must be of this kind.
    async fn hears(&mut self, kind: &str) -> Value {
        let message = timeout(SOON, self.0.next()).await.expect("in time").unwrap().unwrap();
        let news: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
        assert_eq!(news["kind"], kind, "{news}");
        news
    }

    async fn ends(mut self) -> Option<u16> {
        while let Some(Ok(message)) = timeout(SOON, self.0.next()).await.expect("in time") {
            if let Some((code, _)) = message.as_close() {
                return Some(code.into());
            }
        }
        None
    }
}

fn say(id: &str) -> Value {
    json!({ "kind": "say", "id": id, "from": "Ada", "text": format!(" {id} ") })
}

#[tokio::test]
async fn clients_of_all_replicas_hear_each_other_by_number() {
    let data = tempfile::tempdir().unwrap();
    let [amber, teal] = ["amber", "teal"].map(|name| Replica::start(data.path(), name));
    let mut ada = Client::join(&amber, "a", "").await.unwrap();
    let mut grace = Client::join(&teal, "a", "").await.unwrap();
    let mut alone = Client::join(&teal, "b", "").await.unwrap();
    for (client, replica) in [(&mut ada, "amber"), (&mut grace, "teal"), (&mut alone, "teal")] {
        let welcome = client.hears("welcome").await;
        assert_eq!((&welcome["replica"], &welcome["history"]), (&json!(replica), &json!([])));
    }
    for (speaker, id, number) in [(0, "one", 1), (1, "two", 2), (0, "three", 3)] {
        [&mut ada, &mut grace][speaker].says(say(id)).await;
        for client in [&mut ada, &mut grace] {
            let said = client.hears("said").await;
            assert_eq!((&said["number"], &said["text"]), (&json!(number), &json!(id)));
        }
    }
    // Said again through the other replica, since nobody could know: it is known, and nobody hears it twice.
    grace.says(say("one")).await;
    assert_eq!(grace.hears("known").await["number"], 1);
    ada.says(json!({ "kind": "ping", "sent_at": 1.5 })).await;
    assert_eq!(ada.hears("pong").await["sent_at"], 1.5);
    // The other room is another one.
    alone.says(say("one")).await;
    assert_eq!(alone.hears("said").await["number"], 1);
}

#[tokio::test]
async fn a_replica_that_is_asked_to_end_sends_its_clients_away_and_forgets_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut amber = Replica::start(data.path(), "amber");
    let mut ada = Client::join(&amber, "lobby", "").await.unwrap();
    ada.hears("welcome").await;
    ada.says(say("one")).await;
    ada.hears("said").await;
    let pid = Pid::from_child(&amber.process);
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(ada.ends().await, Some(1012));
    let process = std::mem::replace(&mut amber.process, Command::new("true").spawn().unwrap());
    let ended = tokio::task::spawn_blocking(move || process.wait_with_output());
    let ended = timeout(SOON, ended).await.expect("it ends in time").unwrap().unwrap();
    assert!(ended.status.success());

    let again = Replica::start(data.path(), "amber");
    let mut ada = Client::join(&again, "lobby", "").await.unwrap();
    let welcome = ada.hears("welcome").await;
    assert_eq!(welcome["history"][0]["text"], "one");
    ada.says(json!({ "kind": "history", "after": 0 })).await;
    assert_eq!(ada.hears("history").await["messages"], welcome["history"]);
}

#[tokio::test]
async fn what_does_not_belong_here_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let replica = Replica::start(data.path(), "amber");
    for (room, origin) in [("lobby", "http://evil.example"), ("No-Room", "")] {
        let joined = Client::join(&replica, room, origin).await;
        assert!(matches!(joined, Err(Error::Upgrade(_))), "{room} {origin}");
    }
    for what in ["nonsense", r#"{"kind":"say","id":"1","from":"Ada","text":"  "}"#] {
        let mut client = Client::join(&replica, "lobby", "").await.unwrap();
        client.0.send(Message::text(what)).await.unwrap();
        assert_eq!(client.ends().await, Some(1008), "{what}");
    }
    for (path, part) in [
        ("/", "<!doctype html>"),
        ("/chat.css", ":root"),
        ("/chat.js", "connect()"),
        ("/longhaul.js", "Longhaul"),
    ] {
        let answer = replica.ask(&format!("GET {path}"));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(part), "{path}");
    }
    for (line, status) in
        [("GET /health", 200), ("GET /ws", 426), ("GET /nowhere", 404), ("POST /", 405)]
    {
        let answer = replica.ask(line);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
    }
}

//! The messaging service of `examples/messaging` behind the gateway: phones and a page talk on while links are cut
//! and replicas are killed or asked to end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use longhaul_client::machine::Reconnect;
use longhaul_client::{Event, Message, Options, Session, connect};
use serde_json::{Value, json};

use crate::support::cutter::Cutter;
use crate::support::gateway::{Gateway, longhaul};
use crate::support::process::{Process, Signal};
use crate::support::{Random, artefact, clients, s, wait_until};

const PHONES: usize = 3;
const EACH: usize = 60;
const OF_THE_PAGE: usize = 20;
const ALL: usize = PHONES * EACH + OF_THE_PAGE;
const ROOM: &str = "story";

/// One replica.
struct Replica {
    process: Process,
    address: SocketAddr,
}

impl Replica {
    /// By the name under which `demo` has the service in it.
    fn start(name: &str, data: &Path) -> Self {
        let mut command = longhaul();
        command.args(["__replica", "--name", name, "--listen", "127.0.0.1:0", "--data"]).arg(data);
        let mut process = Process::start(name, &mut command);
        let address = process.line("where it listens", s(60), |line| {
            let rest = line.split("is listening on ").nth(1)?;
            rest.split('"').next()?.trim().parse().ok()
        });
        Self { process, address }
    }
}

/// Everything that was said in the room, as the replicas have written it down.
fn said(data: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(data.join("log")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map(|(whole, _)| whole.to_owned()).unwrap_or_default();
    whole.lines().map(|line| serde_json::from_str(line).expect("each line is a message")).collect()
}

/// `examples/messaging/longhaul.toml` as it is, but for the addresses.
fn gateway_before(replicas: &[Replica; 3]) -> Gateway {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/messaging/longhaul.toml");
    let mut text = std::fs::read_to_string(path).unwrap();
    let [one, other, third] = replicas.each_ref().map(|replica| replica.address.to_string());
    let others = format!("{other}\", \"{third}");
    for (written, real) in [
        ("0.0.0.0:8080", "127.0.0.1:0"),
        ("admin = \"127.0.0.1:9090\"", ""),
        ("127.0.0.1:8081", &one),
        ("127.0.0.1:8082", &others),
    ] {
        assert!(text.contains(written), "no {written} in the example");
        text = text.replace(written, real);
    }
    Gateway::with_config(&text)
}

/// A phone of somebody's: numbers what it says, keeps that until it is confirmed, and says it again where nobody
/// can know whether it was heard.
struct Phone {
    session: Session,
    name: String,
    unconfirmed: BTreeMap<usize, String>,
    /// Numbers of the room's messages that it has seen.
    seen: BTreeSet<u64>,
    /// The last that this replica has sent.
    stream: u64,
}

impl Phone {
    fn connect(address: SocketAddr, name: String) -> Self {
        let mut options = Options::new(&format!("ws://{address}/ws?room={ROOM}")).unwrap();
        options.policy.reconnect = Reconnect {
            first: Duration::from_millis(20),
            settled: s(30),
            steps: [20, 50, 100].map(Duration::from_millis).to_vec(),
            tries_max: None,
        };
        let session = connect(options);
        Self { session, name, unconfirmed: BTreeMap::new(), seen: BTreeSet::new(), stream: 0 }
    }

    async fn say(&mut self, number: usize) {
        let id = format!("{}-{number}", self.name);
        let text = json!({ "kind": "say", "id": id, "from": self.name, "text": id }).to_string();
        self.unconfirmed.insert(number, text.clone());
        self.session.send(Message::Text(text)).await.unwrap();
    }

    async fn hear(&mut self, event: Event) {
        let Event::Message(Message::Text(text)) = event else {
            assert!(!matches!(event, Event::Closed { .. }), "{}: {event:?}", self.name);
            return;
        };
        let news: Value = serde_json::from_str(&text).unwrap();
        match news["kind"].as_str().unwrap() {
            "welcome" => {
                let history = news["history"].as_array().unwrap();
                self.stream = history.last().map_or(0, number);
                let oldest = history.first().map_or(0, number);
                for message in history.clone() {
                    self.take(&message);
                }
                if oldest > 1 && !self.seen.contains(&(oldest - 1)) {
                    self.ask_history().await;
                }
                for text in self.unconfirmed.values() {
                    self.session.send(Message::Text(text.clone())).await.unwrap();
                }
            }
            "said" => {
                assert_eq!(number(&news), self.stream + 1, "{}: no gap, nothing twice", self.name);
                self.stream += 1;
                self.take(&news);
            }
            "known" => self.take(&news),
            "history" => news["messages"].as_array().unwrap().iter().for_each(|it| self.take(it)),
            other => panic!("{other}"),
        }
    }

    fn take(&mut self, message: &Value) {
        self.seen.insert(number(message));
        let id = message["id"].as_str().unwrap();
        if let Some(own) = id.strip_prefix(&format!("{}-", self.name)) {
            self.unconfirmed.remove(&own.parse().unwrap());
        }
    }

    async fn ask_history(&mut self) {
        let after = (1..).find(|number| !self.seen.contains(number)).unwrap() - 1;
        let ask = json!({ "kind": "history", "after": after }).to_string();
        self.session.send(Message::Text(ask)).await.unwrap();
    }

    /// Says everything, and listens until it has heard everybody.
    async fn talk(mut self, pause: Duration) {
        let deadline = Instant::now() + s(150);
        let mut number = 0;
        while number < EACH || !self.unconfirmed.is_empty() || self.seen.len() < ALL {
            let (waiting, heard) = (self.unconfirmed.len(), self.seen.len());
            assert!(Instant::now() < deadline, "{}: {waiting} waiting, {heard} heard", self.name);
            if number < EACH {
                self.say(number).await;
                number += 1;
            }
            let until = tokio::time::Instant::now() + pause;
            while let Ok(event) = tokio::time::timeout_at(until, self.session.next()).await {
                self.hear(event.expect("it is not closed")).await;
            }
        }
    }
}

fn number(message: &Value) -> u64 {
    message["number"].as_u64().expect("each message has a number")
}

#[test]
fn nobody_misses_a_message_while_links_are_cut_and_replicas_killed() {
    let mut random = Random::new();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let mut replicas = ["amber", "teal", "plum"].map(|name| Replica::start(name, data));
    let gateway = gateway_before(&replicas);

    let picture = artefact("messaging.png");
    let counts = [OF_THE_PAGE, ALL].map(|count| count.to_string());
    let address = gateway.address().to_string();
    let arguments = [&address, ROOM, &counts[0], &counts[1], picture.to_str().unwrap()];
    let mut page = clients::start("messaging.mjs", &arguments);
    page.line("the page is there", s(90), |line| (line == "ready").then_some(()));

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (shortest, longest) = (Duration::from_millis(100), Duration::from_millis(600));
    let cutter =
        runtime.block_on(Cutter::before(gateway.address(), (shortest, longest), random.next()));
    let phones: Vec<_> = (0..PHONES)
        .map(|phone| {
            let address = cutter.address;
            runtime.spawn(async move {
                Phone::connect(address, format!("phone{phone}"))
                    .talk(Duration::from_millis(40))
                    .await
            })
        })
        .collect();

    wait_until("a third is said", s(120), || said(data).len() >= ALL / 3);
    let [amber, teal, _plum] = &mut replicas;
    amber.process.kill();
    wait_until("two thirds are said", s(120), || said(data).len() >= ALL * 2 / 3);
    teal.process.signal(Signal::TERM);
    let status = teal.process.end(s(60));
    assert_eq!(status.code(), Some(0), "it ends in good order");

    for phone in phones {
        runtime.block_on(phone).unwrap();
    }
    page.line("done", s(120), |line| (line == "done").then_some(()));
    assert!(cutter.cuts() >= 3, "{} cuts", cutter.cuts());
    let said = said(data);
    let ids: BTreeSet<&str> = said.iter().map(|message| message["id"].as_str().unwrap()).collect();
    assert_eq!((said.len(), ids.len()), (ALL, ALL), "each once");
    assert!(said.iter().map(number).eq(1..=ALL as u64), "numbered without a gap");
}

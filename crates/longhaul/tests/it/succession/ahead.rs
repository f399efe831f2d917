//! What happens to connections between the copy that goes ahead of them and the moment in which they stand
//! still.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, mpsc};
use std::thread;

use serde_json::Value;

use super::pause::slow_heir;
use super::{Upgradable, e2e, upstream};
use crate::redial::{self, LOST};
use crate::support::apps::App;
use crate::support::raw::Raw;
use crate::support::{frames, s, wait_until};

/// More than fit into the socket between the two processes, so that the old one waits among them.
const CLIENTS: usize = 300;
/// The same of raw TCP, of which there is less to say.
const RAW_CLIENTS: usize = 900;

/// WebSockets whose lost replicas are replaced.
const REDIALLED: &str = "[websocket]\non_replica_loss = \"redial\"\n";
/// Everything is raw TCP, WebSockets too.
pub(super) const RAW: &str = "[[tcp]]\nlistener = \"main\"\nupstream = \"app\"\n";

pub(super) fn start(replica: SocketAddr, more: &str) -> Upgradable {
    let step = "[timeouts]\nupgrade_step = \"1m\"\n";
    let upgradable = Upgradable::start_unready(&format!("{step}{}{more}", upstream(replica)));
    if more != RAW {
        upgradable.gateway.wait_ready();
    }
    upgradable
}

fn open(upgradable: &Upgradable, count: usize) -> Vec<Raw> {
    (0..count).map(|_| frames::open(upgradable.address(), "/echo")).collect()
}

/// Upgrades, and does something to connections while copies of some are under way: of those who came last.
#[track_caller]
pub(crate) fn while_copies_are_under_way(
    upgradable: &Upgradable,
    moved: usize,
    happens: impl FnOnce(),
) -> Value {
    let (gate, slow) = slow_heir(upgradable, "ahead");
    thread::scope(|scope| {
        let opens = Gate(&gate);
        let upgrade = scope.spawn(|| upgradable.ask(&["upgrade", "--binary", &slow]));
        wait_until("copies are under way", s(60), || gate.with_extension("here").exists());
        happens();
        drop(opens);
        let (is_done, said) = upgrade.join().unwrap();
        assert!(is_done && said.contains(&format!("{moved} connections moved")), "{said}");
    });
    let mut moved = None;
    wait_until("the first hop is logged", s(60), || {
        let lines = upgradable.gateway.process.lines();
        moved = lines.into_iter().find(|line| line.contains("\"connections moved\""));
        moved.is_some()
    });
    serde_json::from_str(&moved.expect("it was just found")).unwrap()
}

/// Opened also by a test that fails before it.
struct Gate<'a>(&'a Path);

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        fs::write(self.0, "").expect("its directory is there");
    }
}

#[track_caller]
fn all_echo(clients: &mut [Raw]) {
    for (at, client) in clients.iter_mut().enumerate() {
        frames::echo(client, &at.to_string());
    }
}

#[test]
fn who_talks_opens_or_ends_behind_its_copy_goes_over_as_it_is_then() {
    goes_over_as_it_is_then("");
}

#[test]
fn so_does_who_would_outlast_its_replica() {
    goes_over_as_it_is_then(REDIALLED);
}

fn goes_over_as_it_is_then(more: &str) {
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = start(echo.address, more);
    let mut clients = open(&upgradable, CLIENTS);
    let told = latest_but_one(&upgradable).to_string();
    let halves = Halves::default();
    let mut newcomer = Vec::new();
    let moved = while_copies_are_under_way(&upgradable, CLIENTS - 1, || {
        // The last ones to come are copied first. Everybody goes on.
        let mut told = end_two(&upgradable, &mut clients, &told);
        assert_eq!(frames::close_code(&mut told).unwrap(), 1001);
        halves.begin(&mut clients);
        newcomer = open(&upgradable, 1);
        wait_until("the half message is with the old process", s(60), || {
            of_each(&upgradable, "bytes_up").contains(&9)
        });
    });
    halves.end(&upgradable, clients, newcomer, &moved);
}

/// The last client closes, and the gateway is told to close the one before, which comes back.
#[track_caller]
fn end_two(upgradable: &Upgradable, clients: &mut Vec<Raw>, last_but_one: &str) -> Raw {
    let mut closing = clients.pop().expect("there are some");
    closing.send(frames::close_from_client(1000, ""));
    assert_eq!(frames::close_code(&mut closing).unwrap(), 1000);
    closing.assert_closed();
    let (is_told, said) = upgradable.ask(&["close", last_but_one]);
    assert!(is_told, "{said}");
    clients.pop().expect("there are some")
}

/// Both peers of what ends behind its copy hear of it at once, though its sockets are open elsewhere.
#[test]
fn raw_tcp_goes_ahead_and_who_ends_behind_its_copy_ends_at_once() {
    let mut echo = App::start("echo_ws.mjs", "one");
    let upgradable = start(echo.address, RAW);
    let mut clients = open(&upgradable, RAW_CLIENTS);
    let told = latest_but_one(&upgradable).to_string();
    let halves = Halves::default();
    let mut newcomer = Vec::new();
    let moved = while_copies_are_under_way(&upgradable, RAW_CLIENTS - 1, || {
        end_two(&upgradable, &mut clients, &told).assert_closed();
        echo.process.line("closed 1006", s(60), |line| line.contains("closed 1006").then_some(()));
        halves.begin(&mut clients);
        newcomer = open(&upgradable, 1);
    });
    halves.end(&upgradable, clients, newcomer, &moved);
}

/// It has another replica then, and goes over with that. The one that was left knows it at once.
#[test]
fn who_loses_its_replica_behind_its_copy_goes_over_with_another() {
    let (ended, ends) = mpsc::channel();
    let (close, closes) = mpsc::channel();
    let (cut, cuts) = mpsc::channel();
    // The two that come last.
    let told = Mutex::new(HashMap::from([(CLIENTS - 1, closes), (CLIENTS, cuts)]));
    let replica = redial::replica(move |number, mut raw| {
        let Some(orders) = told.lock().unwrap().remove(&number) else { return redial::echo(raw) };
        let told = orders.recv();
        if told == Ok("close") {
            raw.patience(s(120));
            raw.send(frames::encode(0x88, None, &1012_u16.to_be_bytes()));
            raw.read_to_end();
            ended.send(()).unwrap();
        }
    });
    let upgradable = start(replica.address, REDIALLED);
    let mut clients = open(&upgradable, CLIENTS);
    let moved = while_copies_are_under_way(&upgradable, CLIENTS, || {
        let last = &mut clients[CLIENTS - 2..];
        for (at, (order, word)) in [(close, "close"), (cut, "cut")].into_iter().enumerate() {
            order.send(word).unwrap();
            redial::wait_for(&upgradable.gateway, LOST, at + 1);
            frames::echo(&mut last[at], word);
        }
        ends.recv_timeout(s(60)).expect("the replica that was left sees its connection end");
    });
    all_echo(&mut clients);
    assert!((2..=CLIENTS as u64 / 2).contains(&moved["whole"].as_u64().unwrap()), "{moved}");
    upgradable.wait_settled(1);
    all_echo(&mut clients);
    assert_eq!(upgradable.logged(LOST), 2, "nobody else lost a replica");
}

#[test]
fn nobody_notices_a_binary_that_ends_with_copies_in_its_hands() {
    for more in [REDIALLED, RAW] {
        let echo = App::start("echo_ws.mjs", "one");
        let upgradable = start(echo.address, more);
        let mut clients = open(&upgradable, 5);
        let heir = e2e().join("apps/failing_heir.py");
        let heir = heir.canonicalize().unwrap().display().to_string();
        for word in ["ahead", "still", "fitted"] {
            let program = upgradable.program(word, &format!("exec python3 {heir} {word}"));
            let (is_done, said) = upgradable.ask(&["upgrade", "--binary", &program]);
            assert!(!is_done && said.contains("it has ended"), "{word}: {said}");
            all_echo(&mut clients);
        }
        // The real one takes everything but the last word.
        let (is_done, said) = upgradable.ask(&["upgrade", "--dry-run"]);
        assert!(is_done, "{said}");
        all_echo(&mut clients);
        for event in [LOST, "websocket closed", "tcp connection closed"] {
            assert_eq!(upgradable.logged(event), 0, "{event}");
        }
        let said = upgradable.upgrade(0);
        assert!(said.contains("5 connections moved"), "{said}");
        all_echo(&mut clients);
    }
}

/// A message of which the second half comes under the new binary, by the last client; the one before says
/// something behind its copy.
struct Halves(Vec<u8>);

impl Default for Halves {
    fn default() -> Self {
        Self(frames::from_client(frames::TEXT, b"in two halves"))
    }
}

impl Halves {
    fn begin(&self, clients: &mut [Raw]) {
        let [.., talking, halved] = clients else { panic!("there are some") };
        frames::echo(talking, "behind its copy");
        halved.send(&self.0[..9]);
    }

    /// Everybody goes on, through both hops; only who came behind the copies went over as a whole.
    #[track_caller]
    fn end(
        self,
        upgradable: &Upgradable,
        mut clients: Vec<Raw>,
        mut newcomer: Vec<Raw>,
        moved: &Value,
    ) {
        let last = clients.last_mut().expect("there are some");
        last.send(&self.0[9..]);
        assert_eq!(frames::read(last).unwrap().payload, b"in two halves");
        clients.append(&mut newcomer);
        all_echo(&mut clients);
        assert!(moved["changed"].as_u64() >= Some(2), "{moved}");
        // The newcomer alone, and perhaps some that were busy for long.
        let few = 1..=clients.len() as u64 / 2;
        assert!(few.contains(&moved["whole"].as_u64().unwrap()), "{moved}");
        upgradable.wait_settled(1);
        all_echo(&mut clients);
    }
}

fn latest_but_one(upgradable: &Upgradable) -> u64 {
    let mut ids: Vec<u64> = of_each(upgradable, "id");
    ids.sort_unstable();
    ids[ids.len() - 2]
}

fn of_each(upgradable: &Upgradable, number: &str) -> Vec<u64> {
    let page = upgradable.json(&["connections", "--limit", "1000"]);
    let list = page["connections"].as_array().expect("a list");
    list.iter().filter_map(|one| one[number].as_u64()).collect()
}

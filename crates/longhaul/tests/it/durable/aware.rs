//! Replicas that acknowledge messages themselves: killed in the middle of it, drained, hostile, or met by a
//! plain client.

use std::path::Path;
use std::process::Command;

use crate::succession::Upgradable;
use crate::support::process::Process;
use crate::support::{apps, e2e, raw};

use super::*;

#[path = "../../../../longhaul-backend/examples/ledger.rs"]
mod ledger;

/// Where the ledger of a replica lies that this program shall be, instead of trying stories.
const LEDGER_IN: &str = "LONGHAUL_STORY_LEDGER";

/// Which of the two ledgers a replica is: the same program for users of either package.
#[derive(Clone, Copy)]
enum Ledger {
    /// For axum: this test program again. Of the stories it runs one, which becomes the replica.
    Rust,
    /// For FastAPI, with SQLite.
    Python,
}

impl Ledger {
    fn command(self, directory: &Path, port: u16) -> Command {
        match self {
            Self::Rust => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["--exact", "durable::aware::a_replica_listens", "--nocapture"]);
                command.env(LEDGER_IN, directory).env("PORT", port.to_string());
                command
            }
            Self::Python => {
                let package = e2e().join("../../sdk/python");
                let mut command = apps::script(&package.join("examples/ledger.py"));
                command.arg(directory.join("ledger.db")).arg(port.to_string());
                command.env("PYTHONPATH", package.join("src")).env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
        }
    }
}

/// A replica of a ledger in a process of its own, to be killed.
struct Replica {
    ledger: Ledger,
    process: Process,
    address: SocketAddr,
}

impl Replica {
    fn start(ledger: Ledger, directory: &Path) -> Self {
        Self::start_on(ledger, directory, 0)
    }

    fn start_on(ledger: Ledger, directory: &Path, port: u16) -> Self {
        let mut command = ledger.command(directory, port);
        let mut process = Process::start(format!("ledger on {port}"), &mut command);
        let port: u16 = process.line("listening PORT", s(90), |line| {
            // Behind what the test harness has said on that line.
            line.split_once("listening ").and_then(|(_, port)| port.parse().ok())
        });
        Self { ledger, process, address: ([127, 0, 0, 1], port).into() }
    }

    /// Kills it without a word, and starts another in its place.
    fn replace(&mut self, directory: &Path) {
        self.process.kill();
        *self = Self::start_on(self.ledger, directory, self.address.port());
    }

    /// Waits until nothing is kept of any session.
    fn wait_until_forgotten(&self, directory: &Path) {
        wait_until("the ledger has forgotten every session", s(60), || match self.ledger {
            Ledger::Rust => {
                let names = std::fs::read_dir(directory).unwrap();
                names.filter(|name| name.as_ref().unwrap().file_name() != "lock").count() == 0
            }
            Ledger::Python => raw::get(self.address, "/sessions").text() == "0",
        });
    }
}

#[test]
fn a_replica_listens() {
    let Some(directory) = std::env::var_os(LEDGER_IN) else {
        let directory = tempfile::tempdir().unwrap();
        let replica = Replica::start(Ledger::Rust, directory.path());
        assert!(std::net::TcpStream::connect(replica.address).is_ok());
        return;
    };
    let address = format!("127.0.0.1:{}", std::env::var("PORT").unwrap());
    runtime().block_on(ledger::serve(Path::new(&directory), &address)).unwrap();
}

/// A gateway before these replicas, with more in its file.
fn gateway_before(replicas: &[SocketAddr], more: &str) -> Gateway {
    let replicas: Vec<String> = replicas.iter().map(SocketAddr::to_string).collect();
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"app\"\nreplicas = {replicas:?}\n{more}"
    ))
}

/// What a ledger answers to entry `index`.
fn entry(index: usize) -> String {
    // Now and then one of several chunks.
    let bytes = if index % 10 == 9 { index * 37 % 40_000 } else { index % 100 };
    format!("entry {index} {}", "y".repeat(bytes))
}

/// How far clients are, and how far they may go.
#[derive(Default)]
struct Progress {
    booked: AtomicUsize,
    /// Entries of one client.
    may_send: AtomicUsize,
}

/// Books `messages`, and checks that each is booked once, in order, and that each tick comes once.
async fn book(address: SocketAddr, messages: usize, progress: Arc<Progress>) -> usize {
    let mut session = connect(options(address));
    let (mut sent, mut booked, mut ticks, mut legs) = (0, 0, 0, 0);
    while booked < messages {
        if sent < progress.may_send.load(Ordering::Relaxed) && sent < booked + 16 {
            session.send(Message::Text(entry(sent))).await.unwrap();
            sent += 1;
            continue;
        }
        match next(&mut session).await {
            Event::Message(Message::Text(text)) => match text.strip_prefix("tick ") {
                Some(tick) => {
                    ticks += 1;
                    assert_eq!(tick, ticks.to_string());
                }
                None => {
                    assert_eq!(text, format!("{} {}", booked + 1, entry(booked)));
                    booked += 1;
                    progress.booked.fetch_add(1, Ordering::Relaxed);
                }
            },
            Event::Told(told) => {
                assert!(told.contains("\"leg\":"), "{told}");
                legs += 1;
            }
            Event::Opened { .. } | Event::Interrupted | Event::Resumed => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(ticks > 0, "the other direction was silent");
    session.close(4321, "all booked").await.unwrap();
    loop {
        match next(&mut session).await {
            Event::Closed { code, was_clean, .. } => {
                assert_eq!((code, was_clean), (4321, true));
                return legs;
            }
            Event::Message(Message::Text(tick)) => assert!(tick.starts_with("tick ")),
            _ => {}
        }
    }
}

#[test]
fn nothing_is_lost_or_booked_twice_while_replicas_are_killed() {
    kill_replicas(Ledger::Rust);
}

#[test]
fn nothing_is_lost_or_booked_twice_while_replicas_in_python_are_killed() {
    kill_replicas(Ledger::Python);
}

fn kill_replicas(ledger: Ledger) {
    const CLIENTS: usize = 4;
    const MESSAGES: usize = 300;
    const KILLS: usize = 4;
    let directory = tempfile::tempdir().unwrap();
    let mut replicas = [(); 2].map(|()| Replica::start(ledger, directory.path()));
    let addresses = replicas.each_ref().map(|replica| replica.address);
    // However slow the machine: a replica that is killed soon after it was found counts as not found.
    let gateway = gateway_before(&addresses, "[websocket]\nredial_give_up = \"80s\"\n");
    let (runtime, address) = (runtime(), gateway.address());
    let progress = Arc::<Progress>::default();
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| runtime.spawn(book(address, MESSAGES, progress.clone()))).collect();
    for kill in 0..KILLS {
        // Half of what they may send is booked, the other half under way.
        progress.may_send.store(MESSAGES * (kill + 1) / KILLS, Ordering::Relaxed);
        let enough = CLIENTS * MESSAGES * (2 * kill + 1) / (2 * KILLS);
        wait_until("all go on", s(90), || progress.booked.load(Ordering::Relaxed) >= enough);
        replicas[kill % 2].replace(directory.path());
    }
    let clients = runtime.block_on(futures_util::future::join_all(clients));
    let legs: usize = clients.into_iter().map(Result::unwrap).sum();
    println!("{legs} legs replaced");
    assert!(legs >= KILLS, "{legs} legs of dead replicas are no trouble");
}

/// The gateway's binary is replaced while entries are under way: their sessions go over without their leg,
/// and the replica says on the next one what it has booked.
#[test]
fn nothing_is_lost_or_booked_twice_while_the_gateway_is_upgraded() {
    const CLIENTS: usize = 4;
    const MESSAGES: usize = 300;
    const UPGRADES: usize = 3;
    let directory = tempfile::tempdir().unwrap();
    let replica = Replica::start(Ledger::Rust, directory.path());
    let upgradable = Upgradable::start(&format!(
        "[[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n",
        replica.address
    ));
    let (runtime, address) = (runtime(), upgradable.gateway.address());
    let progress = Arc::<Progress>::default();
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| runtime.spawn(book(address, MESSAGES, progress.clone()))).collect();
    wait_until("all are here", s(90), || upgradable.logged("session opened") == CLIENTS);
    for upgrade in 0..UPGRADES {
        // Nobody is through before the last upgrade, and some of it is always under way.
        progress.may_send.store(MESSAGES * (upgrade + 1) / (UPGRADES + 1), Ordering::Relaxed);
        let enough = CLIENTS * MESSAGES * (2 * upgrade + 1) / (2 * (UPGRADES + 1));
        wait_until("all go on", s(90), || progress.booked.load(Ordering::Relaxed) >= enough);
        let said = upgradable.upgrade(upgrade);
        assert!(said.contains(&format!("{CLIENTS} connections moved")), "{said}");
    }
    progress.may_send.store(MESSAGES, Ordering::Relaxed);
    let clients = runtime.block_on(futures_util::future::join_all(clients));
    let legs: usize = clients.into_iter().map(Result::unwrap).sum();
    assert!(legs >= CLIENTS * UPGRADES, "{legs} legs for {CLIENTS} sessions");
    assert_eq!(upgradable.logged("session opened"), CLIENTS, "nobody had to begin anew");
}

#[test]
fn a_replica_that_wants_to_go_is_left_for_another_and_nothing_is_missing() {
    leave_replicas(Ledger::Rust);
}

#[test]
fn a_replica_in_python_that_wants_to_go_is_left_for_another_and_nothing_is_missing() {
    leave_replicas(Ledger::Python);
}

fn leave_replicas(ledger: Ledger) {
    let directory = tempfile::tempdir().unwrap();
    let replicas = [(); 2].map(|()| Replica::start(ledger, directory.path()));
    let gateway = gateway_before(&replicas.each_ref().map(|replica| replica.address), "");
    runtime().block_on(async {
        let mut session = connect(options(gateway.address()));
        let mut processes = Vec::new();
        for booking in 1..=3 {
            session.send(Message::Text("drain".to_owned())).await.unwrap();
            let (mut has_moved, mut process) = (false, String::new());
            while !has_moved || process.is_empty() {
                match next(&mut session).await {
                    Event::Told(told) => {
                        assert!(told.contains("\"reason\":\"drain\""), "{told}");
                        has_moved = true;
                    }
                    Event::Message(Message::Text(text)) if !text.starts_with("tick ") => {
                        process =
                            text.strip_prefix(&format!("{booking} drain ")).unwrap().to_owned();
                    }
                    Event::Message(_) | Event::Opened { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            processes.push(process);
        }
        assert!(processes[0] != processes[1] && processes[1] != processes[2], "{processes:?}");
        session.close(1000, "").await.unwrap();
        while !matches!(next(&mut session).await, Event::Closed { code: 1000, was_clean: true, .. })
        {
        }
    });
    replicas[0].wait_until_forgotten(directory.path());
}

#[test]
fn a_plain_client_finds_a_plain_websocket() {
    meet_plainly(Ledger::Rust);
}

#[test]
fn a_plain_client_finds_a_plain_websocket_in_python() {
    meet_plainly(Ledger::Python);
}

fn meet_plainly(ledger: Ledger) {
    let directory = tempfile::tempdir().unwrap();
    let replica = Replica::start(ledger, directory.path());
    for more in ["", "[websocket]\non_replica_loss = \"redial\"\n"] {
        let gateway = gateway_before(&[replica.address], more);
        // What only the gateway may ask for is not passed on.
        let fields = "Longhaul-Offer: v1\r\nLonghaul-Session: stolen\r\n";
        let (mut plain, answer) = frames::try_open(gateway.address(), "/ws", fields).unwrap();
        assert_eq!((answer.status, answer.header("longhaul-leg")), (101, None));
        plain.send(frames::from_client(frames::TEXT, b"an entry"));
        let booked = loop {
            let frame = frames::read(&mut plain).unwrap();
            if frame.opcode == frames::TEXT && !frame.payload.starts_with(b"tick ") {
                break frame.payload;
            }
        };
        assert_eq!(booked, b"1 an entry");
        plain.send(frames::from_client(frames::CLOSE, &4001_u16.to_be_bytes()));
        let code = loop {
            let frame = frames::read(&mut plain).unwrap();
            if frame.opcode == frames::CLOSE {
                break frame.close_code();
            }
        };
        assert_eq!(code, 4001);
    }
    replica.wait_until_forgotten(directory.path());
}

/// A replica by hand: answers the handshake as one that speaks items, says `words` one by one, and keeps the code that its
/// leg was closed with. Its store takes so long.
fn replica_that_says(
    words: &'static [&'static str],
    store_takes: Duration,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closed = Arc::<AtomicUsize>::default();
    let code = closed.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The library's own type for a refusal, which none is.
            #[allow(clippy::result_large_err)]
            let as_aware = |asked: &server::Request, mut answer: server::Response| {
                assert_eq!(asked.headers()["longhaul-offer"], "v1");
                answer.headers_mut().insert("longhaul-leg", "v1".parse().unwrap());
                Ok(answer)
            };
            let Ok(mut socket) = accept_hdr(stream, as_aware) else { continue };
            let attach = socket.read().unwrap().into_text().unwrap();
            assert!(attach.contains("\"t\":\"attach\""), "{attach}");
            std::thread::sleep(store_takes);
            for word in words {
                // The gateway may have closed behind an earlier one.
                let _ = socket.send((*word).into());
            }
            while let Ok(message) = socket.read() {
                if let tungstenite::Message::Close(Some(frame)) = message {
                    code.store(u16::from(frame.code).into(), Ordering::Relaxed);
                }
            }
        }
    });
    (address, closed)
}

#[track_caller]
fn ends(words: &'static [&'static str], leg_code: usize) {
    let (address, closed) = replica_that_says(words, Duration::ZERO);
    let gateway = gateway_before(&[address], "");
    let mut link = durable_link(&gateway);
    say(&mut link, HELLO);
    assert!(hear(&mut link).contains("\"class\":\"e2e\""));
    say(&mut link, "a0");
    assert_eq!(hear(&mut link), r#"{"t":"reset","code":4906,"recv":0}"#, "{words:?}");
    wait_until("the leg is closed", s(30), || closed.load(Ordering::Relaxed) > 0);
    assert_eq!(closed.load(Ordering::Relaxed), leg_code, "{words:?}");
}

#[test]
fn a_replica_whose_store_is_slow_is_waited_for_as_long_as_the_operator_says() {
    const WORDS: &[&str] = &[r#"{"t":"attached","recv":0,"lo":1,"hi":0}"#, "m1;at last"];
    // Longer than is waited by default.
    let (address, _) = replica_that_says(WORDS, Duration::from_millis(5_500));
    let gateway = gateway_before(&[address], "[durable]\nattach = \"60s\"\nheartbeat = \"60s\"");
    let mut link = durable_link(&gateway);
    say(&mut link, HELLO);
    assert!(hear(&mut link).contains("\"class\":\"e2e\""));
    say(&mut link, "a0");
    assert_eq!(hear(&mut link), "m1;at last");
}

#[test]
fn a_replica_that_breaks_the_protocol_is_told_so_and_its_client_that_the_session_is_lost() {
    const ATTACHED: &str = r#"{"t":"attached","recv":0,"lo":1,"hi":0}"#;
    ends(&["m1;before it is attached"], 4900);
    ends(&[ATTACHED, "hello, plainly"], 4900);
    ends(&[ATTACHED, "m2;one is missing"], 4902);
    ends(&[ATTACHED, "a7"], 4900);
    ends(&[ATTACHED, ATTACHED], 4900);
    ends(&[r#"{"t":"attached","recv":5,"lo":1,"hi":0}"#], 4906);
    ends(&[r#"{"t":"attached","recv":0,"lo":3,"hi":2}"#], 4906);
}

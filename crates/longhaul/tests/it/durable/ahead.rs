//! Sessions are copied for a new binary while they go on: what happens behind the copy is not lost.

use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};

use longhaul_client::{Event, Message, Session, connect};
use serde_json::json;
use tokio::runtime::Runtime;

use super::legs::told_and_text;
use super::{echo_unnoticed, next, options, runtime};
use crate::redial::{self, LOST};
use crate::succession::Upgradable;
use crate::succession::ahead::while_copies_are_under_way;
use crate::support::apps::App;
use crate::support::cutter::Cutter;
use crate::support::{e2e, frames, s};

/// More than fit into the socket between the two processes, so that the old one waits among them.
const CLIENTS: usize = 200;

fn start(replica: SocketAddr) -> Upgradable {
    Upgradable::start(&format!(
        "[timeouts]\nupgrade_step = \"1m\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{replica}\"]\n\
         [websocket]\non_replica_loss = \"redial\"\n"
    ))
}

fn open(runtime: &Runtime, address: SocketAddr, count: usize) -> Vec<Session> {
    runtime.block_on(async {
        let mut sessions: Vec<_> = (0..count).map(|_| connect(options(address))).collect();
        all_echo(&mut sessions).await;
        sessions
    })
}

async fn all_echo(sessions: &mut [Session]) {
    for (at, session) in sessions.iter_mut().enumerate() {
        echo_unnoticed(session, &at.to_string()).await;
    }
}

#[test]
fn a_session_that_talks_or_has_another_link_behind_its_copy_goes_over_as_it_is_then() {
    let app = App::start("echo_ws.mjs", "one");
    let upgradable = start(app.address);
    let (runtime, address) = (runtime(), upgradable.gateway.address());
    let mut sessions = open(&runtime, address, CLIENTS);
    // The last one to come is copied first.
    let cutter = runtime.block_on(Cutter::before(address, (s(600), s(601)), 1));
    let mut cut = open(&runtime, cutter.address, 1).remove(0);
    let moved = while_copies_are_under_way(&upgradable, CLIENTS + 1, || {
        runtime.block_on(async {
            cutter.bar(true);
            while next(&mut cut).await != Event::Interrupted {}
            cutter.bar(false);
            while next(&mut cut).await != Event::Resumed {}
            echo_unnoticed(&mut cut, "over another link").await;
            let last = sessions.last_mut().expect("there are some");
            echo_unnoticed(last, "behind its copy").await;
        });
    });
    sessions.push(cut);
    runtime.block_on(all_echo(&mut sessions));
    assert!(moved["changed"].as_u64() >= Some(1), "{moved}");
    assert!((1..=CLIENTS as u64 / 2).contains(&moved["whole"].as_u64().unwrap()), "{moved}");
    upgradable.wait_settled(1);
    runtime.block_on(all_echo(&mut sessions));
}

/// It has another leg then, and goes over with that; its client is told of it once.
#[test]
fn a_session_whose_replica_dies_behind_its_copy_goes_over_with_another() {
    let (cut, is_cut) = mpsc::channel::<()>();
    let is_cut = Mutex::new(is_cut);
    let replica = redial::replica(move |leg, mut raw| {
        // That of the session which comes last.
        if leg != CLIENTS {
            return redial::echo(raw);
        }
        let hello = frames::read(&mut raw).expect("it says something");
        raw.send(frames::encode(0x80 | hello.opcode, None, &hello.payload));
        let _ = is_cut.lock().unwrap().recv();
    });
    let upgradable = start(replica.address);
    let (runtime, address) = (runtime(), upgradable.gateway.address());
    let mut sessions = open(&runtime, address, CLIENTS - 1);
    let mut bereft = open(&runtime, address, 1).remove(0);
    let moved = while_copies_are_under_way(&upgradable, CLIENTS, || {
        cut.send(()).unwrap();
        redial::wait_for(&upgradable.gateway, LOST, 1);
        runtime.block_on(async {
            bereft.send(Message::Text("behind its copy".to_owned())).await.unwrap();
            let (told, text) = told_and_text(&mut bereft).await;
            assert_eq!(told, json!({ "leg": 2, "reason": "crash" }));
            assert_eq!(text, "behind its copy");
        });
    });
    sessions.push(bereft);
    runtime.block_on(all_echo(&mut sessions));
    assert!((1..=CLIENTS as u64 / 2).contains(&moved["whole"].as_u64().unwrap()), "{moved}");
    upgradable.wait_settled(1);
    runtime.block_on(all_echo(&mut sessions));
    assert_eq!(upgradable.logged(LOST), 1, "nobody else lost a replica");
}

#[test]
fn no_session_notices_a_binary_that_ends_with_copies_in_its_hands() {
    let app = App::start("echo_ws.mjs", "one");
    let upgradable = start(app.address);
    let (runtime, address) = (runtime(), upgradable.gateway.address());
    let mut sessions = open(&runtime, address, 3);
    let heir = e2e().join("apps/failing_heir.py").canonicalize().unwrap().display().to_string();
    for word in ["ahead", "still", "fitted"] {
        let program = upgradable.program(word, &format!("exec python3 {heir} {word}"));
        let (is_done, said) = upgradable.ask(&["upgrade", "--binary", &program]);
        assert!(!is_done && said.contains("it has ended"), "{word}: {said}");
        runtime.block_on(all_echo(&mut sessions));
    }
    // The real one takes everything but the last word.
    let (is_done, said) = upgradable.ask(&["upgrade", "--dry-run"]);
    assert!(is_done, "{said}");
    runtime.block_on(all_echo(&mut sessions));
    let said = upgradable.upgrade(0);
    assert!(said.contains("3 connections moved"), "{said}");
    runtime.block_on(all_echo(&mut sessions));
    assert_eq!(upgradable.logged("session opened"), 3);
    assert_eq!(upgradable.logged("session closed"), 0);
}

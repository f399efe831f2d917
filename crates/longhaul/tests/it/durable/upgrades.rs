//! Another binary takes the place of the running one: sessions go over with all they hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use longhaul_client::{Event, Message, connect};

use super::{next, options, runtime, text};
use crate::succession::Upgradable;
use crate::support::apps::App;
use crate::support::cutter::Cutter;
use crate::support::process::{Process, Signal};
use crate::support::tls::Authority;
use crate::support::{clients, s, wait_until};

fn upstream(replica: SocketAddr) -> String {
    format!("[[upstreams]]\nname = \"app\"\nreplicas = [\"{replica}\"]\n")
}

/// Sends numbers until told to stop and expects each back once and in order. Says how often it lost
/// its link.
async fn talk(address: SocketAddr, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) -> usize {
    let mut session = connect(options(address));
    let (mut number, mut lost) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        // Several under way at once, so that some are always between two sockets.
        for ahead in number..number + 8 {
            session.send(Message::Text(ahead.to_string())).await.unwrap();
        }
        let until = number + 8;
        while number < until {
            match next(&mut session).await {
                Event::Message(Message::Text(text)) => {
                    assert_eq!(text, number.to_string());
                    number += 1;
                }
                Event::Interrupted => lost += 1,
                Event::Opened { .. } | Event::Resumed => {}
                other => panic!("{other:?}"),
            }
        }
        count.fetch_add(8, Ordering::Relaxed);
    }
    lost
}

/// The clients of both languages talk through five upgrades.
#[test]
fn sessions_talk_through_five_upgrades_and_no_link_is_lost() {
    const CLIENTS: usize = 6;
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::start(&upstream(echo.address));
    let address = upgradable.gateway.address();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut node = clients::start("durable_upgrade.mjs", &[&format!("ws://{address}")]);
    node.line("ready", s(90), |line| (line == "ready").then_some(()));
    let runtime = runtime();
    let talkers: Vec<_> =
        (0..CLIENTS).map(|_| runtime.spawn(talk(address, stop.clone(), count.clone()))).collect();
    wait_until("they talk", s(60), || count.load(Ordering::Relaxed) > 100);
    for upgrades in 0..5 {
        let said = upgradable.upgrade(upgrades);
        assert!(said.contains(&format!("{} connections moved", CLIENTS + 4)), "{said}");
        let seen = count.load(Ordering::Relaxed);
        wait_until("they talk on", s(60), || count.load(Ordering::Relaxed) > seen + 100);
    }
    stop.store(true, Ordering::Relaxed);
    for talker in talkers {
        assert_eq!(runtime.block_on(talker).expect("each once and in order"), 0);
    }
    assert!(ends_well(&mut node).ends_with(" 0 resumed"));
    assert_eq!(upgradable.logged("session opened"), CLIENTS + 4);
}

/// Has the client in Node come to its end. What it counted.
#[track_caller]
fn ends_well(node: &mut Process) -> String {
    node.signal(Signal::TERM);
    let counted = node.line("what it counted", s(90), |line| {
        line.contains(" messages, ").then(|| line.to_owned())
    });
    assert!(node.end(s(30)).success());
    counted
}

#[test]
fn a_client_that_was_away_comes_back_to_the_new_binary() {
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::start(&upstream(echo.address));
    runtime().block_on(async {
        let address = upgradable.gateway.address();
        let cutter = Cutter::before(address, (s(600), s(601)), 1).await;
        let mut session = connect(options(cutter.address));
        session.send(Message::Text("before".into())).await.unwrap();
        assert_eq!(text(&mut session).await, "before");
        cutter.bar(true);
        while next(&mut session).await != Event::Interrupted {}
        session.send(Message::Text("while away".into())).await.unwrap();
        tokio::task::block_in_place(|| {
            wait_until("the gateway knows", s(60), || {
                upgradable.request("GET", "/api/v1/sessions").contains("\"detached\":1")
            });
            upgradable.upgrade(0);
        });
        cutter.bar(false);
        assert_eq!(text(&mut session).await, "while away");
        session.send(Message::Text("back".into())).await.unwrap();
        assert_eq!(text(&mut session).await, "back");
    });
    assert_eq!(upgradable.logged("session opened"), 1);
}

/// TLS that ends at the gateway cannot move. The client is told to come to the new process, and its
/// session is there already.
#[test]
fn sessions_behind_tls_go_over_and_their_clients_follow() {
    let authority = Authority::new("tests");
    let files = authority.issue("site", &["localhost"]);
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::start(&format!(
        "[tls]\nmode = \"off\"\n[[certificates]]\n{}\
         [[listeners]]\nname = \"safe\"\naddress = \"127.0.0.1:0\"\n[listeners.tls]\nmode = \"on\"\n{}",
        files.toml(),
        upstream(echo.address)
    ));
    let url = format!("wss://{}", upgradable.gateway.listeners[1]);
    let mut node = clients::start("durable_upgrade.mjs", &[&url]);
    node.line("ready", s(90), |line| (line == "ready").then_some(()));
    let said = upgradable.upgrade(0);
    assert!(said.contains("4 connections moved"), "{said}");
    let counted = ends_well(&mut node);
    assert!(!counted.ends_with(" 0 resumed"), "{counted}");
    assert_eq!(upgradable.logged("session opened"), 4);
}

//! WebSockets whose lost replicas are replaced go over with everything that takes: before, while and
//! after a replica is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{Upgradable, talk};
use crate::redial::LOST;
use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::raw::Raw;
use crate::support::{clients, e2e, frames, s, wait_until};

fn redialling(replicas: &[SocketAddr]) -> Upgradable {
    let replicas: Vec<String> = replicas.iter().map(SocketAddr::to_string).collect();
    Upgradable::start(&format!(
        "[[upstreams]]\nname = \"app\"\nreplicas = {replicas:?}\n\
         [websocket]\non_replica_loss = \"redial\"\n"
    ))
}

/// The next text; pings come between.
#[track_caller]
fn text(client: &mut Raw) -> String {
    loop {
        let frame = frames::read(client).expect("a frame comes");
        match frame.opcode {
            frames::PING | frames::PONG => {}
            frames::TEXT => return String::from_utf8(frame.payload).expect("it is text"),
            _ => panic!("{frame:?}"),
        }
    }
}

#[test]
fn they_talk_through_upgrades_and_outlast_their_replica_under_the_new_binary() {
    const CLIENTS: usize = 8;
    let mut replicas = [App::start("echo_ws.mjs", "one"), App::start("echo_ws.mjs", "two")];
    let upgradable = redialling(&replicas.each_ref().map(|app| app.address));
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let talkers: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = frames::open(upgradable.address(), "/echo");
            let (stop, count) = (stop.clone(), count.clone());
            thread::spawn(move || talk(client, &stop, &count))
        })
        .collect();
    let mut idle = frames::open(upgradable.address(), "/replica");
    let first = text(&mut idle);
    for upgrades in 0..2 {
        let said = upgradable.upgrade(upgrades);
        assert!(said.contains(&format!("{} connections moved", CLIENTS + 1)), "{said}");
        let seen = count.load(Ordering::Relaxed);
        wait_until("they talk on", s(60), || count.load(Ordering::Relaxed) > seen + 100);
    }
    stop.store(true, Ordering::Relaxed);
    for talker in talkers {
        talker.join().expect("every number came back once, in order");
    }
    replicas[usize::from(first == "two")].process.kill();
    assert_ne!(text(&mut idle), first, "the other replica says its name");
    frames::echo(&mut idle, "after");
}

#[test]
fn a_replica_that_is_being_looked_for_is_looked_for_by_the_new_binary() {
    let mut replica = App::start("echo_ws.mjs", "one");
    let upgradable = redialling(&[replica.address]);
    let mut clients: Vec<Raw> =
        (0..5).map(|_| frames::open(upgradable.address(), "/echo")).collect();
    clients.iter_mut().for_each(|client| frames::echo(client, "before"));
    replica.process.kill();
    wait_until("all have lost it", s(60), || upgradable.logged(LOST) == clients.len());
    let say = |client: &mut Raw, text: String| {
        client.send(frames::from_client(frames::TEXT, text.as_bytes()));
    };
    for client in &mut clients {
        (0..3).for_each(|number| say(client, format!("meanwhile {number}")));
        // It has read what came before, and nobody else has.
        client.send(frames::from_client(frames::PING, b"here?"));
    }
    let said = upgradable.upgrade(0);
    assert!(said.contains("5 connections moved"), "{said}");
    clients.iter_mut().for_each(|client| say(client, "under the new one".to_owned()));
    let _again = App::start_on("echo_ws.mjs", "again", replica.address.port());
    for client in &mut clients {
        for number in 0..3 {
            assert_eq!(text(client), format!("meanwhile {number}"));
        }
        assert_eq!(text(client), "under the new one");
        frames::echo(client, "after");
    }
}

/// What a protocol's opening was is known to the new binary: it says it again to the next replica.
#[test]
fn protocols_with_an_opening_of_their_own_go_over_with_it() {
    let mut socketio = App::start("socketio_node.mjs", "one");
    let mut graphql = App::start("graphql.mjs", "one");
    let upgradable = Upgradable::start(&format!(
        "[[upstreams]]\nname = \"socketio\"\nreplicas = [\"{}\"]\n\
         [[upstreams]]\nname = \"graphql\"\nreplicas = [\"{}\"]\n\
         [[routes]]\npath = \"/graphql\"\nupstream = \"graphql\"\n\
         [[routes]]\npath = \"/\"\nupstream = \"socketio\"\n\
         [websocket]\non_replica_loss = \"redial\"\n",
        socketio.address, graphql.address
    ));
    let http = upgradable.gateway.http();
    // Four connections, two and one.
    let mut clients = [
        clients::start("socketio_redial.mjs", &[&http, "1"]),
        clients::start("socketio_redial.py", &[&http]),
        clients::start("graphql_redial.mjs", &[&upgradable.address().to_string()]),
    ];
    for client in &mut clients {
        client.line("ready", s(90), |line| (line == "ready").then_some(()));
    }
    let said = upgradable.upgrade(0);
    assert!(said.contains("7 connections moved"), "{said}");
    for (app, replica) in [("socketio_node.mjs", &mut socketio), ("graphql.mjs", &mut graphql)] {
        replica.process.kill();
        *replica = App::start_on(app, "two", replica.address.port());
    }
    clients.iter_mut().for_each(is_done);
}

fn is_done(client: &mut Process) {
    client.line("done", s(90), |line| {
        assert!(!line.starts_with("failed"), "{line}");
        (line == "done").then_some(())
    });
    assert!(client.end(s(20)).success());
}

#[test]
fn the_app_of_one_container_crashes_after_an_upgrade_and_its_websockets_stay() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin").display().to_string();
    let app = e2e().join("apps/echo_ws.mjs").display().to_string();
    let gateway = Gateway::as_parent(
        |command| {
            command.env("LONGHAUL_ADMIN", format!("unix:{socket}"));
            command.env("LONGHAUL_ON_REPLICA_LOSS", "redial");
        },
        &["node", &app],
    );
    gateway.wait_ready();
    let upgradable = Upgradable { gateway, directory };
    let app = || upgradable.children().trim().to_owned();
    let before = app();
    let mut client = frames::open(upgradable.address(), "/echo");
    client.patience(s(90));
    let (is_done, said) = upgradable.ask(&["upgrade"]);
    assert!(is_done && said.contains("1 connections moved"), "{said}");
    wait_until("both hops are done", s(90), || {
        upgradable.logged("took over from the process before") >= 2 && app() == before
    });
    let id: i32 = before.parse().expect("one process");
    let id = rustix::process::Pid::from_raw(id).expect("an id");
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    wait_until("it is started anew", s(90), || !app().is_empty() && app() != before);
    client.send(frames::from_client(frames::TEXT, b"meanwhile"));
    assert_eq!(text(&mut client), "meanwhile");
}

//! Protocols with an opening of their own, whose replicas go while their clients stay: Socket.IO and
//! GraphQL, real servers and real clients.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::{clients, s};

/// A gateway that re-dials before these replicas.
fn gateway(replicas: &[SocketAddr]) -> Gateway {
    let replicas: Vec<String> = replicas.iter().map(SocketAddr::to_string).collect();
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"app\"\nreplicas = {replicas:?}\n\
         [websocket]\non_replica_loss = \"redial\"\n"
    ))
}

/// One of the clients, from when it is ready.
fn client(file: &str, arguments: &[&str]) -> Process {
    let mut client = clients::start(file, arguments);
    client.line("ready", s(90), |line| (line == "ready").then_some(()));
    client
}

/// The only replica is killed, stays away for a while, and comes back as another.
#[track_caller]
fn changes_under(app: &str, mut affected: Vec<Process>, replica: &mut App, away: Duration) {
    replica.process.kill();
    // Time that really has to pass for the clients.
    std::thread::sleep(away);
    *replica = App::start_on(app, "two", replica.address.port());
    for client in &mut affected {
        client.line("done", s(90), |line| {
            assert!(!line.starts_with("failed"), "{line}");
            (line == "done").then_some(())
        });
        assert!(client.end(s(20)).success());
    }
}

/// Longer than the clients would wait for a ping: they get one, though no replica is there.
#[test]
fn socketio_clients_are_pinged_while_no_replica_is() {
    let mut replica = App::start_with("socketio_node.mjs", &[("PING_MS", "300")]);
    let gateway = gateway(&[replica.address]);
    let clients = vec![client("socketio_redial.mjs", &[&gateway.http(), "1"])];
    changes_under("socketio_node.mjs", clients, &mut replica, s(4));
}

#[test]
fn graphql_subscriptions_go_on_at_another_server() {
    let mut replica = App::start("graphql.mjs", "one");
    let gateway = gateway(&[replica.address]);
    let clients = vec![client("graphql_redial.mjs", &[&gateway.address().to_string()])];
    changes_under("graphql.mjs", clients, &mut replica, s(0));
}

#[test]
fn socketio_clients_keep_their_connection_when_a_node_server_is_killed() {
    let mut replica = App::start("socketio_node.mjs", "one");
    let gateway = gateway(&[replica.address]);
    let clients = vec![
        client("socketio_redial.mjs", &[&gateway.http(), "1"]),
        client("socketio_redial.py", &[&gateway.http()]),
    ];
    changes_under("socketio_node.mjs", clients, &mut replica, s(0));
}

#[test]
fn socketio_clients_keep_their_connection_when_a_python_server_is_killed() {
    let mut replica = App::start("socketio_python.py", "one");
    let gateway = gateway(&[replica.address]);
    let clients = vec![
        client("socketio_redial.mjs", &[&gateway.http(), "1"]),
        client("socketio_redial.py", &[&gateway.http()]),
    ];
    changes_under("socketio_python.py", clients, &mut replica, s(0));
}

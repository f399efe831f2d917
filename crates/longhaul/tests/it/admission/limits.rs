//! How many may come, how many may stay, and how much each may send.

use std::collections::BTreeSet;

use crate::support::apps::App;
use crate::support::frames::{self, try_open};
use crate::support::gateway::Gateway;
use crate::support::raw::{Raw, Response};
use crate::support::{s, wait_until};

fn gateway(app: &App, more: &str) -> Gateway {
    Gateway::with_config(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = \"loopback\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n{more}\n",
        app.address
    ))
}

#[track_caller]
fn open(gateway: &Gateway, client: &str) -> (Raw, Response) {
    let fields = format!("X-Forwarded-For: {client}\r\n");
    try_open(gateway.address(), "/echo", &fields).expect("it is answered")
}

#[track_caller]
fn refused(answer: &Response, cause: &str) -> u64 {
    assert_eq!((answer.status, answer.header("longhaul-cause")), (429, Some(cause)));
    answer.header("retry-after").and_then(|text| text.parse().ok()).expect("it says when")
}

#[test]
fn one_client_too_often_is_sent_away_and_others_are_not() {
    let app = App::start("echo_ws.mjs", "one");
    let limits = "[limits]\nclient_upgrades_per_second = 1\nclient_upgrades_burst = 3";
    let gateway = gateway(&app, limits);
    let answers: Vec<Response> =
        (0..8).map(|last| open(&gateway, &format!("2001:db8::{last}")).1).collect();
    let let_in = answers.iter().filter(|answer| answer.status == 101).count();
    // One more for each second that this took.
    assert!((3..6).contains(&let_in), "{let_in}");
    assert!((1..=60).contains(&refused(&answers[7], "too_fast")));
    assert_eq!(open(&gateway, "2001:db8:0:1::").1.status, 101, "another network");
    assert_eq!(open(&gateway, "192.0.2.1").1.status, 101);
}

#[test]
fn who_leaves_makes_room_for_the_next() {
    let app = App::start("echo_ws.mjs", "one");
    let limits = "[[routes]]\nupstream = \"app\"\n[routes.limits]\nwebsockets_max = 3\n\
                  [limits]\nwebsockets_max = 100\nclient_websockets_max = 2";
    let gateway = gateway(&app, limits);
    let (first, second) = (open(&gateway, "192.0.2.1"), open(&gateway, "192.0.2.1"));
    assert_eq!((first.1.status, second.1.status), (101, 101));
    assert!(refused(&open(&gateway, "192.0.2.1").1, "too_many") >= 5);
    let third = open(&gateway, "192.0.2.2");
    assert_eq!(third.1.status, 101);
    refused(&open(&gateway, "192.0.2.3").1, "too_many");
    drop(first);
    wait_until("there is room again", s(30), || open(&gateway, "192.0.2.1").1.status == 101);
    drop((second, third));
}

/// Everybody comes back in one moment, as after the restart of a gateway.
#[test]
fn a_storm_is_let_in_at_the_rate_and_spread_beyond_it() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = gateway(&app, "[limits]\nupgrades_per_second = 20\nupgrades_burst = 20");
    let clients: Vec<Raw> = (0..200)
        .map(|_| {
            let mut client = Raw::connect(gateway.address());
            client.send(frames::handshake("/echo", ""));
            client
        })
        .collect();
    let mut moments = BTreeSet::new();
    let mut refused_count = 0;
    for mut client in clients {
        let answer = client.response();
        if answer.status != 101 {
            moments.insert(refused(&answer, "too_fast"));
            refused_count += 1;
        }
    }
    assert!(refused_count >= 50, "{refused_count} of 200 were sent away");
    assert!(moments.len() >= 3 && moments.iter().all(|at| *at <= 60), "{moments:?}");
}

#[test]
fn a_page_can_read_why_where_refusals_are_closes() {
    let app = App::start("echo_ws.mjs", "one");
    let limits = "[limits]\nclient_websockets_max = 1\n[admission]\nrefusal = \"close\"";
    let gateway = gateway(&app, limits);
    let (_first, answer) = open(&gateway, "192.0.2.1");
    assert_eq!(answer.header("longhaul-cause"), None);
    let fields = "X-Forwarded-For: 192.0.2.1\r\nSec-WebSocket-Protocol: chat.v2, b\r\n";
    let (mut second, answer) = try_open(gateway.address(), "/echo", fields).unwrap();
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert_eq!(answer.header("sec-websocket-accept"), Some(frames::ACCEPT));
    assert_eq!(answer.header("sec-websocket-protocol"), Some("chat.v2"));
    let frame = frames::read(&mut second).unwrap();
    assert_eq!(frame.close_code(), 1008);
    let reason = String::from_utf8_lossy(&frame.payload[2..]).into_owned();
    assert!(reason.starts_with("too_many; retry_after="), "{reason}");
    second.send(frames::close_from_client(1008, ""));
    second.assert_closed();
    // A page elsewhere learns nothing that way.
    let foreign = "Origin: https://evil.example\r\n";
    assert_eq!(try_open(gateway.address(), "/echo", foreign).unwrap().1.status, 403);
}

#[test]
fn too_large_and_too_many_messages_end_their_websocket_alone() {
    let app = App::start("echo_ws.mjs", "one");
    let bounds = "[websocket]\nmessage_bytes_max = \"1KiB\"\nmessages_per_second = 10";
    let gateway = gateway(&app, bounds);
    let mut neighbour = frames::open(gateway.address(), "/echo");
    let mut large = frames::open(gateway.address(), "/echo");
    large.send(frames::from_client(frames::BINARY, &[7; 1024]));
    assert_eq!(frames::read(&mut large).unwrap().payload.len(), 1024);
    large.send(frames::from_client(frames::BINARY, &[7; 1025]));
    assert_eq!(frames::close_code(&mut large).unwrap(), 1009);
    let mut fast = frames::open(gateway.address(), "/echo");
    for _ in 0..40 {
        fast.send_anyway(frames::from_client(frames::TEXT, b"again"));
    }
    assert_eq!(frames::close_code(&mut fast).unwrap(), 1008);
    frames::echo(&mut neighbour, "still here");
    for cause in ["message_too_large", "message_rate"] {
        wait_until(cause, s(30), || {
            gateway.process.lines().iter().any(|line| line.contains(cause))
        });
    }
}

//! Replicas that die, hang, refuse and lie; and who gets the next WebSocket.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};

use crate::support::apps::{App, free_address};
use crate::support::gateway::Gateway;
use crate::support::process::Signal;
use crate::support::raw::{self, Raw, Response};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{frames, s, wait_until};

/// A gateway before these replicas, with more lines for the upstream.
fn gateway(replicas: &[SocketAddr], upstream: &str) -> Gateway {
    let replicas: Vec<String> = replicas.iter().map(SocketAddr::to_string).collect();
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"app\"\nreplicas = {replicas:?}\n{upstream}"
    ))
}

const QUICK_DEADLINES: &str =
    "connect_deadline = \"2s\"\nupgrade_answer = \"2s\"\nresponse_head = \"2s\"\n";
const QUICK_PROBES: &str = "probe = { kind = \"http\", path = \"/\", interval = \"200ms\", timeout = \"400ms\" }\n\
                            health = { fall = 2, rise = 1 }\n";

/// What a plain request and an upgrade get, each with how long it took.
fn ask(gateway: &Gateway) -> [(Response, Duration); 2] {
    let started = Instant::now();
    let plain = raw::get(gateway.address(), "/");
    let plain_took = started.elapsed();
    let started = Instant::now();
    let (_, upgrade) = frames::try_open(gateway.address(), "/", "").expect("an answer");
    [(plain, plain_took), (upgrade, started.elapsed())]
}

#[track_caller]
fn both_get(gateway: &Gateway, status: u16, cause: &str, within: Duration) {
    for (response, took) in ask(gateway) {
        assert_eq!(
            (response.status, response.header("longhaul-cause")),
            (status, Some(cause)),
            "{}",
            response.head
        );
        assert!(took < within, "{cause} after {took:?}");
    }
}

#[test]
fn a_refusing_replica_is_502_at_once() {
    let gateway = gateway(&[free_address()], "");
    both_get(&gateway, 502, "replica_unreachable", s(1));
}

#[test]
fn a_hung_replica_is_504_within_the_deadline() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = gateway(&[app.address], QUICK_DEADLINES);
    app.process.signal(Signal::STOP);
    let [(plain, took), (upgrade, upgrade_took)] = ask(&gateway);
    assert_eq!((plain.status, plain.header("longhaul-cause")), (504, Some("answer_timeout")));
    assert_eq!(upgrade.status, 504, "{}", upgrade.head);
    for took in [took, upgrade_took] {
        assert!(took > Duration::from_millis(1500) && took < s(4), "504 after {took:?}");
    }
}

#[test]
fn a_replica_that_accepts_nothing_is_504_within_the_deadline() {
    let full = Full::start();
    let gateway = gateway(&[full.address], QUICK_DEADLINES);
    both_get(&gateway, 504, "connect_timeout", s(4));
}

#[test]
fn garbage_for_an_answer_is_502() {
    let recorder = Recorder::start(|_| Answer::Last("SSH-2.0-OpenSSH_9.2\r\n\r\n".into()));
    both_get(&gateway(&[recorder.address], ""), 502, "answer_garbled", s(1));
}

#[test]
fn no_answer_at_all_is_502() {
    let recorder = Recorder::start(|_| Answer::Last(Vec::new()));
    both_get(&gateway(&[recorder.address], ""), 502, "answer_missing", s(1));
}

#[test]
fn a_wrong_accept_is_502() {
    let wrong = frames::accepted().replace(frames::ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let recorder = Recorder::start(move |_| Answer::Last(wrong.clone().into()));
    let gateway = gateway(&[recorder.address], "");
    let (_, response) = frames::try_open(gateway.address(), "/", "").unwrap();
    assert_eq!(
        (response.status, response.header("longhaul-cause")),
        (502, Some("handshake_invalid"))
    );
}

#[test]
fn another_replica_is_tried_as_long_as_nothing_was_sent() {
    let good = App::start("echo_ws.mjs", "good");
    let full = Full::start();
    let replicas = [free_address(), full.address, good.address];
    let more = "connect_attempt = \"500ms\"\nbalance = \"round_robin\"\n";
    let gateway = gateway(&replicas, more);
    for _ in 0..6 {
        for (response, took) in ask(&gateway) {
            assert!(matches!(response.status, 101 | 200), "{}\n{}", response.head, response.text());
            assert!(took < s(3), "after {took:?}");
        }
    }
}

#[test]
fn a_request_that_was_sent_is_not_sent_again() {
    // Both take the request and leave without an answer: trying the other would do it twice.
    let replicas = [(); 2].map(|()| Recorder::start(|_| Answer::Last(Vec::new())));
    let gateway = gateway(&replicas.each_ref().map(|replica| replica.address), "");
    let mut client = Raw::connect(gateway.address());
    client.send("POST /pay HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n42");
    assert_eq!(client.response().status, 502);
    assert_eq!(replicas.iter().map(|replica| replica.seen().len()).sum::<usize>(), 1);
}

#[test]
fn websockets_of_a_killed_replica_end_at_once_with_1012() {
    let mut dying = App::start("echo_ws.mjs", "dying");
    let gateway = gateway(&[dying.address], "");
    let mut clients: Vec<Raw> = (0..20).map(|_| frames::open(gateway.address(), "/echo")).collect();
    clients.iter_mut().for_each(|client| frames::echo(client, "alive"));
    let killed = Instant::now();
    dying.process.kill();
    for client in &mut clients {
        assert_eq!(frames::close_code(client).unwrap(), 1012);
    }
    assert!(killed.elapsed() < s(1), "the last was told after {:?}", killed.elapsed());
}

#[test]
fn websockets_of_a_hung_replica_end_when_its_probes_fail_and_others_take_over() {
    let replicas = [App::start("echo_ws.mjs", "one"), App::start("echo_ws.mjs", "two")];
    let gateway = gateway(&replicas.each_ref().map(|app| app.address), QUICK_PROBES);
    let mut open: Vec<(String, Raw)> = (0..10).map(|_| opened(&gateway)).collect();
    replicas[0].process.signal(Signal::STOP);
    let hung = Instant::now();
    for (_, client) in open.iter_mut().filter(|(replica, _)| replica == "one") {
        assert_eq!(frames::close_code(client).unwrap(), 1012);
    }
    assert!(hung.elapsed() < s(5), "told after {:?}", hung.elapsed());
    for (_, client) in open.iter_mut().filter(|(replica, _)| replica == "two") {
        frames::echo(client, "undisturbed");
    }
    for _ in 0..4 {
        assert_eq!(opened(&gateway).0, "two");
    }
    // It wakes up, its probes pass, and it gets work again.
    replicas[0].process.signal(Signal::CONT);
    wait_until("the replica is used again", s(10), || opened(&gateway).0 == "one");
}

#[test]
fn the_last_replicas_are_tried_even_when_all_have_failed() {
    let addresses = [free_address(), free_address()];
    // An ejection that would outlast the story, were it to take everything away.
    let more = "health = { eject_after = 1, eject = \"60s\", eject_max = \"60s\" }\n";
    let gateway = gateway(&addresses, more);
    for _ in 0..5 {
        assert_eq!(raw::get(gateway.address(), "/").status, 502);
    }
    let _back = App::start_on("echo_ws.mjs", "back", addresses[1].port());
    wait_until("the replica that came back is found", s(5), || {
        raw::get(gateway.address(), "/").text() == "back"
    });
}

/// Opens a WebSocket that is told its replica.
#[track_caller]
fn opened(gateway: &Gateway) -> (String, Raw) {
    let mut client = frames::open(gateway.address(), "/replica");
    let replica = frames::read(&mut client).expect("the replica says its name").payload;
    (String::from_utf8(replica).unwrap(), client)
}

#[test]
fn least_connections_counts_websockets_that_are_open() {
    let replicas = [App::start("echo_ws.mjs", "one"), App::start("echo_ws.mjs", "two")];
    let gateway = gateway(&replicas.each_ref().map(|app| app.address), "");
    let mut open: Vec<(String, Raw)> = (0..10).map(|_| opened(&gateway)).collect();
    let count = |open: &[(String, Raw)], name: &str| open.iter().filter(|o| o.0 == name).count();
    assert_eq!((count(&open, "one"), count(&open, "two")), (5, 5));
    // Plain requests leave no trace; closed WebSockets are forgotten.
    for _ in 0..9 {
        assert_eq!(raw::get(gateway.address(), "/").status, 200);
    }
    open.retain_mut(|(name, client)| {
        if name == "two" {
            client.send(frames::close_from_client(1000, ""));
            assert_eq!(frames::close_code(client).unwrap(), 1000);
            client.finish();
            client.read_to_end();
        }
        name == "one"
    });
    let next: Vec<(String, Raw)> = (0..5).map(|_| opened(&gateway)).collect();
    assert_eq!(count(&next, "two"), 5, "five were owed to the replica that had none");
}

#[test]
fn weights_share_the_work() {
    let replicas = [App::start("echo_ws.mjs", "one"), App::start("echo_ws.mjs", "three")];
    let gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[upstreams]]\nname = \"app\"\n\
         replicas = [{{ address = \"{}\", weight = 1 }}, {{ address = \"{}\", weight = 3 }}]\n",
        replicas[0].address, replicas[1].address
    ));
    let open: Vec<(String, Raw)> = (0..16).map(|_| opened(&gateway)).collect();
    assert_eq!(open.iter().filter(|(name, _)| name == "three").count(), 12);
}

#[test]
fn each_kind_of_affinity_brings_a_client_back() {
    let names = ["a", "b", "c"];
    let replicas = names.map(|name| Recorder::start(move |_| Answer::text(name)));
    let addresses = replicas.each_ref().map(|replica| replica.address);
    for (affinity, target, fields) in [
        ("affinity = \"header:X-User\"", "/", "X-User: {}\r\n"),
        ("affinity = \"query:user\"", "/?user={}", ""),
        (
            "balance = \"consistent_hash\"\nhash_on = \"cookie:sid\"",
            "/",
            "Cookie: other=1; sid={}\r\n",
        ),
    ] {
        let gateway = gateway(&addresses, affinity);
        let mut homes: BTreeMap<String, usize> = BTreeMap::new();
        for user in 0..30 {
            let user = format!("user-{user}");
            let ask = || {
                let (target, fields) = (target.replace("{}", &user), fields.replace("{}", &user));
                raw::request(gateway.address(), &target, &fields).text()
            };
            let home = ask();
            assert!((0..4).all(|_| ask() == home), "{affinity}: {user} moved");
            *homes.entry(home).or_default() += 1;
        }
        assert_eq!(homes.len(), 3, "{affinity} used only {homes:?}");
    }
}

#[test]
fn the_affinity_cookie_brings_back_and_cannot_be_forged() {
    let names = ["a", "b", "c"];
    let replicas = names.map(|name| Recorder::start(move |_| Answer::text(name)));
    let addresses = replicas.each_ref().map(|replica| replica.address);
    let more = "affinity = \"cookie\"\nbalance = \"round_robin\"\n";
    let gateway = gateway(&addresses, more);
    let first = raw::get(gateway.address(), "/");
    let cookie = first.header("set-cookie").expect("a cookie is set").to_owned();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap();
    for address in addresses {
        assert!(!pair.contains(&address.port().to_string()), "{pair} names an address");
    }
    let with = |pair: &str| raw::request(gateway.address(), "/", &format!("Cookie: {pair}\r\n"));
    for _ in 0..6 {
        assert_eq!(with(pair).text(), first.text());
    }
    // A forged one is worth as much as none: round robin goes on, and a new one is given.
    let forged = format!("{}x", &pair[..pair.len() - 1]);
    let met: std::collections::BTreeSet<String> = (0..6).map(|_| with(&forged).text()).collect();
    assert_eq!(met.len(), 3, "a forged cookie was believed");
    assert!(with(&forged).header("set-cookie").is_some());
}

/// A listener whose accept queue is full: connects are neither taken nor refused.
struct Full {
    address: SocketAddr,
    _listener: OwnedFd,
    _waiting: Vec<TcpStream>,
}

impl Full {
    fn start() -> Self {
        let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = rustix::net::getsockname(&listener).unwrap();
        let address = SocketAddr::try_from(address).unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
        let waiting = std::iter::from_fn(|| connect().ok()).collect();
        Self { address, _listener: listener, _waiting: waiting }
    }
}

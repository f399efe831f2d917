//! Replicas that leave in good order because of what others say of them: their probes, a name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::logs::lines;
use crate::redial::{LOST, accept, echo, held};
use crate::support::admin::{Admin, TOKEN};
use crate::support::apps::free_address;
use crate::support::dns::Dns;
use crate::support::gateway::Gateway;
use crate::support::raw::Raw;
use crate::support::recorder::{Answer, Recorder};
use crate::support::{frames, s, wait_until};

/// Sends back whatever comes, and says at `/ready` whether it is.
fn replica(address: SocketAddr, is_ready: &Arc<AtomicBool>) -> Recorder {
    let is_ready = is_ready.clone();
    Recorder::start_at(address, move |seen| {
        if seen.line().starts_with("GET /ready ") {
            let status = if is_ready.load(Ordering::Relaxed) { "200 OK" } else { "503 Later" };
            return Answer::Bytes(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into());
        }
        let key = seen.headers("sec-websocket-key").first().map(|key| accept(key));
        Answer::Take(Box::new(move |mut raw| {
            raw.send(frames::accepted().replace(frames::ACCEPT, &key.unwrap_or_default()));
            echo(raw);
        }))
    })
}

fn gateway(server: &str, upstream: &str, websocket: &str) -> (Gateway, Admin) {
    let mut gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\nadmin_token = \"{TOKEN}\"\n\
         {server}[[upstreams]]\nname = \"app\"\n{upstream}[websocket]\n{websocket}"
    ));
    let admin = Admin::of(&mut gateway);
    (gateway, admin)
}

/// Talks to both until the one at `left` is empty, for that reason.
#[track_caller]
fn talk_until_empty(admin: Admin, clients: &mut [Raw], left: SocketAddr, why: &str) {
    let mut number = 0;
    wait_until("it is empty", s(60), || {
        for client in clients.iter_mut() {
            frames::echo(client, &format!("message {number}"));
        }
        number += 1;
        let replicas = held(admin);
        // One that no name has any more is not shown once it holds nothing.
        let all: u64 = replicas.iter().map(|one| one.1).sum();
        let mut others = replicas.iter().filter(|one| one.0 != left.to_string());
        let is_drained = replicas
            .iter()
            .all(|one| one.0 != left.to_string() || one.1 == 0 && one.2.as_deref() == Some(why));
        is_drained && all == clients.len() as u64 && others.all(|one| one.2.is_none())
    });
}

const MOVES: &str = "on_replica_loss = \"redial\"\ncutover = \"now\"\nleave_within = \"2s\"\n";
const PROBE: &str =
    "probe = { kind = \"http\", path = \"/ready\", interval = \"100ms\", timeout = \"30s\" }\n";

#[test]
fn a_replica_that_is_not_ready_is_emptied_and_used_again_when_it_is() {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let is_ready = [(); 2].map(|()| Arc::new(AtomicBool::new(true)));
    let replicas = is_ready.each_ref().map(|is_ready| replica(anywhere, is_ready));
    let addresses = replicas.each_ref().map(|one| one.address.to_string());
    let upstream = format!("replicas = {addresses:?}\n{PROBE}");
    let (gateway, admin) = gateway("", &upstream, MOVES);
    let open = || frames::open(gateway.address(), "/");
    let mut clients: Vec<Raw> = (0..6).map(|_| open()).collect();
    wait_until("both have some", s(30), || held(admin).iter().all(|one| one.1 == 3));

    is_ready[0].store(false, Ordering::Relaxed);
    wait_until("it drains", s(60), || {
        held(admin).iter().any(|one| one.2.as_deref() == Some("unready"))
    });
    talk_until_empty(admin, &mut clients, replicas[0].address, "unready");
    let mut newcomer = open();
    frames::echo(&mut newcomer, "to the other one");
    assert!(held(admin).iter().any(|one| one.0 == addresses[0] && one.1 == 0));
    drop(newcomer);

    is_ready[0].store(true, Ordering::Relaxed);
    wait_until("it drains no more", s(60), || held(admin).iter().all(|one| one.2.is_none()));
    clients.push(open());
    wait_until("it has work again", s(30), || held(admin).iter().all(|one| one.1 > 0));
    clients.iter_mut().for_each(|client| frames::echo(client, "the same connection"));
    assert_eq!(lines(&gateway, LOST).len(), 0, "nobody was lost");
}

#[test]
fn without_redial_who_is_at_a_replica_that_is_not_ready_has_time_to_leave() {
    let is_ready = Arc::new(AtomicBool::new(true));
    let only = replica(([127, 0, 0, 1], 0).into(), &is_ready);
    let upstream = format!("replicas = [\"{}\"]\n{PROBE}", only.address);
    let (gateway, admin) = gateway("", &upstream, "leave_within = \"1s\"\n");
    let mut client = frames::open(gateway.address(), "/");
    is_ready.store(false, Ordering::Relaxed);
    wait_until("it drains", s(60), || {
        held(admin).iter().any(|one| one.2.as_deref() == Some("unready"))
    });
    assert_eq!(frames::close_code(&mut client).unwrap(), 1012);
    assert_eq!(lines(&gateway, "replica is down").len(), 0);
    // One that is asked and says nothing at all is another matter.
    let (_, refused) = frames::try_open(gateway.address(), "/", "").unwrap();
    assert_eq!((refused.status, refused.header("longhaul-cause")), (503, Some("no_replica")));
}

#[test]
fn a_replica_that_its_name_loses_is_emptied_while_its_clients_talk() {
    let port = free_address().port();
    let is_ready = Arc::new(AtomicBool::new(true));
    let addresses = [1, 2].map(|host| SocketAddr::from(([127, 0, 0, host], port)));
    let _replicas = addresses.map(|address| replica(address, &is_ready));
    let record = |host: u8| format!("host-record=chat.test,127.0.0.{host}");
    let dns = Dns::start(&[record(1), record(2)]);
    let at = dns.address;
    let server = format!("dns_servers = [\"{at}\"]\n");
    let (gateway, admin) = gateway(&server, &format!("replicas = [\"chat.test:{port}\"]\n"), MOVES);
    let mut clients: Vec<Raw> = (0..6).map(|_| frames::open(gateway.address(), "/")).collect();
    wait_until("both have some", s(30), || held(admin).iter().all(|one| one.1 == 3));
    drop(dns);
    let _dns = Dns::start_on(at, &[record(2)]);
    wait_until("it has left", s(60), || !lines(&gateway, "replica left").is_empty());
    talk_until_empty(admin, &mut clients, addresses[0], "left");
    assert_eq!(lines(&gateway, LOST).len(), 0, "nobody was lost");
}

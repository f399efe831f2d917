//! Who gets the next piece of work, where that takes time, chance or the client's address to tell.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::support::admin::Admin;
use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::proxies::curl_from;
use crate::support::raw::Raw;
use crate::support::recorder::{Answer, Recorder};
use crate::support::{frames, s, wait_until};

#[track_caller]
fn gateway(replicas: &[SocketAddr], upstream: &str) -> Gateway {
    let replicas: Vec<String> = replicas.iter().map(SocketAddr::to_string).collect();
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = {replicas:?}\n{upstream}"
    ))
}

/// Opens so many WebSockets; how many each replica has of them.
#[track_caller]
fn open(gateway: &Gateway, count: usize, held: &mut Vec<Raw>) -> BTreeMap<String, usize> {
    let mut homes = BTreeMap::new();
    for _ in 0..count {
        let mut client = frames::open(gateway.address(), "/replica");
        let replica = frames::read(&mut client).expect("the replica says its name").payload;
        *homes.entry(String::from_utf8(replica).unwrap()).or_default() += 1;
        held.push(client);
    }
    homes
}

#[test]
fn a_replica_that_returns_starts_slowly_and_then_takes_what_it_is_owed() {
    let old = App::start("echo_ws.mjs", "old");
    let new = App::start("echo_ws.mjs", "new");
    let more = "probe = { kind = \"http\", interval = \"200ms\", timeout = \"150ms\" }\n\
                health = { fall = 2, rise = 1, slow_start = \"6s\" }\n";
    let address = new.address;
    drop(new);
    let mut gateway = gateway(&[old.address, address], more);
    let admin = Admin::of(&mut gateway);
    let is = |replica: SocketAddr, state: &str| {
        let status = admin.get("/status").text();
        let words = format!("\"address\":\"{replica}\",\"state\":\"{state}\"");
        status.replace(char::is_whitespace, "").contains(&words)
    };
    wait_until("the old one takes its full share", s(30), || is(old.address, "up"));
    let _new = App::start_on("echo_ws.mjs", "new", address.port());
    wait_until("the new one is back", s(30), || is(address, "starting"));
    let mut held = Vec::new();
    // By connections alone all of the first would go to it, up to the half. It takes a tenth of
    // its weight at first; a machine that is slow to open these lets it come to a third.
    let homes = open(&gateway, 10, &mut held);
    let early = homes.get("new").copied().unwrap_or_default();
    assert!(early <= 3, "{homes:?}");
    wait_until("the new one takes its full share", s(30), || is(address, "up"));
    let homes = open(&gateway, 10 - 2 * early, &mut held);
    assert_eq!(homes.get("new"), Some(&(10 - 2 * early)), "after {early}: {homes:?}");
}

#[test]
fn random_of_two_spreads_work_nearly_as_evenly_as_counting() {
    let names = ["a", "b", "c", "d"];
    let replicas = names.map(|name| App::start("echo_ws.mjs", name));
    let addresses = replicas.each_ref().map(|app| app.address);
    let gateway = gateway(&addresses, "balance = \"random_of_two\"\n");
    let mut held = Vec::new();
    let homes = open(&gateway, 80, &mut held);
    // Twenty each; by lot alone the fullest of four would have some thirty.
    let within = |count: &usize| (16..=24).contains(count);
    assert!(homes.len() == 4 && homes.values().all(within), "{homes:?}");
}

#[test]
fn a_client_address_leads_to_one_replica_whatever_is_asked() {
    let names = ["a", "b", "c"];
    let replicas = names.map(|name| Recorder::start(move |_| Answer::text(name)));
    let addresses = replicas.each_ref().map(|replica| replica.address);
    for more in ["affinity = \"address\"\n", "balance = \"consistent_hash\"\naffinity = \"none\"\n"]
    {
        let gateway = gateway(&addresses, more);
        let mut homes: BTreeMap<String, usize> = BTreeMap::new();
        for client in 1..=20 {
            let client = format!("127.0.1.{client}");
            let home = curl_from(&client, gateway.address());
            assert_eq!(curl_from(&client, gateway.address()), home, "{more}: {client} moved");
            *homes.entry(home).or_default() += 1;
        }
        assert_eq!(homes.len(), 3, "{more} used only {homes:?}");
    }
}

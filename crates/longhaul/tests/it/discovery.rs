//! Replicas found by name, with a real DNS server whose records change.

use std::net::SocketAddr;

use crate::support::apps::free_address;
use crate::support::dns::Dns;
use crate::support::gateway::Gateway;
use crate::support::raw;
use crate::support::recorder::{Answer, Recorder};
use crate::support::{s, wait_until};

fn replica(address: SocketAddr, name: &'static str) -> Recorder {
    Recorder::start_at(address, move |_| Answer::text(name))
}

fn gateway(dns: SocketAddr, upstream: &str) -> Gateway {
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\ndns_servers = [\"{dns}\"]\n\
         [[upstreams]]\nname = \"chat\"\n{upstream}\n"
    ))
}

/// Waits until so many answers in a row all come from this replica.
#[track_caller]
fn only(gateway: &Gateway, name: &str) {
    wait_until(&format!("all answers come from {name}"), s(15), || {
        (0..6).all(|_| raw::get(gateway.address(), "/").text() == name)
    });
}

#[test]
fn addresses_follow_their_name_and_outlive_its_server() {
    let port = free_address().port();
    let one = replica(([127, 0, 0, 1], port).into(), "one");
    let _two = replica(([127, 0, 0, 2], port).into(), "two");
    let _three = replica(SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), port), "three");
    let dns = Dns::start(&["host-record=chat.test,127.0.0.1".into()]);
    let at = dns.address;
    let gateway = gateway(at, &format!("replicas = [\"chat.test:{port}\"]"));
    only(&gateway, "one");

    drop(dns);
    let dns = Dns::start_on(at, &["host-record=chat.test,127.0.0.1,127.0.0.2".into()]);
    drop(dns);
    let dns = Dns::start_on(at, &["host-record=chat.test,127.0.0.2".into()]);
    only(&gateway, "two");

    drop(dns);
    let dns = Dns::start_on(at, &["host-record=chat.test,::1".into()]);
    only(&gateway, "three");

    // Several times the TTL of one second without any server: the last good answer is kept.
    drop(dns);
    let until = std::time::Instant::now() + s(5);
    while std::time::Instant::now() < until {
        assert_eq!(raw::get(gateway.address(), "/").text(), "three");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }

    // A server that knows the name no more is no reason to have no replica either.
    let _dns = Dns::start_on(at, &[]);
    let until = std::time::Instant::now() + s(3);
    while std::time::Instant::now() < until {
        assert_eq!(raw::get(gateway.address(), "/").text(), "three");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(one.faults(), [""; 0]);
}

#[test]
fn all_addresses_of_a_name_share_the_work() {
    let port = free_address().port();
    let _one = replica(([127, 0, 0, 1], port).into(), "one");
    let _two = replica(([127, 0, 0, 2], port).into(), "two");
    let dns = Dns::start(&[
        "host-record=chat.test,127.0.0.1".into(),
        "host-record=chat.test,127.0.0.2".into(),
    ]);
    let gateway = gateway(
        dns.address,
        &format!("replicas = [\"chat.test:{port}\"]\nbalance = \"round_robin\""),
    );
    let answers: Vec<String> = (0..10).map(|_| raw::get(gateway.address(), "/").text()).collect();
    for name in ["one", "two"] {
        assert_eq!(answers.iter().filter(|answer| *answer == name).count(), 5, "{answers:?}");
    }
}

#[test]
fn ports_follow_srv_records() {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let (one, two) = (replica(loopback, "one"), replica(loopback, "two"));
    let record = |port: u16| {
        [
            "host-record=node.test,127.0.0.1".to_owned(),
            format!("srv-host=_ws._tcp.chat.test,node.test,{port},0,5"),
        ]
    };
    let dns = Dns::start(&record(one.address.port()));
    let at = dns.address;
    let gateway = gateway(at, "srv = [\"_ws._tcp.chat.test\"]");
    only(&gateway, "one");
    drop(dns);
    let _dns = Dns::start_on(at, &record(two.address.port()));
    only(&gateway, "two");
}

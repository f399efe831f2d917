//! Stories of requests that look for a replica.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;

use super::members::Endpoint;
use super::*;
use crate::config::{Affinity, HashOn, Probe, ProbeKind, ReplicaSource, Strategy};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";

fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9000 + number))
}

fn config(replicas: u16) -> UpstreamConfig {
    let source = |number| ReplicaSource::Static { address: address(number), weight: 1 };
    UpstreamConfig::new("chat", (0..replicas).map(source).collect())
}

fn upstream(config: UpstreamConfig) -> Arc<Upstream> {
    Upstream::new(config, [7; 32], 100)
}

fn request(target: &str, fields: &[(&str, &str)]) -> Parts {
    let mut builder = Request::get(target);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn pick(upstream: &Upstream, head: &Parts) -> Arc<Replica> {
    upstream.pick(Some(head), CLIENT, &[], Instant::now()).unwrap()
}

/// The cookie as a browser would send it back.
fn cookie_from(set_cookie: &http::HeaderValue) -> String {
    set_cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
}

fn eject(replica: &Replica) {
    for _ in 0..3 {
        replica.note_failure(Instant::now());
    }
}

#[test]
fn open_websockets_weigh_until_they_end() {
    let upstream = upstream(config(2));
    let plain = request("/", &[]);
    let first = pick(&upstream, &plain);
    let held = first.hold(Work::WebSocket);
    assert_eq!(first.open_websockets(), 1);
    for _ in 0..20 {
        assert_ne!(pick(&upstream, &plain).address(), first.address());
    }
    drop(held);
    assert_eq!(first.open_work(), 0);
}

#[test]
fn a_retry_goes_elsewhere_until_all_have_been_tried() {
    let upstream = upstream(config(3));
    let now = Instant::now();
    let mut tried = Vec::new();
    while let Ok(replica) = upstream.pick(None, CLIENT, &tried, now) {
        assert!(!tried.contains(&replica.address()));
        tried.push(replica.address());
    }
    assert_eq!(tried.len(), 3);
    let refusal = upstream.pick(None, CLIENT, &tried, now).unwrap_err();
    assert_eq!(refusal.to_string(), "upstream \"chat\": all 3 replicas have been tried");
    let empty = Upstream::new(config(0), [7; 32], 100).pick(None, CLIENT, &[], now).unwrap_err();
    assert_eq!(empty.to_string(), "upstream \"chat\" has no replicas");
}

#[test]
fn an_ejected_replica_is_passed_over_until_no_other_is_left() {
    let upstream = upstream(config(2));
    let plain = request("/", &[]);
    let bad = pick(&upstream, &plain);
    eject(&bad);
    assert_eq!(bad.state(Instant::now()), State::Ejected);
    let good = pick(&upstream, &plain);
    assert_ne!(good.address(), bad.address());
    let last = upstream.pick(Some(&plain), CLIENT, &[good.address()], Instant::now()).unwrap();
    assert_eq!(last.address(), bad.address());
}

#[test]
fn when_all_are_down_all_are_tried() {
    let probe = Some(Probe::new(ProbeKind::Tcp));
    let upstream = upstream(UpstreamConfig { probe, ..config(2) });
    let now = Instant::now();
    assert!(!upstream.is_settled(now));
    for replica in upstream.replicas().iter() {
        replica.note_probe(Err("refused".to_owned()), now);
    }
    assert!(upstream.is_settled(now));
    let seen = &upstream.snapshot(now).replicas[0];
    assert_eq!((seen.state, seen.probe_failure.as_deref()), ("down", Some("refused")));
    assert!(upstream.pick(None, CLIENT, &[], now).is_ok());
}

#[test]
fn going_down_tells_once_and_marks_what_is_held() {
    let probe = Some(Probe::new(ProbeKind::Tcp));
    let upstream = upstream(UpstreamConfig { probe, ..config(2) });
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    upstream.on_lost(move |lost| {
        assert_eq!(lost, address(0));
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let now = Instant::now();
    let replicas = upstream.replicas();
    for replica in replicas.iter() {
        replica.note_probe(Ok(()), now);
    }
    let held = replicas[0].hold(Work::WebSocket);
    eject(&replicas[0]);
    assert!(!held.is_lost(), "ejection ends nothing that is open");
    for _ in 0..5 {
        replicas[0].note_probe(Err("timed out".to_owned()), now);
    }
    assert!(held.is_lost());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(!replicas[0].hold(Work::WebSocket).is_lost(), "what is taken knowingly is not lost");
}

#[test]
fn an_engine_io_session_follows_its_sid_without_cookies() {
    let upstream = upstream(config(4));
    let now = Instant::now();
    let handshake = request(HANDSHAKE, &[]);
    assert!(upstream.learns_from(&handshake));
    for number in 0..8 {
        let replica = pick(&upstream, &handshake);
        let answer = format!("0{{\"sid\":\"session{number}\",\"upgrades\":[\"websocket\"]}}");
        upstream.learn(answer.as_bytes(), &replica, now);
        // Load that would send anything else away from it.
        let _held: Vec<_> = (0..50).map(|_| replica.hold(Work::WebSocket)).collect();
        for transport in ["polling", "websocket"] {
            let target = format!("/socket.io/?EIO=4&transport={transport}&sid=session{number}");
            let follow_up = request(&target, &[]);
            assert_eq!(pick(&upstream, &follow_up).address(), replica.address());
            assert!(!upstream.learns_from(&follow_up));
        }
    }
}

#[test]
fn an_engine_io_session_follows_its_sid_even_to_an_ejected_replica() {
    let upstream = upstream(config(3));
    let replica = pick(&upstream, &request(HANDSHAKE, &[]));
    upstream.learn(b"0{\"sid\":\"abc\"}", &replica, Instant::now());
    eject(&replica);
    let poll = request("/socket.io/?EIO=4&transport=polling&sid=abc", &[]);
    assert_eq!(pick(&upstream, &poll).address(), replica.address());
}

#[test]
fn a_browser_that_speaks_engine_io_brings_its_uploads_along() {
    let upstream = upstream(config(4));
    let handshake = request(HANDSHAKE, &[]);
    let replica = pick(&upstream, &handshake);
    let set_cookie = upstream.cookie_for(&handshake, &replica).unwrap();
    let text = set_cookie.to_str().unwrap();
    assert!(text.starts_with("longhaul_replica_"), "{text}");
    assert!(text.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{text}");
    assert!(!text.contains("9000") && !text.contains("127.0"), "{text}");

    let cookie = cookie_from(&set_cookie);
    let _held: Vec<_> = (0..50).map(|_| replica.hold(Work::Request)).collect();
    let upload = request("/project/file?session_id=1", &[("cookie", &cookie)]);
    assert_eq!(pick(&upstream, &upload).address(), replica.address());
    let again = request(HANDSHAKE, &[("cookie", &cookie)]);
    assert!(upstream.cookie_for(&again, &replica).is_none(), "it is there already");
    assert!(upstream.cookie_for(&request("/", &[]), &replica).is_none(), "nothing asks for it");
}

#[test]
fn a_cookie_is_secure_when_the_client_came_by_https() {
    let upstream = upstream(config(1));
    let head = request(HANDSHAKE, &[("x-forwarded-proto", "https")]);
    let set_cookie = upstream.cookie_for(&head, &upstream.replicas()[0]).unwrap();
    assert!(set_cookie.to_str().unwrap().ends_with("; Secure"));
}

#[test]
fn a_forged_cookie_is_ignored() {
    let name = "r".to_owned();
    let upstream = upstream(UpstreamConfig { affinity: Affinity::Cookie { name }, ..config(2) });
    let loaded = Arc::clone(&upstream.replicas()[0]);
    let _held = loaded.hold(Work::WebSocket);
    for forged in ["r=127.0.0.1:9000", "r=AAAAAAAAAAAAAAAAAAAAAA", "r=", "r"] {
        let head = request("/", &[("cookie", forged)]);
        assert_ne!(pick(&upstream, &head).address(), loaded.address(), "{forged}");
        assert!(upstream.cookie_for(&head, &loaded).is_some());
    }
    let genuine = cookie_from(&upstream.cookie_for(&request("/", &[]), &loaded).unwrap());
    let head = request("/", &[("cookie", &genuine)]);
    assert_eq!(pick(&upstream, &head).address(), loaded.address());
    eject(&loaded);
    assert_ne!(pick(&upstream, &head).address(), loaded.address(), "a cookie is a wish");
}

#[test]
fn a_hash_of_what_the_client_sends_always_leads_to_the_same_replica() {
    let header = http::HeaderName::from_static("x-user");
    for on in [
        HashOn::Address,
        HashOn::Header(header),
        HashOn::Query("user".into()),
        HashOn::Cookie("user".into()),
        HashOn::Target,
    ] {
        let by_affinity = UpstreamConfig { affinity: Affinity::Hash(on.clone()), ..config(5) };
        let strategy = Strategy::ConsistentHash;
        let by_strategy =
            UpstreamConfig { strategy, hash_on: on.clone(), affinity: Affinity::None, ..config(5) };
        let [one, other] = [upstream(by_affinity), upstream(by_strategy)];
        let mut seen = std::collections::HashSet::new();
        for user in 0..40 {
            let (name, cookie) = (format!("u{user}"), format!("user=u{user}"));
            let target = format!("/?user=u{user}");
            let head = request(&target, &[("x-user", &name), ("cookie", &cookie)]);
            let replica = pick(&one, &head).address();
            let _held = pick(&one, &head).hold(Work::WebSocket);
            assert_eq!(pick(&one, &head).address(), replica);
            assert_eq!(pick(&other, &head).address(), replica, "on every gateway");
            seen.insert(replica);
        }
        assert_eq!(seen.len(), if on == HashOn::Address { 1 } else { 5 }, "{on:?}");
    }
}

#[test]
fn replicas_that_stay_keep_what_they_hold_and_those_that_return_too() {
    let sources = vec![ReplicaSource::Dns { name: "app".into(), port: 1, weight: 1 }];
    let upstream = upstream(UpstreamConfig::new("chat", sources));
    let now = Instant::now();
    let set = |numbers: &[u16]| {
        let endpoint = |number: &u16| Endpoint { address: address(*number), weight: 1 };
        upstream.set_endpoints(
            upstream.sources()[0].0,
            numbers.iter().map(endpoint).collect(),
            now,
        );
    };
    assert!(matches!(upstream.pick(None, CLIENT, &[], now), Err(NoReplica::Empty { .. })));
    set(&[0, 1]);
    let held: Vec<_> =
        upstream.replicas().iter().map(|replica| replica.hold(Work::WebSocket)).collect();
    set(&[1, 2]);
    let open = |upstream: &Upstream| -> Vec<_> {
        let replicas = upstream.replicas();
        replicas.iter().map(|replica| (replica.address(), replica.open_websockets())).collect()
    };
    assert_eq!(open(&upstream), [(address(1), 1), (address(2), 0)]);
    assert!(!held[0].is_lost(), "leaving discovery ends nothing that is open");
    set(&[0, 1, 0]);
    assert_eq!(open(&upstream), [(address(0), 1), (address(1), 1)]);
    drop(held);
    assert_eq!(open(&upstream), [(address(0), 0), (address(1), 0)]);
}

#[test]
fn nothing_secret_is_in_its_debug_form() {
    let upstream = upstream(config(1));
    let text = format!("{upstream:?}");
    assert!(text.contains("127.0.0.1:9000") && !text.contains("[7, 7"), "{text}");
}

//! Many connections come and go while replicas do the same: nothing may stay behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::raw::{self, Raw};
use crate::support::{frames, s, wait_until};

const CONNECTIONS: usize = 2000;
const AT_ONCE: usize = 250;
/// Connections used while a replica is away, and until the next one goes.
const AWAY: usize = 60;
const BACK: usize = 40;

#[test]
fn two_thousand_connections_leave_no_descriptor_and_no_memory_behind() {
    let mut replicas = [(); 3].map(|()| App::start("echo_ws.mjs", "one"));
    let addresses = replicas.each_ref().map(|app| app.address.to_string());
    let gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[websocket]\nlinger = \"1s\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = {addresses:?}\nidle_connection = \"1s\"\n\
         probe = {{ kind = \"tcp\", interval = \"500ms\", timeout = \"500ms\" }}\n"
    ));
    // The first wave fills what is kept for good: thread stacks, allocator arenas, name tables.
    let first = AtomicUsize::new(0);
    wave(&gateway, &first);
    assert_eq!(first.into_inner(), AT_ONCE);
    let base = settled(&gateway);

    // One of three is always away; each comes back where it was. They go by what the clients have
    // done and not by the clock, so that a slow machine loses no more of them than a fast one.
    let used = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&used);
    let come_and_go = thread::spawn(move || {
        let mut next = 0;
        let mut after = |more: usize| {
            next += more;
            wait_until("the clients go on", s(60), || seen.load(Ordering::Relaxed) >= next);
        };
        for round in 0..CONNECTIONS / (AWAY + BACK) {
            let replica = &mut replicas[round % 3];
            let port = replica.address.port();
            replica.process.kill();
            after(AWAY);
            *replica = App::start_on("echo_ws.mjs", "one", port);
            after(BACK);
        }
        replicas
    });
    while !come_and_go.is_finished() {
        wave(&gateway, &used);
    }
    let _replicas = come_and_go.join().unwrap();
    let used = used.load(Ordering::Relaxed);
    assert!(used >= CONNECTIONS, "only {used} were used");

    wait_until("descriptors are back at the base", s(20), || settled(&gateway).0 <= base.0 + 3);
    let after = settled(&gateway);
    println!("{used} used; descriptors {} to {}, KiB {} to {}", base.0, after.0, base.1, after.1);
    assert!(after.1 < base.1 + 8 * 1024, "memory grew from {} to {} KiB", base.1, after.1);
    assert_eq!(raw::get(gateway.address(), "/").text(), "one");
}

/// Descriptors and KiB of the gateway.
fn settled(gateway: &Gateway) -> (usize, u64) {
    (gateway.process.descriptors(), gateway.process.memory_kib())
}

/// Opens many at once, uses each, ends them in different ways; counts those that could be used.
fn wave(gateway: &Gateway, used: &AtomicUsize) {
    let address = gateway.address();
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                let mut open: Vec<Raw> = (0..AT_ONCE / 5)
                    .filter_map(|_| frames::try_open(address, "/echo", "").ok())
                    .filter(|(_, response)| response.status == 101)
                    .map(|(client, _)| client)
                    .collect();
                for client in &mut open {
                    client.send_anyway(frames::from_client(frames::TEXT, b"hello"));
                }
                for (number, mut client) in open.into_iter().enumerate() {
                    // Its replica may have gone meanwhile: then a close comes instead.
                    if frames::read(&mut client).is_ok_and(|frame| frame.payload == b"hello") {
                        used.fetch_add(1, Ordering::Relaxed);
                    }
                    end(client, number);
                }
            });
        }
    });
}

/// Politely, half, without a word, or in the middle of a frame.
fn end(mut client: Raw, way: usize) {
    match way % 4 {
        0 => {
            client.send_anyway(frames::close_from_client(1000, "bye"));
            let _ = frames::close_code(&mut client);
        }
        1 => client.finish(),
        2 => {}
        _ => client.send_anyway(&frames::from_client(frames::BINARY, &[7; 1000])[..500]),
    }
}

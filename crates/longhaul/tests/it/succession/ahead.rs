//! What happens to connections between the copy that goes ahead of them and the moment in which they stand
//! still.

use std::fs;
use std::thread;

use serde_json::Value;

use super::pause::slow_heir;
use super::{Upgradable, upstream};
use crate::support::apps::App;
use crate::support::{frames, s, wait_until};

/// More than fit into the socket between the two processes, so that the old one waits among them.
const CLIENTS: usize = 300;

#[test]
fn who_talks_opens_or_ends_behind_its_copy_goes_over_as_it_is_then() {
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::start(&format!(
        "[timeouts]\nupgrade_step = \"1m\"\n{}",
        upstream(echo.address)
    ));
    let mut clients: Vec<_> =
        (0..CLIENTS).map(|_| frames::open(upgradable.address(), "/echo")).collect();
    let told = latest_but_one(&upgradable).to_string();
    let (gate, slow) = slow_heir(&upgradable, "ahead");
    let mut newcomer = None;
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| upgradable.ask(&["upgrade", "--binary", &slow]));
        wait_until("copies are under way", s(60), || gate.with_extension("here").exists());
        // The last ones to come are copied first. Everybody goes on.
        let mut closing = clients.pop().expect("there are some");
        closing.send(frames::close_from_client(1000, ""));
        assert_eq!(frames::close_code(&mut closing).unwrap(), 1000);
        let (is_told, said) = upgradable.ask(&["close", &told]);
        assert!(is_told, "{said}");
        let mut told = clients.pop().expect("there are some");
        assert_eq!(frames::close_code(&mut told).unwrap(), 1001);
        let [.., talking, halved] = &mut clients[..] else { panic!("there are some") };
        frames::echo(talking, "behind its copy");
        let whole = frames::from_client(frames::TEXT, b"in two halves");
        halved.send(&whole[..9]);
        newcomer = Some(frames::open(upgradable.address(), "/echo"));
        wait_until("the half message is with the old process", s(60), || {
            of_each(&upgradable, "bytes_up").contains(&9)
        });
        fs::write(&gate, "").unwrap();
        let (is_done, said) = upgrade.join().unwrap();
        assert!(is_done && said.contains(&format!("{} connections moved", CLIENTS - 1)), "{said}");
        clients.last_mut().expect("there are some").send(&whole[9..]);
    });
    let last = clients.last_mut().expect("there are some");
    assert_eq!(frames::read(last).unwrap().payload, b"in two halves");
    for (at, client) in clients.iter_mut().chain(&mut newcomer).enumerate() {
        frames::echo(client, &at.to_string());
    }
    let moved = upgradable.gateway.process.lines();
    let moved = moved.iter().find(|line| line.contains("\"connections moved\""));
    let moved: Value = serde_json::from_str(moved.expect("the first hop is logged")).unwrap();
    assert!(moved["changed"].as_u64() >= Some(2), "{moved}");
    assert!(moved["whole"].as_u64() >= Some(1), "{moved}");
    upgradable.wait_settled(1);
    for (at, client) in clients.iter_mut().chain(&mut newcomer).enumerate() {
        frames::echo(client, &at.to_string());
    }
}

fn latest_but_one(upgradable: &Upgradable) -> u64 {
    let mut ids: Vec<u64> = of_each(upgradable, "id");
    ids.sort_unstable();
    ids[ids.len() - 2]
}

fn of_each(upgradable: &Upgradable, number: &str) -> Vec<u64> {
    let page = upgradable.json(&["connections", "--limit", "1000"]);
    let list = page["connections"].as_array().expect("a list");
    list.iter().filter_map(|one| one[number].as_u64()).collect()
}

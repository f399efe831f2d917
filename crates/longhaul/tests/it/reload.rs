//! The configuration changes while connections go on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::redial::held;
use crate::support::admin::{Admin, TOKEN};
use crate::support::apps::{App, free_address};
use crate::support::gateway::{Gateway, longhaul};
use crate::support::process::Signal;
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{frames, s, wait_until};

const SERVER: &str = "[server]\nlisten = [\"main=127.0.0.1:0\"]\nconfig_watch = \"100ms\"\n";

fn named(name: &'static str) -> Recorder {
    Recorder::start(move |_| Answer::text(name))
}

fn upstream(name: &str, replicas: &[SocketAddr]) -> String {
    let replicas: Vec<String> = replicas.iter().map(ToString::to_string).collect();
    format!("[[upstreams]]\nname = {name:?}\nreplicas = {replicas:?}\n")
}

fn logged(gateway: &Gateway, words: &str) -> usize {
    gateway.process.lines().iter().filter(|line| line.contains(words)).count()
}

#[track_caller]
fn wait_logged(gateway: &Gateway, words: &str) {
    wait_until(&format!("{words:?} is logged"), s(60), || logged(gateway, words) > 0);
}

#[track_caller]
fn answers(client: &mut Raw, expected: &str) {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), expected);
}

#[test]
fn a_new_file_takes_new_work_elsewhere_and_leaves_open_websockets_alone() {
    let echo = App::start("echo_ws.mjs", "one");
    let two = named("two");
    let gateway = Gateway::with_config(&format!("{SERVER}{}", upstream("app", &[echo.address])));
    let mut websocket = frames::open(gateway.address(), "/echo");
    frames::echo(&mut websocket, "before");
    let mut kept = Raw::connect(gateway.address());
    answers(&mut kept, "one");

    gateway.rewrite_config(&format!("{SERVER}{}", upstream("app", &[two.address])));
    wait_logged(&gateway, "configuration reloaded");
    wait_logged(&gateway, "upstreams.app.replicas: ");
    assert_eq!(raw::get(gateway.address(), "/").text(), "two");
    // The same connection, the next request.
    answers(&mut kept, "two");
    frames::echo(&mut websocket, "after");
    assert_eq!(logged(&gateway, "websocket closed"), 0);
}

#[test]
fn a_replica_struck_from_the_file_is_left_while_its_clients_talk() {
    let [one, two] = ["one", "two"].map(|name| App::start("echo_ws.mjs", name));
    let server = format!("{SERVER}admin = \"localhost:0\"\nadmin_token = \"{TOKEN}\"\n");
    let terms =
        "[websocket]\non_replica_loss = \"redial\"\ncutover = \"now\"\nleave_within = \"2s\"\n";
    let file = |replicas: &[SocketAddr]| format!("{server}{}{terms}", upstream("app", replicas));
    let mut gateway = Gateway::with_config(&file(&[one.address, two.address]));
    let admin = Admin::of(&mut gateway);
    let mut clients: Vec<Raw> = (0..12).map(|_| frames::open(gateway.address(), "/echo")).collect();
    wait_until("both have some", s(30), || held(admin).iter().all(|one| one.1 == 6));

    gateway.rewrite_config(&file(&[two.address]));
    let mut number = 0;
    wait_until("all of them are with the other one", s(60), || {
        for client in &mut clients {
            frames::echo(client, &format!("message {number}"));
        }
        number += 1;
        held(admin).iter().any(|one| one.0 == two.address.to_string() && one.1 == 12)
    });
    let listed = || held(admin).into_iter().map(|one| one.0).collect::<Vec<_>>();
    wait_until("the API has forgotten it", s(30), || listed() == [two.address.to_string()]);
    for client in &mut clients {
        frames::echo(client, "after");
    }
    assert_eq!(logged(&gateway, "websocket closed"), 0);
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let one = named("one");
    let good = format!("{SERVER}{}", upstream("app", &[one.address]));
    let gateway = Gateway::with_config(&good);
    gateway.rewrite_config(&format!("{good}[websocket]\npng = \"20s\"\n"));
    wait_logged(&gateway, "did you mean `ping`?");
    assert_eq!(logged(&gateway, "configuration refused"), 1);
    assert_eq!(raw::get(gateway.address(), "/").text(), "one");

    // What the file asks for may be fine, and yet not be had.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let more = format!("[[listeners]]\nname = \"more\"\naddress = \"{address}\"\n");
    let two = named("two");
    gateway.rewrite_config(&format!("{SERVER}{}{more}", upstream("app", &[two.address])));
    wait_logged(&gateway, &format!("cannot listen on {address}"));
    assert_eq!(raw::get(gateway.address(), "/").text(), "one", "all of it or nothing");

    drop(taken);
    gateway.process.signal(Signal::HUP);
    wait_logged(&gateway, "configuration reloaded");
    assert_eq!(raw::get(address, "/").text(), "two");
}

#[test]
fn listeners_come_and_go_without_those_who_came_through_them() {
    let echo = App::start("echo_ws.mjs", "one");
    let app = upstream("app", &[echo.address]);
    let address = free_address();
    let more = format!("[[listeners]]\nname = \"more\"\naddress = \"{address}\"\n");
    let gateway = Gateway::with_config(&format!("{SERVER}{app}"));
    gateway.rewrite_config(&format!("{SERVER}{app}{more}"));
    wait_until("the new listener answers", s(30), || Raw::try_connect(address).is_ok());
    let mut websocket = frames::open(address, "/echo");
    frames::echo(&mut websocket, "before");
    let mut kept = Raw::connect(address);
    answers(&mut kept, "one");

    gateway.rewrite_config(&format!("{SERVER}{app}"));
    wait_until("the listener is gone", s(30), || Raw::try_connect(address).is_err());
    frames::echo(&mut websocket, "after");
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = kept.response();
    assert_eq!((last.text().as_str(), last.header("connection")), ("one", Some("close")));
    assert_eq!(raw::get(gateway.address(), "/").text(), "one");
}

#[test]
fn raw_tcp_goes_on_under_another_configuration() {
    let echo = App::start("echo_ws.mjs", "one");
    let two = named("two");
    let address = free_address();
    let tcp = |to: SocketAddr| {
        format!(
            "[server]\nlisten = [\"raw={address}\", \"main=127.0.0.1:0\"]\nconfig_watch = \"100ms\"\n\
             {}[[tcp]]\nname = \"raw\"\nlistener = \"raw\"\nupstream = \"app\"\n\
             [[routes]]\nname = \"web\"\nlisteners = [\"main\"]\nupstream = \"app\"\n",
            upstream("app", &[to])
        )
    };
    let gateway = Gateway::with_config_unready(&tcp(echo.address));
    let mut websocket = frames::open(address, "/echo");
    frames::echo(&mut websocket, "before");
    gateway.rewrite_config(&tcp(two.address));
    wait_until("new connections go elsewhere", s(30), || raw::get(address, "/").text() == "two");
    frames::echo(&mut websocket, "after");
}

#[test]
fn what_needs_a_restart_is_told_and_told_again() {
    let one = named("one");
    let app = upstream("app", &[one.address]);
    let gateway = Gateway::with_config(&format!("{SERVER}workers = 1\n{app}"));
    gateway.rewrite_config(&format!("{SERVER}workers = 2\n{app}"));
    wait_logged(&gateway, "needs a restart to take effect: server.workers: 1 -> 2");
    gateway.process.signal(Signal::HUP);
    wait_until("it is told again", s(30), || {
        logged(&gateway, "needs a restart to take effect: server.workers") == 2
    });
    assert_eq!(raw::get(gateway.address(), "/").text(), "one");
}

/// What is told before is what is told after, by whoever is asked.
#[test]
fn the_difference_is_the_same_before_and_after() {
    let (one, two) = (named("one"), named("two"));
    let directory = tempfile::tempdir().unwrap();
    let config =
        |replica: SocketAddr, more: &str| format!("{SERVER}{more}{}", upstream("app", &[replica]));
    let (old, new) = (config(one.address, ""), config(two.address, "workers = 3\n"));
    let files = [("old", &old), ("new", &new)].map(|(name, text)| {
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    });
    let diff = |old: &std::path::Path, new: &std::path::Path| {
        let output = longhaul().arg("check").arg("--diff").args([old, new]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let told = diff(&files[0], &files[1]);
    let replicas = told.lines().find(|line| line.starts_with("upstreams.app.replicas: "));
    let replicas = replicas.and_then(|line| line.rsplit_once(" (")).expect("it is told").0;
    assert!(replicas.contains(&two.address.to_string()), "{told}");
    assert!(told.contains("server.workers: "), "{told}");
    assert_eq!(diff(&files[1], &files[1]), "no difference\n");

    let gateway = Gateway::with_config(&old);
    gateway.rewrite_config(&new);
    wait_logged(&gateway, "needs a restart to take effect: server.workers: ");
    // As JSON has it in the log.
    let said = format!("reloaded {}", replicas.replace('"', "\\\""));
    wait_logged(&gateway, &said);
    assert_eq!(raw::get(gateway.address(), "/").text(), "two");
}

#[test]
fn a_reload_by_the_api_says_what_came_of_it() {
    let (one, two) = (named("one"), named("two"));
    let config = |replica: SocketAddr, more: &str| {
        format!(
            "[server]\nlisten = [\"main=127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
             admin_token = \"{TOKEN}\"\nconfig_watch = \"off\"\n{}{more}",
            upstream("app", &[replica])
        )
    };
    let mut gateway = Gateway::with_config(&config(one.address, ""));
    let admin = Admin::of(&mut gateway);
    let reload = || {
        let mut command = longhaul();
        command.args(["reload", "--admin", &admin.0.to_string()]);
        let output = command.env("LONGHAUL_ADMIN_TOKEN", TOKEN).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    assert_eq!(reload(), (true, "no difference\n".to_owned()));
    gateway.rewrite_config(&config(two.address, ""));
    let (is_done, said) = reload();
    assert!(is_done && said.starts_with("upstreams.app.replicas: "), "{said}");
    assert_eq!(raw::get(gateway.address(), "/").text(), "two");
    let shown = admin.json("/api/v1/config")["upstreams"][0]["replicas"][0].to_string();
    assert!(shown.contains(&two.address.to_string()), "{shown}");
    gateway.rewrite_config(&config(one.address, "[websocket]\npng = \"20s\"\n"));
    let (is_done, said) = reload();
    assert!(!is_done && said.contains("did you mean `ping`?"), "{said}");
    assert_eq!(raw::get(gateway.address(), "/").text(), "two");
    assert_eq!(admin.ask_bare("POST", "/api/v1/reload").status, 401);
}

#[test]
fn a_hundred_reloads_under_load_drop_nothing_and_leak_nothing() {
    const RELOADS: usize = 100;
    let apps = [(); 3].map(|()| App::start("echo_ws.mjs", "one"));
    let [a, b, c] = apps.each_ref().map(|app| app.address);
    let spare = free_address();
    let quiet = "[server]\nlisten = [\"main=127.0.0.1:0\"]\nconfig_watch = \"off\"\n";
    // Each differs from the one before in replicas, limits, routes, upstreams or listeners.
    let probe = "probe = { kind = \"tcp\", interval = \"1s\", timeout = \"1s\" }\n";
    let files = [
        format!("{quiet}{}", upstream("app", &[a, b])),
        format!("{quiet}{}{probe}[limits]\nconnections_max = 500\n", upstream("app", &[b, c])),
        format!(
            "{quiet}{}{}[[routes]]\nname = \"all\"\nupstream = \"other\"\n",
            upstream("app", &[a]),
            upstream("other", &[c, a])
        ),
        format!(
            "{quiet}{}[[listeners]]\nname = \"more\"\naddress = \"{spare}\"\n\
             [websocket]\nping = \"20s\"\n",
            upstream("app", &[a, b, c])
        ),
    ];
    let gateway = Gateway::with_config(&files[0]);
    let address = gateway.address();
    let reload = |number: usize| {
        gateway.rewrite_config(&files[number % files.len()]);
        gateway.process.signal(Signal::HUP);
        wait_until("it is reloaded", s(60), || {
            assert_eq!(logged(&gateway, "configuration refused"), 0);
            logged(&gateway, "configuration reloaded") >= number
        });
    };
    let (is_over, echoes, requests) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut base = (0, 0);
    thread::scope(|scope| {
        // Whatever fails in here ends the others.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        for number in 0..8 {
            let (is_over, echoes) = (&is_over, &echoes);
            scope.spawn(move || {
                let _over = Over(is_over);
                let mut websocket = frames::open(address, "/echo");
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    frames::echo(&mut websocket, &format!("{number}: {sent}"));
                    sent += 1;
                    echoes.fetch_add(1, Ordering::Relaxed);
                }
                websocket.send(frames::close_from_client(1000, ""));
                assert_eq!(frames::close_code(&mut websocket).unwrap(), 1000);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let _over = Over(&is_over);
                let mut kept = Raw::connect(address);
                while !is_over.load(Ordering::Relaxed) {
                    answers(&mut kept, "one");
                    assert_eq!(raw::get(address, "/").status, 200);
                    requests.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        let _over = Over(&is_over);
        // The first rounds fill what is kept for good.
        for number in 1..=RELOADS {
            reload(number);
            if number == 20 {
                base = (gateway.process.descriptors(), gateway.process.memory_kib());
            }
        }
        assert!(!is_over.load(Ordering::Relaxed), "somebody was cut off");
    });
    let (echoes, requests) = (echoes.into_inner(), requests.into_inner());
    // Ended where it began; the connections are gone as well by now.
    wait_until("descriptors are back at the base", s(20), || {
        gateway.process.descriptors() <= base.0
    });
    let after = gateway.process.memory_kib();
    println!("{echoes} echoes, {requests} requests; KiB {} to {after}", base.1);
    assert!(after < base.1 + 4 * 1024, "memory grew from {} to {after} KiB", base.1);
    assert!(echoes > RELOADS && requests > RELOADS, "{echoes} echoes, {requests} requests");
    // Each by its client, in the end.
    wait_until("the end of each is logged", s(30), || {
        logged(&gateway, "client closed 1000") == 8 && logged(&gateway, "websocket closed") == 8
    });
}

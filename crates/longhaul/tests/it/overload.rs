//! A gateway that runs out of places, descriptors or memory: it turns away what is new, keeps what it
//! has, and answers probes all the while.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::support::admin::{Admin, TOKEN};
use crate::support::apps::App;
use crate::support::cgroup::Cell;
use crate::support::gateway::{Gateway, longhaul};
use crate::support::raw::{self, Raw, Response};
use crate::support::{frames, s, wait_until};

/// Asks for a health endpoint. A platform gives up after a second or more; a gateway that is at its
/// end still needs a tenth of that.
#[track_caller]
fn probe(address: SocketAddr, path: &str, times: &mut Vec<Duration>) -> Response {
    let asked = Instant::now();
    let answer = raw::get(address, path);
    times.push(asked.elapsed());
    answer
}

/// Loosely: one late answer is the machine's, half of them late would be ours.
#[track_caller]
fn assert_prompt(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: {} probes, median {median:?}, worst {worst:?}", times.len());
    assert!(median < s(1), "{what}: {times:?}");
}

#[test]
fn at_the_connection_limit_probes_are_answered_and_the_others_wait_their_turn() {
    let app = App::start("echo_ws.mjs", "one");
    let mut gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
         [limits]\nconnections_max = 10\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n",
        app.address
    ));
    let (at, admin) = (gateway.address(), Admin::of(&mut gateway));
    // Places of earlier connections fall free a moment after their end.
    wait_until("every place is free", s(30), || admin.metric("longhaul_connections_open") == 0.0);
    let mut open: Vec<Raw> = (0..10).map(|_| frames::open(at, "/echo")).collect();
    let mut crowd: Vec<Raw> = (0..100).map(|_| Raw::connect(at)).collect();
    crowd.iter_mut().for_each(|client| client.send(frames::handshake("/echo", "")));

    let mut times = Vec::new();
    for path in ["/health/live", "/health/ready", "/health/startup", "/health/live?a=b"] {
        for _ in 0..10 {
            let answer = probe(at, path, &mut times);
            assert_eq!(
                (answer.status, answer.text().trim()),
                (200, "{\"status\":\"ok\"}"),
                "{path}"
            );
            assert_eq!(answer.header("connection"), Some("close"));
        }
    }
    assert_prompt("at the connection limit", &mut times);
    let mut head = Raw::connect(at);
    head.send("HEAD /health/ready HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(head.response_head().unwrap().status, 200);
    head.assert_closed();

    // 64 wait; the others were told to come again.
    wait_until("the lane is full", s(30), || admin.metric("longhaul_clients_waiting") == 64.0);
    let refusals = "longhaul_refusals_total{cause=\"overloaded\"}";
    wait_until("the rest is refused", s(30), || admin.metric(refusals) == 36.0);
    let mut refused = 0;
    crowd.retain_mut(|client| {
        client.patience(Duration::from_millis(1));
        let Ok(answer) = client.try_response() else { return true };
        assert_eq!((answer.status, answer.header("longhaul-cause")), (503, Some("overloaded")));
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((2..8).contains(&after), "{after}");
        refused += 1;
        false
    });
    assert_eq!(refused, 36);

    frames::echo(&mut open[0], "the ten go on");
    open.truncate(5);
    let mut served: Vec<Raw> = Vec::new();
    wait_until("five of those who waited have their turn", s(30), || {
        served.extend(crowd.extract_if(.., |client| client.try_response().is_ok()));
        served.len() == 5
    });
    // Those who leave make room for others.
    drop(crowd);
    wait_until("nobody waits", s(30), || admin.metric("longhaul_clients_waiting") == 0.0);
    frames::echo(&mut open[0], "still here");
}

#[test]
fn without_a_single_descriptor_probes_are_answered_and_websockets_go_on() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    let at = gateway.address();
    let mut open: Vec<Raw> = (0..5).map(|_| frames::open(at, "/echo")).collect();

    // The process may open no more: every number below the limit is taken.
    let pid = Pid::from_raw(gateway.process.id() as i32);
    let descriptors = PathBuf::from(format!("/proc/{}/fd", gateway.process.id()));
    let is_free = |number: &u64| !descriptors.join(number.to_string()).exists();
    let before = getrlimit(Resource::Nofile);
    let tight = Rlimit { current: (0..).find(is_free), maximum: before.maximum };
    prlimit(pid, Resource::Nofile, tight).unwrap();
    let silent: Vec<Raw> = (0..40).map(|_| Raw::connect(at)).collect();
    wait_until("descriptors are used up", s(30), || {
        gateway.process.lines().iter().any(|line| line.contains("no descriptor is left"))
    });

    let mut times = Vec::new();
    wait_until("readiness tells", s(30), || raw::get(at, "/health/ready").status == 503);
    // Whatever the machine does beside, one round among these is undisturbed.
    wait_until("probes are answered in a tenth of a second", s(60), || {
        times.clear();
        for _ in 0..10 {
            // Who says nothing must not hold up who comes next.
            let _silent: Vec<Raw> = (0..8).map(|_| Raw::connect(at)).collect();
            assert_eq!(probe(at, "/health/live", &mut times).status, 200);
            let answer = probe(at, "/health/ready", &mut times);
            assert_eq!(answer.status, 503);
            assert!(answer.text().contains("\"status\":\"overloaded\""), "{}", answer.text());
        }
        times.sort_unstable();
        times[times.len() * 9 / 10] < Duration::from_millis(100)
    });
    assert_prompt("without descriptors", &mut times);
    for client in &mut open {
        frames::echo(client, "undisturbed");
    }
    assert_eq!(raw::get(at, "/").header("longhaul-cause"), Some("overloaded"));

    let roomy = Rlimit { current: before.maximum, maximum: before.maximum };
    prlimit(pid, Resource::Nofile, roomy).unwrap();
    drop(silent);
    gateway.wait_ready();
    assert_eq!(raw::get(at, "/").text(), "one");
    for client in &mut open {
        frames::echo(client, "undisturbed");
    }
}

#[test]
fn near_the_end_of_its_memory_first_the_hungriest_gets_nothing_new_and_then_nobody() {
    let app = App::start("echo_ws.mjs", "one");
    let config = |memory: &str| {
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
             admin_token = \"{TOKEN}\"\nconfig_watch = \"100ms\"\n[limits]\n{memory}\n\
             [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n\
             [[routes]]\nname = \"chat\"\npath = \"/chat\"\nupstream = \"app\"\n\
             [[routes]]\nname = \"rest\"\nupstream = \"app\"\n",
            app.address
        )
    };
    let mut gateway = Gateway::with_config(&config(""));
    let (at, admin) = (gateway.address(), Admin::of(&mut gateway));
    let mut chats: Vec<Raw> = (0..20).map(|_| frames::open(at, "/chat")).collect();
    let open = |target: &str| Some(frames::try_open(at, target, "").ok()?.1);
    let status = |target: &str| open(target).map_or(0, |answer| answer.status);
    let level = || admin.metric("longhaul_overload_level{resource=\"memory\"}");
    // So much that what it uses now is this share of it.
    let use_up = |gateway: &Gateway, percent: u64| {
        let bytes = gateway.process.memory_kib() * 1024 * 100 / percent;
        gateway.rewrite_config(&config(&format!("memory_bytes_max = \"{bytes}B\"")));
    };

    use_up(&gateway, 83);
    let mut kept = Raw::connect(at);
    wait_until("the hungriest gets no more, and the others do", s(60), || {
        if level() != 1.0 {
            // What it uses moves by itself as well, a little.
            use_up(&gateway, 83);
            thread::sleep(Duration::from_millis(300));
            return false;
        }
        let refused = open("/chat").filter(|answer| answer.status == 503);
        let degraded = admin.json("/health/ready")["degraded"].to_string();
        kept = Raw::connect(at);
        kept.send("GET /chat HTTP/1.1\r\nHost: t\r\n\r\n");
        refused.is_some_and(|answer| answer.header("longhaul-cause") == Some("overloaded"))
            && degraded.contains("route chat gets no new WebSockets")
            && kept.try_response().is_ok_and(|answer| answer.text() == "one")
            && status("/other") == 101
    });
    use_up(&gateway, 95);
    wait_until("memory is used up", s(30), || level() == 2.0);
    wait_until("readiness tells", s(30), || raw::get(at, "/health/ready").status == 503);
    assert!(raw::get(at, "/health/ready").text().contains("overloaded"));
    let mut times = Vec::new();
    for _ in 0..20 {
        assert_eq!(probe(at, "/health/live", &mut times).status, 200);
    }
    assert_prompt("without memory", &mut times);
    kept.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(kept.response().header("longhaul-cause"), Some("overloaded"));
    let mut waiting = Raw::connect(at);
    waiting.send(frames::handshake("/other", ""));
    wait_until("it waits", s(30), || admin.metric("longhaul_clients_waiting") == 1.0);
    for client in &mut chats {
        frames::echo(client, "undisturbed");
    }

    gateway.rewrite_config(&config(""));
    assert_eq!(waiting.response().status, 101);
    frames::echo(&mut waiting, "room again");
    wait_until("all is calm", s(30), || level() == 0.0 && status("/chat") == 101);
    assert_eq!(admin.json("/health/ready")["status"], "ok");
    let reached = "longhaul_overload_reached_total{resource=\"memory\",level=\"full\"}";
    assert!(admin.metric(reached) >= 1.0);
}

/// 256 MiB are a small container, and a thousand clients on bad links an ordinary evening.
#[test]
fn a_thousand_slow_consumers_fit_into_256_mib() {
    const CLIENTS: usize = 1000;
    const MEMORY_BYTES: u64 = 256 << 20;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap();
    let talker = TcpListener::bind("127.0.0.1:0").unwrap();
    let app = App::start("echo_ws.mjs", "one");
    let cell = Cell::of_memory(MEMORY_BYTES);
    // Where there is no such cell, the gateway is told instead.
    let told = if cell.is_some() { "" } else { "[limits]\nmemory_bytes_max = \"256MiB\"\n" };
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n{told}\
         [websocket]\nwrite_stall = \"10m\"\n\
         [[upstreams]]\nname = \"feed\"\nreplicas = [\"{}\"]\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n\
         [[routes]]\nname = \"feed\"\npath = \"/feed\"\nupstream = \"feed\"\n\
         [[routes]]\nname = \"rest\"\nupstream = \"app\"\n",
        talker.local_addr().unwrap(),
        app.address
    );
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), &config).unwrap();
    let program = format!(
        "exec {} run --config {}",
        longhaul().get_program().display(),
        file.path().display()
    );
    let mut gateway = match &cell {
        Some(cell) => Gateway::by_shell(&format!("{} && {program}", cell.entrance())),
        None => Gateway::by_shell(&program),
    };
    let (at, admin) = (gateway.address(), Admin::of(&mut gateway));
    assert_eq!(admin.metric("longhaul_memory_limit_bytes"), MEMORY_BYTES as f64);
    let mut healthy = frames::open(at, "/echo");
    let feed = thread::spawn(move || {
        let legs: Vec<TcpStream> = (0..CLIENTS).map(|_| accept(&talker)).collect();
        flood(&legs);
        legs
    });
    let slow: Vec<Raw> = (0..CLIENTS).map(|_| frames::open(at, "/feed")).collect();
    let mut times = Vec::new();
    while !feed.is_finished() {
        frames::echo(&mut healthy, "undisturbed");
        assert_eq!(probe(at, "/health/ready", &mut times).status, 200);
        thread::sleep(Duration::from_millis(20));
    }
    let _legs = feed.join().unwrap();
    let held = admin.metric("longhaul_relay_buffered_bytes{route=\"feed\"}");
    let peak = gateway.process.memory_max_kib();
    let by = if cell.is_some() { "a control group" } else { "memory_bytes_max" };
    println!("{CLIENTS} slow consumers hold {held} bytes; peak {peak} KiB; limited by {by}");
    assert!(cell.as_ref().is_none_or(|cell| !cell.has_killed()));
    assert!(held > (CLIENTS * 1024) as f64, "nobody was slow: {held} bytes held");
    assert!(peak < 256 * 1024, "{peak} KiB");
    assert_prompt("with slow consumers", &mut times);
    frames::echo(&mut healthy, "undisturbed");
    drop(slow);
}

/// Takes one WebSocket of the gateway's.
fn accept(talker: &TcpListener) -> TcpStream {
    let (stream, _) = talker.accept().unwrap();
    let mut leg = Raw::from_parts(stream, Vec::new());
    leg.read_head().unwrap();
    leg.send(frames::accepted());
    leg.stream
}

/// Sends on every leg until none has taken anything for a while.
fn flood(legs: &[TcpStream]) {
    let frame = frames::encode(0x82, None, &[7; 60_000]);
    let mut sent = vec![0; legs.len()];
    legs.iter().for_each(|leg| leg.set_nonblocking(true).unwrap());
    let mut moved_at = Instant::now();
    while moved_at.elapsed() < s(1) {
        for (mut leg, sent) in legs.iter().zip(&mut sent) {
            match leg.write(&frame[*sent..]) {
                Ok(count) => {
                    *sent = (*sent + count) % frame.len();
                    moved_at = Instant::now();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

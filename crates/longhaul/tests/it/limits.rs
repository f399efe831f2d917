//! More clients, slower clients and fewer descriptors than anybody planned for.

use std::time::{Duration, Instant};

use crate::support::apps::App;
use crate::support::gateway::{Gateway, longhaul};
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{frames, s, wait_until};

fn gateway(server: &str, replica: std::net::SocketAddr) -> Gateway {
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n{server}\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{replica}\"]\n"
    ))
}

#[test]
fn beyond_the_limit_connections_wait_until_one_ends() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = gateway("[limits]\nconnections_max = 10\n", app.address);
    let mut open: Vec<Raw> = (0..10).map(|_| frames::open(gateway.address(), "/echo")).collect();
    let mut waiting = Raw::connect(gateway.address());
    waiting.send(frames::handshake("/echo", ""));
    waiting.patience(Duration::from_millis(500));
    assert!(waiting.try_response().is_err(), "an eleventh was served");
    frames::echo(&mut open[0], "the ten go on");
    open.pop();
    waiting.patience(s(10));
    assert_eq!(waiting.response().status, 101);
    frames::echo(&mut waiting, "my turn");
}

/// A process that runs out of descriptors must neither die nor spin.
#[test]
fn without_descriptors_open_websockets_go_on_and_others_wait() {
    let app = App::start("echo_ws.mjs", "one");
    let binary = longhaul().get_program().to_str().unwrap().to_owned();
    let replica = app.address;
    let run = format!("ulimit -n 512; exec {binary} run --listen 127.0.0.1:0 --upstream {replica}");
    let gateway = Gateway::by_shell(&run);
    let mut open: Vec<Raw> = (0..10).map(|_| frames::open(gateway.address(), "/echo")).collect();
    let crowd: Vec<Raw> = (0..500).map(|_| Raw::connect(gateway.address())).collect();
    for client in &mut open {
        frames::echo(client, "undisturbed");
    }
    let (before, started) = (gateway.process.cpu(), Instant::now());
    while started.elapsed() < s(2) {
        frames::echo(&mut open[0], "undisturbed");
        std::thread::sleep(Duration::from_millis(100));
    }
    let busy = gateway.process.cpu() - before;
    assert!(busy < Duration::from_millis(500), "{busy:?} of CPU in two seconds of waiting");
    drop(crowd);
    let freed = Instant::now();
    wait_until("service is back", s(5), || raw::get(gateway.address(), "/").text() == "one");
    assert!(freed.elapsed() < s(2), "back after {:?}", freed.elapsed());
}

#[test]
fn many_silent_and_trickling_clients_are_cut_off_and_disturb_nobody() {
    let recorder = Recorder::start(|_| Answer::text("ok"));
    let gateway = gateway("[timeouts]\nhead = \"2s\"\nkeep_alive = \"2s\"\n", recorder.address);
    let silent: Vec<Raw> = (0..300).map(|_| Raw::connect(gateway.address())).collect();
    let mut slow: Vec<Raw> = (0..300).map(|_| Raw::connect(gateway.address())).collect();
    slow.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nX-Half: "));
    let started = Instant::now();
    assert_eq!(raw::get(gateway.address(), "/").text(), "ok");
    assert!(started.elapsed() < s(1), "an honest client waited {:?}", started.elapsed());
    for mut client in slow {
        assert_eq!(client.response().status, 408);
        client.assert_closed();
    }
    for mut client in silent {
        client.assert_closed();
    }
    assert!(started.elapsed() < s(6), "the last was cut off after {:?}", started.elapsed());
}

#[test]
fn a_connection_without_a_next_request_is_closed_in_time() {
    let recorder = Recorder::start(|_| Answer::text("ok"));
    let gateway = gateway("[timeouts]\nkeep_alive = \"1s\"\n", recorder.address);
    let mut client = Raw::connect(gateway.address());
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
    let answered = Instant::now();
    client.assert_closed();
    let took = answered.elapsed();
    assert!(took > Duration::from_millis(500) && took < s(3), "closed after {took:?}");
}

#[test]
fn a_body_that_stalls_is_aborted_on_both_sides() {
    let recorder = Recorder::start(|_| Answer::text("ok"));
    let gateway = gateway("[timeouts]\nbody_stall = \"1s\"\n", recorder.address);
    let mut client = Raw::connect(gateway.address());
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nhalf");
    let started = Instant::now();
    let answer = client.try_response();
    assert!(!answer.as_ref().is_ok_and(|a| a.status == 200), "{answer:?}");
    assert!(started.elapsed() < s(4), "aborted after {:?}", started.elapsed());
    assert!(recorder.seen().is_empty(), "half a body was taken for whole");
}

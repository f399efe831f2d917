//! SIGTERM: nothing new, everything open ended gently and in time.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::process::Signal;
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{frames, s, wait_until};

#[track_caller]
fn draining(gateway: &Gateway) {
    wait_until("readiness turns 503", s(2), || {
        raw::get(gateway.address(), "/health/ready").status == 503
    });
}

#[test]
fn websockets_are_closed_with_1012_spread_over_the_drain_time() {
    let app = App::start("echo_ws.mjs", "one");
    let mut gateway = Gateway::with_flags(&[app.address], &["--drain", "6s"]);
    let clients: Vec<Raw> = (0..40).map(|_| frames::open(gateway.address(), "/echo")).collect();
    let asked = Instant::now();
    gateway.process.signal(Signal::TERM);
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                let code = frames::close_code(&mut client).expect("a close frame comes");
                let told = asked.elapsed();
                client.send_anyway(frames::close_from_client(code, ""));
                (code, told)
            })
        })
        .collect();
    draining(&gateway);
    let (_, refused) = frames::try_open(gateway.address(), "/echo", "").unwrap();
    assert_eq!((refused.status, refused.header("longhaul-cause")), (503, Some("draining")));

    let mut told: Vec<Duration> = Vec::new();
    for reader in readers {
        let (code, after) = reader.join().unwrap();
        assert_eq!(code, 1012);
        told.push(after);
    }
    told.sort();
    let (first, last) = (told[0], told[told.len() - 1]);
    // 40 closes over 4.8 s: neither all at once nor in the last moment.
    assert!(last - first > s(2), "all were told between {first:?} and {last:?}");
    assert!(last < Duration::from_millis(5500), "the last was told after {last:?}");
    let early = told.iter().filter(|after| **after < s(3)).count();
    assert!((8..=36).contains(&early), "{early} of 40 were told in the first half");
    assert_eq!(gateway.process.end(s(4)).code(), Some(0));
    assert!(asked.elapsed() < s(8), "ended after {:?}", asked.elapsed());
}

#[test]
fn a_client_that_ignores_its_close_does_not_outlive_the_deadline() {
    let app = App::start("echo_ws.mjs", "one");
    let mut gateway = Gateway::with_flags(&[app.address], &["--drain", "2s"]);
    let client = frames::open(gateway.address(), "/echo");
    let asked = Instant::now();
    gateway.process.signal(Signal::TERM);
    assert_eq!(gateway.process.end(s(6)).code(), Some(0));
    assert!(asked.elapsed() < s(4), "ended after {:?}", asked.elapsed());
    drop(client);
}

#[test]
fn without_work_it_ends_at_once() {
    let mut gateway = Gateway::before(&[crate::support::apps::free_address()]);
    let asked = Instant::now();
    gateway.process.signal(Signal::INT);
    assert_eq!(gateway.process.end(s(5)).code(), Some(0));
    assert!(asked.elapsed() < s(2), "ended after {:?}", asked.elapsed());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let app = App::start("echo_ws.mjs", "one");
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = Gateway::with_flags(&[app.address], &["--drain", "60s"]);
        let _clients: Vec<Raw> = (0..5).map(|_| frames::open(gateway.address(), "/echo")).collect();
        gateway.process.signal(signal);
        draining(&gateway);
        // Within 100 ms a signal counts as the echo of a wrapper that signals child and group.
        std::thread::sleep(Duration::from_millis(150));
        let asked = Instant::now();
        gateway.process.signal(signal);
        let status = gateway.process.end(s(5));
        assert_eq!(status.code(), Some(128 + signal.as_raw()), "{status}");
        assert!(asked.elapsed() < s(1), "ended after {:?}", asked.elapsed());
    }
}

#[test]
fn an_answer_that_is_under_way_is_finished() {
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(Some(may_go));
    let recorder = Recorder::start(move |_| {
        let may_go = may_go.lock().unwrap().take().expect("one request");
        Answer::Take(Box::new(move |mut raw| {
            raw.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            may_go.recv_timeout(s(10)).expect("the drain began");
            raw.send(" last");
        }))
    });
    let mut gateway = Gateway::with_flags(&[recorder.address], &["--drain", "10s"]);
    let mut client = Raw::connect(gateway.address());
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.response_head().unwrap();
    gateway.process.signal(Signal::TERM);
    draining(&gateway);
    go.send(()).unwrap();
    assert_eq!(client.body(&head.head).unwrap(), b"first last");
    drop(client);
    assert_eq!(gateway.process.end(s(5)).code(), Some(0));
}

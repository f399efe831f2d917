//! How a gateway starts whose store is slow, missing, or not to be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::*;

/// A backend that takes connections, and answers from when it is told to.
fn slow_backend() -> (Recorder, Arc<AtomicBool>) {
    let answers = Arc::new(AtomicBool::new(false));
    let is_told = answers.clone();
    let backend = Recorder::start(move |_| {
        wait_until("it is told to answer", s(300), || is_told.load(Ordering::SeqCst));
        Answer::text("ok")
    });
    (backend, answers)
}

/// What `/health/startup` waits for, and whether it says that the start is over.
fn startup(gateway: &Gateway) -> (u16, Vec<(String, f64)>) {
    let answer = raw::get(gateway.address(), "/health/startup");
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    let steps = said["waiting_for"].as_array().cloned().unwrap_or_default();
    let step =
        |step: &Value| (step["name"].as_str().unwrap().to_owned(), step["for_s"].as_f64().unwrap());
    (answer.status, steps.iter().map(step).collect())
}

#[test]
fn startup_waits_for_a_slow_store_and_a_slow_upstream_and_no_longer() {
    const REPLICAS: &str = "replicas of upstream app";
    for is_store_last in [true, false] {
        let authority = Authority::start();
        let (backend, answers) = slow_backend();
        // It accepts, and says nothing.
        let mut redis = Redis::start(&[]);
        redis.pause();
        let probe =
            "probe = { kind = \"http\", path = \"/\", interval = \"200ms\", timeout = \"60s\" }\n";
        let text = config(
            &backend.address.to_string(),
            &authority,
            &url(&redis),
            "connect_timeout = \"500ms\"",
        );
        let text = text.replace("[[auth_services]]", &format!("{probe}[[auth_services]]"));
        let mut gateway = start(&text, &[]);
        let admin = Admin::of(&mut gateway);
        let reason = || {
            let answer = admin.get("/health/startup");
            assert_eq!(answer.status, 503, "{}", answer.text());
            let said: Value = serde_json::from_slice(&answer.body).unwrap();
            let steps = said["waiting_for"].as_array().unwrap().clone();
            let step = steps.into_iter().find(|step| step["name"] == "store");
            step.map(|step| step["reason"].as_str().unwrap_or_default().to_owned())
        };
        let names = || startup(&gateway).1.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        wait_until("the store is too slow", s(60), || {
            reason().is_some_and(|reason| reason.contains("no answer in 500ms"))
        });
        assert_eq!(names(), ["store", REPLICAS]);
        assert_eq!(raw::get(gateway.address(), "/health/live").status, 200);
        let refused = raw::get(gateway.address(), "/");
        assert_eq!(cause(&refused), (503, Some("not_ready")), "{}", refused.text());

        // It is killed: nothing listens there. Its step counts from the start all the same.
        let waited = startup(&gateway).1[0].1;
        redis.kill();
        wait_until("the store refuses", s(60), || {
            reason().is_some_and(|reason| reason.to_lowercase().contains("connection refused"))
        });
        let (status, steps) = startup(&gateway);
        assert_eq!((status, steps[0].0.as_str()), (503, "store"));
        assert!(steps[0].1 >= waited, "{steps:?} after {waited}");

        // One of the two comes, and 503 stays for the other alone.
        let bring = |redis: &mut Redis, is_store: bool| match is_store {
            true => redis.begin(),
            false => answers.store(true, Ordering::SeqCst),
        };
        bring(&mut redis, !is_store_last);
        let other = if is_store_last { "store" } else { REPLICAS };
        wait_until("one is missing", s(60), || names() == [other]);
        for _ in 0..20 {
            assert_eq!((startup(&gateway).0, names()), (503, vec![other.to_owned()]));
            thread::sleep(Duration::from_millis(20));
        }
        bring(&mut redis, is_store_last);
        let brought = Instant::now();
        wait_until("the start is over", s(60), || startup(&gateway).0 == 200);
        // Tries come every two seconds at most; the machine may be slow.
        assert!(brought.elapsed() < s(30), "{:?}", brought.elapsed());
        assert!(startup(&gateway).1.is_empty());
        let done = admin.json("/health/startup")["done"].clone();
        let took = |name: &str| {
            let step = done.as_array().unwrap().iter().find(|step| step["name"] == name);
            step.unwrap_or_else(|| panic!("no {name} in {done}"))["took_s"].as_f64().unwrap()
        };
        assert_eq!(took("store") > took(REPLICAS), is_store_last, "{done}");
        // The start is over, and so nobody is refused any more.
        assert_eq!(raw::get(gateway.address(), "/").status, 200);
        assert_eq!(open(&gateway, &ticket(&gateway)).1.status, 200, "the backend has its say");
    }
}

#[test]
fn a_store_that_cannot_be_used_is_named_with_its_reason_and_no_password() {
    const RIGHT: &str = "r1ght-s3cret";
    const WRONG: &str = "wr0ng/s3cret";
    let authority = Authority::start();
    let app = App::start("echo_ws.mjs", "one");
    let redis = Redis::start(&["--requirepass", RIGHT]);
    let at = redis.address;
    let by_url = [("STORE_URL", format!("redis://:wr0ng%2Fs3cret@{at}/0"))];
    let by_password = [("STORE_PASSWORD", WRONG.to_owned())];
    for (url, more, environment, reason) in [
        ("env:STORE_URL".to_owned(), "", &by_url[..], "store.password"),
        (url(&redis), "password = \"env:STORE_PASSWORD\"", &by_password[..], "store.password"),
        (url(&redis), "", &[][..], "NOAUTH"),
    ] {
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let more = format!("required = false\n{more}");
        let text = config(&app.address.to_string(), &authority, &url, &more);
        let mut gateway = start(&text, &environment);
        let admin = Admin::of(&mut gateway);
        // Nobody needs it at the start, so that all who have a token are served.
        gateway.wait_ready();
        let mut told = String::new();
        wait_until("the reason is told", s(60), || {
            told = admin.json("/health/ready")["degraded"].to_string();
            told.contains(reason)
        });
        let (_, answer) = try_open(gateway.address(), "/echo", &bearer("good-ann")).unwrap();
        assert_eq!(answer.status, 101);
        assert_eq!(cause(&ask_for_ticket(&gateway)), UNAVAILABLE);
        let shown = [
            told,
            admin.get("/status").text(),
            admin.get("/metrics").text(),
            admin.change("GET", "/api/v1/config", "").text(),
            gateway.process.lines().join("\n"),
        ]
        .join("\n");
        for secret in [WRONG, "wr0ng%2Fs3cret", RIGHT] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        assert!(shown.contains("the store cannot be connected"), "{shown}");
    }

    // One that only follows another takes no tickets, and says so before the first client comes.
    let leader = Redis::start(&[]);
    let port = leader.address.port().to_string();
    let follower = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    let text =
        config(&app.address.to_string(), &authority, &format!("redis://{}", follower.address), "");
    let mut gateway = start(&text, &[]);
    let admin = Admin::of(&mut gateway);
    wait_until("the start waits for a store that can be written to", s(60), || {
        admin.get("/health/startup").text().contains("READONLY")
    });
}

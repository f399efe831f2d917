//! Whether the process says the truth about itself, and goes on when parts of it fail.

use std::fs;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::admission::authority::{Authority, bearer};
use crate::support::admin::{Admin, TOKEN};
use crate::support::apps::App;
use crate::support::dns::Dns;
use crate::support::gateway::Gateway;
use crate::support::raw::{self, Raw};
use crate::support::redis::Redis;
use crate::support::{e2e, frames, s, tls, wait_until};

/// Everything that runs beside serving, and in which of its rounds it fails.
const TASKS: [(&str, u64); 13] = [
    ("probe", 3),
    ("discover", 2),
    ("certificates", 3),
    ("sweep", 3),
    ("loop", 3),
    ("overload", 3),
    ("traces", 1),
    ("metrics", 2),
    ("keys", 1),
    ("health", 3),
    ("revalidation", 3),
    ("ends", 2),
    ("store", 3),
];

/// A key that nobody has the other half of (RFC 8037, appendix A.2).
const KEY_SET: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwAaaPcHURo"}]}"#;

#[test]
fn every_background_task_fails_and_panics_while_websockets_go_on() {
    for kind in ["error", "panic"] {
        let app = App::start("echo_ws.mjs", "one");
        let authority = tls::Authority::new("health");
        let certificate = authority.issue("own", &["localhost"]);
        let dns = Dns::start(&["host-record=app.test,127.0.0.1".into()]);
        let redis = Redis::start(&[]);
        let login = Authority::start();
        login.publish(KEY_SET);
        let faults: Vec<String> =
            TASKS.iter().map(|(task, at)| format!("{task}:{kind}@{at}")).collect();
        let config = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\nadmin_token = \"{TOKEN}\"\n\
             dns_servers = [\"{}\"]\n\
             [traces]\ncollector = \"http://127.0.0.1:9/v1/traces\"\n\
             [metrics]\ncollector = \"http://127.0.0.1:9/v1/metrics\"\ninterval = \"1s\"\n\
             [tls]\nmode = \"off\"\nwatch = \"100ms\"\n[[certificates]]\n{}\
             [[upstreams]]\nname = \"app\"\nreplicas = [\"app.test:{}\"]\n\
             probe = {{ kind = \"tcp\", interval = \"200ms\", timeout = \"200ms\" }}\n\
             [[jwt]]\nname = \"users\"\nkey_set_url = \"http://{}/keys\"\n\
             [[auth_services]]\nname = \"login\"\nkind = \"introspect\"\nurl = \"http://{}/introspect\"\n\
             headers = {{ x-service-secret = \"env:STORY_SECRET\" }}\n\
             health = \"1s\"\nrevalidate = \"1s\"\ncache = \"off\"\n\
             [admission]\nauth = [\"users\", \"login\"]\nauth_scope = \"websockets\"\n\
             [tickets]\npath = \"/ticket\"\n[store]\nurl = \"redis://{}\"\n",
            dns.address,
            certificate.toml(),
            app.address.port(),
            login.address(),
            login.address(),
            redis.address
        );
        let environment =
            [("LONGHAUL_FAULTS", &*faults.join(",")), ("STORY_SECRET", "s3cr3t-service")];
        let mut gateway = Gateway::with_config_and(&config, &environment);
        gateway.process.expect_panics_in("src/faults.rs");
        let admin = Admin::of(&mut gateway);
        let mut open = [(); 5].map(|()| {
            let fields = bearer("good-ann");
            frames::try_open(gateway.address(), "/echo", &fields).unwrap().0
        });
        let mut seen = Vec::new();
        wait_until("every task has failed and runs again", s(60), || {
            for client in &mut open {
                frames::echo(client, "undisturbed");
            }
            let status = admin.json("/status");
            let tasks = status["tasks"].as_array().unwrap();
            seen = tasks.iter().filter(|task| task["restarts"] != 0).cloned().collect();
            let is_back = |(name, _): &(&str, u64)| {
                seen.iter().any(|task| {
                    task["name"].as_str().unwrap().starts_with(*name) && task["state"] == "running"
                })
            };
            TASKS.iter().all(is_back)
        });
        assert!(seen.iter().all(|task| {
            let said = task["last_error"].as_str().unwrap();
            said.contains(if kind == "panic" { "panicked" } else { "an error was asked for" })
        }));
        let health = admin.json("/health/ready");
        let degraded = health["degraded"].to_string();
        for (task, _) in TASKS {
            assert!(degraded.contains(&format!("background task {task}")), "{task}: {degraded}");
        }
        let restarts = |task: &str| {
            let series = format!("longhaul_task_restarts_total{{task=\"{task}\"}}");
            admin.metric(&series)
        };
        assert_eq!(restarts("probe app"), 1.0);
        for client in &mut open {
            frames::echo(client, "still here");
        }
        assert!(admin.json("/api/v1/ends").as_array().unwrap().is_empty(), "one was dropped");
    }
}

#[test]
fn startup_says_what_it_waits_for_and_then_what_it_has_waited_for() {
    // A name server that never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut gateway = Gateway::with_config_unready(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\ndns_servers = [\"{}\"]\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"app.test:80\"]\n",
        silent.local_addr().unwrap()
    ));
    let admin = Admin::of(&mut gateway);
    for path in ["/health/startup", "/health/ready"] {
        let answer = raw::get(gateway.address(), path);
        assert_eq!(answer.status, 503, "{path}");
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(said["waiting_for"][0]["name"], "replicas of upstream app");
        assert!(said["waiting_for"][0]["for_s"].as_f64().is_some());
    }
    assert_eq!(raw::get(gateway.address(), "/health/live").status, 200);
    gateway.wait_ready();
    let health = admin.json("/health/startup");
    let done = health["done"].to_string();
    for step in ["configuration", "listeners", "workers and their connections", "upstream app"] {
        assert!(done.contains(step), "{step}: {done}");
    }
    let degraded = health["degraded"].to_string();
    assert!(degraded.contains("upstream app has no usable replica"), "{degraded}");
}

#[test]
fn startup_waits_for_keys_that_come_late() {
    let (app, login) = (App::start("echo_ws.mjs", "one"), Authority::start());
    // It accepts, and says nothing for now.
    login.publish(KEY_SET);
    login.set("silence");
    let mut gateway = Gateway::with_config_unready(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n\
         [[jwt]]\nname = \"users\"\nkey_set_url = \"http://{}/keys\"\nkey_set_start_wait = \"1h\"\n\
         [admission]\nauth = \"users\"\n",
        app.address,
        login.address()
    ));
    let admin = Admin::of(&mut gateway);
    wait_until("the keys are asked for", s(30), || login.asked("/keys") > 0);
    wait_until("nothing else is missing", s(30), || {
        let answer = raw::get(gateway.address(), "/health/startup");
        assert_eq!(answer.status, 503);
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let missing = said["waiting_for"].as_array().unwrap();
        missing.len() == 1 && missing[0]["name"] == "key set of users"
    });
    login.set("ok");
    gateway.wait_ready();
    assert_eq!(raw::get(gateway.address(), "/health/startup").status, 200);
    let done = admin.json("/health/startup")["done"].to_string();
    assert!(done.contains("key set of users"), "{done}");
    // A key set is there: who comes without a token is told so, not that nobody can say.
    assert_eq!(raw::get(gateway.address(), "/").status, 401);
}

/// The probe settings of a report from the field, in less time: initial delay 45 s, period 10 s, timeout
/// 5 s, five failures allowed. The platform must not give up an app that starts slowly, and
/// once it was told that the start is over, no upgrade may meet 503.
#[test]
fn a_slow_app_outlives_the_probes_and_no_upgrade_is_refused_after_startup() {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let app = e2e().join("apps/echo_ws.mjs");
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.05; done; PORT={{port}} exec node {}",
        go.display(),
        app.display()
    );
    let gateway = Gateway::as_parent(|_| {}, &["sh", "-c", &script]);
    let at = gateway.address();
    let has_started = AtomicBool::new(false);
    thread::scope(|scope| {
        // Who connects all the while: refused before, never after.
        let visitors = scope.spawn(|| {
            let (mut refused, mut served) = (0, 0);
            while served < 100 {
                let is_promised = has_started.load(Ordering::SeqCst);
                let mut client = Raw::connect(at);
                client.send(frames::handshake("/echo", ""));
                match client.response().status {
                    101 => served += u32::from(is_promised),
                    status => {
                        assert!(!is_promised, "{status} after startup said that it is over");
                        refused += 1;
                        thread::sleep(Duration::from_millis(20));
                    }
                }
            }
            refused
        });
        const PERIOD: Duration = Duration::from_secs(3);
        thread::sleep(Duration::from_secs(1));
        let mut failures = 0;
        loop {
            let asked = Instant::now();
            let answer = raw::get(at, "/health/startup");
            assert!(asked.elapsed() < s(5), "a probe waited {:?}", asked.elapsed());
            if answer.status == 200 {
                break;
            }
            failures += 1;
            assert!(failures < 5, "the platform would kill it: {}", answer.text());
            if failures == 2 {
                fs::write(&go, "").unwrap();
            }
            thread::sleep(PERIOD);
        }
        has_started.store(true, Ordering::SeqCst);
        assert!(failures >= 2, "it did not start slowly");
        assert!(visitors.join().unwrap() > 0, "nobody came before it had started");
    });
}

#[test]
fn probes_are_answered_in_head_and_get_alike() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    for path in ["/health/live", "/health/ready", "/health/startup"] {
        let mut client = Raw::connect(gateway.address());
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"));
        assert_eq!(client.response_head().unwrap().status, 200, "{path}");
        client.assert_closed();
    }
}

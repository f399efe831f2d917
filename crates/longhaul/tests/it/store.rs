//! What gateways share, at a real Redis: tickets over two of them, a start that waits for it, and what
//! goes on while it is away.

mod start;
mod upgrade;

use std::collections::HashSet;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::admission::authority::{Authority, bearer};
use crate::support::admin::{Admin, TOKEN};
use crate::support::apps::App;
use crate::support::frames::{self, try_open};
use crate::support::gateway::Gateway;
use crate::support::raw::{self, Raw, Response};
use crate::support::recorder::{Answer, Recorder};
use crate::support::redis::Redis;
use crate::support::{s, tls, wait_until};

/// The configuration of a gateway whose tickets are in a store; `more` is the rest of that section.
fn config(replica: &str, authority: &Authority, url: &str, more: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"localhost:0\"\nadmin_token = \"{TOKEN}\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{replica}\"]\n\
         [[auth_services]]\nname = \"login\"\nkind = \"introspect\"\nurl = \"http://{}/introspect\"\n\
         headers = {{ x-service-secret = \"env:STORY_SECRET\" }}\npass = {{ x-user = \"sub\" }}\n\
         [admission]\nauth = \"login\"\nauth_scope = \"websockets\"\ndeadline = \"15s\"\n\
         [tickets]\npath = \"/ticket\"\n[store]\nurl = \"{url}\"\n{more}\n",
        authority.address()
    )
}

#[track_caller]
fn start(text: &str, environment: &[(&str, &str)]) -> Gateway {
    let secret = [("STORY_SECRET", "s3cr3t-service")];
    let all: Vec<_> = secret.iter().chain(environment).copied().collect();
    Gateway::with_config_and_unready(text, &all)
}

fn url(redis: &Redis) -> String {
    format!("redis://{}", redis.address)
}

fn ask_for_ticket(gateway: &Gateway) -> Response {
    let mut client = Raw::connect(gateway.address());
    client.send(format!(
        "POST /ticket HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n{}\r\n",
        bearer("good-ann")
    ));
    client.response()
}

#[track_caller]
fn ticket(gateway: &Gateway) -> String {
    let answer = ask_for_ticket(gateway);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let given: Value = serde_json::from_slice(&answer.body).unwrap();
    given["ticket"].as_str().unwrap().to_owned()
}

#[track_caller]
fn open(gateway: &Gateway, ticket: &str) -> (Raw, Response) {
    try_open(gateway.address(), &format!("/echo?ticket={ticket}"), "").unwrap()
}

const UNAVAILABLE: (u16, Option<&str>) = (503, Some("auth_unavailable"));

fn cause(answer: &Response) -> (u16, Option<&str>) {
    (answer.status, answer.header("longhaul-cause"))
}

#[test]
fn a_ticket_of_one_gateway_opens_one_websocket_over_all() {
    const TICKETS: usize = 40;
    let (redis, authority) = (Redis::start(&[]), Authority::start());
    let recorder = Recorder::start(|_| Answer::Bytes(frames::accepted().into()));
    let text =
        config(&recorder.address.to_string(), &authority, &url(&redis), "prefix = \"blue:\"");
    let [mut one, mut two] = [(); 2].map(|()| start(&text, &[]));
    let admins = [Admin::of(&mut one), Admin::of(&mut two)];
    one.wait_ready();
    two.wait_ready();

    let word = ticket(&one);
    let keys = redis.ask(&["KEYS", "*"]);
    assert!(keys.starts_with("blue:ticket:") && keys.lines().count() == 1, "{keys}");
    let left_ms: i64 = redis.ask(&["PTTL", &keys]).parse().unwrap();
    assert!((1..=30_000).contains(&left_ms), "{left_ms}");
    let kept = redis.ask(&["GET", &keys]);
    for known in [&*word, "ann", "x-user", "login"] {
        assert!(!keys.contains(known) && !kept.contains(known), "the store knows {known}: {kept}");
    }
    assert_eq!(open(&two, &word).1.status, 101);
    let seen = recorder.seen();
    let seen = seen.last().unwrap();
    assert_eq!(seen.headers("x-user"), ["ann"]);
    assert!(!seen.head.contains("ticket"), "{}", seen.head);
    for gateway in [&one, &two] {
        assert_eq!(cause(&open(gateway, &word).1), (401, Some("unauthenticated")));
    }
    assert_eq!(redis.ask(&["DBSIZE"]), "0");

    // Everybody shows every ticket at once, at both.
    let words: Vec<String> = (0..TICKETS).map(|_| ticket(&one)).collect();
    let accepted = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for gateway in [&one, &two, &one, &two] {
            let (words, accepted) = (&words, &accepted);
            scope.spawn(move || {
                for word in words {
                    match open(gateway, word).1.status {
                        101 => accepted.lock().unwrap().push(word.clone()),
                        status => assert_eq!(status, 401),
                    }
                }
            });
        }
    });
    let accepted = accepted.into_inner().unwrap();
    assert_eq!(accepted.len(), TICKETS, "each once");
    assert_eq!(accepted.into_iter().collect::<HashSet<_>>().len(), TICKETS);
    let takes = admins.map(|admin| {
        assert_eq!(admin.metric("longhaul_store_up"), 1.0);
        let done = "longhaul_store_operations_total{operation=\"take\",outcome=\"done\"}";
        let count = "longhaul_store_operation_duration_seconds_count{operation=\"take\"}";
        assert_eq!(admin.metric(done), admin.metric(count));
        admin.metric(done)
    });
    assert_eq!(takes.iter().sum::<f64>(), (3 + 4 * TICKETS) as f64);

    // What nobody could have been given is not asked about, and who gave a ticket need not be there.
    let word = ticket(&one);
    one.process.kill();
    assert_eq!(open(&two, "rubbish").1.status, 401);
    assert_eq!(open(&two, &word).1.status, 101);
}

#[test]
fn websockets_go_on_while_the_store_is_away_and_tickets_are_refused_until_it_is_back() {
    let (mut redis, authority) = (Redis::start(&[]), Authority::start());
    let app = App::start("echo_ws.mjs", "one");
    let text =
        config(&app.address.to_string(), &authority, &url(&redis), "connect_timeout = \"500ms\"");
    let mut gateway = start(&text, &[]);
    let admin = Admin::of(&mut gateway);
    gateway.wait_ready();
    let mut clients: Vec<Raw> = (0..5)
        .map(|_| {
            let (mut client, answer) = open(&gateway, &ticket(&gateway));
            assert_eq!(answer.status, 101);
            frames::echo(&mut client, "here");
            client
        })
        .collect();
    let unused = ticket(&gateway);
    let mut echo_until = |what: &str, claim: &mut dyn FnMut() -> bool| {
        wait_until(what, s(60), || {
            for client in &mut clients {
                frames::echo(client, "undisturbed");
            }
            claim()
        });
    };
    for is_killed in [true, false] {
        if is_killed {
            redis.kill();
        } else {
            redis.pause();
            // Before it counts as away, who asks waits as long as one answer may take.
            let asked = Instant::now();
            assert_eq!(cause(&open(&gateway, &unused).1), UNAVAILABLE);
            assert!(asked.elapsed() < s(30), "admission has 15 s: {:?}", asked.elapsed());
        }
        let reason = if is_killed { "refused" } else { "no answer in 500" };
        echo_until("it is known to be away", &mut || {
            let health = admin.json("/health/ready");
            let degraded = health["degraded"].to_string();
            degraded.contains("the store is away") && degraded.contains(reason)
        });
        assert_eq!(raw::get(gateway.address(), "/health/ready").status, 200);
        let status = admin.json("/status")["store"].clone();
        assert_eq!(status["state"], "away", "{status}");
        assert_eq!(status["address"], url(&redis), "{status}");
        assert_eq!(admin.json("/api/v1/overview")["store"]["state"], "away");
        assert_eq!(admin.metric("longhaul_store_up"), 0.0);
        let (_, answer) = open(&gateway, &unused);
        assert_eq!(cause(&answer), UNAVAILABLE, "{}", answer.text());
        assert!(answer.header("retry-after").is_some(), "{}", answer.head);
        assert_eq!(cause(&ask_for_ticket(&gateway)), UNAVAILABLE);
        // Who has a token needs no store, with a ticket beside it or without.
        for target in ["/echo".to_owned(), format!("/echo?ticket={unused}")] {
            let (_, answer) = try_open(gateway.address(), &target, &bearer("good-ann")).unwrap();
            assert_eq!(answer.status, 101, "{target}");
        }
        if is_killed {
            redis.begin()
        } else {
            redis.resume()
        }
        echo_until("it is back", &mut || {
            admin.json("/status")["store"]["state"] == "answering"
                && admin.json("/health/ready")["degraded"] == Value::Array(Vec::new())
        });
        assert_eq!(open(&gateway, &ticket(&gateway)).1.status, 101);
    }
    let count = |operation: &str, outcome: &str| {
        let labels = format!("operation=\"{operation}\",outcome=\"{outcome}\"");
        admin.metric(&format!("longhaul_store_operations_total{{{labels}}}"))
    };
    assert!(count("take", "away") >= 4.0 && count("put", "away") >= 2.0);
    assert!(count("ping", "timed_out") >= 1.0);
    let tasks = admin.json("/status")["tasks"].clone();
    let task = tasks.as_array().unwrap().iter().find(|task| task["name"] == "store").unwrap();
    assert_eq!((task["restarts"].as_u64(), task["state"].as_str()), (Some(0), Some("running")));
    for client in &mut clients {
        frames::echo(client, "still here");
    }
    let log = gateway.process.lines().join("\n");
    assert!(log.contains("the store is away") && log.contains("the store answers"), "{log}");
    assert!(!log.contains(&unused), "a ticket is in the log");
}

#[test]
fn a_store_is_reached_by_tls_with_a_login_and_by_a_socket_of_the_machine() {
    let (auth, app) = (Authority::start(), App::start("echo_ws.mjs", "one"));
    let (trusted, stranger) = (tls::Authority::new("stores"), tls::Authority::new("strangers"));
    let files = trusted.issue("redis", &["localhost"]);
    let path = |path: &std::path::Path| path.display().to_string();
    let (certificate, key) = (path(&files.certificate), path(&files.key));
    let secure = Redis::start(&[
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
        "--user",
        "gateway",
        "on",
        ">s3cret",
        "~longhaul:*",
        "+set",
        "+getdel",
        "+ping",
        "+select",
    ]);
    let directory = tempfile::tempdir().unwrap();
    let socket = path(&directory.path().join("redis.sock"));
    let _local = Redis::start(&["--unixsocket", &socket]);
    let at = format!("rediss://gateway@localhost:{}/3", secure.address.port());
    let ca = |authority: &tls::Authority| {
        format!("password = \"env:STORE_PASSWORD\"\nca = \"{}\"", path(&authority.file()))
    };
    let environment = [("STORE_PASSWORD", "s3cret")];
    for (url, more) in [(&*at, ca(&trusted)), (&*format!("unix:{socket}"), String::new())] {
        let gateway = start(&config(&app.address.to_string(), &auth, url, &more), &environment);
        gateway.wait_ready();
        let (mut client, answer) = open(&gateway, &ticket(&gateway));
        assert_eq!(answer.status, 101, "{url}");
        frames::echo(&mut client, "by a ticket");
    }
    let text = config(&app.address.to_string(), &auth, &at, &ca(&stranger));
    let mut gateway = start(&text, &environment);
    let admin = Admin::of(&mut gateway);
    wait_until("it is not believed", s(60), || {
        admin.get("/health/startup").text().contains("certificate")
    });
    assert_eq!(raw::get(gateway.address(), "/health/startup").status, 503);
}

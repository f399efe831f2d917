//! Authentication by a service that answers, or hangs in every way there is.

use std::thread;
use std::time::{Duration, Instant};

use super::authority::{Authority, ask, bearer};
use crate::support::admin::Admin;
use crate::support::apps::App;
use crate::support::frames::{self, try_open};
use crate::support::gateway::{Gateway, longhaul};
use crate::support::raw::{self, Response};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{s, wait_until};

const SECRET: &str = "s3cr3t-service";

/// A gateway whose routes ask `authority`; `keys` go to its table, `more` behind everything.
#[track_caller]
fn gateway(replica: &str, authority: &Authority, keys: &str, more: &str) -> Gateway {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"localhost:0\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{replica}\"]\n\
         [[auth_services]]\nname = \"login\"\nheaders = {{ x-service-secret = \"env:STORY_SECRET\" }}\n\
         {}\n[admission]\nauth = \"login\"\n{more}\n",
        keys.replace("AUTH", &format!("http://{}", authority.address()))
    );
    std::fs::write(file.path(), text).unwrap();
    let mut command = longhaul();
    command.arg("run").arg("--config").arg(file.path()).env("STORY_SECRET", SECRET);
    let gateway = Gateway::with_command(&mut command, 1);
    gateway.wait_ready();
    gateway
}

const VALIDATE: &str = "kind = \"validate\"\nurl = \"AUTH/auth/validate\"\nsubject = \"user_id\"\n\
                        pass = { x-user = \"user_id\", x-mail = \"email\" }";

fn cause(answer: &Response) -> (u16, Option<&str>) {
    (answer.status, answer.header("longhaul-cause"))
}

const UNAVAILABLE: (u16, Option<&str>) = (503, Some("auth_unavailable"));

#[test]
fn a_service_is_asked_once_for_a_token_and_says_who_it_is() {
    let recorder = Recorder::start(|_| Answer::text("ok"));
    let authority = Authority::start();
    let gateway = gateway(&recorder.address.to_string(), &authority, VALIDATE, "");
    let address = gateway.address();
    let crowd: Vec<_> =
        (0..20).map(|_| thread::spawn(move || ask(address, "good-ann").status)).collect();
    for one in crowd {
        assert_eq!(one.join().unwrap(), 200);
    }
    assert_eq!(authority.asked("/auth/validate"), 1, "one question for all");
    let seen = recorder.seen();
    let of_ann: Vec<_> = seen.iter().filter(|seen| seen.headers("x-user") == ["ann"]).collect();
    assert_eq!((of_ann.len(), of_ann[0].headers("x-mail")), (20, vec!["a@b.example"]));
    assert_eq!(cause(&ask(address, "wrong")), (401, Some("unauthenticated")));
    assert_eq!(cause(&ask(address, "forbidden")), (403, Some("forbidden")));
    assert_eq!(raw::get(address, "/").status, 401, "without a token nobody is asked");
    assert!(!gateway.process.lines().join("\n").contains(SECRET));
}

#[test]
fn introspection_and_forwarding_are_understood() {
    let recorder = Recorder::start(|_| Answer::text("ok"));
    let authority = Authority::start();
    let replica = recorder.address.to_string();
    let introspect =
        "kind = \"introspect\"\nurl = \"AUTH/introspect\"\npass = { x-user = \"sub\" }";
    let forward = "kind = \"forward\"\nurl = \"AUTH/forward\"\npass = { x-user = \"x-user\" }";
    for keys in [introspect, forward] {
        let gateway = gateway(&replica, &authority, keys, "");
        assert_eq!(ask(gateway.address(), "good-bob").status, 200, "{keys}");
        let seen = recorder.seen();
        let seen = seen.iter().rfind(|seen| !seen.head.contains("health")).unwrap();
        assert_eq!(seen.headers("x-user"), ["bob"], "{keys}");
        assert_eq!(ask(gateway.address(), "bad").status, 401, "{keys}");
    }
    let gateway = gateway(&replica, &authority, forward, "");
    assert_eq!(ask(gateway.address(), "forbidden").status, 403);
}

/// R2: the auth service takes connections and never answers, its pool is ten, and fifty clients come.
/// Their last verdict came after 179 seconds; here it comes within the deadline.
#[test]
fn fifty_clients_at_a_pool_of_ten_and_a_silent_service_have_their_verdict_in_time() {
    let app = App::start("echo_ws.mjs", "one");
    let authority = Authority::start();
    authority.set("silence");
    let keys = format!("{VALIDATE}\nconnections_max = 10\nretries = 2\nhealth = \"off\"");
    let more = "deadline = \"1s\"";
    let gateway = gateway(&app.address.to_string(), &authority, &keys, more);
    let address = gateway.address();
    let began = Instant::now();
    let clients: Vec<_> = (0..50)
        .map(|number| {
            thread::spawn(move || {
                let fields = bearer(&format!("good-{number}"));
                let (_, answer) = try_open(address, "/echo", &fields).unwrap();
                (cause(&answer) == UNAVAILABLE, began.elapsed())
            })
        })
        .collect();
    let verdicts: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let last = verdicts.iter().map(|(_, took)| *took).max().unwrap();
    println!("the last of fifty verdicts came after {last:?}");
    assert!(verdicts.iter().all(|(is_refused, _)| *is_refused), "{verdicts:?}");
    // What the machine adds to the deadline under load is its own.
    assert!(last < Duration::from_secs(3), "the last verdict came after {last:?}");
}

#[test]
fn however_the_service_hangs_nobody_is_let_in_and_it_is_believed_again_when_it_returns() {
    let app = App::start("echo_ws.mjs", "one");
    let authority = Authority::start();
    let keys = format!("{VALIDATE}\nbreaker_failures = 3\nbreaker_recovery = \"1s\"");
    let gateway = gateway(&app.address.to_string(), &authority, &keys, "deadline = \"500ms\"");
    let mut number = 0;
    for mode in ["silence", "headers", "drip", "reset", "500", "garbage", "huge"] {
        authority.set(mode);
        for _ in 0..6 {
            number += 1;
            let began = Instant::now();
            let answer = ask(gateway.address(), &format!("good-{number}"));
            assert_eq!(cause(&answer), UNAVAILABLE, "{mode}: {}", answer.text());
            assert!(answer.header("retry-after").is_some());
            assert!(began.elapsed() < s(5), "{mode}: {:?}", began.elapsed());
        }
        authority.set("ok");
        let returned = Instant::now();
        wait_until("it is believed again", s(30), || {
            ask(gateway.address(), &format!("good-{mode}")).status == 200
        });
        println!("{mode}: believed again after {:?}", returned.elapsed());
    }
    // A no of the service is a no also after all that.
    assert_eq!(ask(gateway.address(), "wrong").status, 401);
}

#[test]
fn a_service_that_never_finishes_tls_costs_the_deadline_and_lets_nobody_in() {
    let app = App::start("echo_ws.mjs", "one");
    // It lets connect, and answers no hello.
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/auth/validate", service.local_addr().unwrap());
    let keys = VALIDATE.replace("AUTH/auth/validate", &url) + "\nhealth = \"off\"";
    let more = "deadline = \"500ms\"";
    let gateway = gateway(&app.address.to_string(), &Authority::start(), &keys, more);
    for number in 0..8 {
        let began = Instant::now();
        let (_, answer) =
            try_open(gateway.address(), "/echo", &bearer(&format!("good-{number}"))).unwrap();
        assert_eq!(cause(&answer), UNAVAILABLE);
        assert!(began.elapsed() < s(5), "{:?}", began.elapsed());
    }
}

#[test]
fn who_is_inside_is_asked_about_again_and_ends_by_a_no_alone() {
    let app = App::start("echo_ws.mjs", "one");
    let replica = app.address.to_string();
    let introspect = "kind = \"introspect\"\nurl = \"AUTH/introspect\"";
    let forward = "kind = \"forward\"\nurl = \"AUTH/forward\"";
    for (keys, path) in [(introspect, "/introspect"), (forward, "/forward")] {
        let authority = Authority::start();
        let keys = format!(
            "{keys}\ncache = \"off\"\nrevalidate = \"1s\"\nbreaker_failures = 1000\nhealth = \"off\""
        );
        let gateway = gateway(&replica, &authority, &keys, "");
        let (mut client, answer) =
            try_open(gateway.address(), "/echo", &bearer("good-ann")).unwrap();
        assert_eq!(answer.status, 101);
        wait_until("it is asked again", s(30), || authority.asked(path) >= 3);
        frames::echo(&mut client, "still welcome");
        authority.set("500");
        let before = authority.asked(path);
        wait_until("it is asked in vain", s(30), || authority.asked(path) >= before + 2);
        frames::echo(&mut client, "no answer is no no");
        authority.set("deny");
        assert_eq!(frames::close_code(&mut client).unwrap(), 4401, "{path}");
        assert!(!gateway.process.lines().join("\n").contains("good-ann"));
    }
}

#[test]
fn who_comes_back_is_known_by_its_subject_wherever_it_comes_from() {
    let (app, authority) = (App::start("echo_ws.mjs", "one"), Authority::start());
    let mut gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
         trusted_proxies = [\"127.0.0.1\"]\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n\
         [[routes]]\nname = \"chat\"\nupstream = \"app\"\n\
         [[auth_services]]\nname = \"login\"\nkind = \"forward\"\nurl = \"http://{}/forward\"\n\
         pass = {{ x-user = \"X-User\" }}\n[admission]\nauth = \"login\"\n",
        app.address,
        authority.address()
    ));
    let admin = Admin::of(&mut gateway);
    let reconnects = || admin.metric("longhaul_websocket_reconnects_total{route=\"chat\"}");
    let visit = |who: &str, from: &str| {
        let fields = format!("{}X-Forwarded-For: {from}\r\n", bearer(who));
        let (client, answer) = try_open(gateway.address(), "/echo", &fields).unwrap();
        assert_eq!(answer.status, 101);
        drop(client);
        let open = "longhaul_route_websockets_open{route=\"chat\"}";
        wait_until("they have left", s(30), || admin.metric(open) == 0.0);
    };
    visit("good-ann", "192.0.2.1");
    visit("good-bob", "192.0.2.1");
    assert_eq!(reconnects(), 0.0, "one address is not one person");
    visit("good-ann", "192.0.2.2");
    assert_eq!(reconnects(), 1.0);
}

/// The share `at` of the sorted times.
fn percentile(times: &mut [Duration], at: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * at) as usize]
}

fn timed(count: usize, mut one: impl FnMut(usize)) -> Vec<Duration> {
    let time = |number| {
        let began = Instant::now();
        one(number);
        began.elapsed()
    };
    (0..count).map(time).collect()
}

#[test]
fn a_dead_service_costs_its_own_clients_a_moment_and_the_others_nothing() {
    let app = App::start("echo_ws.mjs", "one");
    let authority = Authority::start();
    let secret = "0123456789abcdef0123456789abcdef";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret).unwrap();
    let jwt = format!("[[jwt]]\nname = \"users\"\nsecret = \"file:{}\"", file.path().display());
    let routes = "[[routes]]\nupstream = \"app\"\n[[routes]]\npath = \"/jwt\"\nupstream = \"app\"\n\
                  [routes.admission]\nauth = [\"users\", \"login\"]";
    let keys = format!("{VALIDATE}\ncache_denied = \"off\"");
    let more = format!("deadline = \"500ms\"\n{jwt}\n{routes}");
    let mut gateway = gateway(&app.address.to_string(), &authority, &keys, &more);
    let admin = Admin::of(&mut gateway);
    let token = hs256(secret.as_bytes());
    let by_jwt = |_| {
        let answer = raw::request(gateway.address(), "/jwt", &bearer(&token));
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let by_cache = |_| assert_eq!(ask(gateway.address(), "good-known").status, 200);
    by_cache(0);
    let mut before = timed(300, by_jwt);
    authority.set("silence");
    // Each its own token: nothing is answered for another.
    let refused = |number: usize| {
        let answer = ask(gateway.address(), &format!("good-{number}"));
        assert_eq!(cause(&answer), UNAVAILABLE);
    };
    let mut while_closed = timed(4, refused);
    // Whichever finds out first: five failures in a row, or the health check.
    wait_until("it is known", s(30), || {
        let began = Instant::now();
        refused(0);
        began.elapsed() < Duration::from_millis(100)
    });
    let mut while_open = timed(300, |number| refused(1000 + number));
    let mut during = timed(300, by_jwt);
    let mut cached = timed(300, by_cache);
    let all = [&mut before, &mut during, &mut cached];
    let [before, during, cached] = all.map(|times| [0.5, 0.99].map(|at| percentile(times, at)));
    let (slowest, median) = (percentile(&mut while_closed, 1.0), percentile(&mut while_open, 0.5));
    let open = percentile(&mut while_open, 0.99);
    let questions = |outcome: &str| {
        let labels = format!("{{authority=\"login\",outcome=\"{outcome}\"}}");
        admin.metric(&format!("longhaul_auth_questions_total{labels}"))
    };
    assert!(questions("hit") >= 300.0 && questions("failed") >= 1.0);
    assert!(questions("prevented") >= 300.0, "each was answered at once");
    let state = |state: &str| {
        admin.metric(&format!(
            "longhaul_auth_breaker_state{{authority=\"login\",state=\"{state}\"}}"
        ))
    };
    assert_eq!(state("closed"), 0.0);
    assert_eq!(["open", "half_open", "sick"].map(state).iter().sum::<f64>(), 1.0);
    assert!(admin.metric("longhaul_admissions_total{outcome=\"auth_unavailable\"}") >= 300.0);
    println!(
        "refused within {slowest:?}, once known within {open:?} (p99; median {median:?}); by JWT \
         (median, p99) {before:?} before, {during:?} meanwhile; by cache {cached:?}"
    );
    // Generous, and of medians, for machines that do other things; the figures are above.
    assert!(slowest < s(5), "{slowest:?}");
    assert!(median < Duration::from_millis(50), "{median:?}");
    let bound = before[0] * 3 + Duration::from_millis(50);
    assert!(during[0] < bound && cached[0] < bound, "{before:?} {during:?} {cached:?}");
    authority.set("ok");
    let returned = Instant::now();
    wait_until("it is believed again", s(30), || {
        ask(gateway.address(), "good-again").status == 200
    });
    wait_until("the breaker is closed", s(30), || state("closed") == 1.0);
    assert_eq!(admin.metric("longhaul_auth_waiting{authority=\"login\"}"), 0.0);
    println!("believed again after {:?}", returned.elapsed());
}

#[test]
fn a_thousand_clients_wait_no_longer_than_the_deadline_and_leave_nothing_behind() {
    let app = App::start("echo_ws.mjs", "one");
    let authority = Authority::start();
    authority.set("silence");
    let keys = format!("{VALIDATE}\nwaiting_max = 400\nhealth = \"off\"\nbreaker_failures = 1000");
    let more = "deadline = \"1s\"";
    let gateway = gateway(&app.address.to_string(), &authority, &keys, more);
    let descriptors = gateway.process.descriptors();
    let mut clients: Vec<_> = (0..1000)
        .map(|number| {
            let mut client = raw::Raw::connect(gateway.address());
            client.send(format!(
                "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{}\r\n",
                bearer(&format!("good-{number}"))
            ));
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(cause(&client.response()), UNAVAILABLE);
    }
    drop(clients);
    wait_until("nothing is left of them", s(30), || {
        gateway.process.descriptors() <= descriptors + 2
    });
    authority.set("ok");
    wait_until("the next is served", s(30), || ask(gateway.address(), "good-next").status == 200);
}

#[test]
fn whom_the_service_knew_comes_in_without_it_where_that_is_allowed_and_nobody_else() {
    let app = App::start("echo_ws.mjs", "one");
    let mut authority = Authority::start();
    let keys = format!("{VALIDATE}\ncache = \"1s\"\ncache_stale = \"1m\"");
    let gateway = gateway(&app.address.to_string(), &authority, &keys, "deadline = \"500ms\"");
    assert_eq!(ask(gateway.address(), "good-known").status, 200);
    authority.app.process.kill();
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(ask(gateway.address(), "good-known").status, 200);
    assert_eq!(cause(&ask(gateway.address(), "good-stranger")), UNAVAILABLE);
}

/// A token of an hour, signed with `secret`.
fn hs256(secret: &[u8]) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let script =
        "import jwt, sys; print(jwt.encode({'exp': int(sys.argv[2])}, sys.argv[1], 'HS256'))";
    let output = std::process::Command::new(crate::support::e2e().join(".cache/python/bin/python"))
        .args(["-c", script, std::str::from_utf8(secret).unwrap()])
        .arg((now.as_secs() + 3600).to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

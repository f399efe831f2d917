//! JSON Web Tokens: whose are taken, where they may be, and what ends when they do.

use std::process::Command;
use std::time::{Duration, Instant};

use longhaul_client::{Event, Message, Options, Session, connect};
use serde_json::{Value, json};

use super::authority::{Authority, ask, bearer};
use crate::support::admin::{Admin, TOKEN};
use crate::support::apps::App;
use crate::support::frames::{self, try_open};
use crate::support::gateway::{Gateway, longhaul};
use crate::support::process::Process;
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{clients, s, wait_until};

/// What a script of `tests/e2e/clients` made.
struct Made {
    keys: Value,
    good: Vec<(String, String)>,
    bad: Vec<(String, String)>,
}

#[track_caller]
fn made_by(script: &str, arguments: &[&str]) -> Made {
    let lines = clients::run(script, arguments, s(90));
    let of = |kind: &str| {
        let lines = lines.iter().filter_map(|line| line.strip_prefix(kind));
        let pairs = lines.filter_map(|rest| rest.trim().split_once(' '));
        pairs.map(|(name, token)| (name.to_owned(), token.to_owned())).collect::<Vec<_>>()
    };
    let keys = lines.iter().find_map(|line| line.strip_prefix("keys ")).expect("it has keys");
    Made { keys: serde_json::from_str(keys).unwrap(), good: of("good "), bad: of("bad ") }
}

fn config(replica: &str, jwt: &str, more: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[[upstreams]]\nname = \"app\"\nreplicas = [\"{replica}\"]\n\
         [[jwt]]\nname = \"users\"\nissuer = \"https://id.example\"\naudience = \"chat\"\n{jwt}\n\
         [admission]\nauth = \"users\"\n{more}\n"
    )
}

fn key_file(keys: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), keys.to_string()).unwrap();
    file
}

#[test]
fn tokens_of_libraries_in_three_languages_are_taken_and_their_forgeries_are_not() {
    let app = App::start("echo_ws.mjs", "one");
    let made = ["tokens.py", "tokens.mjs", "tokens.pl"].map(|script| made_by(script, &[]));
    let keys = made.iter().flat_map(|made| made.keys["keys"].as_array().unwrap().clone());
    let file = key_file(&json!({ "keys": keys.collect::<Vec<_>>() }));
    let jwt = format!("keys = \"{}\"\nrequire = {{ scope = \"chat\" }}", file.path().display());
    let gateway = Gateway::with_config_unready(&config(&app.address.to_string(), &jwt, ""));
    gateway.wait_ready();
    let (mut good, mut bad) = (0, 0);
    for made in &made {
        for (name, token) in &made.good {
            let answer = ask(gateway.address(), token);
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            good += 1;
        }
        for (name, token) in &made.bad {
            let answer = ask(gateway.address(), token);
            assert_eq!(answer.header("longhaul-cause"), Some("unauthenticated"), "{name}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
            let (_, answer) = try_open(gateway.address(), "/echo", &bearer(token)).unwrap();
            assert_eq!(answer.status, 401, "{name}");
            bad += 1;
        }
    }
    assert!(good >= 30 && bad >= 21, "{good} good, {bad} bad");
    let answer = raw::get(gateway.address(), "/");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
    let log = gateway.process.lines().join("\n");
    assert!(log.contains("its signature does not hold") && log.contains("it has expired"), "{log}");
    assert!(!log.contains("eyJ"), "no token is logged");
}

#[test]
fn a_token_is_found_in_every_place_and_pages_get_the_subprotocol_they_offered() {
    let recorder = Recorder::start(|seen| {
        let is_upgrade = !seen.headers("upgrade").is_empty();
        if is_upgrade { Answer::Bytes(frames::accepted().into()) } else { Answer::text("ok") }
    });
    let made = made_by("tokens.py", &[]);
    let file = key_file(&made.keys);
    let jwt = format!(
        "keys = \"{}\"\npass_token = false\npass = {{ x-user = \"sub\", x-roles = \"org.roles\" }}\n\
         sources = [\"authorization\", \"subprotocol:bearer\", \"cookie:login\", \"query:access_token\"]",
        file.path().display()
    );
    let text = config(&recorder.address.to_string(), &jwt, "auth_scope = \"websockets\"");
    let gateway = Gateway::with_config(&text);
    let token = &made.good[6].1;
    // What only the gateway may say is taken out, however it is spelt and whoever asks.
    let forged = "X-User: root\r\nX_Roles: root\r\nx.user: root\r\n";
    let places = [
        ("/ws", bearer(token)),
        ("/ws", format!("Sec-WebSocket-Protocol: bearer, {token}\r\n")),
        ("/ws", format!("Sec-WebSocket-Protocol: bearer.{token}\r\n")),
        ("/ws", format!("Cookie: a=b; login={token}\r\n")),
        (&*format!("/ws?room=1&access_token={token}"), String::new()),
    ];
    for (target, field) in places {
        let fields = format!("{field}{forged}");
        let (_, answer) = try_open(gateway.address(), target, &fields).unwrap();
        assert_eq!(answer.status, 101, "{field} {}", answer.head);
        let echoed = answer.header("sec-websocket-protocol").unwrap_or_default().to_owned();
        let offered = raw::values(&format!("x\r\n{field}"), "sec-websocket-protocol").join(", ");
        let fits = offered.split(", ").any(|name| name == echoed);
        assert!(offered.is_empty() && echoed.is_empty() || fits, "{echoed:?} of {offered:?}");
    }
    // In any scope, a plain request cannot pretend either.
    assert_eq!(raw::request(gateway.address(), "/page", forged).status, 200);
    for seen in recorder.seen().iter().filter(|seen| !seen.line().contains("/health")) {
        assert!(!seen.head.contains("eyJ") && !seen.head.contains("root"), "{}", seen.head);
        assert!(seen.headers("sec-websocket-protocol").is_empty(), "{}", seen.head);
        if !seen.headers("upgrade").is_empty() {
            assert_eq!(seen.headers("x-user"), ["ann"]);
            assert_eq!(seen.headers("x-roles"), ["admin,user"]);
        }
    }
    assert_eq!(recorder.faults(), Vec::<String>::new());
    assert!(!gateway.process.lines().join("\n").contains("eyJ"));
}

#[test]
fn a_key_set_is_fetched_anew_for_a_new_key_and_kept_when_its_issuer_is_gone() {
    let app = App::start("echo_ws.mjs", "one");
    let mut authority = Authority::start();
    let (old, new) = (made_by("tokens.mjs", &[]), made_by("tokens.py", &[]));
    authority.publish(&old.keys.to_string());
    let jwt = format!("key_set_url = \"http://{}/keys\"", authority.address());
    let gateway = Gateway::with_config(&config(&app.address.to_string(), &jwt, ""));
    assert_eq!(ask(gateway.address(), &old.good[0].1).status, 200, "ready is with keys");
    let fetched_at = Instant::now();
    authority.publish(&new.keys.to_string());
    // A flood of keys that nobody has, while the last fetch is a moment ago and then is not.
    let unknown = |number: usize| {
        let mut parts: Vec<String> = new.good[6].1.split('.').map(str::to_owned).collect();
        let header = json!({"alg": "ES256", "kid": format!("nobody-{number}")}).to_string();
        parts[0] = base64(header.as_bytes());
        parts.join(".")
    };
    let mut client = Raw::connect(gateway.address());
    for number in 0..10_000 {
        let token = unknown(number);
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", bearer(&token)));
        assert_eq!(client.response().status, 401);
    }
    wait_until("the new key is fetched", s(40), || {
        ask(gateway.address(), &new.good[6].1).status == 200
    });
    let fetches = authority.asked("/keys");
    let fits = 2 + fetched_at.elapsed().as_secs() / 10;
    assert!(fetches <= fits, "{fetches} fetches in {:?}", fetched_at.elapsed());
    assert_eq!(ask(gateway.address(), &old.good[0].1).status, 401, "its key was taken back");
    authority.app.process.kill();
    assert_eq!(ask(gateway.address(), &new.good[7].1).status, 200);
}

#[test]
fn without_any_key_there_is_no_verdict_and_nobody_is_let_in() {
    let app = App::start("echo_ws.mjs", "one");
    let jwt = "key_set_url = \"http://127.0.0.1:1/keys\"\nkey_set_start_wait = \"1s\"";
    let text = config(&app.address.to_string(), jwt, "deadline = \"500ms\"\nrefusal = \"close\"");
    let gateway = Gateway::with_config(&text);
    assert!(gateway.process.lines().join("\n").contains("started without its key set"));
    let made = made_by("tokens.mjs", &[]);
    let answer = ask(gateway.address(), &made.good[0].1);
    assert_eq!(answer.header("longhaul-cause"), Some("auth_unavailable"));
    assert!(answer.text().contains("AUTH_UNAVAILABLE") && answer.header("retry-after").is_some());
    let (mut client, _) = try_open(gateway.address(), "/echo", &bearer(&made.good[0].1)).unwrap();
    let frame = frames::read(&mut client).unwrap();
    assert_eq!(frame.close_code(), 4503);
    assert!(frame.payload[2..].starts_with(b"AUTH_UNAVAILABLE"));
}

#[test]
fn a_provider_of_openid_is_taken_at_its_word() {
    let app = App::start("echo_ws.mjs", "one");
    let provider = App::start("openid.mjs", "openid");
    let issuer = format!("http://{}", provider.address);
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n\
         [[jwt]]\nname = \"openid\"\nkey_set_url = \"{issuer}/jwks\"\nissuer = \"{issuer}\"\n\
         audience = \"urn:chat\"\nrequire = {{ scope = \"chat\" }}\n[admission]\nauth = \"openid\"\n",
        app.address
    );
    let gateway = Gateway::with_config(&text);
    let mut client = Raw::connect(provider.address);
    let form = "grant_type=client_credentials&resource=urn:chat&scope=chat";
    client.send(format!(
        "POST /token HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {}\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
        provider.address,
        base64_padded(b"app:s3cr3t"),
        form.len()
    ));
    let answer: Value = serde_json::from_str(&client.response().text()).unwrap();
    let token = answer["access_token"].as_str().expect("it gives a token");
    wait_until("its keys are there", s(30), || ask(gateway.address(), token).status == 200);
    let (mut client, answer) = try_open(gateway.address(), "/echo", &bearer(token)).unwrap();
    assert_eq!(answer.status, 101);
    frames::echo(&mut client, "by OpenID");
    let changed = format!("{}A{}", &token[..token.len() - 20], &token[token.len() - 19..]);
    assert_eq!(ask(gateway.address(), &changed).status, 401);
}

#[test]
fn a_websocket_ends_with_its_token_unless_a_newer_one_is_brought() {
    let app = App::start("echo_ws.mjs", "one");
    let (short, long) = (made_by("tokens.py", &["8"]), made_by("tokens.py", &["120"]));
    let (first, second) = (key_file(&short.keys), key_file(&long.keys));
    let paths = [first.path().display(), second.path().display()];
    // The keys of both have the same names; each token fits one of two.
    let jwt = format!("keys = [\"{}\", \"{}\"]\nleeway = \"0s\"", paths[0], paths[1]);
    let tickets = "[tickets]\npath = \"/auth/ticket\"\n";
    let gateway = Gateway::with_config(&config(&app.address.to_string(), &jwt, tickets));
    let token = bearer(&short.good[6].1);
    let (mut left, answer) = try_open(gateway.address(), "/echo", &token).unwrap();
    assert_eq!(answer.status, 101, "{}", answer.text());
    assert_eq!(frames::close_code(&mut left).unwrap(), 4401);
    assert_eq!(ask(gateway.address(), &short.good[6].1).status, 401, "it is over, and not before");
    wait_until("the end is logged", s(30), || {
        gateway.process.lines().iter().any(|line| line.contains("token_expired"))
    });

    let again = made_by("tokens.py", &["10"]);
    std::fs::write(first.path(), again.keys.to_string()).unwrap();
    let gateway = Gateway::with_config(&config(&app.address.to_string(), &jwt, tickets));
    let opened_at = Instant::now();
    let token = bearer(&again.good[6].1);
    let (mut kept, answer) = try_open(gateway.address(), "/echo", &token).unwrap();
    assert_eq!(answer.status, 101);
    // What echoes is in the books.
    frames::echo(&mut kept, "here");
    let brought = office(&gateway, "PUT", &long.good[6].1);
    assert_eq!(brought["websockets"], 1);
    // The end of the first token comes and goes.
    while opened_at.elapsed() < s(12) {
        frames::echo(&mut kept, "still here");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A durable session needs no HTTP beside it: the gateway asks over the link, and the client answers there.
#[test]
fn a_session_is_asked_for_a_newer_token_and_goes_on_by_it() {
    let app = App::start("echo_ws.mjs", "one");
    let long = made_by("tokens.py", &["120"]);
    let other = made_by("tokens.py", &["120", "bob"]);
    let short = made_by("tokens.py", &["10"]);
    let files = [&short, &long, &other].map(|made| key_file(&made.keys));
    let [short, long, other] = [short, long, other].map(|made| made.good[6].1.clone());
    let paths = files.each_ref().map(|file| file.path().display().to_string());
    let jwt = format!("keys = {paths:?}\nleeway = \"0s\"");
    let text = config(&app.address.to_string(), &jwt, "[durable]\n");
    let gateway = Gateway::with_config(&text);
    let options = Options::new(&format!("ws://{}/echo", gateway.address())).unwrap();
    let options = options.header("authorization", &format!("Bearer {short}")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let opened_at = Instant::now();
        let mut kept = connect(options.clone());
        let mut left = connect(options);
        let wanted = next_of(&mut kept, |event| matches!(event, Event::LoginWanted { .. })).await;
        let Event::LoginWanted { within } = wanted else { unreachable!("it was looked for") };
        assert!(within <= s(5), "half of what was left, at most: {within:?}");
        // Neither another's token nor rubbish prolongs it; each is said to be refused.
        for (bad, why) in [(other.as_str(), "another subject"), ("rubbish", "refused")] {
            kept.authenticate(bad).await.unwrap();
            let refused = next_of(&mut kept, |event| matches!(event, Event::LoginRefused { .. }));
            let Event::LoginRefused { reason } = refused.await else { unreachable!("looked for") };
            assert!(reason.contains(why), "{reason}");
        }
        kept.authenticate(&long).await.unwrap();
        // Who does not answer ends with its token.
        let over = next_of(&mut left, |event| matches!(event, Event::Closed { .. })).await;
        let Event::Closed { code, reason, .. } = over else { unreachable!("it was looked for") };
        assert_eq!((code, reason.as_str()), (4401, "the token has expired"));
        assert!(opened_at.elapsed() < s(60), "the other one is judged by what it does now");
        kept.send(Message::Text("still here".into())).await.unwrap();
        let echo = next_of(&mut kept, |event| matches!(event, Event::Message(_))).await;
        assert_eq!(echo, Event::Message(Message::Text("still here".into())));
        kept.close(1000, "").await.unwrap();
        next_of(&mut kept, |event| matches!(event, Event::Closed { code: 1000, .. })).await;
    });
    let log = gateway.process.lines().join("\n");
    assert!(log.contains("session has a newer login"), "{log}");
    for token in [&short, &long, &other] {
        assert!(!log.contains(token.as_str()), "a token is in the log");
    }
}

/// The next event of this kind. Others but an end are passed over.
async fn next_of(session: &mut Session, is_meant: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = tokio::time::timeout(s(60), session.next()).await.expect("in time");
        let event = event.expect("it comes before the end");
        if is_meant(&event) {
            return event;
        }
        assert!(!matches!(event, Event::Closed { .. }), "{event:?}");
    }
}

#[test]
fn what_an_operator_takes_back_ends_at_once_and_is_refused_from_then_on() {
    let app = App::start("echo_ws.mjs", "one");
    let made = made_by("tokens.py", &[]);
    let file = key_file(&made.keys);
    let jwt = format!("keys = \"{}\"", file.path().display());
    let text = config(&app.address.to_string(), &jwt, "");
    let admin = format!("[server]\nadmin = \"localhost:0\"\nadmin_token = \"{TOKEN}\"\n");
    let mut gateway = Gateway::with_config(&text.replace("[server]\n", &admin));
    let admin = Admin::of(&mut gateway);
    let token = &made.good[6].1;
    let (mut open, _) = try_open(gateway.address(), "/echo", &bearer(token)).unwrap();
    frames::echo(&mut open, "let in");
    assert_eq!(admin.metric("longhaul_granted_websockets_open"), 1.0);
    let path = "/api/v1/admission/revoke";
    let told = admin.change("POST", path, r#"{"token_id":"token-1"}"#);
    assert_eq!((told.status, told.text().as_str()), (200, "{\"websockets\":1}"));
    assert_eq!(frames::close_code(&mut open).unwrap(), 4401);
    assert_eq!(ask(gateway.address(), token).status, 401);
    assert_eq!(admin.change("POST", path, "{}").status, 400);
    let granted = "longhaul_admissions_total{outcome=\"granted\"}";
    assert_eq!(admin.metric(granted), 1.0);
    assert_eq!(admin.metric("longhaul_admission_duration_seconds_count"), 2.0);
}

/// Brings a token to the office.
#[track_caller]
fn office(gateway: &Gateway, method: &str, token: &str) -> Value {
    let mut client = Raw::connect(gateway.address());
    client.send(format!(
        "{method} /auth/ticket HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n{}\r\n",
        bearer(token)
    ));
    let answer = client.response();
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

#[test]
fn a_ticket_opens_one_websocket_and_no_second() {
    let recorder = Recorder::start(|_| Answer::Bytes(frames::accepted().into()));
    let made = made_by("tokens.py", &[]);
    let file = key_file(&made.keys);
    let jwt = format!("keys = \"{}\"\npass = {{ x-user = \"sub\" }}", file.path().display());
    let tickets = "[tickets]\npath = \"/auth/ticket\"\n";
    let gateway = Gateway::with_config(&config(&recorder.address.to_string(), &jwt, tickets));
    let given = office(&gateway, "POST", &made.good[6].1);
    let (ticket, life) = (given["ticket"].as_str().unwrap(), given["expires_in"].as_u64());
    assert_eq!(life, Some(30));
    let target = format!("/ws?room=1&ticket={ticket}");
    assert_eq!(try_open(gateway.address(), &target, "").unwrap().1.status, 101);
    assert_eq!(try_open(gateway.address(), &target, "").unwrap().1.status, 401);
    assert_eq!(raw::get(gateway.address(), "/auth/ticket").status, 405);
    let seen = recorder.seen();
    assert_eq!(seen[0].line(), "GET /ws?room=1 HTTP/1.1");
    assert_eq!((seen.len(), seen[0].headers("x-user")), (1, vec!["ann"]));
    assert!(!gateway.process.lines().join("\n").contains(ticket));
}

#[test]
fn one_subject_has_so_many_websockets_wherever_it_comes_from() {
    let app = App::start("echo_ws.mjs", "one");
    let made = made_by("tokens.py", &[]);
    let file = key_file(&made.keys);
    let jwt = format!("keys = \"{}\"", file.path().display());
    let limits = "[limits]\nsubject_websockets_max = 1";
    let gateway = Gateway::with_config(&config(&app.address.to_string(), &jwt, limits));
    let open = || try_open(gateway.address(), "/echo", &bearer(&made.good[6].1)).unwrap();
    let (first, answer) = open();
    assert_eq!((answer.status, open().1.status), (101, 429));
    drop(first);
    wait_until("there is room again", s(30), || open().1.status == 101);
}

#[test]
fn a_bypass_lets_tests_in_outside_of_production_alone() {
    let app = App::start("echo_ws.mjs", "one");
    let key = "a5".repeat(32);
    let text = config(&app.address.to_string(), "secret = \"env:LONGHAUL_STORY_SECRET\"", "");
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let run = |environment: &str| {
        let mut command = longhaul();
        command.arg("run").arg("--config").arg(file.path()).env("LONGHAUL_BYPASS_KEY", &key);
        command.env("LONGHAUL_ENVIRONMENT", environment);
        command.env("LONGHAUL_STORY_SECRET", "0123456789abcdef0123456789abcdef");
        command
    };
    let mut refused = Process::start("longhaul", &mut run("production"));
    assert_eq!(refused.end(s(30)).code(), Some(2));
    let said = refused.lines().join("\n");
    assert!(said.contains("bypass_key in production") && !said.contains(&key), "{said}");

    let gateway = Gateway::with_command(&mut run("staging"), 1);
    gateway.wait_ready();
    let token = |key: &str, subject: &str| {
        let output: Command = {
            let mut command = longhaul();
            command.args(["bypass", "--subject", subject]).env("LONGHAUL_BYPASS_KEY", key);
            command
        };
        let output = { output }.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let open = |token: &str| {
        let field = format!("Longhaul-Bypass: {token}\r\n");
        try_open(gateway.address(), "/echo", &field).unwrap().1.status
    };
    let said = gateway.process.lines().join("\n");
    assert!(said.contains("server.bypass_key = …: tokens") && !said.contains(&key[..8]), "{said}");
    assert_eq!(open(&token(&key, "e2e.test")), 101);
    assert_eq!(open(&token(&"a6".repeat(32), "e2e.test")), 401);
    assert_eq!(open("lhb1.YQ.1.YQ"), 401);
    wait_until("its use is logged", s(30), || {
        let lines = gateway.process.lines();
        lines.iter().any(|line| line.contains("bypass") && line.contains("e2e.test"))
    });
}

fn base64(bytes: &[u8]) -> String {
    base64_padded(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// Base64 (RFC 4648 §4), since no library of ours is worth another dependency here.
fn base64_padded(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let value = chunk.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        let value = value << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = ALPHABET[(value >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

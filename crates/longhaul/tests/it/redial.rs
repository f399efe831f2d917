//! Replicas that go while their clients stay: killed, hung, closing, refusing, half-way through a
//! message.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::logs::{field, lines};
use crate::support::admin::{Admin, TOKEN};
use crate::support::apps::App;
use crate::support::frames::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT};
use crate::support::gateway::{Gateway, longhaul};
use crate::support::process::Signal;
use crate::support::raw::Raw;
use crate::support::recorder::{Answer, Recorder};
use crate::support::{Random, frames, s, wait_until};

/// A gateway that re-dials before these replicas, with more lines for its WebSockets.
fn gateway(replicas: &[SocketAddr], websocket: &str) -> Gateway {
    let replicas: Vec<String> = replicas.iter().map(SocketAddr::to_string).collect();
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"app\"\nreplicas = {replicas:?}\n\
         [websocket]\non_replica_loss = \"redial\"\n{websocket}"
    ))
}

/// The next message or close frame; pings come between.
#[track_caller]
fn next(client: &mut Raw) -> Frame {
    loop {
        let frame = frames::read(client).expect("a frame comes");
        if !matches!(frame.opcode, PING | PONG) {
            return frame;
        }
    }
}

pub(crate) const LOST: &str = "websocket lost its replica";
const MOVED: &str = "websocket has a new replica";

/// Waits until the log has said so, so many times.
#[track_caller]
pub(crate) fn wait_for(gateway: &Gateway, what: &str, times: usize) {
    wait_until(what, s(30), || {
        gateway.process.lines().iter().filter(|line| line.contains(what)).count() >= times
    });
}

#[track_caller]
fn text(client: &mut Raw) -> String {
    let frame = next(client);
    assert_eq!(frame.opcode, TEXT, "{frame:?}");
    String::from_utf8(frame.payload).unwrap()
}

fn say(client: &mut Raw, text: &str) {
    client.send(frames::from_client(TEXT, text.as_bytes()));
}

/// A replica of one's own: each handshake is accepted and given to `serve` with its number, from 1.
pub(crate) fn replica(serve: impl Fn(usize, Raw) + Send + Sync + 'static) -> Recorder {
    scripted(|_| frames::accepted(), serve)
}

/// The same with an answer of one's choice; one that is not a 101 is all there is.
fn scripted(
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
    serve: impl Fn(usize, Raw) + Send + Sync + 'static,
) -> Recorder {
    let serve = std::sync::Arc::new(serve);
    let count = Mutex::new(0);
    Recorder::start(move |seen| {
        let key = seen.headers("sec-websocket-key").first().copied().unwrap_or_default();
        let answer = answer(key).replace(frames::ACCEPT, &accept(key));
        if !answer.starts_with("HTTP/1.1 101") {
            return Answer::Last(answer.into());
        }
        let mut count = count.lock().unwrap();
        *count += 1;
        let (number, serve) = (*count, serve.clone());
        Answer::Take(Box::new(move |mut raw| {
            raw.send(answer);
            serve(number, raw);
        }))
    })
}

/// RFC 6455 §1.3, by the independent library of the stories.
pub(crate) fn accept(key: &str) -> String {
    tungstenite::handshake::derive_accept_key(key.as_bytes())
}

/// Sends back whatever comes, until the end.
pub(crate) fn echo(mut raw: Raw) {
    raw.patience(s(120));
    while let Ok(frame) = frames::read(&mut raw) {
        let answer = if frame.opcode == PING { PONG } else { frame.opcode };
        raw.send_anyway(frames::encode(0x80 | answer, None, &frame.payload));
        if frame.opcode == CLOSE {
            return;
        }
    }
}

#[test]
fn the_client_of_a_killed_replica_goes_on_with_another() {
    let mut replicas = [App::start("echo_ws.mjs", "one"), App::start("echo_ws.mjs", "two")];
    let gateway = gateway(&replicas.each_ref().map(|app| app.address), "");
    let mut client = frames::open(gateway.address(), "/replica");
    let first = text(&mut client);
    frames::echo(&mut client, "before");
    let at = usize::from(first == "two");
    let killed = Instant::now();
    replicas[at].process.kill();
    let second = text(&mut client);
    assert_ne!(first, second, "the other replica says its name");
    frames::echo(&mut client, "after");
    assert!(killed.elapsed() < s(20), "after {:?}", killed.elapsed());
    client.send(frames::close_from_client(1000, "bye"));
    assert_eq!(frames::close_code(&mut client).unwrap(), 1000);
}

#[test]
fn what_is_said_while_the_only_replica_restarts_is_answered_by_the_next() {
    let mut app = App::start("echo_ws.mjs", "one");
    let gateway = gateway(&[app.address], "");
    let mut clients: Vec<Raw> = (0..20).map(|_| frames::open(gateway.address(), "/echo")).collect();
    clients.iter_mut().for_each(|client| frames::echo(client, "before"));
    let port = app.address.port();
    app.process.kill();
    wait_for(&gateway, LOST, 20);
    for client in &mut clients {
        (0..3).for_each(|number| say(client, &format!("meanwhile {number}")));
    }
    let _again = App::start_on("echo_ws.mjs", "again", port);
    for client in &mut clients {
        for number in 0..3 {
            assert_eq!(text(client), format!("meanwhile {number}"));
        }
        frames::echo(client, "after");
    }
}

#[test]
fn a_hung_replica_is_left_when_it_answers_no_ping() {
    let replicas = [App::start("echo_ws.mjs", "one"), App::start("echo_ws.mjs", "two")];
    let gateway = gateway(&replicas.each_ref().map(|app| app.address), "ping = \"1s\"\n");
    let mut client = frames::open(gateway.address(), "/replica");
    let first = text(&mut client);
    let at = usize::from(first == "two");
    replicas[at].process.signal(Signal::STOP);
    client.patience(s(30));
    // The client answers pings like any other while it waits.
    let second = loop {
        let frame = frames::read(&mut client).expect("the other replica is found");
        match frame.opcode {
            PING => client.send(frames::from_client(PONG, &frame.payload)),
            TEXT => break String::from_utf8(frame.payload).unwrap(),
            _ => panic!("{frame:?}"),
        }
    };
    assert_ne!(first, second);
    replicas[at].process.signal(Signal::CONT);
}

#[test]
fn half_a_message_of_either_side_is_seen_by_nobody() {
    let (go, goes) = mpsc::channel::<()>();
    let goes = Mutex::new(goes);
    let replica = replica(move |number, mut raw| {
        if number == 1 {
            raw.send(frames::encode(0x81, None, b"whole"));
            raw.send(frames::encode(TEXT, None, b"first fragment, "));
            raw.send(&frames::encode(0x80 | CONTINUATION, None, b"second fragment")[..5]);
            return goes.lock().unwrap().recv_timeout(s(15)).unwrap();
        }
        echo(raw);
    });
    let gateway = gateway(&[replica.address], "");
    let mut client = frames::open(gateway.address(), "/");
    assert_eq!(text(&mut client), "whole");
    let large: Vec<u8> = (0..200_000).map(|byte| byte as u8).collect();
    let message = frames::from_client(BINARY, &large);
    client.send(&message[..100_000]);
    go.send(()).unwrap();
    wait_for(&gateway, LOST, 1);
    client.send(&message[100_000..]);
    let echoed = next(&mut client);
    assert_eq!((echoed.opcode, echoed.payload == large), (BINARY, true));
    assert_eq!(replica.faults(), Vec::<String>::new());
}

#[test]
fn each_leg_is_introduced_with_all_that_the_client_said_at_first() {
    let replica = replica(|number, mut raw| {
        if number == 1 {
            raw.send(frames::encode(0x81, None, b"hello"));
            // Read and not answered, neither the messages nor a ping that asks about them.
            let _ = (frames::read(&mut raw), frames::read(&mut raw));
            return;
        }
        echo(raw);
    });
    let gateway = gateway(&[replica.address], "");
    let fields = "Cookie: a=1\r\nAuthorization: Bearer x\r\nSec-WebSocket-Protocol: chat\r\n\
                  Longhaul-Session: forged\r\nLonghaul-Uncertain: 1-9\r\n";
    let (mut client, response) = frames::try_open(gateway.address(), "/room?q=1", fields).unwrap();
    assert_eq!(response.status, 101);
    assert_eq!(text(&mut client), "hello");
    say(&mut client, "1");
    say(&mut client, "2");
    wait_for(&gateway, LOST, 1);
    say(&mut client, "3");
    assert_eq!(text(&mut client), "3", "1 and 2 are uncertain, and not sent twice");
    let seen = replica.seen();
    assert_eq!(seen.len(), 2);
    for name in ["cookie", "authorization", "sec-websocket-protocol", "host", "longhaul-session"] {
        assert_eq!(seen[0].headers(name), seen[1].headers(name), "{name}");
        assert_eq!(seen[0].headers(name).len(), 1, "{name}");
    }
    assert_eq!(seen[1].line(), "GET /room?q=1 HTTP/1.1");
    assert_ne!(seen[0].headers("longhaul-session"), ["forged"]);
    let said = |at: usize, name| seen[at].headers(name).first().copied().unwrap_or("-").to_owned();
    assert_eq!([said(0, "longhaul-leg"), said(0, "longhaul-reason")], ["1", "new"]);
    assert_eq!([said(1, "longhaul-leg"), said(1, "longhaul-reason")], ["2", "crash"]);
    assert_eq!([said(0, "longhaul-uncertain"), said(1, "longhaul-uncertain")], ["-", "1-2"]);
}

#[test]
fn at_least_once_unanswered_messages_are_sent_to_the_next() {
    let replica = replica(|number, mut raw| {
        if number == 1 {
            let _ = (frames::read(&mut raw), frames::read(&mut raw));
            return;
        }
        echo(raw);
    });
    let gateway = gateway(&[replica.address], "uncertain = \"at_least_once\"\n");
    let mut client = frames::open(gateway.address(), "/");
    (1..=3).for_each(|number| say(&mut client, &number.to_string()));
    for number in 1..=3 {
        assert_eq!(text(&mut client), number.to_string());
    }
}

#[test]
fn the_prelude_is_said_again_and_its_answer_swallowed() {
    let replica = replica(|number, mut raw| {
        let init = frames::read(&mut raw).unwrap().payload;
        raw.send(frames::encode(0x81, None, &[b"welcome ", &init[..]].concat()));
        if number == 1 {
            let _ = frames::read(&mut raw);
            return;
        }
        echo(raw);
    });
    let gateway = gateway(&[replica.address], "prelude = 1\nsuppress = 1\n");
    let mut client = frames::open(gateway.address(), "/");
    say(&mut client, "my name");
    assert_eq!(text(&mut client), "welcome my name");
    say(&mut client, "lost");
    wait_for(&gateway, MOVED, 1);
    say(&mut client, "answered");
    assert_eq!(text(&mut client), "answered");
}

#[test]
fn codes_that_mean_going_are_hidden_and_others_are_not() {
    let replica = replica(|number, mut raw| {
        let code: u16 = if number == 1 { 1012 } else { 3001 };
        raw.send(frames::encode(0x81, None, number.to_string().as_bytes()));
        raw.send(frames::encode(0x80 | CLOSE, None, &code.to_be_bytes()));
        let _ = frames::close_code(&mut raw);
    });
    let gateway = gateway(&[replica.address], "");
    let mut client = frames::open(gateway.address(), "/");
    assert_eq!((text(&mut client), text(&mut client)), ("1".into(), "2".into()));
    assert_eq!(next(&mut client).close_code(), 3001);
}

#[test]
fn without_another_replica_it_ends_in_time_with_1013_and_says_why() {
    let mut app = App::start("echo_ws.mjs", "one");
    let gateway = gateway(&[app.address], "redial_give_up = \"1s\"\n");
    let mut client = frames::open(gateway.address(), "/echo");
    frames::echo(&mut client, "before");
    let killed = Instant::now();
    app.process.kill();
    assert_eq!(frames::close_code(&mut client).unwrap(), 1013);
    let took = killed.elapsed();
    assert!((Duration::from_millis(900)..s(20)).contains(&took), "after {took:?}");
    client.send(frames::close_from_client(1013, ""));
    // The client keeps its end open: the answered close ends it, not the time for lingering.
    wait_until("the end is logged with its cause", s(5), || {
        gateway.process.lines().iter().any(|line| {
            line.contains("redial_gave_up") && line.contains("re-dial gave up after 1 s")
        })
    });
}

#[test]
fn a_replica_that_takes_every_handshake_and_drops_it_is_not_dialled_without_end() {
    let legs = std::sync::Arc::new(Mutex::new(0));
    let replica = {
        let legs = legs.clone();
        scripted(
            |_| frames::accepted(),
            move |number, raw| {
                *legs.lock().unwrap() = number;
                drop(raw);
            },
        )
    };
    let gateway = gateway(&[replica.address], "redial_give_up = \"3s\"\n");
    let mut client = frames::open(gateway.address(), "/");
    assert_eq!(frames::close_code(&mut client).unwrap(), 1013);
    // 0, 0.25, 0.5 and 1 s apart, and one more where time was lost elsewhere.
    let legs = *legs.lock().unwrap();
    assert!((2..=8).contains(&legs), "{legs} legs in 3 s");
}

#[test]
fn a_replica_that_refuses_the_client_ends_it_with_its_status() {
    for status in [401_u16, 403, 404] {
        let refused = Mutex::new(false);
        let replica = scripted(
            move |_| match std::mem::replace(&mut *refused.lock().unwrap(), true) {
                false => frames::accepted(),
                true => format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"),
            },
            |_, raw| drop(raw),
        );
        let gateway = gateway(&[replica.address], "");
        let mut client = frames::open(gateway.address(), "/");
        assert_eq!(frames::close_code(&mut client).unwrap(), 4000 + status);
    }
}

#[test]
fn a_replica_that_agrees_on_something_else_is_not_used() {
    let agrees_on = |name: &'static str| {
        let chosen = format!("\r\nSec-WebSocket-Protocol: {name}\r\n\r\n");
        move |_: &str| frames::accepted().replace("\r\n\r\n", &chosen)
    };
    // Whoever is first dies, the rest echo; one of the three chooses for itself.
    let first = Mutex::new(true);
    let replica = {
        let chosen = Mutex::new(["chat.v1", "chat.v2", "chat.v1"].into_iter());
        scripted(
            move |key| agrees_on(chosen.lock().unwrap().next().expect("three legs"))(key),
            move |_, raw| match std::mem::replace(&mut *first.lock().unwrap(), false) {
                true => drop(raw),
                false => echo(raw),
            },
        )
    };
    // The same replica under two addresses: the one that answered otherwise is not asked again.
    let second = SocketAddr::from(([127, 0, 0, 2], replica.address.port()));
    let _relay = forward(second, replica.address);
    let gateway = gateway(&[replica.address, second], "");
    let fields = "Sec-WebSocket-Protocol: chat.v1, chat.v2\r\n";
    let (mut client, response) = frames::try_open(gateway.address(), "/", fields).unwrap();
    assert_eq!(response.header("sec-websocket-protocol"), Some("chat.v1"));
    wait_for(&gateway, "answers otherwise; not used", 1);
    wait_for(&gateway, MOVED, 1);
    say(&mut client, "hello");
    assert_eq!(text(&mut client), "hello");
    assert_eq!(replica.seen().len(), 3);
}

/// Passes connections on, so that one replica has two addresses.
fn forward(from: SocketAddr, to: SocketAddr) -> std::thread::JoinHandle<()> {
    let listener = std::net::TcpListener::bind(from).unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut replica = std::net::TcpStream::connect(to).unwrap();
            let (mut up, mut back) = (client.try_clone().unwrap(), replica.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut up, &mut back);
                let _ = back.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut replica, &mut client);
                let _ = client.shutdown(std::net::Shutdown::Write);
            });
        }
    })
}

#[test]
fn without_redial_nothing_of_it_shows() {
    let replica = replica(|_, mut raw| {
        let _ = frames::read(&mut raw);
    });
    let gateway = Gateway::before(&[replica.address]);
    let fields = "Sec-WebSocket-Extensions: x-private\r\n";
    let (mut client, _) = frames::try_open(gateway.address(), "/", fields).unwrap();
    say(&mut client, "x");
    assert_eq!(frames::close_code(&mut client).unwrap(), 1012);
    let seen = replica.seen();
    assert_eq!(seen[0].headers("sec-websocket-extensions"), ["x-private"]);
    assert!(seen[0].headers("longhaul-session").is_empty(), "{}", seen[0].head);
}

/// A gateway with an admin API, before these replicas.
fn gateway_to_ask(replicas: &[SocketAddr], websocket: &str) -> (Gateway, Admin) {
    let replicas: Vec<String> = replicas.iter().map(SocketAddr::to_string).collect();
    let mut gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\nadmin_token = \"{TOKEN}\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = {replicas:?}\n[websocket]\n{websocket}"
    ));
    let admin = Admin::of(&mut gateway);
    (gateway, admin)
}

/// How many WebSockets each replica holds, and why it drains.
pub(crate) fn held(admin: Admin) -> Vec<(String, u64, Option<String>)> {
    let upstreams = admin.json("/api/v1/upstreams");
    let replicas = upstreams[0]["replicas"].as_array().unwrap();
    let read = |one: &serde_json::Value| {
        let why = one["draining"].as_str().map(str::to_owned);
        (one["address"].as_str().unwrap().to_owned(), one["websockets_open"].as_u64().unwrap(), why)
    };
    replicas.iter().map(read).collect()
}

#[test]
fn a_drained_replica_empties_while_its_clients_talk_and_order_holds() {
    let replicas = [App::start("echo_ws.mjs", "one"), App::start("echo_ws.mjs", "two")];
    let terms = "on_replica_loss = \"redial\"\ncutover = \"now\"\nleave_within = \"4s\"\n";
    let (gateway, admin) = gateway_to_ask(&replicas.each_ref().map(|app| app.address), terms);
    let mut clients: Vec<Raw> = (0..12).map(|_| frames::open(gateway.address(), "/echo")).collect();
    wait_until("both have some", s(10), || held(admin).iter().all(|one| one.1 == 6));
    let drained = replicas[0].address;
    let path = format!("/api/v1/upstreams/app/replicas/{drained}/drain");
    assert_eq!(admin.change("POST", &path, "").status, 202);
    let mut number = 0;
    wait_until("the drained one is empty", s(40), || {
        for client in &mut clients {
            frames::echo(client, &format!("message {number}"));
        }
        number += 1;
        held(admin).iter().any(|one| one.0 == drained.to_string() && one.1 == 0)
    });
    assert!(number > 1, "they talked meanwhile");
    let why = held(admin).into_iter().find(|one| one.0 == drained.to_string()).unwrap().2;
    assert_eq!(why.as_deref(), Some("asked"));
    for _ in 0..4 {
        let mut newcomer = frames::open(gateway.address(), "/replica");
        assert_eq!(text(&mut newcomer), "two");
    }
    assert_eq!(admin.change("DELETE", &path, "").status, 204);
    wait_until("it has work again", s(10), || {
        text(&mut frames::open(gateway.address(), "/replica")) == "one"
    });
    let unknown = path.replace("/app/", "/other/");
    assert_eq!(admin.change("POST", &unknown, "").status, 404);
}

/// Each replica in turn is drained by the command line, stopped once it is empty, and started anew.
#[test]
fn a_rolling_deploy_closes_no_client_and_keeps_order() {
    let names = ["one", "two", "three"];
    let mut replicas = names.map(|name| App::start("echo_ws.mjs", name));
    let addresses = replicas.each_ref().map(|app| app.address);
    let terms = "on_replica_loss = \"redial\"\ncutover = \"now\"\nleave_within = \"2s\"\n";
    let (gateway, admin) = gateway_to_ask(&addresses, terms);
    let tell = |verb: &str, replica: SocketAddr| {
        let mut command = longhaul();
        command.args([verb, &replica.to_string()]).env("LONGHAUL_ADMIN", admin.0.to_string());
        let output = command.env("LONGHAUL_ADMIN_TOKEN", TOKEN).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let mut clients: Vec<Raw> = (0..12).map(|_| frames::open(gateway.address(), "/echo")).collect();
    let mut number = 0;
    let mut talk = |clients: &mut Vec<Raw>| {
        for client in clients {
            frames::echo(client, &format!("message {number}"));
        }
        number += 1;
    };
    for (at, name) in names.into_iter().enumerate() {
        tell("drain", addresses[at]);
        wait_until("it is empty", s(60), || {
            talk(&mut clients);
            held(admin).iter().any(|one| one.0 == addresses[at].to_string() && one.1 == 0)
        });
        // The old leg is let go of when the new one has it.
        replicas[at].process.signal(Signal::TERM);
        let _ = replicas[at].process.end(s(30));
        replicas[at] = App::start_on("echo_ws.mjs", name, addresses[at].port());
        tell("undrain", addresses[at]);
        talk(&mut clients);
    }
    for client in &mut clients {
        frames::echo(client, "the same connection all along");
    }
    let lost = gateway.process.lines().iter().filter(|line| line.contains(LOST)).count();
    assert_eq!(lost, 0, "all of them were moved, none was lost");
}

#[test]
fn without_redial_a_drain_closes_with_1012_at_the_end_of_its_time() {
    let app = App::start("echo_ws.mjs", "one");
    let (gateway, admin) = gateway_to_ask(&[app.address], "leave_within = \"2s\"\n");
    let mut client = frames::open(gateway.address(), "/echo");
    frames::echo(&mut client, "before");
    let path = format!("/api/v1/upstreams/app/replicas/{}/drain", app.address);
    let asked = Instant::now();
    assert_eq!(admin.change("POST", &path, "").status, 202);
    frames::echo(&mut client, "meanwhile");
    assert_eq!(frames::close_code(&mut client).unwrap(), 1012);
    assert!(asked.elapsed() > Duration::from_millis(1500), "after {:?}", asked.elapsed());
    let (_, refused) = frames::try_open(gateway.address(), "/echo", "").unwrap();
    assert_eq!((refused.status, refused.header("longhaul-cause")), (503, Some("no_replica")));
}

#[test]
fn a_replica_that_says_it_drains_gets_nothing_new() {
    let words = frames::accepted().replace("\r\n\r\n", "\r\nLonghaul-Drain: 1\r\n\r\n");
    let leaving = scripted(move |_| words.clone(), |_, raw| echo(raw));
    let staying = replica(|_, raw| echo(raw));
    let terms = "on_replica_loss = \"redial\"\ncutover = \"quiet:200ms\"\nleave_within = \"2s\"\n";
    let (gateway, admin) = gateway_to_ask(&[leaving.address, staying.address], terms);
    let mut clients: Vec<Raw> = (0..6)
        .map(|_| {
            let (client, answer) = frames::try_open(gateway.address(), "/", "").unwrap();
            assert_eq!(answer.header("longhaul-drain"), None, "no client's concern");
            client
        })
        .collect();
    assert_eq!(leaving.seen().len(), 1, "its first word is believed");
    wait_until("it is left", s(30), || {
        held(admin).iter().any(|one| one.1 == 0 && one.2.as_deref() == Some("said"))
    });
    clients.iter_mut().for_each(|client| frames::echo(client, "hello"));
    assert_eq!(staying.seen().iter().filter(|one| one.headers("longhaul-leg") == ["2"]).count(), 1);
}

/// It drains from its first word on, is left for the other one, and has not said what it has read.
#[test]
fn what_a_replica_that_was_left_may_not_have_read_is_told_by_number() {
    let words = frames::accepted().replace("\r\n\r\n", "\r\nLonghaul-Drain: 1\r\n\r\n");
    for answers in [true, false] {
        let words = words.clone();
        let leaving = scripted(
            move |_| words.clone(),
            move |_, mut raw| {
                raw.patience(s(120));
                while let Ok(frame) = frames::read(&mut raw) {
                    if frame.opcode == CLOSE {
                        if answers {
                            raw.send_anyway(frames::encode(0x88, None, &frame.payload));
                        }
                        return;
                    }
                }
            },
        );
        let staying = replica(|_, raw| echo(raw));
        let terms =
            "on_replica_loss = \"redial\"\ncutover = \"quiet:200ms\"\nleave_within = \"1s\"\n";
        let (gateway, admin) = gateway_to_ask(&[leaving.address, staying.address], terms);
        // Whoever comes to the other one says all that this story wants of it.
        let mut clients = [(); 2].map(|()| frames::open(gateway.address(), "/"));
        clients.iter_mut().for_each(|client| say(client, "once"));
        wait_until("it is left", s(60), || {
            held(admin).iter().all(|one| one.2.is_none() || one.1 == 0)
        });
        clients.iter_mut().for_each(|client| say(client, "again"));
        clients.iter_mut().for_each(|client| while text(client) != "again" {});
        let told: &[u64] = if answers { &[] } else { &[1] };
        wait_until("it is told", s(60), || {
            let said = "the replica before ended without saying what it had read";
            let lines = lines(&gateway, said);
            let last = lines.iter().filter_map(|line| field(line, "uncertain_last").as_u64());
            last.eq(told.iter().copied())
        });
        let page = admin.get("/metrics").text();
        let counted = page.lines().filter(|l| l.starts_with("longhaul_uncertain_messages_total{"));
        let counted = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        assert_eq!(counted.sum::<usize>(), told.len());
    }
}

#[test]
fn an_app_that_crashes_under_its_parent_keeps_its_browsers() {
    let app = crate::support::apps::script(&crate::support::e2e().join("apps/echo_ws.mjs"));
    let words: Vec<String> = std::iter::once(app.get_program())
        .chain(app.get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let prepare = |command: &mut std::process::Command| {
        command.env("LONGHAUL_ON_REPLICA_LOSS", "redial").env("REPLICA", "child");
    };
    let mut gateway = Gateway::as_parent(prepare, &words);
    gateway.wait_ready();
    let mut clients: Vec<Raw> =
        (0..5).map(|_| frames::open(gateway.address(), "/replica")).collect();
    clients.iter_mut().for_each(|client| assert_eq!(text(client), "child"));
    let pid: i32 = gateway.process.line("the app's process id is logged", s(30), |line| {
        let (_, rest) = line.split_once("\"pid\":")?;
        rest.split([',', '}']).next()?.trim().parse().ok()
    });
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    for client in &mut clients {
        assert_eq!(text(client), "child", "the next one says its name");
        frames::echo(client, "and answers");
    }
}

/// Replicas die, come back and drain at random while everybody talks.
#[test]
fn in_a_storm_nobody_is_closed_and_nothing_is_twice_or_out_of_order() {
    const CLIENTS: usize = 60;
    let mut random = Random::new();
    let names = ["one", "two", "three", "four"];
    let mut replicas: Vec<App> = names.iter().map(|name| App::start("echo_ws.mjs", name)).collect();
    let addresses: Vec<SocketAddr> = replicas.iter().map(|app| app.address).collect();
    let terms = "on_replica_loss = \"redial\"\ncutover = \"now\"\nleave_within = \"2s\"\n";
    let (gateway, admin) = gateway_to_ask(&addresses, terms);
    let is_over = AtomicBool::new(false);
    let (sent, heard) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let clients: Vec<Raw> =
        (0..CLIENTS).map(|_| frames::open(gateway.address(), "/echo")).collect();
    thread::scope(|scope| {
        let (is_over, sent, heard) = (&is_over, &sent, &heard);
        for mut client in clients {
            scope.spawn(move || {
                let mut last = 0;
                for number in 1.. {
                    say(&mut client, &number.to_string());
                    sent.fetch_add(1, Ordering::Relaxed);
                    client.patience(Duration::from_millis(40));
                    while let Ok(frame) = frames::read(&mut client) {
                        if frame.opcode == PING {
                            continue;
                        }
                        assert_eq!(frame.opcode, TEXT, "{frame:?}");
                        let echo: u64 = String::from_utf8(frame.payload).unwrap().parse().unwrap();
                        assert!(echo > last && echo <= number, "{echo} after {last}");
                        last = echo;
                        heard.fetch_add(1, Ordering::Relaxed);
                    }
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                }
                client.patience(s(60));
                say(&mut client, "the end");
                while text(&mut client) != "the end" {}
            });
        }
        for _ in 0..6 {
            let at = random.below(replicas.len());
            if random.below(2) == 0 {
                replicas[at].process.kill();
                thread::sleep(Duration::from_millis(300));
                replicas[at] = App::start_on("echo_ws.mjs", names[at], addresses[at].port());
            } else {
                let path = format!("/api/v1/upstreams/app/replicas/{}/drain", addresses[at]);
                assert_eq!(admin.change("POST", &path, "").status, 202);
                thread::sleep(Duration::from_millis(600));
                assert_eq!(admin.change("DELETE", &path, "").status, 204);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let (sent, heard) = (sent.into_inner(), heard.into_inner());
    println!("{sent} sent, {heard} echoed");
    assert!(heard * 10 > sent * 8, "{heard} of {sent} were echoed");
}

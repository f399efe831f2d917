//! Durable sessions whose replicas die or drain: the client keeps its session, and is told what nobody knows.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::redial::{LOST, echo, replica, wait_for};
use crate::support::frames::TEXT;

/// A gateway with an admin API that re-dials before these replicas.
fn redialling(replicas: &[SocketAddr], websocket: &str) -> (Gateway, Admin) {
    let replicas: Vec<String> = replicas.iter().map(SocketAddr::to_string).collect();
    let mut gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\nadmin_token = \"{TOKEN}\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = {replicas:?}\n\
         [websocket]\non_replica_loss = \"redial\"\n{websocket}"
    ));
    let admin = Admin::of(&mut gateway);
    (gateway, admin)
}

/// What the gateway told at a place of the stream, and the message behind it.
pub(super) async fn told_and_text(session: &mut Session) -> (Value, String) {
    loop {
        match next(session).await {
            Event::Told(json) => {
                return (serde_json::from_str(&json).unwrap(), text(session).await);
            }
            Event::Opened { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_said_while_the_only_replica_restarts_reaches_the_next_one() {
    let mut app = App::start("echo_ws.mjs", "one");
    let (gateway, _) = redialling(&[app.address], "");
    runtime().block_on(async {
        let mut session = connect(options(gateway.address()));
        echo_unnoticed(&mut session, "before").await;
        app.process.kill();
        wait_for(&gateway, LOST, 1);
        for words in ["while nobody is there", "and still"] {
            session.send(Message::Text(words.to_owned())).await.unwrap();
        }
        let _next = App::start_on("echo_ws.mjs", "two", app.address.port());
        let (told, first) = told_and_text(&mut session).await;
        assert_eq!(told, json!({ "leg": 2, "reason": "crash" }));
        assert_eq!(first, "while nobody is there");
        assert_eq!(text(&mut session).await, "and still");
        session.close(4001, "enough").await.unwrap();
        let closed = Event::Closed { code: 4001, reason: "enough".to_owned(), was_clean: true };
        assert_eq!(next(&mut session).await, closed);
    });
}

#[test]
fn a_session_for_which_no_replica_is_found_ends_with_1013() {
    let mut app = App::start("echo_ws.mjs", "one");
    let (gateway, _) = redialling(&[app.address], "redial_give_up = \"300ms\"\n");
    runtime().block_on(async {
        let mut session = connect(options(gateway.address()));
        echo_unnoticed(&mut session, "before").await;
        app.process.kill();
        let closed = next(&mut session).await;
        assert!(matches!(closed, Event::Closed { code: 1013, was_clean: true, .. }), "{closed:?}");
    });
}

const MESSAGES: usize = 100;
/// Two chunks each: message `index` ends with item `2 * index + 2`.
const MESSAGE_BYTES: usize = 32 << 10;

fn large(index: usize) -> Message {
    let mut text = format!("{index} ");
    text.extend(std::iter::repeat_n('x', MESSAGE_BYTES - text.len()));
    Message::Text(text)
}

/// The range that was told, the header of the next leg, and which messages the next replica got.
fn lose_a_deaf_replica(websocket: &str) -> ([u64; 2], String, Vec<usize>) {
    let (kill, killed) = mpsc::channel::<()>();
    let killed = Mutex::new(killed);
    let got = Arc::<Mutex<Vec<usize>>>::default();
    let (all, heard) = (got.clone(), got.clone());
    let replicas = replica(move |leg, mut raw| {
        raw.patience(s(120));
        if leg == 1 {
            // It reads nothing, so that its system does not confirm all of it; then it is gone.
            let _ = killed.lock().unwrap().recv();
            return;
        }
        while let Ok(frame) = frames::read(&mut raw) {
            if frame.opcode == TEXT {
                let index = frame.payload.split(|&byte| byte == b' ').next().unwrap().to_vec();
                all.lock().unwrap().push(String::from_utf8(index).unwrap().parse().unwrap());
            }
        }
    });
    let (gateway, admin) = redialling(&[replicas.address], websocket);
    let runtime = runtime();
    let (told, _session) = runtime.block_on(async {
        let mut session = connect(options(gateway.address()));
        for index in 0..MESSAGES {
            session.send(large(index)).await.unwrap();
        }
        wait_until("more is under way than a system takes unasked", s(60), || {
            admin.metric("longhaul_session_held_bytes") > (1 << 20) as f64
        });
        kill.send(()).unwrap();
        let told = loop {
            match next(&mut session).await {
                Event::Told(json) => break serde_json::from_str::<Value>(&json).unwrap(),
                Event::Opened { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        // All before it may have been written when the replica went.
        session.send(large(MESSAGES)).await.unwrap();
        (told, session)
    });
    assert_eq!((&told["leg"], &told["reason"]), (&json!(2), &json!("crash")));
    wait_until("the next replica has the last message", s(60), || {
        heard.lock().unwrap().last() == Some(&MESSAGES)
    });
    let header = replicas.seen()[1].headers("longhaul-uncertain")[0].to_owned();
    let got = got.lock().unwrap().clone();
    (serde_json::from_value(told["uncertain"].clone()).unwrap(), header, got)
}

#[test]
fn what_a_lost_replica_may_have_read_is_told_and_not_said_twice() {
    let ([first, last], header, got) = lose_a_deaf_replica("");
    assert_eq!(header, format!("{first}-{last}"));
    assert_eq!(got, (last as usize / 2..=MESSAGES).collect::<Vec<_>>());
}

#[test]
fn at_least_once_what_a_lost_replica_may_have_read_is_said_again() {
    let ([first, last], header, got) = lose_a_deaf_replica("uncertain = \"at_least_once\"\n");
    assert_eq!(header, format!("{first}-{last}"));
    assert_eq!(got, ((first as usize - 1) / 2..=MESSAGES).collect::<Vec<_>>());
}

#[test]
fn a_drained_replica_is_left_in_the_middle_of_a_talk_and_nothing_is_missing() {
    let replicas = [(); 2].map(|()| replica(|_, raw| echo(raw)));
    let addresses = replicas.each_ref().map(|replica| replica.address);
    let (gateway, admin) = redialling(&addresses, "cutover = \"now\"\n");
    runtime().block_on(async {
        let mut session = connect(options(gateway.address()));
        echo_unnoticed(&mut session, "first").await;
        let first = replicas.iter().position(|replica| !replica.seen().is_empty()).unwrap();
        let path = format!("/api/v1/upstreams/app/replicas/{}/drain", addresses[first]);
        assert!(admin.change("POST", &path, "").status < 300);
        // Several are always under way, and come back once and in order.
        let (mut sent, mut expected, mut told) = (0, 0, None);
        while told.is_none() || expected < sent {
            while told.is_none() && sent < expected + 8 {
                session.send(Message::Text(sent.to_string())).await.unwrap();
                sent += 1;
            }
            match next(&mut session).await {
                Event::Message(Message::Text(text)) => {
                    assert_eq!(text, expected.to_string());
                    expected += 1;
                }
                Event::Told(json) => told = Some(serde_json::from_str::<Value>(&json).unwrap()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, Some(json!({ "leg": 2, "reason": "drain" })));
        echo_unnoticed(&mut session, "last").await;
    });
    wait_until("the second replica has the session", s(30), || {
        replicas.iter().all(|replica| replica.seen().len() == 1)
    });
}

/// Says something every few milliseconds, and echoes, until it is closed.
fn chatter(mut raw: crate::support::raw::Raw) {
    raw.patience(10 * MS);
    loop {
        match frames::read(&mut raw) {
            Ok(frame) => raw.send_anyway(frames::encode(0x80 | frame.opcode, None, &frame.payload)),
            Err(error) if is_patience(&error) => {
                raw.send_anyway(frames::encode(0x80 | TEXT, None, b"tick"));
            }
            Err(_) => return,
        }
    }
}

#[test]
fn a_drained_replica_that_never_falls_silent_is_left_in_time() {
    let replicas = [(); 2].map(|()| replica(|_, raw| chatter(raw)));
    let addresses = replicas.each_ref().map(|replica| replica.address);
    let (gateway, admin) = redialling(&addresses, "cutover = \"now\"\nlinger = \"1s\"\n");
    runtime().block_on(async {
        let mut session = connect(options(gateway.address()));
        while text(&mut session).await != "tick" {}
        let first = replicas.iter().position(|replica| !replica.seen().is_empty()).unwrap();
        let path = format!("/api/v1/upstreams/app/replicas/{}/drain", addresses[first]);
        assert!(admin.change("POST", &path, "").status < 300);
        loop {
            match next(&mut session).await {
                Event::Told(json) => {
                    let told: Value = serde_json::from_str(&json).unwrap();
                    break assert_eq!(told, json!({ "leg": 2, "reason": "drain" }));
                }
                Event::Message(Message::Text(text)) => assert_eq!(text, "tick"),
                other => panic!("{other:?}"),
            }
        }
        session.send(Message::Text("still here".to_owned())).await.unwrap();
        while text(&mut session).await != "still here" {}
    });
}

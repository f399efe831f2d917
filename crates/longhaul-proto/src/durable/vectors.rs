//! The vectors of `protocol/vectors`, run against the machines.

mod aware;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};

use super::owner::{Opening, OwnerPolicy, Refusal, Seal};
use super::*;
use crate::websocket::{CloseCode, mask};

#[track_caller]
fn cases(file: &str) -> Vec<Value> {
    let path = format!("{}/../../protocol/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let cases = vectors["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn form(case: &Value) -> Form {
    match case["opcode"].as_str().unwrap() {
        "text" => Form::Text,
        "binary" => Form::Binary,
        other => panic!("{other}"),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn shown(item: Item<'_>) -> Value {
    let named =
        |kind, seq, payload: &[u8]| json!({"kind": kind, "seq": seq, "payload": hex(payload)});
    match item {
        Item::Sequenced { seq, body } => match body {
            Body::Message(payload) => named("message", seq, payload),
            Body::Chunk(payload) => named("chunk", seq, payload),
            Body::Event(payload) => named("event", seq, payload),
            Body::End { code, reason } => {
                json!({"kind": "end", "seq": seq, "code": code.0, "reason": reason})
            }
        },
        Item::Ack(seq) => json!({"kind": "ack", "seq": seq}),
        Item::Ping(nonce) => json!({"kind": "ping", "nonce": text(nonce.as_bytes())}),
        Item::Pong(nonce) => json!({"kind": "pong", "nonce": text(nonce.as_bytes())}),
        Item::Control(json) => json!({"kind": "control", "text": text(json)}),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn items_read_as_the_vectors_say() {
    for case in cases("items.json") {
        let message = bytes(&case["hex"]);
        let item = Item::parse(form(&case), &message).and_then(|item| match item {
            // That only a gateway tells events is the owner's to know.
            Item::Sequenced { body: Body::Event(_), .. } if case["from"] == "client" => {
                Err(code::FAULT)
            }
            item => Ok(shown(item)),
        });
        match item {
            Ok(item) => assert_eq!(item, case["item"], "{case}"),
            Err(fault) => assert_eq!(json!(fault.0), case["fault"], "{case}"),
        }
    }
}

#[test]
fn control_reads_as_the_vectors_say() {
    for case in cases("control.json") {
        let speaker = if case["from"] == "client" { Speaker::Client } else { Speaker::Server };
        let message = case["text"].as_str().unwrap().as_bytes();
        let control = Item::parse(form(&case), message).and_then(|item| match item {
            Item::Control(text) => Control::parse(speaker, text),
            _ => panic!("{case}"),
        });
        match control {
            Ok(control) => {
                let wanted = &case["control"];
                let shown: Value = serde_json::from_slice(&control.write()).unwrap();
                assert_eq!(&shown, wanted, "{case}");
            }
            Err(fault) => assert_eq!(json!(fault.0), case["fault"], "{case}"),
        }
    }
}

#[test]
fn frames_are_as_the_vectors_say() {
    for case in cases("frames.json") {
        let mut payload = bytes(&case["hex"]);
        let opcode = if form(&case) == Form::Text { 0x81 } else { 0x82 };
        let mut frame = vec![opcode, payload.len() as u8];
        if !case["mask"].is_null() {
            let key: [u8; 4] = bytes(&case["mask"]).try_into().unwrap();
            frame[1] |= 0x80;
            frame.extend(key);
            mask::apply(&mut payload, key, 0);
        }
        frame.extend(payload);
        assert_eq!(hex(&frame), case["frame"], "{case}");
    }
}

#[test]
fn messages_are_cut_as_the_vectors_say() {
    for case in cases("chunks.json") {
        let chunk = number(&case["chunk"]) as usize;
        let mut sender = Sender::starting_at(number(&case["first"]) - 1, Window::DEFAULT, chunk);
        sender.message(form(&case), bytes(&case["payload"]).into());
        let items: Vec<String> = std::iter::from_fn(|| sender.write_next())
            .map(|(head, _, payload)| hex(head.as_bytes()) + &hex(&payload.to_bytes()))
            .collect();
        assert_eq!(json!(items), case["items"], "{case}");
    }
}

#[test]
fn a_receiver_takes_items_as_the_vectors_say() {
    for case in cases("receive.json") {
        let mut receiver = Receiver::starting_at(number(&case["recv"]));
        let rank = if case["link"] == "newest" { Rank::Newest } else { Rank::Older };
        let sizes = Sizes {
            message_bytes_max: number(&case["limits"]["max_msg"]) as usize,
            chunk_bytes_max: number(&case["limits"]["chunk"]) as usize,
        };
        let mut pieces = Vec::new();
        for step in case["steps"].as_array().unwrap() {
            let (form, message) = (form(step), bytes(&step["hex"]));
            let Ok(Item::Sequenced { seq, body }) = Item::parse(form, &message) else {
                panic!("{case}");
            };
            if let Body::Message(payload) | Body::Chunk(payload) = body
                && seq > receiver.recv()
            {
                pieces.extend_from_slice(payload);
            }
            let then = match (receiver.take(form, seq, body, rank, sizes), body) {
                (Ok(Taken::Duplicate), _) => json!("drop"),
                (Ok(Taken::Ignored), _) => {
                    pieces.clear();
                    json!("ignore")
                }
                (Ok(Taken::Hold), _) => json!("hold"),
                (Ok(Taken::Whole), _) => {
                    let opcode = if form == Form::Text { "text" } else { "binary" };
                    json!({"deliver": hex(&std::mem::take(&mut pieces)), "opcode": opcode})
                }
                (Ok(Taken::Event), Body::Event(payload)) => json!({"event": hex(payload)}),
                (Ok(Taken::End), Body::End { code, reason }) => {
                    json!({"end": code.0, "reason": reason})
                }
                (Ok(taken), body) => panic!("{taken:?} {body:?}"),
                (Err(fault), _) => json!(fault.0),
            };
            assert_eq!(then, step["then"], "{case}");
        }
    }
}

/// Shows the generation; nobody in these tests forges one.
#[derive(Debug)]
struct Bare;

impl Seal for Bare {
    fn seal(&self, _: &str, generation: u64) -> String {
        generation.to_string()
    }
}

/// An owner in the state that a case describes, brought there by what links and leg did.
fn owner_at(state: &Value, now: Instant) -> Owner {
    let (first, second) = (LinkKey(1), LinkKey(2));
    let window = Window::DEFAULT;
    let opening = Opening {
        sid: "s".to_owned(),
        link: first,
        window,
        protocol: None,
        replacement: None,
        is_aware: false,
    };
    let mut owner = Owner::open(Arc::new(OwnerPolicy::default()), Arc::new(Bare), opening, now);
    let item = |owner: &mut Owner, link, text: &str| {
        owner.receive(link, Form::Text, &Bytes::copy_from_slice(text.as_bytes()), now);
        while !matches!(owner.poll(), owner::Output::Wait(_)) {}
    };
    item(&mut owner, first, "a0");
    for _ in 0..number(&state["sent"]) {
        owner.leg_message(Form::Text, Bytes::from_static(b"x"), now);
    }
    let mut newest = first;
    if number(&state["newest"]) > 1 {
        let resume = Resume {
            v: 1,
            token: String::new(),
            link: number(&state["newest"]),
            recv: 0,
            lo: 1,
            hi: 0,
        };
        owner.resume(second, 1, &resume, now).unwrap();
        newest = second;
    }
    for seq in 1..=number(&state["recv"]) {
        item(&mut owner, newest, &format!("m{seq};x"));
    }
    item(&mut owner, newest, &format!("a{}", number(&state["acked"])));
    owner
}

#[test]
fn an_owner_goes_on_as_the_vectors_say() {
    for case in cases("resume.json") {
        let now = Instant::now();
        let mut owner = owner_at(&case["owner"], now);
        let asked = &case["resume"];
        let resume = Resume {
            v: 1,
            token: String::new(),
            link: number(&asked["link"]),
            recv: number(&asked["recv"]),
            lo: number(&asked["lo"]),
            hi: number(&asked["hi"]),
        };
        // The last token that was issued, whatever links there were.
        let generation = if number(&case["owner"]["newest"]) > 1 { 2 } else { 1 };
        let then = match owner.resume(LinkKey(9), generation, &resume, now) {
            Ok(()) => went_on(&mut owner),
            Err(Refusal::Close(code)) => json!({"close": code.0}),
            Err(Refusal::Reset(reset)) => json!({"reset": reset.code, "recv": reset.recv}),
        };
        assert_eq!(then, case["then"], "{case}");
    }
}

fn went_on(owner: &mut Owner) -> Value {
    let (mut resumed, mut acked, mut replay) = (Value::Null, false, Vec::new());
    loop {
        let message = match owner.poll() {
            owner::Output::Send { link: LinkKey(9), head, payload, .. } => {
                [head.as_bytes(), &payload].concat()
            }
            owner::Output::Wait(_) => break,
            _ => continue,
        };
        match Item::parse(Form::Text, &message).unwrap() {
            Item::Control(text) => match Control::parse(Speaker::Server, text).unwrap() {
                Control::Resumed(it) => {
                    resumed = json!({"recv": it.recv, "lo": it.lo, "hi": it.hi});
                }
                other => panic!("{other:?}"),
            },
            Item::Ack(_) => acked = true,
            Item::Sequenced { seq, .. } => replay.push(seq),
            other => panic!("{other:?}"),
        }
    }
    assert!(acked, "both sides acknowledge at once after resumed");
    json!({"resumed": resumed, "replay": replay})
}

/// A client in the state that a case describes, whose `resume` was just written on link 3.
fn client_at(state: &Value, now: Instant) -> Client {
    let mut client = Client::new(client::ClientPolicy::default(), 1, now);
    let say = |client: &mut Client, key, text: String| {
        client.receive(LinkKey(key), Form::Text, &text.into_bytes().into(), now);
        while !matches!(client.poll(), client::Output::Wait(_)) {}
    };
    client.link_open(LinkKey(1), now);
    let link = number(&state["link"]) - 1;
    let welcome = Welcome {
        sid: "s".to_owned(),
        token: "1".to_owned(),
        link,
        protocol: None,
        win: Window::DEFAULT.into(),
        max_msg: 1 << 20,
        chunk: 16 << 10,
        hb: 5000,
        grace: 120_000,
        class: String::new(),
        resume_url: None,
    };
    say(&mut client, 1, text(&Control::Welcome(welcome).write()).to_owned());
    for _ in 0..number(&state["sent"]) {
        client.send(Form::Text, Bytes::from_static(b"x"), now).unwrap();
    }
    for seq in 1..=number(&state["recv"]) {
        say(&mut client, 1, format!("m{seq};x"));
    }
    say(&mut client, 1, format!("a{}", number(&state["acked"])));
    client.link_lost(LinkKey(1), None, now);
    client.probe(now);
    client.deadline_reached(now);
    client.link_open(LinkKey(2), now);
    while !matches!(client.poll(), client::Output::Wait(_)) {}
    client
}

#[test]
fn a_client_goes_on_as_the_vectors_say() {
    for case in cases("resumed.json") {
        let now = Instant::now();
        let mut client = client_at(&case["client"], now);
        let answered = &case["resumed"];
        let resumed = Control::Resumed(Resumed {
            token: "2".to_owned(),
            link: number(&answered["link"]),
            recv: number(&answered["recv"]),
            lo: number(&answered["lo"]),
            hi: number(&answered["hi"]),
        });
        client.receive(LinkKey(2), Form::Text, &resumed.write().into(), now);
        let (mut sent, mut closed) = (Vec::new(), None);
        loop {
            match client.poll() {
                client::Output::Send { head, payload, .. } => {
                    let message = [head.as_bytes(), &payload].concat();
                    if let Ok(Item::Sequenced { seq, .. }) = Item::parse(Form::Text, &message) {
                        sent.push(seq);
                    }
                }
                client::Output::Close { code, .. } => closed = Some(code),
                client::Output::Wait(_) => break,
                _ => {}
            }
        }
        let then = match closed {
            Some(CloseCode(code)) => json!({"close": code}),
            None => json!({"send": sent}),
        };
        assert_eq!(then, case["then"], "{case}");
    }
}

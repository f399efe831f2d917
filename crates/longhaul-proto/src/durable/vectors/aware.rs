//! Those about legs whose replica acknowledges messages itself, run against both of their ends.

use super::*;

#[test]
fn control_of_legs_reads_as_the_vectors_say() {
    for case in cases("leg.json") {
        let speaker = if case["from"] == "replica" { Speaker::Replica } else { Speaker::Server };
        match LegControl::parse(speaker, case["text"].as_str().unwrap().as_bytes()) {
            Ok(control) => {
                let shown: Value = serde_json::from_slice(&control.write()).unwrap();
                assert_eq!(shown, case["control"], "{case}");
            }
            Err(fault) => assert_eq!(json!(fault.0), case["fault"], "{case}"),
        }
    }
}

#[test]
fn a_replica_goes_on_as_the_vectors_say() {
    for case in cases("attach.json") {
        let (asked, saved) = (&case["attach"], &case["saved"]);
        let attach = LegControl::Attach(Attach {
            sid: "s".to_owned(),
            link: 1,
            leg: number(&asked["leg"]),
            recv: number(&asked["recv"]),
            lo: number(&asked["lo"]),
            hi: number(&asked["hi"]),
            win: Window::DEFAULT.into(),
            chunk: 16 << 10,
            max_msg: 1 << 20,
        });
        let unacked = saved["unacked"].as_array().unwrap().iter().map(|seq| backend::Numbered {
            seq: number(seq),
            kind: backend::Kind::Message,
            form: Form::Text,
            payload: Bytes::from_static(b"x"),
        });
        let saved = backend::Saved {
            recv: saved["recv"].as_u64(),
            sent: number(&saved["sent"]),
            unacked: unacked.collect(),
        };
        let mut replica = Backend::new(backend::WINDOW_DEFAULT);
        replica.receive(Form::Text, &attach.write().into());
        assert!(matches!(replica.poll(), backend::Output::Attach(_)));
        replica.attach(saved);
        replica.receive(Form::Text, &format!("a{}", number(&asked["recv"])).into());
        let (mut attached, mut ack, mut send, mut closed) = (Value::Null, None, Vec::new(), None);
        loop {
            let message = match replica.poll() {
                backend::Output::Send { head, payload, .. } => [head.as_bytes(), &payload].concat(),
                backend::Output::Close { code, .. } => {
                    closed = Some(code.0);
                    continue;
                }
                backend::Output::Idle => break,
                other => panic!("{other:?}"),
            };
            match Item::parse(Form::Text, &message).unwrap() {
                Item::Control(text) => {
                    attached = serde_json::from_slice(text).unwrap();
                    attached.as_object_mut().unwrap().remove("t");
                }
                Item::Ack(seq) => ack = Some(seq),
                Item::Sequenced { seq, .. } => send.push(seq),
                other => panic!("{other:?}"),
            }
        }
        let then = match closed {
            Some(code) => json!({"close": code}),
            None => json!({"attached": attached, "ack": ack, "send": send}),
        };
        assert_eq!(then, case["then"], "{case}");
    }
}

/// An owner in the state that a case describes, brought there by a client and a replica that died.
fn aware_owner_at(state: &Value, now: Instant) -> Owner {
    let link = LinkKey(1);
    let opening = Opening {
        sid: "s".to_owned(),
        link,
        window: Window::DEFAULT,
        protocol: None,
        replacement: None,
        is_aware: true,
    };
    let mut owner = Owner::open(Arc::new(OwnerPolicy::default()), Arc::new(Bare), opening, now);
    let leg = |owner: &mut Owner, text: String| owner.leg_item(Form::Text, &text.into(), now);
    leg(&mut owner, r#"{"t":"attached","recv":0,"lo":1,"hi":0}"#.to_owned());
    for seq in 1..=number(&state["recv"]) {
        owner.receive(link, Form::Text, &format!("m{seq};x").into(), now);
    }
    while !matches!(owner.poll(), owner::Output::Wait(_)) {}
    leg(&mut owner, format!("a{}", number(&state["acked"])));
    for seq in 1..=number(&state["sent"]) {
        leg(&mut owner, format!("m{seq};x"));
    }
    owner.leg_lost(0, now);
    owner.leg_replaced("crash", now);
    while !matches!(owner.poll(), owner::Output::Wait(_)) {}
    owner
}

#[test]
fn an_owner_goes_on_with_another_replica_as_the_vectors_say() {
    for case in cases("attached.json") {
        let now = Instant::now();
        let mut owner = aware_owner_at(&case["owner"], now);
        let mut attached = case["attached"].clone();
        attached["t"] = json!("attached");
        owner.leg_item(Form::Text, &attached.to_string().into(), now);
        let (mut send, mut closed) = (Vec::new(), None);
        loop {
            match owner.poll() {
                owner::Output::Tell { head, payload, .. } => {
                    let message = [head.as_bytes(), &payload.to_bytes()].concat();
                    if let Ok(Item::Sequenced { seq, .. }) = Item::parse(Form::Text, &message) {
                        send.push(seq);
                    }
                }
                owner::Output::CloseLeg { code, .. } => closed = Some(code.0),
                owner::Output::Wait(_) | owner::Output::Ended(_) => break,
                _ => {}
            }
        }
        let then = match closed {
            Some(code) => json!({"close": code}),
            None => json!({"send": send}),
        };
        assert_eq!(then, case["then"], "{case}");
    }
}

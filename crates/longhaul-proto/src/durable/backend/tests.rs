//! The machine by itself: what it says, and what it refuses.

use super::*;

fn attach(leg: u64, recv: u64, lo: u64, hi: u64) -> Bytes {
    let attach = LegControl::Attach(Attach {
        sid: "s".into(),
        link: 1,
        leg,
        recv,
        lo,
        hi,
        win: [20, 4],
        chunk: 8,
        max_msg: 64,
    });
    attach.write().into()
}

fn said(backend: &mut Backend) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match backend.poll() {
            Output::Send { head, payload, .. } => {
                let text = [head.as_bytes(), &payload].concat();
                all.push(String::from_utf8(text).unwrap());
            }
            Output::Message { seq, payload, .. } => {
                all.push(format!("got {seq} {}", String::from_utf8_lossy(&payload)));
            }
            Output::End { seq, code, .. } => all.push(format!("end {seq} {code}")),
            Output::Close { code, .. } => all.push(format!("close {code}")),
            Output::Over(code) => all.push(format!("over {code}")),
            Output::Attach(_) => {}
            Output::Idle => return all,
        }
    }
}

fn hear(backend: &mut Backend, item: &'static str) {
    backend.receive(Form::Text, &Bytes::from_static(item.as_bytes()));
}

fn text(text: &'static str) -> (Form, Bytes) {
    (Form::Text, text.into())
}

/// Attached to a session that has seen nothing, with all the room there is.
fn fresh() -> Backend {
    let mut backend = Backend::new(WINDOW_DEFAULT);
    backend.receive(Form::Text, &attach(1, 0, 1, 0));
    assert_eq!(said(&mut backend).len(), 0);
    backend.attach(Saved::default());
    assert_eq!(said(&mut backend), [r#"{"t":"attached","recv":null,"lo":1,"hi":0}"#, "a0"]);
    hear(&mut backend, "a0");
    backend
}

#[test]
fn a_message_is_acknowledged_once_its_change_is_applied_and_not_before() {
    let mut backend = fresh();
    hear(&mut backend, "n1;he");
    hear(&mut backend, "m2;llo");
    assert_eq!(said(&mut backend), ["got 2 hello"]);
    let change = backend.change(Some(2), vec![text("hi")]).unwrap();
    assert_eq!((change.recv, change.sent, change.items.len()), (2, 1, 1));
    assert_eq!(said(&mut backend).len(), 0, "nothing leaves before it is stored");
    backend.apply(change).unwrap();
    assert_eq!(said(&mut backend), ["a2", "m1;hi"]);
}

#[test]
fn what_is_stored_and_was_not_sent_is_sent_by_the_next_replica() {
    let item = |seq, text| Numbered { seq, kind: Kind::Message, form: Form::Text, payload: text };
    let mut backend = Backend::new(WINDOW_DEFAULT);
    backend.receive(Form::Text, &attach(2, 4, 6, 9));
    said(&mut backend);
    let unacked = vec![item(4, "four".into()), item(5, "five".into())];
    backend.attach(Saved { recv: Some(7), sent: 5, unacked });
    assert_eq!(said(&mut backend), [r#"{"t":"attached","recv":7,"lo":4,"hi":5}"#, "a7"]);
    hear(&mut backend, "a4");
    assert_eq!(said(&mut backend), ["m5;five"]);
    hear(&mut backend, "m8;next");
    let change = backend.change(Some(8), vec![text("six")]).unwrap();
    assert_eq!((change.items[0].seq, change.acked), (6, 4));
}

#[test]
fn a_full_window_holds_whole_messages_back_and_finishes_what_it_began() {
    let mut backend = fresh();
    for message in ["0123456789abcdef", "now", "an end"] {
        let change = backend.change(None, vec![text(message)]).unwrap();
        backend.apply(change).unwrap();
    }
    assert_eq!(said(&mut backend), ["n1;01234567", "m2;89abcdef", "m3;now"]);
    hear(&mut backend, "a2");
    assert_eq!(said(&mut backend), ["m4;an end"]);
    let end = backend.end(None, CloseCode(4001), "bye").unwrap();
    backend.apply(end).unwrap();
    assert_eq!(said(&mut backend), ["x5;4001;bye"]);
    assert_eq!(backend.change(None, vec![text("more")]), Err(Misuse::Ended));
    hear(&mut backend, r#"{"t":"reset","code":1000,"recv":0}"#);
    assert_eq!(said(&mut backend), ["over 1000"]);
}

#[test]
fn room_that_another_leg_has_taken_is_counted_without_knowing_how_much_it_is() {
    let mut backend = Backend::new(WINDOW_DEFAULT);
    backend.receive(Form::Text, &attach(2, 3, 1, 0));
    said(&mut backend);
    backend.attach(Saved { recv: None, sent: 0, unacked: Vec::new() });
    let change = backend.change(None, vec![text("x")]).unwrap();
    backend.apply(change).unwrap();
    said(&mut backend);
    // Three items of up to 8 bytes fill 20.
    hear(&mut backend, "a0");
    assert_eq!(said(&mut backend).len(), 0);
    hear(&mut backend, "a1");
    assert_eq!(said(&mut backend), ["m4;x"]);
}

#[test]
fn what_the_store_and_the_gateway_do_not_agree_on_ends_in_words() {
    for (saved, attach) in [
        (Saved { recv: Some(3), ..Saved::default() }, attach(2, 0, 5, 9)),
        (Saved { recv: Some(5), sent: 3, unacked: Vec::new() }, attach(2, 1, 5, 9)),
    ] {
        let mut backend = Backend::new(WINDOW_DEFAULT);
        backend.receive(Form::Text, &attach);
        said(&mut backend);
        backend.attach(saved);
        assert_eq!(said(&mut backend), ["close 4906"]);
    }
}

#[test]
fn a_gateway_that_breaks_the_protocol_is_left() {
    for (items, code) in [
        (&["m2;gap"][..], "close 4902"),
        (&["m1"], "close 4900"),
        (&["e1;{}"], "close 4900"),
        (&["a9"], "close 4900"),
        (&["m1;far too long"], "close 4911"),
        (&[r#"{"t":"drain"}"#], "close 4900"),
    ] {
        let mut backend = fresh();
        items.iter().for_each(|item| hear(&mut backend, item));
        assert_eq!(said(&mut backend), [code], "{items:?}");
        assert_eq!(backend.change(None, vec![text("late")]), Err(Misuse::Detached));
    }
}

#[test]
fn changes_are_applied_in_order_and_only_what_came_is_committed() {
    let mut backend = fresh();
    assert_eq!(backend.change(Some(1), Vec::new()), Err(Misuse::NotReceived(1)));
    let long = vec![(Form::Binary, Bytes::from(vec![0; 65]))];
    assert_eq!(backend.change(None, long), Err(Misuse::TooBig { bytes: 65, bytes_max: 64 }));
    let first = backend.change(None, vec![text("1")]).unwrap();
    let second = backend.change(None, vec![text("2")]).unwrap();
    assert_eq!(backend.apply(second), Err(Misuse::OutOfOrder));
    backend.lost();
    assert_eq!(backend.apply(first), Err(Misuse::Detached));
}

//! What an owner says between a client and a replica that acknowledges by itself.

use std::sync::Arc;

use super::super::{Opening, OwnerPolicy, Seal};
use super::*;
use crate::durable::LinkKey;

#[derive(Debug)]
struct Bare;

impl Seal for Bare {
    fn seal(&self, sid: &str, generation: u64) -> String {
        format!("{sid}.{generation}")
    }
}

const LINK: LinkKey = LinkKey(1);

/// An owner with a link and an attached leg, its first words said.
fn owner() -> Owner {
    let window = Window { bytes: 64, items: 8 };
    let sizes = Sizes { message_bytes_max: 64, chunk_bytes_max: 16 };
    let policy = OwnerPolicy { window, sizes, ..OwnerPolicy::default() };
    let opening = Opening {
        sid: "s".into(),
        link: LINK,
        window,
        protocol: None,
        replacement: None,
        is_aware: true,
    };
    let mut owner = Owner::open(Arc::new(policy), Arc::new(Bare), opening, Instant::now());
    leg(&mut owner, r#"{"t":"attached","recv":0,"lo":1,"hi":0}"#);
    link(&mut owner, "a0");
    said(&mut owner);
    owner
}

fn leg(owner: &mut Owner, item: &str) {
    owner.leg_item(Form::Text, &Bytes::copy_from_slice(item.as_bytes()), Instant::now());
}

fn link(owner: &mut Owner, item: &str) {
    let item = Bytes::copy_from_slice(item.as_bytes());
    owner.receive(LINK, Form::Text, &item, Instant::now());
}

/// What is said to the leg and to the link, and how both end.
fn said(owner: &mut Owner) -> Vec<String> {
    let mut all = Vec::new();
    let text = |head: Head, payload: Bytes| {
        String::from_utf8([head.as_bytes(), &payload].concat()).unwrap()
    };
    loop {
        match owner.poll() {
            Output::Tell { head, payload, .. } => {
                all.push(format!("leg {}", text(head, payload.to_bytes())))
            }
            Output::Send { head, payload, .. } => {
                all.push(format!("link {}", text(head, payload)));
            }
            Output::CloseLeg { code, .. } => all.push(format!("leg close {code}")),
            Output::Close { code, .. } => all.push(format!("link close {code}")),
            Output::LeaveLeg => all.push("leave".to_owned()),
            Output::Wait(_) | Output::Ended(_) => return all,
            Output::Deliver { .. } | Output::Abort(_) | Output::Authenticate(_) => {}
        }
    }
}

#[test]
fn items_are_passed_on_as_they_are_and_a_half_message_waits_for_its_rest() {
    let mut owner = owner();
    link(&mut owner, "n1;half of");
    assert_eq!(said(&mut owner), ["leg n1;half of"]);
    leg(&mut owner, "n1;half of");
    assert_eq!(said(&mut owner), [""; 0]);
    leg(&mut owner, "m2;an answer");
    assert_eq!(said(&mut owner), ["link n1;half of", "link m2;an answer"]);
    link(&mut owner, "a2");
    link(&mut owner, "a2");
    assert_eq!(said(&mut owner), ["leg a2"], "what is no news is not passed on");
}

#[test]
fn what_a_dead_leg_left_unfinished_was_never_said() {
    let mut owner = owner();
    leg(&mut owner, "n1;half of");
    owner.leg_lost(0, Instant::now());
    owner.leg_replaced("crash", Instant::now());
    let attach = said(&mut owner);
    assert!(attach[0].contains(r#""leg":2,"recv":0,"lo":1,"hi":0"#), "{attach:?}");
    leg(&mut owner, r#"{"t":"attached","recv":null,"lo":1,"hi":0}"#);
    leg(&mut owner, "m1;other words");
    let event = r#"link {"t":"event","leg":2,"reason":"crash"}"#;
    assert_eq!(said(&mut owner), ["leg a0", event, "link m1;other words"]);
}

#[test]
fn a_replica_cannot_answer_for_what_it_was_not_given_nor_flood_a_client() {
    let faults: [&[&str]; 4] = [
        &["a1"],
        &["e1;{}", "e2;{}", "m4;a hole"],
        // 64 bytes are the window.
        &["m1;0123456789abcdef", "m2;0123456789abcdef", "m3;0123456789abcdefg"],
        &[r#"{"t":"attach"}"#],
    ];
    for (items, code) in faults.iter().zip([4900, 4902, 4911, 4900]) {
        let mut owner = owner();
        items.iter().for_each(|item| leg(&mut owner, item));
        let said = said(&mut owner);
        assert!(said.contains(&format!("leg close {code}")), "{items:?}: {said:?}");
        let reset = r#"link {"t":"reset","code":4906,"recv":0}"#.to_owned();
        assert!(said.contains(&reset), "{items:?}: {said:?}");
    }
    let mut owner = owner();
    (1..=2_000).for_each(|seq| leg(&mut owner, &format!("e{seq};{{}}")));
    assert!(said(&mut owner).contains(&"leg close 4900".to_owned()));
}

#[test]
fn a_replica_that_does_not_say_what_it_knows_is_none() {
    let mut owner = owner();
    owner.leg_lost(0, Instant::now());
    owner.leg_replaced("crash", Instant::now());
    said(&mut owner);
    owner.deadline_reached(Instant::now() + OwnerPolicy::default().attach);
    assert_eq!(said(&mut owner)[0], "leg close 4908");
}

#[test]
fn both_ends_are_told_of_an_end() {
    for (code, link_end) in [(1012, "link close 1000"), (4401, "link close 4903")] {
        let mut owner = owner();
        owner.finish(CloseCode(code), "", Instant::now());
        let said = said(&mut owner);
        assert!(said[0].starts_with(r#"leg {"t":"reset""#), "{said:?}");
        assert!(said.contains(&link_end.to_owned()), "{said:?}");
    }
}

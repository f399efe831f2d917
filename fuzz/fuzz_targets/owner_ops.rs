//! Plays an arbitrary list of things that happen to the owner of a durable session, by links that say
//! whatever they like. Whatever they are: it does not panic, one link is written to, what it holds
//! is bounded, what it delivers was sent by somebody in order, and what it acknowledges was confirmed.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use longhaul_proto::durable::owner::{Opening, Output, Owner, OwnerPolicy, Seal};
use longhaul_proto::durable::{Form, Item, LinkKey, Resume, Sizes, Window};
use longhaul_proto::websocket::CloseCode;

#[derive(Debug, Arbitrary)]
enum Op {
    /// A link says this.
    Raw(u8, bool, Vec<u8>),
    /// A link sends the next number, or one near it.
    Item(u8, i8, u8, u8),
    Ack(u8, u8),
    Resume { link: u8, generation: u8, recv: u8, lo: u8 },
    Lost(u8, Option<u16>),
    Blocked(u8, bool),
    Leg(bool, u8),
    LegClosed(u16),
    Confirm,
    Wait(u16),
    Migrate(u8),
    Finish,
}

#[derive(Debug)]
struct Bare;

impl Seal for Bare {
    fn seal(&self, _: &str, generation: u64) -> String {
        generation.to_string()
    }
}

const SIZES: Sizes = Sizes { message_bytes_max: 200, chunk_bytes_max: 20 };

fuzz_target!(|ops: Vec<Op>| {
    let mut now = Instant::now();
    let window = Window { bytes: 300, items: 12 };
    let policy = OwnerPolicy { window, sizes: SIZES, ..OwnerPolicy::default() };
    let opening =
        Opening { sid: "s".into(), link: LinkKey(0), window, protocol: None, replacement: None, is_aware: false };
    let mut owner = Owner::open(Arc::new(policy), Arc::new(Bare), opening, now);
    let (mut newest, mut keys, mut delivered, mut confirmed, mut next) = (LinkKey(0), 0, 0, 0, 1u64);
    let mut leg_is_gone = false;
    for op in ops {
        match op {
            Op::Raw(link, is_text, message) => {
                if !is_text || std::str::from_utf8(&message).is_ok() {
                    let form = if is_text { Form::Text } else { Form::Binary };
                    owner.receive(LinkKey(link.into()), form, &message.into(), now);
                }
            }
            Op::Item(link, off, kind, len) => {
                let seq = next.saturating_add_signed(off.into());
                let kind = [b'm', b'n', b'x'][usize::from(kind % 3)] as char;
                let payload = if kind == 'x' { "1000;".into() } else { "y".repeat(usize::from(len % 24)) };
                next = next.max(seq + u64::from(off == 0));
                let message = format!("{kind}{seq};{payload}");
                owner.receive(LinkKey(link.into()), Form::Text, &message.into_bytes().into(), now);
            }
            Op::Ack(link, seq) => {
                let message = Bytes::from(format!("a{seq}").into_bytes());
                owner.receive(LinkKey(link.into()), Form::Text, &message, now);
            }
            Op::Resume { link, generation, recv, lo } => {
                keys += 1;
                let (link, recv, lo) = (link.into(), recv.into(), lo.into());
                let resume = Resume { v: 1, token: String::new(), link, recv, lo, hi: 0 };
                if owner.resume(LinkKey(keys), generation.into(), &resume, now).is_ok() {
                    newest = LinkKey(keys);
                }
            }
            Op::Lost(link, code) => {
                owner.link_lost(LinkKey(link.into()), code.map(CloseCode), now);
            }
            Op::Blocked(link, is_blocked) => owner.note_blocked(LinkKey(link.into()), is_blocked),
            Op::Leg(is_text, len) => {
                if owner.wants_leg() {
                    let form = if is_text { Form::Text } else { Form::Binary };
                    owner.leg_message(form, vec![b'z'; usize::from(len).min(200)].into(), now);
                }
            }
            Op::LegClosed(code) => {
                leg_is_gone = true;
                owner.leg_closed(CloseCode(code), "gone", now);
            }
            Op::Confirm => {
                confirmed = delivered;
                owner.confirm(confirmed, now);
            }
            Op::Wait(ms) => {
                now += Duration::from_millis(u64::from(ms) * 3);
                owner.deadline_reached(now);
            }
            Op::Migrate(delay) => owner.migrate(Duration::from_millis(delay.into()), now),
            Op::Finish => {
                leg_is_gone = true;
                owner.finish(CloseCode(1012), "draining", now);
            }
        }
        for turn in 0.. {
            assert!(turn < 10_000, "it never rests");
            match owner.poll() {
                Output::Wait(_) | Output::Ended(_) => break,
                Output::Send { link, form, head, payload } => {
                    assert_eq!(link, newest, "one link is written to");
                    let message = [head.as_bytes(), &payload].concat();
                    match Item::parse(form, &message).expect("what it says can be read") {
                        Item::Ack(seq) => assert!(leg_is_gone || seq <= confirmed),
                        Item::Sequenced { .. } => assert!(message.len() <= 20 + 18 + 128),
                        _ => {}
                    }
                }
                Output::Deliver { seq, payload, .. } => {
                    assert!(seq > delivered && payload.len() <= SIZES.message_bytes_max);
                    delivered = seq;
                }
                Output::CloseLeg { .. } => leg_is_gone = true,
                Output::Tell { .. } | Output::LeaveLeg => unreachable!("the replica is a plain one"),
                Output::Close { .. } | Output::Abort(_) | Output::Authenticate(_) => {}
            }
        }
        assert!(owner.bytes() <= 300 + 3 * SIZES.message_bytes_max + 1024, "{}", owner.bytes());
    }
});

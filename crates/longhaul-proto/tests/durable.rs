//! Properties of the ends of a durable session, whatever strangers say and however high numbers are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use longhaul_proto::durable::owner::{Opening, Output, Owner, OwnerPolicy, Seal};
use longhaul_proto::durable::{
    Body, Form, Item, Letter, LinkKey, Rank, Receiver, Resume, SEQ_MAX, Sender, Sizes, Taken,
    Window,
};
use longhaul_proto::websocket::{CloseCode, mask};
use proptest::prelude::*;

const SIZES: Sizes = Sizes { message_bytes_max: 200, chunk_bytes_max: 20 };
const WINDOW: Window = Window { bytes: 300, items: 12 };

#[derive(Debug)]
struct Bare;

impl Seal for Bare {
    fn seal(&self, _: &str, generation: u64) -> String {
        generation.to_string()
    }
}

/// What happens to an owner: which kind of thing, on which link, and two numbers for it.
type Op = (u8, u8, u8, u8);

struct Hostile {
    owner: Owner,
    now: Instant,
    newest: LinkKey,
    keys: u64,
    delivered: u64,
    confirmed: u64,
    next: u64,
    is_leg_gone: bool,
}

impl Hostile {
    fn new() -> Self {
        let policy = OwnerPolicy { window: WINDOW, sizes: SIZES, ..OwnerPolicy::default() };
        let (now, newest) = (Instant::now(), LinkKey(0));
        let opening = Opening {
            sid: "s".into(),
            link: newest,
            window: WINDOW,
            protocol: None,
            replacement: None,
            is_aware: false,
        };
        let owner = Owner::open(Arc::new(policy), Arc::new(Bare), opening, now);
        let is_leg_gone = false;
        Self { owner, now, newest, keys: 0, delivered: 0, confirmed: 0, next: 1, is_leg_gone }
    }

    fn suffer(&mut self, (kind, link, first, second): Op) {
        let (now, key) = (self.now, LinkKey(u64::from(link) % (self.keys + 2)));
        match kind % 12 {
            0..=3 => {
                let seq = (self.next + u64::from(first % 3)).saturating_sub(u64::from(first % 2));
                self.next += u64::from(first % 3 == 0);
                let letter = ["m", "n", "m", "x"][usize::from(second % 4)];
                let payload =
                    if letter == "x" { "1000;".into() } else { "y".repeat(second as usize % 24) };
                self.say(key, format!("{letter}{seq};{payload}"));
            }
            4 | 5 => self.say(key, format!("a{first}")),
            6 => {
                self.keys += 1;
                let resume = Resume {
                    v: 1,
                    token: String::new(),
                    link: u64::from(link),
                    recv: u64::from(first),
                    lo: u64::from(second),
                    hi: 0,
                };
                let key = LinkKey(self.keys);
                if self.owner.resume(key, u64::from(second % 8), &resume, now).is_ok() {
                    self.newest = key;
                }
            }
            7 => {
                let closed = [None, Some(1000), Some(4900), Some(1006)][usize::from(first % 4)];
                self.owner.link_lost(key, closed.map(CloseCode), now);
            }
            8 if self.owner.wants_leg() => {
                let payload = vec![b'z'; usize::from(first).min(SIZES.message_bytes_max)];
                self.owner.leg_message(Form::Text, payload.into(), now);
            }
            9 => {
                self.confirmed = self.delivered;
                self.owner.confirm(self.confirmed, now);
            }
            10 => {
                self.now += Duration::from_millis(u64::from(first) * u64::from(second));
                self.owner.deadline_reached(self.now);
            }
            11 if second == 0 => {
                self.is_leg_gone = true;
                self.owner.leg_closed(CloseCode(1001), "gone", now);
            }
            11 => self.owner.note_blocked(key, first & 1 == 0),
            _ => {}
        }
    }

    fn say(&mut self, key: LinkKey, item: String) {
        self.owner.receive(key, Form::Text, &Bytes::from(item.into_bytes()), self.now);
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        for turn in 0.. {
            prop_assert!(turn < 10_000, "it never rests");
            match self.owner.poll() {
                Output::Wait(_) | Output::Ended(_) => break,
                Output::Send { link, form, head, payload } => {
                    prop_assert_eq!(link, self.newest, "one link is written to");
                    let message = [head.as_bytes(), &payload].concat();
                    let item = Item::parse(form, &message);
                    if let Ok(Item::Ack(seq)) = item {
                        prop_assert!(
                            self.is_leg_gone || seq <= self.confirmed,
                            "{} unconfirmed",
                            seq
                        );
                    }
                    prop_assert!(item.is_ok(), "it says what nobody can read");
                }
                Output::Deliver { seq, payload, .. } => {
                    prop_assert!(seq > self.delivered, "delivered twice or out of order");
                    prop_assert!(payload.len() <= SIZES.message_bytes_max);
                    self.delivered = seq;
                }
                Output::CloseLeg { .. } => self.is_leg_gone = true,
                Output::Tell { .. } | Output::LeaveLeg => {
                    unreachable!("the replica is a plain one")
                }
                Output::Close { .. } | Output::Abort(_) | Output::Authenticate(_) => {}
            }
        }
        let bytes_max = WINDOW.bytes as usize + 3 * SIZES.message_bytes_max + 1024;
        prop_assert!(self.owner.bytes() <= bytes_max, "{} bytes are held", self.owner.bytes());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_owner_keeps_its_word_whatever_links_say(ops in prop::collection::vec(any::<Op>(), 0..80)) {
        let mut hostile = Hostile::new();
        for op in ops {
            hostile.suffer(op);
            hostile.check()?;
        }
    }

    #[test]
    fn halves_agree_up_to_the_last_number(
        before_end in 0u64..3_000,
        sizes in prop::collection::vec(0usize..60, 1..40),
        acks in prop::collection::vec(any::<bool>(), 40),
    ) {
        let start = SEQ_MAX - before_end;
        let mut sender = Sender::starting_at(start, WINDOW, SIZES.chunk_bytes_max);
        let mut receiver = Receiver::starting_at(start);
        for (size, acks) in sizes.into_iter().zip(acks) {
            sender.message(Form::Binary, vec![b'x'; size].into());
            while let Some((head, form, payload)) = sender.write_next() {
                let message = [head.as_bytes(), &payload.to_bytes()].concat();
                let Ok(Item::Sequenced { seq, body }) = Item::parse(form, &message) else {
                    panic!("{head:?}")
                };
                prop_assert!(seq <= SEQ_MAX);
                let taken = receiver.take(form, seq, body, Rank::Newest, SIZES).unwrap();
                let is_last = matches!(body, Body::Message(_));
                prop_assert_eq!(taken, if is_last { Taken::Whole } else { Taken::Hold });
            }
            if acks {
                sender.acknowledge(receiver.recv()).unwrap();
                sender.number();
            }
        }
        // Too few numbers for a whole message end the session instead of wrapping around.
        if before_end < 1024 {
            prop_assert!(sender.is_exhausted());
        }
        prop_assert!(sender.acknowledge(sender.sent() + 1).is_err());
    }

    #[test]
    fn a_message_in_pieces_arrives_as_one(
        pieces in prop::collection::vec("[a-zé€𝄞]{0,30}", 0..40),
        chunk_bytes_max in 4usize..40,
    ) {
        let sizes = Sizes { message_bytes_max: 10_000, chunk_bytes_max };
        let mut sender = Sender::starting_at(0, Window::DEFAULT, chunk_bytes_max);
        let mut receiver = Receiver::starting_at(0);
        // As a reader gives them: only the last may be empty.
        let (last, before) = pieces.split_last().map_or(("", &[][..]), |(last, before)| (last, before));
        let before = before.iter().filter(|piece| !piece.is_empty()).map(|piece| Bytes::from(piece.clone()));
        let pieces: Vec<Bytes> = before.chain([Bytes::from(last.to_owned())]).collect();
        sender.pieces(Form::Text, pieces.clone().into());
        let mut arrived = Vec::new();
        while let Some((head, form, payload)) = sender.write_next() {
            let message = [head.as_bytes(), &payload.to_bytes()].concat();
            prop_assert!(std::str::from_utf8(&message).is_ok());
            let Ok(Item::Sequenced { seq, body }) = Item::parse(form, &message) else {
                panic!("{head:?}")
            };
            let taken = receiver.take(form, seq, body, Rank::Newest, sizes);
            prop_assert_eq!(taken, Ok(if sender.has_next() { Taken::Hold } else { Taken::Whole }));
            if let Body::Message(payload) | Body::Chunk(payload) = body {
                arrived.extend_from_slice(payload);
            }
        }
        prop_assert_eq!(arrived, pieces.concat());
    }
}

/// Payloads are copied out of what is read, and nowhere else: see docs/tune/cost.md.
#[test]
fn a_payload_lies_in_an_owner_where_it_was_read() {
    let mut hostile = Hostile::new();
    // Whatever is in it, compressed or not: nobody looks.
    let payload = [0x78, 0x9c, 0xff, 0x00, 0x80, 0x3b];
    let key = [1, 2, 3, 4];
    let mut message = BytesMut::from(&[&b"m1;"[..], &payload].concat()[..]);
    mask::apply(&mut message, key, 0);
    let (under_mask, up_at) = (message[3..].to_vec(), message[3..].as_ptr());
    let letter = Letter::open(message, key);
    hostile.owner.receive_letter(hostile.newest, Form::Binary, &letter, hostile.now);
    let down = Bytes::copy_from_slice(&payload);
    hostile.owner.leg_message(Form::Binary, down.clone(), hostile.now);
    let (mut delivered, mut sent) = (None, None);
    loop {
        match hostile.owner.poll() {
            Output::Deliver { payload, .. } => delivered = Some(payload),
            Output::Send { form: Form::Binary, payload, .. } => sent = Some(payload),
            Output::Wait(_) => break,
            _ => {}
        }
    }
    let (delivered, sent) = (delivered.unwrap(), sent.unwrap());
    assert_eq!(&delivered.to_bytes()[..], &payload);
    let (before, delivered) = delivered.into_parts();
    assert!(before.is_empty());
    // Behind three bytes of a head of the item's, as the client had it, the key is the client's own.
    assert_eq!(delivered.key_behind(3), Some(key));
    let delivered = delivered.into_raw();
    assert_eq!((&delivered[..], delivered.as_ptr()), (&under_mask[..], up_at));
    assert_eq!((&sent[..], sent.as_ptr()), (&payload[..], down.as_ptr()));
}

//! Socket.IO 5 over Engine.IO 4 (<https://socket.io/docs/v4/socket-io-protocol/>).
//!
//! A new replica opens with a packet of its own (`0{…}`), hears each CONNECT that the client has said
//! (`40…`), and answers it: none of that is the client's concern, who keeps the session id of its first
//! replica. What the replica kept in its memory is gone.

mod frozen;

use std::time::Instant;

pub(in crate::redial) use frozen::FrozenSocketIo;
use serde::{Deserialize, Serialize};

use super::heart::{Beat, Heart};
use super::packet::Packet;
use super::polled::Polled;
use super::questions::Questions;
use super::said::{Said, read};
use super::{Hearing, Sent, Words, payload};

/// How much of a packet is looked at: its kind, and a namespace.
const LOOK_BYTES: usize = 300;

#[derive(Debug)]
pub(in crate::redial) struct SocketIo {
    stage: Stage,
    /// The open packet of this leg is still to come.
    awaits_open: bool,
    spaces: Vec<Space>,
    keep_bytes_max: usize,
    hold_bytes_max: usize,
    /// Something was said that is not remembered: a new replica could not be told.
    has_lost_count: bool,
    is_refused: bool,
    up: Packet,
    down: Packet,
    heart: Heart,
    questions: Questions,
    words: Words,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The client has no open packet yet.
    Opening,
    /// The session is still with long-polling, and this WebSocket on trial.
    Probing,
    /// It has just come over; what was said before is to be asked for.
    ComesOver,
    Open,
}

/// A namespace that the client is connected to, or asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Space {
    #[serde(with = "crate::frozen::bytes")]
    name: Vec<u8>,
    #[serde(with = "crate::frozen::bytes")]
    connect: Vec<u8>,
    /// The client has its answer.
    is_live: bool,
    /// The replica of this leg was asked, and has not answered.
    is_awaited: bool,
}

impl SocketIo {
    pub(super) fn new(
        was_polling: bool,
        keep_bytes_max: usize,
        hold_bytes_max: usize,
        now: Instant,
    ) -> Self {
        Self {
            stage: if was_polling { Stage::Probing } else { Stage::Opening },
            awaits_open: !was_polling,
            spaces: Vec::new(),
            keep_bytes_max,
            hold_bytes_max,
            has_lost_count: false,
            is_refused: false,
            up: Packet::default(),
            down: Packet::default(),
            heart: Heart::new(now),
            questions: Questions::default(),
            words: Words::default(),
        }
    }

    pub(super) fn hear_client(&mut self, message: &[u8], _is_up: bool) -> Hearing {
        let (true, start) = payload::start(message, LOOK_BYTES) else { return Hearing::Pass };
        let is_for_replica = match &*start {
            b"3" => self.heart.take_pong(),
            b"5" if self.stage == Stage::Probing => {
                self.stage = Stage::ComesOver;
                true
            }
            [b'4', b'3' | b'6', ..] => {
                read(&start).is_none_or(|said| self.questions.answer(said.address))
            }
            _ => true,
        };
        if is_for_replica { Hearing::Pass } else { Hearing::Swallow }
    }

    pub(super) fn note_sent(&mut self, message: &[u8]) -> Sent {
        let (is_text, start) = payload::start(message, LOOK_BYTES);
        if !is_text {
            return match self.up.is_open() {
                true => self.note_attachment_sent(message),
                false => Sent::Plain,
            };
        }
        let Some(said) = read(&start) else { return Sent::Plain };
        match said.kind {
            b'0' => {
                let connect = payload::start(message, self.keep_bytes_max + 1).1;
                self.connect(&connect, said.name);
                Sent::Kept
            }
            b'1' => {
                self.leave(said.name);
                Sent::Kept
            }
            b'2' | b'3' => {
                self.note_live(said.name);
                Sent::Plain
            }
            b'5' | b'6' if said.attachments > 0 => {
                self.up.begin(said.attachments, message, self.hold_bytes_max);
                Sent::Kept
            }
            _ => Sent::Plain,
        }
    }

    fn note_attachment_sent(&mut self, message: &[u8]) -> Sent {
        let was_let_go = self.up.is_let_go();
        let is_whole = self.up.add(message, self.hold_bytes_max);
        match is_whole {
            true if !was_let_go => return Sent::Completes(self.up.take()),
            true => drop(self.up.take()),
            false if self.up.is_let_go() => drop(self.up.take()),
            false => {}
        }
        Sent::Kept
    }

    pub(super) fn note_large_sent(&mut self) {
        if self.up.is_open() {
            self.up.add_large();
            self.up.take();
        }
    }

    pub(super) fn hear_replica(
        &mut self,
        message: &[u8],
        is_former: bool,
        now: Instant,
    ) -> Hearing {
        let (is_text, start) = payload::start(message, LOOK_BYTES);
        if !is_text {
            return match self.down.is_open() {
                true => self.hold_down(message),
                false => Hearing::Pass,
            };
        }
        match &*start {
            b"2" => {
                self.heart.note_ping(!is_former, now);
                return Hearing::Pass;
            }
            [b'0', ..] if !is_former => return self.open(&start),
            _ => {}
        }
        let Some(said) = read(&start) else { return Hearing::Pass };
        match said.kind {
            b'0' if !is_former => self.answer(said.name),
            b'4' if !is_former => self.refuse(said.name),
            // The replica that was left lets go of a client that is another's by now.
            b'0' | b'1' | b'4' if is_former => Hearing::Swallow,
            b'1' => {
                self.leave(said.name);
                Hearing::Pass
            }
            b'2' | b'3' | b'5' | b'6' => self.hear_event(&said, message, is_former),
            _ => Hearing::Pass,
        }
    }

    fn hear_event(&mut self, said: &Said<'_>, message: &[u8], is_former: bool) -> Hearing {
        self.note_live(said.name);
        if said.has_number && matches!(said.kind, b'2' | b'5') {
            self.questions.ask(said.address, is_former);
        }
        if matches!(said.kind, b'5' | b'6') && said.attachments > 0 {
            self.down.begin(said.attachments, message, self.hold_bytes_max);
            return if self.down.is_let_go() { Hearing::Release } else { Hearing::Hold };
        }
        Hearing::Pass
    }

    fn hold_down(&mut self, attachment: &[u8]) -> Hearing {
        let is_whole = self.down.add(attachment, self.hold_bytes_max);
        if is_whole || self.down.is_let_go() { Hearing::Release } else { Hearing::Hold }
    }

    pub(super) fn hear_large(&mut self, is_last: bool) -> Vec<u8> {
        if !self.down.is_open() {
            return Vec::new();
        }
        let held = self.down.take();
        if is_last {
            self.down.add_large();
        }
        held
    }

    pub(super) fn take_held(&mut self) -> Vec<u8> {
        self.down.take()
    }

    /// An open packet: the client's own, or one that it need not see.
    fn open(&mut self, packet: &[u8]) -> Hearing {
        if !std::mem::replace(&mut self.awaits_open, false) {
            return Hearing::Pass;
        }
        if self.stage == Stage::Opening {
            self.stage = Stage::Open;
            self.heart.set_beat(Beat::read(packet));
            return Hearing::Pass;
        }
        for space in &mut self.spaces {
            space.is_awaited = true;
            self.words.to_replica.push(space.connect.clone());
        }
        Hearing::Swallow
    }

    /// The replica takes the client into a namespace.
    fn answer(&mut self, name: &[u8]) -> Hearing {
        let Some(space) = self.spaces.iter_mut().find(|space| space.name == name) else {
            return Hearing::Pass;
        };
        let is_again = std::mem::replace(&mut space.is_awaited, false);
        match std::mem::replace(&mut space.is_live, true) && is_again {
            true => Hearing::Swallow,
            false => Hearing::Pass,
        }
    }

    /// The replica does not.
    fn refuse(&mut self, name: &[u8]) -> Hearing {
        let space = self.spaces.iter().find(|space| space.name == name);
        if space.is_some_and(|space| space.is_live && space.is_awaited) {
            self.is_refused = true;
            return Hearing::Swallow;
        }
        self.leave(name);
        Hearing::Pass
    }

    fn connect(&mut self, packet: &[u8], name: &[u8]) {
        self.leave(name);
        let kept: usize = self.spaces.iter().map(|space| space.connect.len()).sum();
        if kept + packet.len() > self.keep_bytes_max {
            self.has_lost_count = true;
            return;
        }
        let (name, connect) = (name.to_vec(), packet.to_vec());
        self.spaces.push(Space { name, connect, is_live: false, is_awaited: false });
    }

    fn leave(&mut self, name: &[u8]) {
        self.spaces.retain(|space| space.name != name);
    }

    fn note_live(&mut self, name: &[u8]) {
        if let Some(space) = self.spaces.iter_mut().find(|space| space.name == name)
            && !space.is_awaited
        {
            space.is_live = true;
        }
    }

    pub(super) fn begin(&mut self) {
        self.awaits_open = true;
        self.spaces.iter_mut().for_each(|space| space.is_awaited = false);
        self.heart.forget_replica();
        self.questions.forget_replica();
    }

    pub(super) fn lose(&mut self, now: Instant) -> Option<Vec<u8>> {
        let is_known = matches!(self.stage, Stage::Opening | Stage::Open) && !self.has_lost_count;
        if !is_known || !self.end_former() || (self.up.is_open() && self.up.is_let_go()) {
            return None;
        }
        self.heart.forget_replica();
        self.questions.forget_replica();
        if self.stage == Stage::Open {
            // Nobody knows how long the next one takes.
            self.ping(now);
        }
        Some(self.up.held().to_vec())
    }

    pub(super) fn end_former(&mut self) -> bool {
        let is_torn = self.down.is_open() && self.down.is_let_go();
        self.down = Packet::default();
        !is_torn
    }

    pub(super) fn is_inside(&self) -> bool {
        self.up.is_open() || !matches!(self.stage, Stage::Open)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.stage == Stage::Open
            && (self.awaits_open || self.spaces.iter().any(|space| space.is_awaited))
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    pub(super) fn has_spaces(&self) -> bool {
        self.spaces.iter().any(|space| space.is_live)
    }

    pub(super) fn words(&mut self) -> &mut Words {
        &mut self.words
    }

    pub(super) fn wants_polled(&self) -> bool {
        self.stage == Stage::ComesOver
    }

    pub(super) fn note_polled(&mut self, polled: Option<Polled>) -> Vec<Vec<u8>> {
        self.stage = Stage::Open;
        let Some(polled) = polled.filter(|polled| !polled.is_incomplete) else {
            self.has_lost_count = true;
            return Vec::new();
        };
        self.heart.set_beat(polled.beat);
        let mut events = Vec::new();
        for packet in polled.packets {
            let Some(said) = read(&packet[..packet.len().min(LOOK_BYTES)]) else { continue };
            match said.kind {
                b'0' => self.connect(&packet, said.name),
                b'1' => self.leave(said.name),
                b'2' => {
                    self.note_live(said.name);
                    events.push(packet);
                }
                _ => {}
            }
        }
        events
    }

    pub(super) fn deadline(&self, is_up: bool) -> Instant {
        self.heart.deadline(is_up && !self.is_busy())
    }

    pub(super) fn check(&mut self, is_up: bool, now: Instant) {
        if self.stage == Stage::Open && self.deadline(is_up) <= now {
            self.ping(now);
        }
    }

    /// Pings the client in the place of a replica.
    fn ping(&mut self, now: Instant) {
        self.heart.note_ping(false, now);
        self.words.to_client.push(b"2".to_vec());
    }
}

/// Whether a message is one of the application's own.
pub(super) fn is_event(message: &[u8]) -> bool {
    matches!(&*payload::start(message, 2).1, [b'4', b'2' | b'5'])
}

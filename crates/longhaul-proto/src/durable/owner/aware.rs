//! A leg whose replica acknowledges messages itself: numbers are the two ends' own, and the owner between
//! them keeps a copy of what either has not answered for.
//!
//! So a replica may die with a message in its hand: the next one says what was committed, and is given the
//! rest. Nothing is numbered, cut or added here. Start at [`Owner::leg_item`].

#[cfg(test)]
mod tests;

use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::item::end_payload;
use super::super::{
    Attach, Attached, Body, Form, Head, Item, LegControl, Payload, Rank, Receiver, Reset, Sender,
    Sizes, Speaker, Taken, Window, code,
};
use super::{Ended, Leg, Output, Owner};
use crate::websocket::CloseCode;

/// What an owner keeps where the replica acknowledges messages itself.
#[derive(Debug, Clone)]
pub(super) struct Aware {
    /// c2b items that no replica has answered for.
    up: Sender,
    /// b2c items as this leg says them.
    down: Receiver,
    /// Items of a b2c message that is not whole: what the replica leaves unfinished was never said.
    pieces: Vec<Piece>,
    /// How often a leg was asked to attach. Replicas are fenced by it.
    attempts: u32,
    phase: Phase,
    /// The next items wait for the next leg.
    pub(super) is_held: bool,
    /// Why there is another leg: told to the client once it has answered.
    reason: Option<String>,
}

/// What another process needs of it. What the leg was doing is not: the next one is asked what it knows.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct FrozenAware {
    up: Sender,
    attempts: u32,
}

#[derive(Debug, Clone)]
struct Piece {
    kind: u8,
    form: Form,
    payload: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Down,
    /// The replica looks up what it knows, and has until then.
    Attaching(Instant),
    Attached,
}

impl Aware {
    pub(super) fn new(window: Window, sizes: Sizes) -> Self {
        Self {
            up: Sender::starting_at(0, window, sizes.chunk_bytes_max),
            down: Receiver::default(),
            pieces: Vec::new(),
            attempts: 0,
            phase: Phase::Down,
            is_held: false,
            reason: None,
        }
    }

    pub(super) fn freeze(&self) -> FrozenAware {
        FrozenAware { up: self.up.clone(), attempts: self.attempts }
    }

    /// Without a leg. `None` for a state that cannot be.
    pub(super) fn thaw(frozen: FrozenAware) -> Option<Self> {
        Some(Self {
            up: frozen.up.checked()?,
            down: Receiver::default(),
            pieces: Vec::new(),
            attempts: frozen.attempts,
            phase: Phase::Down,
            is_held: false,
            reason: None,
        })
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) fn bytes(&self) -> usize {
        self.up.bytes() + self.pieces.iter().map(|piece| piece.payload.len()).sum::<usize>()
    }

    pub(super) fn attaches_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Attaching(until) => Some(until),
            Phase::Down | Phase::Attached => None,
        }
    }

    pub(super) fn lose_leg(&mut self) {
        self.phase = Phase::Down;
        self.pieces = Vec::new();
    }
}

impl Owner {
    /// Whether the replica acknowledges messages itself, and [`Owner::leg_item`] takes what it says.
    pub fn is_aware(&self) -> bool {
        self.aware.is_some()
    }

    /// Whether the leg can be left without anything under way.
    pub fn is_leg_settled(&self) -> bool {
        let is_settled = |aware: &Aware| aware.up.is_answered() && aware.pieces.is_empty();
        self.aware.as_deref().is_none_or(is_settled)
    }

    /// Takes one WebSocket message of a leg whose replica acknowledges messages itself.
    pub fn leg_item(&mut self, form: Form, message: &Bytes, now: Instant) {
        self.now = now;
        if let Err(fault) = self.take_leg_item(form, message) {
            self.leg_failed(fault, now);
        }
    }

    /// Notes that the leg broke the protocol, or the replica said that the gateway did. Another leg would
    /// only hear the same again, so the session is over.
    pub fn leg_failed(&mut self, fault: CloseCode, now: Instant) {
        self.now = now;
        if self.ended.is_none() && self.leg != Leg::Gone {
            self.leg = Leg::Gone;
            let reason = "the replica broke the session protocol".to_owned();
            self.outbox.push_back(Output::CloseLeg { code: fault, reason });
            self.over(code::LOST);
        }
    }

    /// Asks a leg that is new what its replica knows.
    pub(super) fn attach(&mut self) {
        let Some(aware) = &mut self.aware else { return };
        // What the leg before was to be told is not for this one.
        self.outbox.retain(|output| {
            !matches!(output, Output::Tell { .. } | Output::LeaveLeg | Output::CloseLeg { .. })
        });
        aware.attempts += 1;
        aware.phase = Phase::Attaching(self.now + self.policy.attach);
        aware.is_held = false;
        aware.down = Receiver::starting_at(self.down.sent());
        let sizes = self.policy.sizes;
        let attach = LegControl::Attach(Attach {
            sid: self.sid.clone(),
            link: self.newest_number,
            leg: aware.attempts.into(),
            recv: self.down.sent(),
            lo: aware.up.acked() + 1,
            hi: aware.up.sent(),
            win: self.down.window().into(),
            chunk: sizes.chunk_bytes_max as u64,
            max_msg: sizes.message_bytes_max as u64,
        });
        self.tell(&attach);
    }

    pub(super) fn attach_again(&mut self, reason: &str) {
        if let Some(aware) = &mut self.aware {
            aware.reason = Some(reason.to_owned());
            self.attach();
        }
    }

    /// A replica that does not say what it knows is none.
    pub(super) fn look_at_attaching(&mut self) {
        let Some(aware) = self.aware.as_mut() else { return };
        if aware.attaches_until().is_some_and(|until| until <= self.now) {
            aware.phase = Phase::Down;
            let reason = "no answer to attach".to_owned();
            self.outbox.push_back(Output::CloseLeg { code: code::LATE_HELLO, reason });
        }
    }

    /// Passes an item of the client's on as it is.
    pub(super) fn pass_up(
        &mut self,
        form: Form,
        seq: u64,
        body: Body<'_>,
        payload: Payload,
        rank: Rank,
    ) -> Result<(), CloseCode> {
        let limits = (self.policy.sizes, self.policy.window);
        let Some(aware) = &mut self.aware else { return Ok(()) };
        if !self.up.pass(form, seq, body, rank, limits)? {
            return Ok(());
        }
        match body {
            Body::Message(_) => aware.up.pass(b'm', form, payload),
            Body::Chunk(_) => aware.up.pass(b'n', form, payload),
            Body::Event(_) => return Err(code::FAULT),
            Body::End { code, reason } => {
                aware.up.pass(b'x', form, Bytes::from(end_payload(code, reason)).into());
                if self.leg == Leg::Up {
                    // As long as a session lives that hears nothing: the application may have much to
                    // commit, and another replica may have to be found for it.
                    self.leg = Leg::Closing(self.now + self.policy.grace);
                }
            }
        }
        Ok(())
    }

    /// The next item for the leg.
    pub(super) fn next_for_leg(&mut self) -> Option<Output> {
        let aware = self.aware.as_mut()?;
        if aware.phase != Phase::Attached || aware.is_held {
            return None;
        }
        let (head, form, payload) = aware.up.write_next()?;
        Some(Output::Tell { form, head, payload })
    }

    /// Passes on what the client has answered for.
    pub(super) fn tell_ack(&mut self) {
        if self.aware.as_deref().is_some_and(|aware| aware.phase == Phase::Attached) {
            let head = Head::ack(self.down.acked());
            self.outbox.push_back(Output::Tell {
                form: Form::Text,
                head,
                payload: Payload::default(),
            });
        }
    }

    /// The replica may forget the session.
    pub(super) fn tell_end(&mut self, ended: Ended) {
        if self.aware.is_some() {
            let reset = Reset { code: ended.code.0, recv: Some(ended.recv) };
            self.tell(&LegControl::Reset(reset));
        }
    }

    fn tell(&mut self, control: &LegControl) {
        let payload = Bytes::from(control.write()).into();
        self.outbox.push_back(Output::Tell { form: Form::Text, head: Head::none(), payload });
    }

    fn take_leg_item(&mut self, form: Form, message: &Bytes) -> Result<(), CloseCode> {
        let Some(aware) = &mut self.aware else { return Ok(()) };
        let item = Item::parse(form, message)?;
        if aware.phase != Phase::Attached {
            let Item::Control(text) = item else { return Err(code::FAULT) };
            return match LegControl::parse(Speaker::Replica, text)? {
                LegControl::Attached(attached) => self.attached(attached),
                LegControl::Error { .. } => Ok(()),
                _ => Err(code::FAULT),
            };
        }
        match item {
            Item::Sequenced { seq, body } => self.pass_down(form, seq, body, message),
            // Only what it was given can it have dealt with, and whole messages only.
            Item::Ack(seq) if seq > self.up.whole().min(aware.up.written()) => Err(code::FAULT),
            Item::Ack(seq) => {
                aware.up.acknowledge(seq)?;
                self.confirm(seq, self.now);
                if let Some(link) = self.newest.as_mut().filter(|_| self.up.has_ended()) {
                    link.acker.hurry();
                }
                Ok(())
            }
            Item::Ping(nonce) => {
                let head = Head::pong(nonce);
                let payload = Payload::default();
                self.outbox.push_back(Output::Tell { form: Form::Text, head, payload });
                Ok(())
            }
            Item::Pong(_) => Ok(()),
            Item::Control(text) => match LegControl::parse(Speaker::Replica, text)? {
                LegControl::Drain {} => {
                    self.outbox.push_back(Output::LeaveLeg);
                    Ok(())
                }
                LegControl::Error { .. } => Ok(()),
                _ => Err(code::FAULT),
            },
        }
    }

    /// Goes on where the replica says that the one before has left off.
    fn attached(&mut self, it: Attached) -> Result<(), CloseCode> {
        let Some(aware) = &mut self.aware else { return Ok(()) };
        // Below what was acknowledged the client has forgotten; above what came nobody can have committed.
        // The replica's numbers must go on behind ours.
        let recv = it.recv.unwrap_or(aware.up.acked());
        let has_gap = recv < aware.up.acked()
            || recv > self.up.whole()
            || it.lo > self.down.sent() + 1
            || it.hi < self.down.sent();
        if has_gap {
            return Err(code::LOST);
        }
        aware.phase = Phase::Attached;
        aware.up.rewind(recv);
        self.tell_ack();
        let number = self.aware.as_ref().map_or(0, |aware| aware.attempts);
        let reason = self.aware.as_mut().and_then(|aware| aware.reason.take());
        if let Some((reason, link)) = reason.zip(self.newest.as_ref()) {
            let event = format!("{{\"t\":\"event\",\"leg\":{number},\"reason\":\"{reason}\"}}");
            let (link, form, head) = (link.key, Form::Text, Head::none());
            self.outbox.push_back(Output::Send { link, form, head, payload: event.into() });
        }
        Ok(())
    }

    /// Passes a message of the replica's on, once it is whole.
    fn pass_down(
        &mut self,
        form: Form,
        seq: u64,
        body: Body<'_>,
        message: &Bytes,
    ) -> Result<(), CloseCode> {
        let sizes = self.policy.sizes;
        let Some(aware) = &mut self.aware else { return Ok(()) };
        let taken = aware.down.take(form, seq, body, Rank::Newest, sizes)?;
        if taken == Taken::Duplicate {
            return Ok(());
        }
        let piece = match body {
            Body::Message(payload) => (b'm', message.slice_ref(payload)),
            Body::Chunk(payload) => (b'n', message.slice_ref(payload)),
            Body::Event(payload) => (b'e', message.slice_ref(payload)),
            Body::End { code, reason } => (b'x', end_payload(code, reason).into()),
        };
        let (kind, payload) = piece;
        if taken == Taken::Hold {
            aware.pieces.push(Piece { kind, form, payload });
            return Ok(());
        }
        for piece in std::mem::take(&mut aware.pieces) {
            self.down.pass(piece.kind, piece.form, piece.payload.into());
        }
        self.down.pass(kind, form, payload.into());
        if self.down.is_beyond(sizes.message_bytes_max) { Err(code::FAULT) } else { Ok(()) }
    }
}

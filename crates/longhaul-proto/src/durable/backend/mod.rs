//! A replica's end of a session: takes each message once, says what was dealt with, and numbers what it
//! sends, so that another replica can go on where this one died.
//!
//! What is dealt with, and what was said in answer, is a [`Change`]: store it in one transaction with its
//! effect, then [`Backend::apply`] it. Nothing leaves before. Whoever drives the machine gives it what the
//! gateway says ([`Backend::receive`]), answers [`Output::Attach`] from the store ([`Backend::attach`]), and
//! polls until [`Output::Idle`]. It owns no socket, clock or store.

mod change;
mod outgoing;
mod receive;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

pub use self::change::{Change, Misuse};
use self::outgoing::Outgoing;
pub use self::outgoing::{Kind, Numbered};
use super::intake::Intake;
use super::{Attach, Attached, Form, Head, LegControl, Nonce, Sizes, Window, code};
use crate::websocket::CloseCode;

/// The header field of a handshake's answer that makes a leg one of these, and its value.
pub const LEG_HEADER: (&str, &str) = ("longhaul-leg", "v1");
/// The header field of a handshake that allows for it, and its value.
pub const OFFER_HEADER: (&str, &str) = ("longhaul-offer", "v1");

/// How much of a client's may be under way to the application: bytes and items that were received and not
/// committed. Must not be less than the gateway's window; beyond it the gateway is at fault.
pub const WINDOW_DEFAULT: Window = Window { bytes: 16 << 20, items: 16_384 };

/// What the machine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Say which session it is that this leg carries, and what is stored of it: [`Backend::attach`].
    Attach(Attach),
    /// Write one message to the leg: the head, then the payload.
    Send {
        /// Its opcode.
        form: Form,
        /// What stands in front.
        head: Head,
        /// The rest.
        payload: Bytes,
    },
    /// Give the application a message. It is dealt with once a change with this number is applied.
    Message {
        /// Its last number.
        seq: u64,
        /// Its opcode.
        form: Form,
        /// The message.
        payload: Bytes,
    },
    /// The client has closed, with this code and reason; to be committed like a message.
    End {
        /// Its number.
        seq: u64,
        /// 1005 for none.
        code: CloseCode,
        /// And why.
        reason: String,
    },
    /// Close the leg. The session may live, and come back by another leg.
    Close {
        /// With what.
        code: CloseCode,
        /// And why.
        reason: String,
    },
    /// The session is over: what is stored of it may be forgotten. 1000 when both ends knew.
    Over(CloseCode),
    /// Nothing to do.
    Idle,
}

/// What was stored of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// The last message of the client's that was dealt with; `None` where nothing is known.
    pub recv: Option<u64>,
    /// The last number that was given to something sent, or 0.
    pub sent: u64,
    /// What was sent and the client may not have, in order and without a hole.
    pub unacked: Vec<Numbered>,
}

/// A replica's end of a session, for the life of one leg.
#[derive(Debug, Clone)]
pub struct Backend {
    window: Window,
    phase: Phase,
    sid: String,
    leg: u64,
    sizes: Sizes,
    up: Intake,
    down: Outgoing,
    /// The acknowledgement to send, if there is one.
    ack_due: Option<u64>,
    pong_due: Option<Nonce>,
    outbox: VecDeque<Output>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// For the gateway's first word.
    Waits,
    /// The store is asked.
    Attaching(Attach),
    Attached,
    /// The leg is closed, or the session over.
    Gone,
}

impl Backend {
    /// Waits for a gateway's first word. `window` as [`WINDOW_DEFAULT`].
    pub fn new(window: Window) -> Self {
        Self {
            window,
            phase: Phase::Waits,
            sid: String::new(),
            leg: 0,
            sizes: Sizes { message_bytes_max: 0, chunk_bytes_max: 1 },
            up: Intake::default(),
            down: Outgoing::default(),
            ack_due: None,
            pong_due: None,
            outbox: VecDeque::new(),
        }
    }

    /// Name of the session; empty before it is known.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// Whether the session can be spoken to.
    pub fn is_attached(&self) -> bool {
        self.phase == Phase::Attached
    }

    /// Answers the gateway from what the store knows; the store lets no lower leg write from now on.
    pub fn attach(&mut self, saved: Saved) {
        let Phase::Attaching(attach) = &self.phase else { return };
        let recv = saved.recv.unwrap_or(attach.lo - 1);
        let first = saved.unacked.first().map(|item| item.seq);
        let sent = saved.sent.max(attach.recv);
        let lo = first.filter(|first| *first <= attach.recv + 1).unwrap_or(attach.recv + 1);
        if recv + 1 < attach.lo || saved.sent > attach.recv && first.is_none_or(|seq| seq > lo) {
            // The client has forgotten what the store does not know, or the store what the client lacks.
            return self.close(code::LOST, "the store and the gateway do not agree");
        }
        let attached = Attached { recv: saved.recv, lo, hi: sent };
        self.up = Intake::starting_at(recv);
        self.down.start(attach, saved.unacked);
        self.ack_due = Some(recv);
        self.phase = Phase::Attached;
        self.say(&LegControl::Attached(attached));
    }

    /// Asks the gateway to move the session to another replica.
    pub fn drain(&mut self) {
        if self.phase == Phase::Attached {
            self.say(&LegControl::Drain {});
        }
    }

    /// Notes that the leg is gone.
    pub fn lost(&mut self) {
        self.phase = Phase::Gone;
    }

    /// Gives the leg up; the session may live on with another.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        if self.phase != Phase::Gone {
            self.phase = Phase::Gone;
            self.outbox.push_back(Output::Close { code, reason: reason.to_owned() });
        }
    }

    /// Whether the application has closed, perhaps by another replica.
    pub fn has_ended(&self) -> bool {
        self.down.has_ended
    }

    /// Bytes that were sent by the application and wait for the client to make room.
    pub fn waiting_bytes(&self) -> usize {
        self.down.waiting_bytes
    }

    /// Returns the next thing to do.
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.outbox.pop_front() {
            return output;
        }
        if self.phase != Phase::Attached {
            return Output::Idle;
        }
        let small = |head| Output::Send { form: Form::Text, head, payload: Bytes::new() };
        if let Some(nonce) = self.pong_due.take() {
            return small(Head::pong(nonce));
        }
        if let Some(seq) = self.ack_due.take() {
            return small(Head::ack(seq));
        }
        match self.down.next() {
            Some(item) => {
                let head = Head::sequenced(item.kind.letter(), item.seq);
                Output::Send { form: item.form, head, payload: item.payload }
            }
            None => Output::Idle,
        }
    }

    fn over(&mut self, code: CloseCode) {
        self.phase = Phase::Gone;
        self.outbox.push_back(Output::Over(code));
    }

    fn say(&mut self, control: &LegControl) {
        let payload = Bytes::from(control.write());
        self.outbox.push_back(Output::Send { form: Form::Text, head: Head::none(), payload });
    }
}

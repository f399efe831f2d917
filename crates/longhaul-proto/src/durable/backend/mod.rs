//! A replica's end of a session: takes each message once, says what was dealt with, and numbers what it
//! sends, so that another replica can go on where this one died.
//!
//! What is dealt with, and what was said in answer, is a [`Change`]: store it in one transaction with its
//! effect, then [`Backend::apply`] it. Nothing leaves before. Whoever drives the machine gives it what the
//! gateway says ([`Backend::receive`]), answers [`Output::Attach`] from the store ([`Backend::attach`]), and
//! polls until [`Output::Idle`]. It owns no socket, clock or store.

mod outgoing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

use self::outgoing::Outgoing;
use super::intake::{Arrived, Intake};
use super::{
    Attach, Attached, Body, Form, Head, Item, LegControl, Nonce, Payload, Rank, SEQ_MAX, Sizes,
    Speaker, Window, code,
};
use crate::websocket::CloseCode;

pub use outgoing::{Kind, Numbered};

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

/// What is to be stored in one step, together with the effect on the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The session; `None` on a plain WebSocket, of which nothing is to be stored.
    pub sid: Option<String>,
    /// Nothing must be stored once a higher one has attached.
    pub leg: u64,
    /// Everything of the client's up to here is dealt with.
    pub recv: u64,
    /// The last number of what is sent.
    pub sent: u64,
    /// What is sent with it.
    pub items: Vec<Numbered>,
    /// The client has everything up to here: it need not be stored any longer.
    pub acked: u64,
}

/// Why a change cannot be made, or applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// The leg is gone, or carries no session yet.
    #[error("the leg is gone; the session goes on with another, in a handler of its own")]
    Detached,
    /// The number was never received.
    #[error("message {0} has not been received and cannot be committed")]
    NotReceived(u64),
    /// A message beyond what the gateway passes on.
    #[error(
        "a message of {bytes} bytes; the gateway takes {bytes_max} (durable.message_bytes_max)"
    )]
    TooBig {
        /// Of the message.
        bytes: usize,
        /// What may be.
        bytes_max: usize,
    },
    /// The application has closed.
    #[error("nothing can be sent behind a close")]
    Ended,
    /// Changes must be applied in the order in which they were made, each once.
    #[error("a change was applied out of order")]
    OutOfOrder,
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

    /// Takes one WebSocket message of the gateway's.
    pub fn receive(&mut self, form: Form, message: &Bytes) {
        if self.phase != Phase::Gone
            && let Err(fault) = self.take(form, message)
        {
            self.close(fault, "the gateway broke the session protocol");
        }
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

    /// Makes a change: everything up to `recv` is dealt with, if that is news, and these messages are sent.
    /// Numbers are given now, so what is made must be applied, or the leg given up.
    ///
    /// # Errors
    /// What is wrong with it; nothing was changed.
    pub fn change(
        &mut self,
        recv: Option<u64>,
        messages: Vec<(Form, Bytes)>,
    ) -> Result<Change, Misuse> {
        self.check(recv)?;
        let bytes_max = self.sizes.message_bytes_max;
        let largest = messages.iter().map(|(_, payload)| payload.len()).max().unwrap_or(0);
        if largest > bytes_max {
            return Err(Misuse::TooBig { bytes: largest, bytes_max });
        }
        if self.down.has_ended && !messages.is_empty() {
            return Err(Misuse::Ended);
        }
        let chunk = self.sizes.chunk_bytes_max;
        let items =
            messages.into_iter().flat_map(|(form, message)| outgoing::cut(form, message, chunk));
        let items = self.down.number(items);
        Ok(self.changed(recv, items))
    }

    /// Makes a change that closes behind everything sent before; 1005 is without a status.
    ///
    /// # Errors
    /// What is wrong with it; nothing was changed.
    pub fn end(
        &mut self,
        recv: Option<u64>,
        code: CloseCode,
        reason: &str,
    ) -> Result<Change, Misuse> {
        self.check(recv)?;
        if std::mem::replace(&mut self.down.has_ended, true) {
            return Err(Misuse::Ended);
        }
        let items = self.down.number([outgoing::end(code, reason)]);
        Ok(self.changed(recv, items))
    }

    /// Lets a change take effect that is stored now: says what was dealt with, and sends.
    ///
    /// # Errors
    /// [`Misuse::Detached`] when the leg is gone, which does no harm: the next one finds the change in the
    /// store. [`Misuse::OutOfOrder`].
    pub fn apply(&mut self, change: Change) -> Result<(), Misuse> {
        if self.phase != Phase::Attached || change.leg != self.leg {
            return Err(Misuse::Detached);
        }
        self.down.push(change.items)?;
        if change.recv > self.up.confirmed() {
            let _sizes = self.up.confirm(change.recv);
            self.ack_due = Some(change.recv);
        }
        Ok(())
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

    fn take(&mut self, form: Form, message: &Bytes) -> Result<(), CloseCode> {
        let item = Item::parse(form, message)?;
        if self.phase == Phase::Attached {
            return self.take_attached(form, item, message);
        }
        let Item::Control(text) = item else { return Err(code::FAULT) };
        match (LegControl::parse(Speaker::Server, text)?, &self.phase) {
            (LegControl::Attach(attach), Phase::Waits) => {
                self.sid.clone_from(&attach.sid);
                self.leg = attach.leg;
                self.sizes = Sizes {
                    message_bytes_max: usize::try_from(attach.max_msg).unwrap_or(usize::MAX),
                    chunk_bytes_max: usize::try_from(attach.chunk).unwrap_or(usize::MAX),
                };
                self.outbox.push_back(Output::Attach(attach.clone()));
                self.phase = Phase::Attaching(attach);
                Ok(())
            }
            (LegControl::Reset(reset), _) => {
                self.over(CloseCode(reset.code));
                Ok(())
            }
            (LegControl::Error { .. }, _) => Ok(()),
            _ => Err(code::FAULT),
        }
    }

    fn take_attached(
        &mut self,
        form: Form,
        item: Item<'_>,
        message: &Bytes,
    ) -> Result<(), CloseCode> {
        match item {
            Item::Sequenced { body: Body::Event(_), .. } => return Err(code::FAULT),
            Item::Sequenced { seq, body } => {
                let payload = match body {
                    Body::Message(payload) | Body::Chunk(payload) => {
                        message.slice_ref(payload).into()
                    }
                    Body::Event(_) | Body::End { .. } => Payload::default(),
                };
                let limits = (self.sizes, self.window);
                match self.up.take(form, seq, body, payload, Rank::Newest, limits)? {
                    Arrived::Nothing => {}
                    Arrived::Message(pieces) => {
                        let payload = pieces.to_bytes();
                        self.outbox.push_back(Output::Message { seq, form, payload });
                    }
                    Arrived::End(code, reason) => {
                        self.outbox.push_back(Output::End { seq, code, reason });
                    }
                }
            }
            Item::Ack(seq) => self.down.acknowledge(seq)?,
            Item::Ping(nonce) => self.pong_due = Some(nonce),
            Item::Pong(_) => {}
            Item::Control(text) => match LegControl::parse(Speaker::Server, text)? {
                LegControl::Reset(reset) => self.over(CloseCode(reset.code)),
                LegControl::Error { .. } => {}
                _ => return Err(code::FAULT),
            },
        }
        Ok(())
    }

    fn over(&mut self, code: CloseCode) {
        self.phase = Phase::Gone;
        self.outbox.push_back(Output::Over(code));
    }

    fn check(&self, recv: Option<u64>) -> Result<(), Misuse> {
        if self.phase != Phase::Attached {
            return Err(Misuse::Detached);
        }
        if self.down.sent() + super::CHUNKS_MAX as u64 > SEQ_MAX {
            return Err(Misuse::Ended);
        }
        match recv.filter(|&recv| recv > self.up.whole()) {
            Some(recv) => Err(Misuse::NotReceived(recv)),
            None => Ok(()),
        }
    }

    fn changed(&self, recv: Option<u64>, items: Vec<Numbered>) -> Change {
        Change {
            sid: Some(self.sid.clone()),
            leg: self.leg,
            recv: recv.unwrap_or(0).max(self.up.confirmed()),
            sent: self.down.sent(),
            items,
            acked: self.down.acked(),
        }
    }

    fn say(&mut self, control: &LegControl) {
        let payload = Bytes::from(control.write());
        self.outbox.push_back(Output::Send { form: Form::Text, head: Head::none(), payload });
    }
}

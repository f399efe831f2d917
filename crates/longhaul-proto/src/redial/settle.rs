//! The part of a protocol in the life of legs: what it wants said, and for how long the client waits.

use std::time::Instant;

use super::ritual::{Hearing, Sent};
use super::{Polled, Redial, Uncertain};
use crate::websocket::frame::FrameHead;
use crate::websocket::{Opcode, mask};

impl Redial {
    /// Whether the machine waits to be told what the client said over long-polling.
    pub fn wants_polled(&self) -> bool {
        self.ritual.as_ref().is_some_and(|ritual| ritual.wants_polled())
    }

    /// Tells it; `None` when nobody knows: then the loss of a replica cannot be hidden.
    pub fn note_polled(&mut self, polled: Option<Polled>) {
        let Some(ritual) = &mut self.ritual else { return };
        for event in ritual.note_polled(polled) {
            let message = self.text_for_replica(&event);
            self.keep_prelude(&message);
        }
    }

    /// Whether a new replica still hears the opening, and the client's own messages wait.
    pub(super) fn is_settling(&self) -> bool {
        !self.talk.is_empty() || self.ritual.as_ref().is_some_and(|ritual| ritual.is_busy())
    }

    /// Lets the ritual hear a message of the client's. False when it goes no further.
    pub(super) fn hear_client(&mut self, message: &[u8], now: Instant) -> bool {
        let is_up = self.is_up;
        let Some(ritual) = &mut self.ritual else { return true };
        let passes = ritual.hear_client(message, is_up) == Hearing::Pass;
        self.heed_ritual(now);
        passes
    }

    /// A message was written whole: it is kept as long as it may have to be sent again.
    pub(super) fn note_sent(&mut self, message: &[u8]) {
        self.sent += 1;
        let sent = match &mut self.ritual {
            Some(ritual) => ritual.note_sent(message),
            None => Sent::Plain,
        };
        let whole = match &sent {
            Sent::Plain => message,
            Sent::Kept => return,
            Sent::Completes(packet) => packet,
        };
        if self.policy.uncertain == Uncertain::AtLeastOnce {
            self.recent.newer.extend_from_slice(whole);
        }
    }

    /// Takes what the ritual wants said.
    pub(super) fn heed_ritual(&mut self, now: Instant) {
        let Some(ritual) = &mut self.ritual else { return };
        let words = ritual.take_words();
        let is_busy = ritual.is_busy();
        for payload in &words.to_client {
            let head = FrameHead::new(Opcode::TEXT, payload.len(), None);
            self.to_client.extend_from_slice(head.as_bytes());
            self.to_client.extend_from_slice(payload);
        }
        for payload in &words.to_replica {
            let message = self.text_for_replica(payload);
            self.talk.extend_from_slice(&message);
        }
        self.unsettled_since = match is_busy {
            true => self.unsettled_since.or(Some(now)),
            // Between two legs nothing is settled.
            false if self.is_up => None,
            false => self.unsettled_since,
        };
    }

    fn text_for_replica(&mut self, payload: &[u8]) -> Vec<u8> {
        let key = self.mask_key();
        let mut message =
            FrameHead::new(Opcode::TEXT, payload.len(), Some(key)).as_bytes().to_vec();
        let head_len = message.len();
        message.extend_from_slice(payload);
        mask::apply(&mut message[head_len..], key, 0);
        message
    }
}

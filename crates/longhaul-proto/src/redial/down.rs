//! From the replica of the moment to the client.

use std::time::Instant;

use super::gather::{Kind, Place};
use super::pulse::Answer;
use super::ritual::Hearing;
use super::{News, Received, Redial};
use crate::websocket::frame::CONTROL_PAYLOAD_BYTES_MAX;
use crate::websocket::{CloseCode, ControlFrame, Opcode};

/// What becomes of something a replica sent.
enum Verdict {
    Pass,
    Swallow,
    Goes(CloseCode),
}

impl Redial {
    /// Takes what the replica sent; `is_former` when it came over the leg that was left.
    pub fn receive(&mut self, bytes: &[u8], is_former: bool, now: Instant) -> Received {
        if !is_former {
            self.pulse.note_heard(now);
        }
        let mut received = Received { pass: 0, news: News::None };
        let mut at = 0;
        while at < bytes.len() {
            let is_heard = self.suppress > 0 || self.ritual.is_some();
            let messages_max = if is_heard { 1 } else { u64::MAX };
            let down = match &mut self.former_down {
                Some(former) if is_former => former,
                _ => &mut self.down,
            };
            let Ok(next) = down.next(&bytes[at..], messages_max) else {
                // The session finds the fault by itself, and says whose it is.
                self.to_client.extend_from_slice(&bytes[at..]);
                self.is_closing = true;
                received.news = News::Garbled;
                return received;
            };
            let from = at;
            at += next.consumed;
            let Some(unit) = next.unit else { continue };
            let stash = (unit.place == Place::Stash).then(|| down.take_stash());
            let wire = stash.as_deref().unwrap_or(&bytes[from..at]);
            match self.judge(unit.kind, wire, is_former, now) {
                Verdict::Swallow => {}
                Verdict::Goes(code) => {
                    received.news = News::Goes(code);
                    return received;
                }
                Verdict::Pass
                    if stash.is_none() && from == received.pass && self.to_client.is_empty() =>
                {
                    received.pass = at;
                }
                Verdict::Pass => self.to_client.extend_from_slice(wire),
            }
        }
        if self.ritual.as_ref().is_some_and(|ritual| ritual.is_refused()) {
            received.news = News::Refuses;
        }
        received
    }

    /// Moves what passes to the client into `buffer`; returns how much.
    pub fn take_for_client(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.to_client.len());
        buffer[..count].copy_from_slice(&self.to_client[..count]);
        if count == self.to_client.len() {
            self.to_client = Vec::new();
        } else {
            self.to_client.drain(..count);
        }
        count
    }

    /// Whether something waits to be taken for the client.
    pub fn has_for_client(&self) -> bool {
        !self.to_client.is_empty()
    }

    fn judge(&mut self, kind: Kind, wire: &[u8], is_former: bool, now: Instant) -> Verdict {
        let Kind::Control(header) = kind else {
            self.data_at = now;
            if !self.is_for_client(kind, wire, is_former, now) {
                return Verdict::Swallow;
            }
            let counts = self.ritual.as_ref().is_none_or(|ritual| ritual.is_event(wire));
            if self.suppress == 0 || is_former || !counts {
                return Verdict::Pass;
            }
            self.suppress -= u64::from(!matches!(kind, Kind::Piece { is_last: false, .. }));
            return Verdict::Swallow;
        };
        let frame = ControlFrame { header, wire };
        match header.opcode {
            Opcode::CLOSE => self.judge_close(frame.close_code(), is_former),
            Opcode::PONG => {
                let mut buffer = [0; CONTROL_PAYLOAD_BYTES_MAX];
                match self.pulse.answered(frame.payload(&mut buffer)) {
                    Answer::Foreign => return Verdict::Pass,
                    Answer::Late => {}
                    Answer::Read(sent) => {
                        self.read = self.read.max(sent);
                        self.recent.older = std::mem::take(&mut self.recent.newer);
                    }
                }
                Verdict::Swallow
            }
            _ => Verdict::Pass,
        }
    }

    /// Lets the ritual hear a message, or a piece of one.
    fn is_for_client(&mut self, kind: Kind, wire: &[u8], is_former: bool, now: Instant) -> bool {
        let Some(ritual) = &mut self.ritual else { return true };
        let passes = match kind {
            Kind::Piece { is_last, .. } => {
                self.to_client.extend(ritual.hear_large(is_last));
                true
            }
            Kind::Messages(_) | Kind::Control(_) => {
                match ritual.hear_replica(wire, is_former, now) {
                    Hearing::Pass => true,
                    Hearing::Swallow | Hearing::Hold => false,
                    Hearing::Release => {
                        self.to_client.extend(ritual.take_held());
                        false
                    }
                }
            }
        };
        self.heed_ritual(now);
        passes
    }

    fn judge_close(&mut self, code: Option<CloseCode>, is_former: bool) -> Verdict {
        match code {
            // A leg that was left closes for itself alone.
            code if is_former => Verdict::Goes(code.unwrap_or(CloseCode::GOING_AWAY)),
            Some(code) if !self.is_closing && self.policy.codes.contains(&code) => {
                Verdict::Goes(code)
            }
            None if !self.is_closing
                && self.ritual.as_ref().is_some_and(|ritual| ritual.goes_without_code()) =>
            {
                Verdict::Goes(CloseCode::GOING_AWAY)
            }
            _ => {
                self.is_closing = true;
                Verdict::Pass
            }
        }
    }
}

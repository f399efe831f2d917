//! From the client to the replica of the moment.

use std::time::Instant;

use super::gather::{Kind, Place};
use super::{Redial, Sending, gather, owed};
use crate::websocket::frame::OwnFrame;
use crate::websocket::{CloseCode, ControlFrame, FrameFault, Opcode};

impl Redial {
    /// Takes bytes of the session. Gives how many of them, from the start, may be written at once and
    /// uncopied: then say with [`Self::wrote_directly`] how many were. Otherwise all that fitted is
    /// owed. Zero in both: there is no room.
    ///
    /// # Errors
    /// What cannot be followed as frames of a client.
    pub fn send(&mut self, bytes: &[u8], now: Instant) -> Result<Sending, FrameFault> {
        let room = self.room().min(bytes.len());
        let mut taken = 0;
        while taken < room {
            let next = self.up.next(&bytes[taken..room], self.messages_max_up())?;
            let piece = &bytes[taken..taken + next.consumed];
            let Some(unit) = next.unit else {
                taken += next.consumed;
                continue;
            };
            let is_direct = taken == 0
                && self.is_up
                && self.owed.is_empty()
                && !self.is_settling()
                && unit.place == Place::Input
                && matches!(unit.kind, Kind::Messages(_));
            if matches!(unit.kind, Kind::Messages(_) | Kind::Piece { .. }) {
                self.data_at = now;
            }
            if is_direct {
                if !self.hear_client(piece, now) {
                    taken += next.consumed;
                    continue;
                }
                self.keep_prelude(piece);
                return Ok(Sending::Direct(next.consumed));
            }
            let stash = (unit.place == Place::Stash).then(|| self.up.take_stash());
            self.owe(unit.kind, stash.as_deref().unwrap_or(piece), now);
            taken += next.consumed;
        }
        Ok(Sending::Owed(taken))
    }

    /// Says how much of what [`Self::send`] gave for direct writing was written. The rest is owed.
    pub fn wrote_directly(&mut self, bytes: &[u8], written: usize, now: Instant) {
        if written == bytes.len() {
            self.pulse.note_spoken(now);
            for message in gather::each_message(bytes) {
                self.note_sent(message);
            }
            return;
        }
        for message in gather::each_message(bytes) {
            self.owed.push(owed::Kind::Message, message);
        }
        self.wrote(written, now);
    }

    /// What to write to the replica now.
    pub fn owed(&self) -> &[u8] {
        match self.is_up {
            false => &[],
            true if !self.talk.is_empty() => &self.talk,
            true if self.is_settling() => &[],
            true => self.owed.bytes(),
        }
    }

    /// Says that so many bytes of [`Self::owed`] were written; with 0 that the replica took none.
    pub fn wrote(&mut self, count: usize, now: Instant) {
        if count > 0 && !self.talk.is_empty() {
            self.pulse.note_spoken(now);
            self.talk.drain(..count);
            if self.talk.is_empty() {
                self.talk = Vec::new();
            }
        } else if count > 0 {
            self.pulse.note_spoken(now);
            let mut owed = std::mem::take(&mut self.owed);
            owed.wrote(count, |kind, bytes| match kind {
                owed::Kind::Message => self.note_sent(bytes),
                owed::Kind::Piece { is_last: true, .. } => {
                    self.sent += 1;
                    self.ritual.iter_mut().for_each(|ritual| ritual.note_large_sent());
                }
                owed::Kind::Piece { .. }
                | owed::Kind::Again
                | owed::Kind::Control
                | owed::Kind::Own => {}
            });
            self.owed = owed;
        }
        self.blocked_since = match (self.owed().is_empty(), self.blocked_since) {
            (true, _) => None,
            (false, Some(since)) if count == 0 => Some(since),
            (false, _) => Some(now),
        };
    }

    /// How many more bytes of the client's may be taken.
    fn room(&self) -> usize {
        match self.is_up {
            // A replica that does not keep up holds its client back at once.
            true if self.is_settling() => {
                self.policy.wait_bytes_max.saturating_sub(self.owed.len())
            }
            true if !self.owed.is_empty() || self.kept() > self.policy.wait_bytes_max => 0,
            true => usize::MAX,
            false => self.policy.wait_bytes_max.saturating_sub(self.owed.len()),
        }
    }

    /// While the prelude is kept, or somebody listens, messages are looked at one by one.
    fn messages_max_up(&self) -> u64 {
        if self.prelude_count < self.policy.prelude.first || self.ritual.is_some() {
            1
        } else {
            u64::MAX
        }
    }

    pub(super) fn keep_prelude(&mut self, message: &[u8]) {
        let fits = self.prelude.len() + message.len() <= self.policy.prelude.bytes_max;
        let counts = self.ritual.as_ref().is_none_or(|ritual| ritual.is_event(message));
        if self.prelude_count < self.policy.prelude.first && fits && counts {
            self.prelude_count += 1;
            self.prelude.extend_from_slice(message);
        }
    }

    fn owe(&mut self, kind: Kind, bytes: &[u8], now: Instant) {
        match kind {
            Kind::Messages(_) => {
                for message in gather::each_message(bytes) {
                    if !self.hear_client(message, now) {
                        continue;
                    }
                    self.keep_prelude(message);
                    self.owed.push(owed::Kind::Message, message);
                }
            }
            Kind::Piece { is_last, .. } if self.is_skipping => self.is_skipping = !is_last,
            Kind::Piece { is_first, is_last } => {
                self.owed.push(owed::Kind::Piece { is_first, is_last }, bytes);
            }
            Kind::Control(header) => {
                self.is_closing |= header.opcode == Opcode::CLOSE;
                if header.opcode == Opcode::CLOSE && !self.is_up && self.owed.is_empty() {
                    let answer = ControlFrame { header, wire: bytes }.close_code();
                    self.answer_close(answer);
                    return;
                }
                self.owed.push(owed::Kind::Control, bytes);
            }
        }
    }

    /// Answers a client that closes while no replica is there to do it.
    pub(super) fn answer_close(&mut self, code: Option<CloseCode>) {
        match code {
            Some(code) => {
                let frame = OwnFrame::close(code, "", None);
                self.to_client.extend_from_slice(frame.as_bytes());
            }
            None => self.to_client.extend_from_slice(&[0x88, 0]),
        }
    }
}

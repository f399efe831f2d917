//! What is to be written to a replica and was not yet, in units that are sent whole or again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::gather::each_message;

/// Bytes for a replica. The first of them always begins a unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Owed {
    #[serde(with = "crate::frozen::bytes")]
    bytes: Vec<u8>,
    /// Where the first unit begins.
    start: usize,
    /// Bytes of the first unit that were written.
    written: usize,
    units: VecDeque<Unit>,
    /// The start of a message was written whose end was not yet.
    is_mid_message: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Unit {
    len: usize,
    kind: Kind,
}

/// What a unit is, which says what becomes of it when the leg is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// A whole data message of the client's.
    Message,
    /// A message that was sent before, to an earlier leg: it was counted then, and is kept elsewhere.
    Again,
    /// A piece of a message too large to be held.
    Piece {
        /// Whether it begins the message.
        is_first: bool,
        /// Whether it ends it.
        is_last: bool,
    },
    /// A control frame of the client's.
    Control,
    /// The gateway's own, for this leg alone.
    Own,
}

/// What a lost leg leaves of the large message it was being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is none.
    None,
    /// Its start is lost; its end was here and is dropped.
    Dropped,
    /// Its start is lost; its end is yet to come from the client.
    ToCome,
}

impl Owed {
    /// The same, if it can be: it may come from another process.
    pub(super) fn checked(self) -> Option<Self> {
        let units = self.units.iter().try_fold(0, |sum: usize, unit| sum.checked_add(unit.len))?;
        let first = self.units.front().map_or(0, |unit| unit.len);
        let is_whole = self.bytes.len().checked_sub(self.start)? == units;
        (is_whole && (self.written < first || self.written == 0)).then_some(self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// What to write next.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start + self.written..]
    }

    pub(super) fn push(&mut self, kind: Kind, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.units.push_back(Unit { len: bytes.len(), kind });
    }

    /// Puts messages in front of everything else. Only between legs: nothing may be half written.
    pub(super) fn push_front(&mut self, kind: Kind, messages: &[u8]) {
        let mut bytes = messages.to_vec();
        bytes.extend_from_slice(self.bytes());
        let ahead: Vec<Unit> =
            each_message(messages).map(|message| Unit { len: message.len(), kind }).collect();
        for unit in ahead.into_iter().rev() {
            self.units.push_front(unit);
        }
        (self.bytes, self.start, self.written) = (bytes, 0, 0);
    }

    /// Takes note of `count` more bytes written, and gives each unit that is now written whole.
    pub(super) fn wrote(&mut self, count: usize, mut done: impl FnMut(Kind, &[u8])) {
        self.written += count;
        while let Some(unit) = self.units.front().copied().filter(|unit| unit.len <= self.written) {
            done(unit.kind, &self.bytes[self.start..self.start + unit.len]);
            self.units.pop_front();
            self.start += unit.len;
            self.written -= unit.len;
            if let Kind::Piece { is_last, .. } = unit.kind {
                self.is_mid_message = !is_last;
            }
        }
        if self.units.is_empty() {
            // Freed and not cleared: a connection at rest holds no buffer.
            (self.bytes, self.start) = (Vec::new(), 0);
        }
    }

    /// The leg is lost: everything that was not written whole is to be written again, but for a
    /// message whose start is gone, and what was only meant for that leg.
    pub(super) fn rewind(&mut self) -> Rest {
        let mut rest = if self.is_mid_message { Rest::ToCome } else { Rest::None };
        self.is_mid_message = false;
        self.written = 0;
        let mut kept = Self::default();
        let mut at = self.start;
        for unit in &self.units {
            let bytes = &self.bytes[at..at + unit.len];
            at += unit.len;
            match unit.kind {
                Kind::Own | Kind::Again => {}
                Kind::Piece { is_last, .. } if rest == Rest::ToCome => {
                    if is_last {
                        rest = Rest::Dropped;
                    }
                }
                kind => kept.push(kind, bytes),
            }
        }
        *self = kept;
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(owed: &mut Owed, count: usize) -> Vec<Kind> {
        let mut kinds = Vec::new();
        owed.wrote(count, |kind, _| kinds.push(kind));
        kinds
    }

    #[test]
    fn what_was_half_written_is_written_again() {
        let mut owed = Owed::default();
        owed.push(Kind::Message, b"\x81\x01a");
        owed.push(Kind::Own, b"\x89\x00");
        owed.push(Kind::Message, b"\x81\x01b");
        assert_eq!(done(&mut owed, 6), [Kind::Message, Kind::Own]);
        assert_eq!(owed.bytes(), b"\x01b");
        assert_eq!(owed.rewind(), Rest::None);
        assert_eq!(owed.bytes(), b"\x81\x01b");
        assert_eq!(done(&mut owed, 3), [Kind::Message]);
        assert!(owed.is_empty());
    }

    #[test]
    fn a_large_message_whose_start_is_gone_is_dropped_to_its_end() {
        let first = Kind::Piece { is_first: true, is_last: false };
        let last = Kind::Piece { is_first: false, is_last: true };
        let mut owed = Owed::default();
        owed.push(first, b"start");
        done(&mut owed, 5);
        assert_eq!(owed.rewind(), Rest::ToCome);
        let mut owed = Owed::default();
        owed.push(first, b"start");
        done(&mut owed, 5);
        owed.push(last, b"end");
        owed.push(Kind::Message, b"\x81\x01b");
        assert_eq!(owed.rewind(), Rest::Dropped);
        assert_eq!(owed.bytes(), b"\x81\x01b");
    }

    #[test]
    fn a_large_message_whose_start_is_still_here_is_sent_whole() {
        let mut owed = Owed::default();
        owed.push(Kind::Piece { is_first: true, is_last: false }, b"start");
        done(&mut owed, 2);
        assert_eq!(owed.rewind(), Rest::None);
        assert_eq!(owed.bytes(), b"start");
    }
}

//! What a replica sends: numbered when it is made, written when the client's window has room, kept in the
//! store until the client has it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::super::item::end_payload;
use super::super::{Attach, Form, Window, chunk, code};
use super::Misuse;
use crate::websocket::CloseCode;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A message, or its last chunk.
    Message,
    /// A chunk; more follow.
    Chunk,
    /// The end.
    End,
}

impl Kind {
    /// The first letter of such an item, and how a store may keep it.
    pub fn letter(self) -> u8 {
        match self {
            Self::Message => b'm',
            Self::Chunk => b'n',
            Self::End => b'x',
        }
    }

    /// What a store has kept.
    pub fn of(letter: u8) -> Option<Self> {
        match letter {
            b'm' => Some(Self::Message),
            b'n' => Some(Self::Chunk),
            b'x' => Some(Self::End),
            _ => None,
        }
    }
}

/// One item that has its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Its number.
    pub seq: u64,
    /// What it is.
    pub kind: Kind,
    /// Its opcode.
    pub form: Form,
    /// What it carries.
    pub payload: Bytes,
}

/// An item before it has a number.
pub(super) type Bare = (Kind, Form, Bytes);

/// The pieces of one message.
pub(super) fn cut(form: Form, message: Bytes, chunk_bytes_max: usize) -> Vec<Bare> {
    let mut pieces: Vec<Bare> = chunk::split(form, message, chunk_bytes_max)
        .map(|payload| (Kind::Chunk, form, payload))
        .collect();
    if let Some(last) = pieces.last_mut() {
        last.0 = Kind::Message;
    }
    pieces
}

/// The end of the direction.
pub(super) fn end(code: CloseCode, reason: &str) -> Bare {
    let code = if code::may_travel(code) { code } else { CloseCode(1011) };
    (Kind::End, Form::Text, end_payload(code, reason).into())
}

/// The b2c half of a replica.
#[derive(Debug, Clone, Default)]
pub(super) struct Outgoing {
    window: Window,
    chunk_bytes: u64,
    /// The last number that was given.
    numbered: u64,
    /// The last item that was applied.
    applied: u64,
    waiting: VecDeque<Numbered>,
    pub(super) waiting_bytes: usize,
    /// Of those the gateway has that this leg did not write, how large they are is not known.
    before: u64,
    /// Written on this leg and not acknowledged: numbers and bytes.
    under_way: VecDeque<(u64, u64)>,
    used: Window,
    /// What the client has; `None` until the gateway has said it.
    acked: Option<u64>,
    /// A message was begun and must be finished.
    is_amid: bool,
    pub(super) has_ended: bool,
}

impl Outgoing {
    /// Goes on behind what the gateway has.
    pub(super) fn start(&mut self, attach: &Attach, unacked: Vec<Numbered>) {
        self.window = Window::from(attach.win).min(attach.win.into());
        self.chunk_bytes = attach.chunk;
        self.before = attach.recv;
        self.has_ended = unacked.last().is_some_and(|item| item.kind == Kind::End);
        for item in unacked.into_iter().filter(|item| item.seq > attach.recv) {
            self.waiting_bytes += item.payload.len();
            self.waiting.push_back(item);
        }
        self.numbered = attach.recv + self.waiting.len() as u64;
        self.applied = self.numbered;
    }

    pub(super) fn sent(&self) -> u64 {
        self.numbered
    }

    pub(super) fn acked(&self) -> u64 {
        self.acked.unwrap_or(0)
    }

    pub(super) fn number(&mut self, items: impl IntoIterator<Item = Bare>) -> Vec<Numbered> {
        let items = items.into_iter().map(|(kind, form, payload)| {
            self.numbered += 1;
            Numbered { seq: self.numbered, kind, form, payload }
        });
        items.collect()
    }

    pub(super) fn push(&mut self, items: Vec<Numbered>) -> Result<(), Misuse> {
        if items.first().is_some_and(|item| item.seq != self.applied + 1) {
            return Err(Misuse::OutOfOrder);
        }
        for item in items {
            self.applied = item.seq;
            self.waiting_bytes += item.payload.len();
            self.waiting.push_back(item);
        }
        Ok(())
    }

    /// The next item that may be written now.
    pub(super) fn next(&mut self) -> Option<Numbered> {
        // Before the first word about it nobody knows how much room there is.
        let acked = self.acked?;
        let kind = self.waiting.front()?.kind;
        if kind != Kind::End && !self.is_amid && !self.fits(acked) {
            return None;
        }
        let item = self.waiting.pop_front()?;
        self.waiting_bytes -= item.payload.len();
        self.is_amid = kind == Kind::Chunk;
        if kind != Kind::End {
            self.used.bytes += item.payload.len() as u64;
            self.used.items += 1;
            self.under_way.push_back((item.seq, item.payload.len() as u64));
        }
        Some(item)
    }

    /// Whether the message in front fits, or nothing is under way.
    fn fits(&self, acked: u64) -> bool {
        let before = self.before.saturating_sub(acked);
        let last = self.waiting.iter().position(|item| item.kind == Kind::Message);
        let items = last.map_or(0, |last| last + 1);
        let bytes: usize = self.waiting.iter().take(items).map(|item| item.payload.len()).sum();
        let used = Window {
            bytes: self.used.bytes + before * self.chunk_bytes,
            items: self.used.items + before,
        };
        used == Window::default()
            || used.bytes + bytes as u64 <= self.window.bytes
                && used.items + items as u64 <= self.window.items
    }

    pub(super) fn acknowledge(&mut self, seq: u64) -> Result<(), CloseCode> {
        let written = self.under_way.back().map_or(self.before, |(last, _)| *last);
        let is_end = self.has_ended && self.waiting.is_empty() && seq == self.applied;
        if seq > written.max(self.acked()) && !is_end {
            return Err(code::FAULT);
        }
        self.acked = Some(self.acked().max(seq));
        while let Some((_, bytes)) = self.under_way.front().filter(|(first, _)| *first <= seq) {
            self.used.bytes -= bytes;
            self.used.items -= 1;
            self.under_way.pop_front();
        }
        Ok(())
    }
}

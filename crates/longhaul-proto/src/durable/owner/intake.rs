//! What came from the client and the leg has not confirmed: the c2b half of an owner.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::super::{Body, CHUNKS_MAX, Form, Rank, Receiver, Sizes, Taken, Window, code};
use crate::websocket::CloseCode;

/// The c2b half of an owner.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Intake {
    receiver: Receiver,
    /// Pieces of the message that is not whole.
    #[serde(with = "crate::frozen::joined")]
    pieces: Vec<Bytes>,
    /// Payload bytes of each item behind `confirmed`.
    unconfirmed: VecDeque<usize>,
    unconfirmed_bytes: u64,
    confirmed: u64,
}

/// What the leg is to be given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    Nothing,
    Message(Bytes),
    End(CloseCode, String),
}

impl Intake {
    /// The same, if it can be: it may come from another process.
    pub(super) fn checked(mut self) -> Option<Self> {
        self.unconfirmed_bytes = self.unconfirmed.iter().map(|bytes| *bytes as u64).sum();
        let items = self.receiver.recv().checked_sub(self.confirmed)?;
        let is_one = self.receiver.whole() <= self.receiver.recv();
        (is_one && items == self.unconfirmed.len() as u64).then_some(self)
    }

    /// Takes an item that a link brought. `payload` is the body's own, to be kept without a copy.
    ///
    /// # Errors
    /// The code to close its link with.
    pub(super) fn take(
        &mut self,
        form: Form,
        seq: u64,
        body: Body<'_>,
        payload: Bytes,
        rank: Rank,
        (sizes, window): (Sizes, Window),
    ) -> Result<Arrived, CloseCode> {
        let taken = self.receiver.take(form, seq, body, rank, sizes)?;
        if matches!(taken, Taken::Duplicate | Taken::Ignored) {
            return Ok(Arrived::Nothing);
        }
        self.unconfirmed.push_back(payload.len());
        self.unconfirmed_bytes += payload.len() as u64;
        self.check_window(sizes, window)?;
        match (taken, body) {
            (Taken::End, Body::End { code, reason }) => Ok(Arrived::End(code, reason.to_owned())),
            (Taken::Whole, _) if self.pieces.is_empty() => Ok(Arrived::Message(payload)),
            (Taken::Whole, _) => {
                self.pieces.push(payload);
                let mut whole = BytesMut::with_capacity(self.pieces.iter().map(Bytes::len).sum());
                for piece in std::mem::take(&mut self.pieces) {
                    whole.extend_from_slice(&piece);
                }
                Ok(Arrived::Message(whole.freeze()))
            }
            (Taken::Hold, _) => {
                self.pieces.push(payload);
                Ok(Arrived::Nothing)
            }
            _ => Err(code::FAULT),
        }
    }

    /// Everything up to `seq` may be forgotten by the client. Gives the bytes of each item that is
    /// news.
    pub(super) fn confirm(&mut self, seq: u64) -> impl Iterator<Item = usize> {
        let news = seq.min(self.receiver.whole()).saturating_sub(self.confirmed);
        self.confirmed += news;
        let news = self.unconfirmed.drain(..news as usize);
        let sizes: Vec<usize> = news.collect();
        self.unconfirmed_bytes -= sizes.iter().sum::<usize>() as u64;
        sizes.into_iter()
    }

    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    pub(super) fn recv(&self) -> u64 {
        self.receiver.recv()
    }

    pub(super) fn whole(&self) -> u64 {
        self.receiver.whole()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.receiver.has_ended()
    }

    /// Whether the client has used up its window.
    pub(super) fn is_full(&self, window: Window) -> bool {
        self.unconfirmed_bytes >= window.bytes || self.unconfirmed.len() as u64 >= window.items
    }

    /// Bytes of the message that is not whole.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    fn check_window(&self, sizes: Sizes, window: Window) -> Result<(), CloseCode> {
        let bytes_max = window.bytes.max(sizes.message_bytes_max as u64);
        let items_max = window.items + CHUNKS_MAX as u64;
        // An end is small and not counted by the client: it may come on top.
        let end_bytes = 128;
        let is_beyond = self.unconfirmed_bytes > bytes_max + end_bytes
            || self.unconfirmed.len() as u64 > items_max;
        if is_beyond { Err(code::FAULT) } else { Ok(()) }
    }
}

//! What came from the client and is not confirmed: the c2b half of an owner, and of a replica that
//! acknowledges by itself.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Body, CHUNKS_MAX, Form, Payload, Pieces, Rank, Receiver, Sizes, Taken, Window, code};
use crate::websocket::CloseCode;

/// The c2b half of an owner or a replica.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Intake {
    receiver: Receiver,
    /// Pieces of the message that is not whole.
    #[serde(with = "crate::frozen::joined")]
    pieces: Vec<Payload>,
    /// Payload bytes of each item behind `confirmed`.
    unconfirmed: VecDeque<usize>,
    unconfirmed_bytes: u64,
    confirmed: u64,
}

/// What the application is to be given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    Nothing,
    Message(Pieces),
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

    /// Starts with everything up to `confirmed` received and confirmed.
    pub(super) fn starting_at(confirmed: u64) -> Self {
        Self { receiver: Receiver::starting_at(confirmed), confirmed, ..Self::default() }
    }

    /// Judges an item that is passed on as it is, and counts it. Says whether it is to be passed on.
    ///
    /// # Errors
    /// The code to close its link with.
    pub(super) fn pass(
        &mut self,
        form: Form,
        seq: u64,
        body: Body<'_>,
        rank: Rank,
        limits: (Sizes, Window),
    ) -> Result<bool, CloseCode> {
        let bytes = match body {
            Body::Message(payload) | Body::Chunk(payload) => payload.len(),
            Body::Event(_) | Body::End { .. } => 0,
        };
        let taken = self.judge(form, seq, body, bytes, rank, limits)?;
        Ok(!matches!(taken, Taken::Duplicate | Taken::Ignored))
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
        payload: Payload,
        rank: Rank,
        limits: (Sizes, Window),
    ) -> Result<Arrived, CloseCode> {
        let taken = self.judge(form, seq, body, payload.len(), rank, limits)?;
        match (taken, body) {
            (Taken::Duplicate | Taken::Ignored, _) => Ok(Arrived::Nothing),
            (Taken::End, Body::End { code, reason }) => Ok(Arrived::End(code, reason.to_owned())),
            (Taken::Whole, _) => {
                let before = std::mem::take(&mut self.pieces);
                Ok(Arrived::Message(Pieces::new(before, payload)))
            }
            (Taken::Hold, _) => {
                self.pieces.push(payload);
                Ok(Arrived::Nothing)
            }
            _ => Err(code::FAULT),
        }
    }

    fn judge(
        &mut self,
        form: Form,
        seq: u64,
        body: Body<'_>,
        bytes: usize,
        rank: Rank,
        (sizes, window): (Sizes, Window),
    ) -> Result<Taken, CloseCode> {
        let taken = self.receiver.take(form, seq, body, rank, sizes)?;
        if !matches!(taken, Taken::Duplicate | Taken::Ignored) {
            self.unconfirmed.push_back(bytes);
            self.unconfirmed_bytes += bytes as u64;
            self.check_window(sizes, window)?;
        }
        Ok(taken)
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
        self.pieces.iter().map(Payload::len).sum()
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

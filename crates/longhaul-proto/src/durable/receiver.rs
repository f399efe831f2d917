//! The receiving half: takes each number once and in order, and never past a hole.

use super::{Body, CHUNKS_MAX, Form, Sizes, code};
use crate::websocket::CloseCode;

/// Whether a link is the one that is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// The newest link of the session.
    Newest,
    /// An older one that is still open: what it brings counts, what it lacks does not matter.
    Older,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It came before.
    Duplicate,
    /// It is behind a hole on an older link.
    Ignored,
    /// More chunks of its message follow.
    Hold,
    /// The message is whole.
    Whole,
    /// An event.
    Event,
    /// The direction has ended.
    End,
}

/// The receiving half.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Receiver {
    recv: u64,
    /// The last item that ended a message, an event or the direction.
    whole: u64,
    unfinished: Option<Unfinished>,
    has_ended: bool,
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Unfinished {
    form: Form,
    bytes: usize,
    chunks: usize,
}

impl Receiver {
    /// Starts with everything up to `recv` received.
    pub fn starting_at(recv: u64) -> Self {
        Self { recv, whole: recv, ..Self::default() }
    }

    /// The last item received, chunks of an unfinished message included: do not send it again.
    pub fn recv(&self) -> u64 {
        self.recv
    }

    /// The last item that left nothing unfinished behind it.
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// Whether the direction has ended.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Judges an item by what came before it.
    ///
    /// # Errors
    /// The code to close its link with.
    pub fn take(
        &mut self,
        form: Form,
        seq: u64,
        body: Body<'_>,
        rank: Rank,
        sizes: Sizes,
    ) -> Result<Taken, CloseCode> {
        if seq <= self.recv {
            return Ok(Taken::Duplicate);
        }
        if seq > self.recv + 1 {
            return match rank {
                Rank::Newest => Err(code::GAP),
                Rank::Older => Ok(Taken::Ignored),
            };
        }
        if self.has_ended {
            return Err(code::FAULT);
        }
        let taken = match body {
            Body::Chunk(payload) => {
                self.add(form, payload.len(), sizes)?;
                Taken::Hold
            }
            Body::Message(payload) => {
                self.add(form, payload.len(), sizes)?;
                self.unfinished = None;
                Taken::Whole
            }
            Body::Event(_) | Body::End { .. } if self.unfinished.is_some() => {
                return Err(code::FAULT);
            }
            Body::Event(_) => Taken::Event,
            Body::End { .. } => {
                self.has_ended = true;
                Taken::End
            }
        };
        self.recv = seq;
        if taken != Taken::Hold {
            self.whole = seq;
        }
        Ok(taken)
    }

    fn add(&mut self, form: Form, len: usize, sizes: Sizes) -> Result<(), CloseCode> {
        let message = self.unfinished.get_or_insert(Unfinished { form, bytes: 0, chunks: 0 });
        if message.form != form {
            return Err(code::FAULT);
        }
        message.bytes += len;
        message.chunks += 1;
        let is_too_big = len > sizes.chunk_bytes_max
            || message.bytes > sizes.message_bytes_max
            || message.chunks > CHUNKS_MAX;
        if is_too_big { Err(code::TOO_BIG) } else { Ok(()) }
    }
}

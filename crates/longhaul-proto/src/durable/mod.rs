//! Durable sessions: the subprotocol `longhaul.v1`, whose text and vectors live in `protocol/`.
//!
//! A link may be lost and replaced a thousand times while both ends see one unbroken stream. Two
//! machines keep that promise: [`Owner`] in the gateway, [`Client`] in an SDK; a third, [`Backend`], keeps
//! it across the death of a replica that speaks the protocol too. None owns a socket,
//! a clock or randomness. All are made of the same halves: a [`Sender`] that keeps what the other end
//! has not answered for, and a [`Receiver`] that takes each number once and in order.
//!
//! Start at [`Item::parse`] for the grammar, at [`Owner`], [`Client`] and [`Backend`] for the machines.

mod acker;
mod attach;
pub mod backend;
mod chunk;
pub mod client;
pub mod code;
mod control;
mod credential;
mod intake;
mod item;
mod link;
pub mod owner;
mod payload;
mod receiver;
pub mod rule;
mod sender;
#[cfg(test)]
mod vectors;

pub use acker::AckPace;
pub use attach::{Attach, Attached, LegControl};
pub use backend::Backend;
pub use client::Client;
pub use control::{CONTROL_BYTES_MAX, Control, Reset, Resume, Resumed, Speaker, Welcome};
pub use credential::Credential;
pub use item::{Body, Form, Head, Item, Nonce};
pub use link::LinkKey;
pub use owner::Owner;
pub use payload::{Letter, Payload, Pieces};
pub use receiver::{Rank, Receiver, Taken};
pub use rule::Rule;
pub use sender::{BufferFull, Sender};

/// The subprotocol that asks for a durable session.
pub const SUBPROTOCOL: &str = "longhaul.v1";
/// The last number an item can have: what every JSON reader holds exactly.
pub const SEQ_MAX: u64 = (1 << 53) - 1;
/// Chunks of one message.
pub const CHUNKS_MAX: usize = 1024;
/// What an item adds in front of its payload, at most.
pub const HEAD_BYTES_MAX: usize = 18;

/// An amount of unacknowledged messages and chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// Payload bytes.
    pub bytes: u64,
    /// Items.
    pub items: u64,
}

impl Window {
    /// 4 MiB and 4,096 items: a second of a busy stream, and what a phone can spare.
    pub const DEFAULT: Self = Self { bytes: 4 << 20, items: 4096 };

    /// The smaller of two wishes. Never less than one, so that a message can always start.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.min(other.bytes).max(1),
            items: self.items.min(other.items).max(1),
        }
    }
}

/// How large a message may be and in which pieces it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of a message.
    pub message_bytes_max: usize,
    /// Payload bytes of one item.
    pub chunk_bytes_max: usize,
}

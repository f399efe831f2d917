//! Protocols that open with words of their own: what of them is remembered, and how a new replica
//! hears it again without the client's doing.
//!
//! A ritual sees whole messages in both directions. While it has something to settle with a new
//! replica ([`Ritual::is_busy`]) the client's messages wait; then they pass as they are. It frames
//! nothing by itself: what it has to say is taken with [`Ritual::take_words`].

mod graphql;
mod heart;
mod operation;
mod packet;
mod payload;
mod polled;
mod questions;
mod said;
mod socket_io;

use std::time::Instant;

use graphql::{FrozenGraphQl, GraphQl};
pub use polled::Polled;
use serde::{Deserialize, Serialize};
use socket_io::{FrozenSocketIo, SocketIo};

use super::{RedialPolicy, Uncertain};

/// What a session speaks, as far as anybody here needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Nothing known: messages are opaque.
    Plain,
    /// Socket.IO over Engine.IO 4.
    SocketIo {
        /// The session began with long-polling, and this WebSocket takes it over.
        was_polling: bool,
    },
    /// The subprotocol `graphql-transport-ws`.
    GraphQl,
}

/// A protocol at work.
#[derive(Debug)]
pub(super) enum Ritual {
    SocketIo(SocketIo),
    GraphQl(GraphQl),
}

/// The same as another process can take it up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FrozenRitual {
    SocketIo(FrozenSocketIo),
    GraphQl(FrozenGraphQl),
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It goes on.
    Pass,
    /// It was meant for the gateway, or for a replica that is gone.
    Swallow,
    /// It is part of something that must arrive whole, and waits with the ritual.
    Hold,
    /// It completes that: [`Ritual::take_held`] has all of it, this message included.
    Release,
}

/// What becomes of a message that was written to the replica.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is like any other.
    Plain,
    /// The ritual keeps it, or knows how to say it again.
    Kept,
    /// It completes what was kept: these are like any others from now on.
    Completes(Vec<u8>),
}

/// What a ritual wants said: payloads of text messages.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) to_replica: Vec<Vec<u8>>,
    pub(super) to_client: Vec<Vec<u8>>,
}

/// Hands a call on to whichever protocol it is.
macro_rules! each {
    ($self:ident, $ritual:ident => $call:expr) => {
        match $self {
            Self::SocketIo($ritual) => $call,
            Self::GraphQl($ritual) => $call,
        }
    };
}

impl Ritual {
    /// `keep_bytes_max` bounds what is remembered of the opening, `hold_bytes_max` what is held so
    /// that it arrives whole.
    pub(super) fn new(
        profile: Profile,
        keep_bytes_max: usize,
        hold_bytes_max: usize,
        repeats: bool,
        now: Instant,
    ) -> Option<Box<Self>> {
        Some(Box::new(match profile {
            Profile::Plain => return None,
            Profile::SocketIo { was_polling } => {
                Self::SocketIo(SocketIo::new(was_polling, keep_bytes_max, hold_bytes_max, now))
            }
            Profile::GraphQl => Self::GraphQl(GraphQl::new(keep_bytes_max, repeats)),
        }))
    }

    /// To be asked when its words were taken.
    pub(super) fn freeze(&self, now: Instant) -> FrozenRitual {
        match self {
            Self::SocketIo(ritual) => FrozenRitual::SocketIo(ritual.freeze(now)),
            Self::GraphQl(ritual) => FrozenRitual::GraphQl(ritual.freeze()),
        }
    }

    pub(super) fn thaw(frozen: FrozenRitual, policy: &RedialPolicy, now: Instant) -> Self {
        let RedialPolicy { keep_bytes_max: keep, hold_bytes_max: hold, .. } = *policy;
        match frozen {
            FrozenRitual::SocketIo(ritual) => {
                Self::SocketIo(SocketIo::thaw(&ritual, keep, hold, now))
            }
            FrozenRitual::GraphQl(ritual) => {
                let repeats = policy.uncertain == Uncertain::AtLeastOnce;
                Self::GraphQl(GraphQl::thaw(ritual, keep, repeats))
            }
        }
    }

    /// Takes a message of the client's, before it goes on.
    pub(super) fn hear_client(&mut self, message: &[u8], is_up: bool) -> Hearing {
        each!(self, ritual => ritual.hear_client(message, is_up))
    }

    /// Takes note of a message that was written whole to the replica.
    pub(super) fn note_sent(&mut self, message: &[u8]) -> Sent {
        each!(self, ritual => ritual.note_sent(message))
    }

    /// The same for one that is too large to be seen.
    pub(super) fn note_large_sent(&mut self) {
        match self {
            Self::SocketIo(ritual) => ritual.note_large_sent(),
            Self::GraphQl(_) => {}
        }
    }

    /// Takes a message of a replica's; `is_former` when that was left.
    pub(super) fn hear_replica(
        &mut self,
        message: &[u8],
        is_former: bool,
        now: Instant,
    ) -> Hearing {
        match self {
            Self::SocketIo(ritual) => ritual.hear_replica(message, is_former, now),
            Self::GraphQl(ritual) => ritual.hear_replica(message, is_former),
        }
    }

    /// A piece of a message too large to be seen comes from a replica; gives what must go first.
    pub(super) fn hear_large(&mut self, is_last: bool) -> Vec<u8> {
        match self {
            Self::SocketIo(ritual) => ritual.hear_large(is_last),
            Self::GraphQl(_) => Vec::new(),
        }
    }

    /// What was held and is whole now.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        match self {
            Self::SocketIo(ritual) => ritual.take_held(),
            Self::GraphQl(_) => Vec::new(),
        }
    }

    /// A new leg begins.
    pub(super) fn begin(&mut self) {
        each!(self, ritual => ritual.begin());
    }

    /// The leg is lost. Gives what was said of something that the replica cannot have had whole, to
    /// be said again; `None` when the loss cannot be hidden.
    pub(super) fn lose(&mut self, now: Instant) -> Option<Vec<u8>> {
        match self {
            Self::SocketIo(ritual) => ritual.lose(now),
            Self::GraphQl(ritual) => ritual.lose(),
        }
    }

    /// A replica that was left has said its last. False when half of something has passed.
    pub(super) fn end_former(&mut self) -> bool {
        match self {
            Self::SocketIo(ritual) => ritual.end_former(),
            Self::GraphQl(_) => true,
        }
    }

    /// Whether something is under way that one replica must have whole.
    pub(super) fn is_inside(&self) -> bool {
        match self {
            Self::SocketIo(ritual) => ritual.is_inside(),
            Self::GraphQl(ritual) => ritual.is_inside(),
        }
    }

    /// Whether the new replica still has to be told something before the client is heard.
    pub(super) fn is_busy(&self) -> bool {
        each!(self, ritual => ritual.is_busy())
    }

    /// The new replica will not have this client.
    pub(super) fn is_refused(&self) -> bool {
        match self {
            Self::SocketIo(ritual) => ritual.is_refused(),
            Self::GraphQl(_) => false,
        }
    }

    /// Whether a replica that closes without a code means that it goes.
    pub(super) fn goes_without_code(&self) -> bool {
        match self {
            Self::SocketIo(ritual) => ritual.has_spaces(),
            Self::GraphQl(_) => false,
        }
    }

    /// Whether a message is of those that a prelude counts, and that answer one.
    pub(super) fn is_event(&self, message: &[u8]) -> bool {
        match self {
            Self::SocketIo(_) => socket_io::is_event(message),
            Self::GraphQl(_) => false,
        }
    }

    pub(super) fn take_words(&mut self) -> Words {
        each!(self, ritual => std::mem::take(ritual.words()))
    }

    /// Whether it waits to be told what the client said over long-polling.
    pub(super) fn wants_polled(&self) -> bool {
        match self {
            Self::SocketIo(ritual) => ritual.wants_polled(),
            Self::GraphQl(_) => false,
        }
    }

    /// Tells it; `None` when nobody knows. Gives the events among it.
    pub(super) fn note_polled(&mut self, polled: Option<Polled>) -> Vec<Vec<u8>> {
        match self {
            Self::SocketIo(ritual) => ritual.note_polled(polled),
            Self::GraphQl(_) => Vec::new(),
        }
    }

    /// When [`Self::check`] has something to do.
    pub(super) fn deadline(&self, is_up: bool) -> Option<Instant> {
        match self {
            Self::SocketIo(ritual) => Some(ritual.deadline(is_up)),
            Self::GraphQl(_) => None,
        }
    }

    pub(super) fn check(&mut self, is_up: bool, now: Instant) {
        match self {
            Self::SocketIo(ritual) => ritual.check(is_up, now),
            Self::GraphQl(_) => {}
        }
    }
}

//! One WebSocket of a session as it travels to another process.

use std::os::fd::OwnedFd;

use longhaul_proto::websocket::messages::FrozenMessages;
use serde::{Deserialize, Serialize};

use super::{Bytes, Io, Messages, Role, Transport, Wire};
use crate::relay::stream::{Bound, LegIo, shut_down};

/// Such a WebSocket, beside its socket.
#[derive(Serialize, Deserialize)]
pub(in crate::durable) struct CarriedWire {
    messages: FrozenMessages,
    #[serde(with = "longhaul_proto::frozen::bytes")]
    read_ahead: Vec<u8>,
    /// What the peer has not taken.
    #[serde(with = "longhaul_proto::frozen::bytes")]
    waiting: Vec<u8>,
    bytes_written: u64,
    is_closing: bool,
}

impl Wire {
    /// What ties it to this process for good.
    pub(in crate::durable) fn bound(&self) -> Option<Bound> {
        match &self.io {
            Io::Socket(Transport::Plain(_)) => None,
            Io::Socket(Transport::Tls(_)) => Some(Bound::Tls),
            Io::Stream(_) => Some(Bound::Http2),
        }
    }

    /// A descriptor of its own for what carries it.
    ///
    /// # Errors
    /// What keeps it here.
    pub(in crate::durable) fn socket(&self) -> Result<OwnedFd, Bound> {
        match &self.io {
            Io::Socket(io) => io.socket()?.try_clone_to_owned().map_err(|_| Bound::Descriptors),
            Io::Stream(_) => Err(Bound::Http2),
        }
    }

    /// Has the peer hear at once that it has ended, though another process has a descriptor too.
    pub(in crate::durable) fn hang_up(&self) {
        if let Io::Socket(io) = &self.io {
            io.socket().into_iter().for_each(shut_down);
        }
    }

    /// What another process needs to go on with it, beside its socket.
    pub(in crate::durable) fn freeze(&self) -> CarriedWire {
        let mut waiting = Vec::with_capacity(self.queued_bytes);
        self.queue.iter().for_each(|bytes| waiting.extend_from_slice(bytes));
        waiting.extend_from_slice(&self.small);
        CarriedWire {
            messages: self.messages.freeze(),
            read_ahead: self.read_ahead.to_vec(),
            waiting,
            bytes_written: self.bytes_written,
            is_closing: self.is_closing,
        }
    }

    /// What carries it, for one that takes its place.
    pub(in crate::durable) fn into_transport(self) -> Option<Transport> {
        match self.io {
            Io::Socket(io) => Some(io),
            Io::Stream(_) => None,
        }
    }

    /// Goes on with a link of another process. `None` for a state that cannot be.
    pub(in crate::durable) fn take_up_link(
        carried: CarriedWire,
        io: Transport,
        message_bytes_max: usize,
    ) -> Option<Self> {
        Self::take_up(carried, io, (Role::Server, Role::Client), message_bytes_max)
    }

    /// The same for a leg.
    pub(in crate::durable) fn take_up_leg(
        carried: CarriedWire,
        io: Transport,
        message_bytes_max: usize,
    ) -> Option<Self> {
        Self::take_up(carried, io, (Role::Client, Role::Server), message_bytes_max)
    }

    fn take_up(
        carried: CarriedWire,
        io: Transport,
        (role, peer): (Role, Role),
        message_bytes_max: usize,
    ) -> Option<Self> {
        let CarriedWire { messages, read_ahead, waiting, bytes_written, is_closing } = carried;
        let mut wire = Self::new(Io::Socket(io), Bytes::from(read_ahead), role, message_bytes_max);
        wire.messages = Messages::thaw(peer, message_bytes_max, messages)?.as_they_come();
        wire.queued_bytes = waiting.len();
        if !waiting.is_empty() {
            wire.queue.push_back(Bytes::from(waiting));
        }
        (wire.bytes_written, wire.is_closing) = (bytes_written, is_closing);
        Some(wire)
    }
}

//! One WebSocket of a session as it travels to another process.

use std::os::fd::{AsFd, OwnedFd};

use longhaul_proto::websocket::messages::FrozenMessages;
use serde::{Deserialize, Serialize};

use super::{Bytes, Io, Messages, Role, Transport, Wire};
use crate::relay::stream::Bound;

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

    /// What another process needs to go on with it, and a descriptor of its own.
    ///
    /// # Errors
    /// What keeps it here.
    pub(in crate::durable) fn put_down(&self) -> Result<(CarriedWire, OwnedFd), Bound> {
        let socket = match &self.io {
            Io::Socket(Transport::Plain(socket)) => socket.as_fd().try_clone_to_owned(),
            Io::Socket(Transport::Tls(_)) => return Err(Bound::Tls),
            Io::Stream(_) => return Err(Bound::Http2),
        };
        let mut waiting = Vec::with_capacity(self.queued_bytes);
        self.queue.iter().for_each(|bytes| waiting.extend_from_slice(bytes));
        waiting.extend_from_slice(&self.small);
        let carried = CarriedWire {
            messages: self.messages.freeze(),
            read_ahead: self.read_ahead.to_vec(),
            waiting,
            bytes_written: self.bytes_written,
            is_closing: self.is_closing,
        };
        Ok((carried, socket.map_err(|_| Bound::Descriptors)?))
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

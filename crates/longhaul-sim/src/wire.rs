//! One link between the client and the node: in order, with a delay, until it is cut.

use std::time::Duration;

use bytes::Bytes;
use longhaul_proto::durable::{Form, LinkKey};
use longhaul_proto::websocket::CloseCode;

/// Messages on the way in one direction before its sender is told to wait.
const IN_FLIGHT_MAX: usize = 12;

/// Who is at an end of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Node,
}

impl End {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Node,
            Self::Node => Self::Client,
        }
    }
}

/// What travels.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    Message(Form, Bytes),
    Close(CloseCode),
}

/// One link.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) key: LinkKey,
    pub(crate) delay: Duration,
    /// Whether anything sent still arrives.
    pub(crate) is_stalled: bool,
    pub(crate) client: Side,
    pub(crate) node: Side,
    /// Messages of the client's that arrived.
    pub(crate) items: u64,
}

/// One end of a wire.
#[derive(Debug)]
pub(crate) struct Side {
    /// Whether this end knows of the link, and has not lost it.
    pub(crate) is_open: bool,
    /// When the last packet from this end arrives; a later one cannot come before.
    pub(crate) arrives_at: Duration,
    pub(crate) in_flight: usize,
}

impl Side {
    fn new() -> Self {
        Self { is_open: true, arrives_at: Duration::ZERO, in_flight: 0 }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.in_flight >= IN_FLIGHT_MAX
    }
}

impl Wire {
    pub(crate) fn new(key: LinkKey, delay: Duration) -> Self {
        let (client, node) = (Side::new(), Side::new());
        Self { key, delay, is_stalled: false, client, node, items: 0 }
    }

    pub(crate) fn side(&mut self, end: End) -> &mut Side {
        match end {
            End::Client => &mut self.client,
            End::Node => &mut self.node,
        }
    }
}

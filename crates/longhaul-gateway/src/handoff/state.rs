//! A connection as it travels between two processes: everything the other one needs to go on with it.
//!
//! This is a contract between two versions of the program, so it holds only what both ends of a
//! connection cannot do without. What a configuration says is not in it: the other process has its
//! own. A field that is added must have a default; one that changes its meaning makes another
//! [`FORMAT`](super::message::FORMAT).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use longhaul_proto::session::FrozenSession;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::net::TcpStream;

use crate::admission::Right;
use crate::relay::control::Control;
use crate::telemetry::Card;
use crate::telemetry::tally::Number;
use crate::transport::Transport;

/// One connection, without its sockets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parcel {
    pub(crate) card: CardState,
    pub(crate) replica: SocketAddr,
    /// The worker that had it: who is spread over workers stays so.
    pub(crate) worker: usize,
    pub(crate) kind: Kind,
}

/// What is particular to its kind.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, and none stays")]
pub(crate) enum Kind {
    WebSocket { relay: RelayState, pass: Option<Right> },
    Tcp { pipe: PipeState, peer: SocketAddr },
}

/// A WebSocket's session and streams.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RelayState {
    pub(crate) session: FrozenSession,
    pub(crate) client: StreamState,
    pub(crate) backend: StreamState,
}

/// Raw TCP in both directions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PipeState {
    pub(crate) client: StreamState,
    pub(crate) backend: StreamState,
    pub(crate) has_ended: [bool; 2],
    pub(crate) moved_us: u64,
}

/// What waits for one leg, and how far its end has come.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StreamState {
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub(crate) waiting: Vec<u8>,
    pub(crate) bytes_read: u64,
    pub(crate) is_finishing: bool,
    pub(crate) is_finished: bool,
}

/// What lists and log lines say about it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CardState {
    pub(crate) id: u64,
    pub(crate) route: String,
    pub(crate) client: IpAddr,
    pub(crate) open_us: u64,
    pub(crate) messages: [u64; 2],
    pub(crate) bytes: [u64; 2],
}

/// Why a process cannot take a connection up. The one that has it keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Misfit {
    /// Its configuration has no such route.
    Route,
    /// The state is none that a connection can be in.
    State,
    /// The system does not give it the sockets.
    Socket,
}

impl Misfit {
    /// Its name in metrics and answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Route => "route_unknown",
            Self::State => "state_unknown",
            Self::Socket => "socket_refused",
        }
    }
}

/// The two sockets of a connection.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) client: OwnedFd,
    pub(crate) backend: OwnedFd,
}

impl Sockets {
    /// As legs of this process. Must be called inside the runtime that shall have them.
    ///
    /// # Errors
    /// When it cannot watch them.
    pub(crate) fn into_transports(self) -> io::Result<(Transport, Transport)> {
        let adopt = |socket: OwnedFd| TcpStream::from_std(socket.into()).map(Transport::Plain);
        Ok((adopt(self.client)?, adopt(self.backend)?))
    }
}

impl Parcel {
    /// The connection with this control.
    pub(crate) fn of(control: &Control, worker: usize, kind: Kind) -> Self {
        let card = &control.card;
        let micros = card.opened_at.elapsed().as_micros();
        Self {
            card: CardState {
                id: card.id,
                route: (*card.route).to_owned(),
                client: card.client,
                open_us: u64::try_from(micros).unwrap_or(u64::MAX),
                messages: card.messages.each_ref().map(Number::get),
                bytes: card.bytes.each_ref().map(Number::get),
            },
            replica: control.replica(),
            worker,
            kind,
        }
    }
}

impl CardState {
    /// The card of the same connection in this process.
    pub(crate) fn into_card(self, route: &Arc<str>) -> Card {
        let now = Instant::now();
        let numbers = |values: [u64; 2]| {
            values.map(|value| {
                let number = Number::default();
                number.add(value);
                number
            })
        };
        Card {
            id: self.id,
            route: route.clone(),
            client: self.client,
            opened_at: now.checked_sub(Duration::from_micros(self.open_us)).unwrap_or(now),
            messages: numbers(self.messages),
            bytes: numbers(self.bytes),
        }
    }
}

pub(crate) fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

pub(crate) fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64.decode(text).map_err(serde::de::Error::custom)
}

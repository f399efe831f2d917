//! A connection as it travels between two processes: everything the other one needs to go on with it.
//!
//! This is a contract between two versions of the program, so it holds only what both ends of a
//! connection cannot do without. What a configuration says is not in it: the other process has its
//! own. A field that is added must have a default; one that changes its meaning makes another
//! [`FORMAT`](super::message::FORMAT).

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_proto::session::FrozenSession;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::admission::Right;
use crate::durable::CarriedSession;
use crate::redial::{CarriedLeg, LegState};
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
    /// So many sockets come with it.
    pub(crate) sockets: usize,
    /// Since when it stands still, by [`tick_us`]; 0 while it goes on.
    #[serde(default)]
    pub(crate) still_us: u64,
    /// About how many bytes it holds, where that is more than what waits for a leg.
    #[serde(skip)]
    pub(crate) weight: usize,
    pub(crate) kind: Kind,
}

/// What is particular to its kind.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, and none stays")]
pub(crate) enum Kind {
    /// With the client's socket, and that of the replica unless one is looked for.
    WebSocket {
        relay: RelayState,
        pass: Option<Right>,
        /// What its end is told to, in the form of `traceparent`.
        #[serde(default)]
        trace: Option<String>,
    },
    /// With the sockets of its leg and its links.
    Durable(Box<CarriedSession>),
    /// With both sockets, the client's first.
    Tcp { pipe: PipeState, peer: SocketAddr },
}

/// A WebSocket's session and streams.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RelayState {
    pub(crate) session: FrozenSession,
    pub(crate) client: StreamState,
    pub(crate) backend: StreamState,
    /// Where lost replicas are replaced.
    #[serde(default)]
    pub(crate) leg: Option<Box<CarriedLeg>>,
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
    #[serde(with = "longhaul_proto::frozen::bytes")]
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
    /// Its configuration does not replace replicas on this route.
    Redial,
}

impl Misfit {
    /// Its name in metrics and answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Route => "route_unknown",
            Self::State => "state_unknown",
            Self::Socket => "socket_refused",
            Self::Redial => "redial_off",
        }
    }
}

/// Microseconds of the system's steady clock, which all processes share: so that the pause of each
/// connection can be told, which begins in one process and ends in the other.
pub(crate) fn tick_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::try_from(now).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// The sockets of a connection, in the order that its kind has.
pub(crate) type Sockets = Vec<OwnedFd>;

/// Makes the next of them a leg of this process. Must be called inside the runtime that shall have it.
///
/// # Errors
/// When there is none, or the system cannot watch it.
pub(crate) fn adopt(sockets: &mut std::vec::IntoIter<OwnedFd>) -> Result<Transport, Misfit> {
    let socket = sockets.next().ok_or(Misfit::Socket)?;
    let stream = TcpStream::from_std(socket.into()).map_err(|_| Misfit::Socket)?;
    Ok(Transport::Plain(stream))
}

impl Parcel {
    /// The connection with this control and so many sockets.
    pub(crate) fn of(control: &Control, worker: usize, sockets: usize, kind: Kind) -> Self {
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
            sockets,
            still_us: 0,
            weight: 0,
            kind,
        }
    }
}

/// What has happened to a connection since a copy of it went ahead.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) id: u64,
    messages: [u64; 2],
    bytes: [u64; 2],
    pub(crate) news: News,
}

/// Of each kind, what may have changed while its sockets are the same.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, and none stays")]
pub(crate) enum News {
    WebSocket {
        relay: RelayState,
        /// Of a leg that outlasts its replica.
        leg: Option<Box<LegState>>,
    },
    Tcp(PipeState),
    /// All of it but the sockets.
    Durable(Box<CarriedSession>),
}

impl Change {
    pub(crate) fn of(control: &Control, news: News) -> Self {
        let card = &control.card;
        Self {
            id: card.id,
            messages: card.messages.each_ref().map(Number::get),
            bytes: card.bytes.each_ref().map(Number::get),
            news,
        }
    }

    /// Has the card of the copy say what the connection has moved by now.
    pub(crate) fn count_on(&self, card: &Card) {
        let numbers = card.messages.iter().zip(self.messages);
        for (number, value) in numbers.chain(card.bytes.iter().zip(self.bytes)) {
            number.add(value.wrapping_sub(number.get()));
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

//! What two processes say to each other, in this order.
//!
//! | taker | giver |
//! |---|---|
//! | `Hello` | |
//! | | `Estate`, with the listening sockets |
//! | `Standing`: it has started, and listens to nobody yet | |
//! | | `Ahead`, as often as needed: copies of connections that go on meanwhile |
//! | | `Parcels`, `Still`, as often as needed: from here on they stand still; `End` |
//! | `Fitted`: everything can be taken up, but for these | |
//! | | `Commit`, or `Abort` |
//! | `Taken`: from here on it serves | |
//! | `GoneOn`: nobody stands still any more | |
//!
//! Whoever went ahead and is not named by `Still` has ended, or stays. After that the giver may send more
//! parcels, with the same words up to `GoneOn`, `Late` between them, and `Done` when it has nothing left.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::state::{Change, Misfit, Parcel};
use crate::durable::Keys;
use crate::relay::control::Order;

/// Names the words and the state of connections. Processes with different ones part at once.
pub(crate) const FORMAT: u32 = 4;

/// The first word. It must stay readable for every version.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) format: u32,
    pub(crate) version: String,
}

/// What all connections have in common. Not to be shown: a key is in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Estate {
    pub(crate) format: u32,
    pub(crate) version: String,
    /// In the order in which their sockets come.
    pub(crate) listeners: Vec<ListenerState>,
    /// Whether the socket of the admin API comes behind them.
    pub(crate) has_admin: bool,
    /// Signs affinity cookies; by default each process has one of its own.
    pub(crate) affinity_key: [u8; 32],
    /// Seal what clients of durable sessions resume with.
    pub(crate) session_keys: Keys,
    /// Ids of connections go on behind this one.
    pub(crate) connections_total: u64,
    /// What the binary around the gateway says to its kind.
    pub(crate) house: serde_json::Value,
}

/// A listener with so many sockets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListenerState {
    pub(crate) name: String,
    /// As the configuration has it.
    pub(crate) asked: SocketAddr,
    pub(crate) sockets: usize,
}

/// What the taker says after `Hello`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromTaker {
    Standing,
    /// Connections that it cannot take up, by id.
    Fitted {
        misfits: Vec<(u64, Misfit)>,
    },
    Taken,
    /// How long the one stood still that did so the longest.
    GoneOn {
        pause_us: u64,
    },
}

/// What the giver says after `Estate`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromGiver {
    /// Each with as many sockets as it says.
    Ahead(Vec<Parcel>),
    /// The same of connections that stand still.
    Parcels(Vec<Parcel>),
    /// Some that went ahead stand still, each since then by [`tick_us`](super::state::tick_us).
    Still {
        /// Nothing has happened to them.
        unchanged: Vec<(u64, u64)>,
        changed: Vec<(Change, u64)>,
    },
    End,
    /// With what has been learnt and told up to this moment.
    Commit(Memory),
    /// Between two lots: what has been told since, to the gateway and to connections that have moved.
    Late {
        memory: Memory,
        orders: Vec<(u64, Order)>,
    },
    Abort,
    Done,
}

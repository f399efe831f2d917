//! The replicas of each upstream as they are now: who may take work, and who holds how much.
//!
//! STUB: interface agreed between rooms, to be filled in.
#![allow(missing_docs, dead_code, unused_variables)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;

use crate::config::UpstreamConfig;

/// One upstream at work. Shared by all workers; nothing here is touched per message.
#[derive(Debug)]
pub struct Upstream {/* config, ArcSwap<Vec<Arc<Replica>>>, affinity table, round-robin counter */}

/// One backend instance. Its counters outlive re-resolution: same address, same `Replica`.
#[derive(Debug)]
pub struct Replica {/* address, name, weight, open WebSockets, in-flight requests, health, ended flag */}

/// Why no replica could be picked.
#[derive(Debug, thiserror::Error)]
pub enum NoReplica {
    #[error("upstream {upstream:?} has no replicas")]
    Empty { upstream: String },
    #[error("upstream {upstream:?}: all {total} replicas have been tried")]
    Exhausted { upstream: String, total: usize },
}

/// What kind of work a replica is picked for: WebSockets weigh in `least_connections` while open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    WebSocket,
    Request,
    Tcp,
}

impl Upstream {
    pub fn new(
        config: UpstreamConfig,
        affinity_key: [u8; 32],
        affinity_entries_max: usize,
    ) -> Arc<Self> {
        unimplemented!()
    }
    pub fn config(&self) -> &UpstreamConfig {
        unimplemented!()
    }
    pub fn name(&self) -> &str {
        unimplemented!()
    }
    pub fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        unimplemented!()
    }

    /// Picks a replica that is not in `tried`: affinity first, then the strategy, among those that
    /// health lets through. When all are ejected or down the floor applies: the least bad is tried.
    /// `head` is `None` for raw TCP.
    pub fn pick(
        &self,
        head: Option<&Parts>,
        client: IpAddr,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Result<Arc<Replica>, NoReplica> {
        unimplemented!()
    }

    /// What affinity adds to the answer of `replica` for the request `head`: a `Set-Cookie` value.
    pub fn cookie_for(&self, head: &Parts, replica: &Replica) -> Option<http::HeaderValue> {
        unimplemented!()
    }

    /// Whether the response body of this request must be shown to `learn`: an Engine.IO handshake.
    pub fn learns_from(&self, head: &Parts) -> bool {
        unimplemented!()
    }

    /// Reads the `sid` from the first bytes of an Engine.IO handshake answer and remembers it.
    pub fn learn(&self, body_start: &[u8], replica: &Replica, now: Instant) {
        unimplemented!()
    }
}

impl Replica {
    pub fn address(&self) -> SocketAddr {
        unimplemented!()
    }
    pub fn open_websockets(&self) -> usize {
        unimplemented!()
    }
    /// Counts one piece of work until the guard is dropped.
    pub fn hold(self: &Arc<Self>, work: Work) -> Held {
        unimplemented!()
    }
    /// Passive health: a connect or handshake succeeded or failed. Failure may eject.
    pub fn note_success(&self, now: Instant) {
        unimplemented!()
    }
    pub fn note_failure(&self, now: Instant) {
        unimplemented!()
    }
}

/// One piece of work a replica holds.
#[derive(Debug)]
pub struct Held {
    replica: Arc<Replica>,
    work: Work,
}

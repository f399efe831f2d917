//! What the outside may see of a running gateway (snapshots) and ask of it (commands).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::readiness::Readiness;
use crate::upstream::Upstream;

/// A cheap, cloneable view of one gateway. Admin and the binary hold it; the data plane does not.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) readiness: Readiness,
    pub(crate) upstreams: Arc<Vec<Arc<Upstream>>>,
    pub(crate) listeners: Arc<Vec<SocketAddr>>,
}

/// The gateway at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Addresses that are bound.
    pub listeners: Vec<SocketAddr>,
    /// One for each upstream, in the order of the config.
    pub upstreams: Vec<UpstreamSnapshot>,
    /// WebSockets open now.
    pub websockets_open: usize,
    /// WebSockets opened since the start.
    pub websockets_total: u64,
    /// Client connections open now, WebSockets included.
    pub connections_open: usize,
    /// Since the start.
    pub uptime: Duration,
}

/// One upstream at one moment.
#[derive(Debug, Clone)]
pub struct UpstreamSnapshot {
    /// Its name.
    pub name: String,
    /// Its replicas.
    pub replicas: Vec<ReplicaSnapshot>,
}

/// One replica at one moment.
#[derive(Debug, Clone)]
pub struct ReplicaSnapshot {
    /// Where it is.
    pub address: SocketAddr,
    /// `up`, `starting` (slow start), `ejected` or `down`.
    pub state: &'static str,
    /// WebSockets it holds through this gateway.
    pub websockets_open: usize,
    /// Requests it answers through this gateway.
    pub requests_open: usize,
}

impl Handle {
    /// Whether work is welcome, and why not.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Addresses that are bound, in the order of the config.
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }
}

//! What the outside may see of a running gateway (snapshots) and ask of it (commands).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::readiness::Readiness;
use crate::retire;
use crate::shared::Shared;
use crate::supervise::{TaskSnapshot, Tasks};
use crate::tls::CertificateSnapshot;
use crate::upstream::{Draining, Replica, Upstream};

/// A cheap, cloneable view of one gateway. Admin and the binary hold it; the data plane does not.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    listeners: Arc<[SocketAddr]>,
    tasks: Tasks,
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
    /// Raw TCP connections open now.
    pub tcp_open: usize,
    /// Client connections open now, WebSockets and raw TCP included.
    pub connections_open: usize,
    /// TLS handshakes of clients since the start that were finished.
    pub handshakes: u64,
    /// Those that failed or took too long.
    pub handshakes_failed: u64,
    /// One for each certificate, in the order of the config.
    pub certificates: Vec<CertificateSnapshot>,
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
    /// Raw TCP connections it holds through this gateway.
    pub tcp_open: usize,
    /// What its last probe failed with; `None` when it passed, or none is sent.
    pub probe_failure: Option<String>,
    /// Why it drains (`asked`, `left` or `said`), if it does. What it still holds is listed above.
    pub draining: Option<&'static str>,
}

/// Why a command was not obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No upstream has this name.
    #[error("no upstream is called {0:?}")]
    UnknownUpstream(String),
    /// The upstream has no replica there.
    #[error("upstream {upstream:?} has no replica at {replica}")]
    UnknownReplica {
        /// Its name.
        upstream: String,
        /// The address asked for.
        replica: SocketAddr,
    },
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, listeners: Vec<SocketAddr>, tasks: Tasks) -> Self {
        Self { shared, listeners: listeners.into(), tasks }
    }

    /// Whether work is welcome, and why not.
    pub fn readiness(&self) -> &Readiness {
        &self.shared.readiness
    }

    /// Addresses that are bound, in the order of the config.
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// How the tasks that watch (discovery, probes) fare. One that was restarted means trouble.
    pub fn tasks(&self) -> Vec<TaskSnapshot> {
        self.tasks.snapshot()
    }

    /// Drains a replica: it gets nothing new, and its WebSockets leave by the `cutover` of their
    /// routes, spread over `leave_within`. Who is left is in the [`Snapshot`]. To be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`CommandError`] when there is no such replica.
    pub fn drain_replica(&self, upstream: &str, replica: SocketAddr) -> Result<(), CommandError> {
        let (upstream, replica) = self.find(upstream, replica)?;
        retire::begin(&self.shared, &upstream, &replica, Draining::Asked);
        Ok(())
    }

    /// Lets a replica have new work again, whatever it was drained for.
    ///
    /// # Errors
    /// [`CommandError`] when there is no such replica.
    pub fn undrain_replica(&self, upstream: &str, replica: SocketAddr) -> Result<(), CommandError> {
        let (upstream, replica) = self.find(upstream, replica)?;
        retire::end(&upstream, &replica);
        Ok(())
    }

    fn find(
        &self,
        name: &str,
        address: SocketAddr,
    ) -> Result<(Arc<Upstream>, Arc<Replica>), CommandError> {
        let upstream = self.shared.upstreams.iter().find(|upstream| upstream.name() == name);
        let upstream = upstream.ok_or_else(|| CommandError::UnknownUpstream(name.to_owned()))?;
        let replica = upstream.find(address).ok_or_else(|| CommandError::UnknownReplica {
            upstream: name.to_owned(),
            replica: address,
        })?;
        Ok((Arc::clone(upstream), replica))
    }

    /// The gateway as it is now. Walks over every replica: for people and scrapers, not per request.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &self.shared;
        let now = Instant::now();
        Snapshot {
            listeners: self.listeners.to_vec(),
            upstreams: shared.upstreams.iter().map(|upstream| upstream.snapshot(now)).collect(),
            websockets_open: shared.registry.len(),
            websockets_total: shared.telemetry.websockets_total.load(Ordering::Relaxed),
            tcp_open: shared.streams.len(),
            connections_open: shared.connections_open.load(Ordering::Relaxed),
            handshakes: shared.telemetry.handshakes.load(Ordering::Relaxed),
            handshakes_failed: shared.telemetry.handshakes_failed.load(Ordering::Relaxed),
            certificates: shared.certificates.snapshot(),
            uptime: now - shared.started_at,
        }
    }
}

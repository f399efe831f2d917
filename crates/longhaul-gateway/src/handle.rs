//! What the outside may see of a running gateway (snapshots) and ask of it (commands).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::readiness::Readiness;
use crate::reload::{ReloadDesk, ReloadError, ReloadRefused, Reloaded};
use crate::running::Running;
use crate::supervise::TaskSnapshot;
use crate::tls::CertificateSnapshot;

/// A cheap, cloneable view of one gateway. Admin and the binary hold it; the data plane does not.
#[derive(Debug, Clone)]
pub struct Handle {
    running: Arc<Running>,
    readiness: Readiness,
    desk: ReloadDesk,
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
}

impl Handle {
    pub(crate) fn new(running: Arc<Running>, readiness: Readiness, desk: ReloadDesk) -> Self {
        Self { running, readiness, desk }
    }

    /// Whether work is welcome, and why not.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Addresses that are bound, in the order of the config.
    pub fn listeners(&self) -> Vec<SocketAddr> {
        self.running.current.load().doors().iter().map(|door| door.address).collect()
    }

    /// Asks for the configuration to be read again and put into effect. For commands from outside;
    /// dropping the future takes nothing back.
    ///
    /// # Errors
    /// [`ReloadRefused`], with every problem of the configuration; nothing has changed then.
    pub async fn reload(&self) -> Result<Reloaded, ReloadRefused> {
        self.desk.ask().await
    }

    /// Puts a configuration into effect while connections go on: for who reads configurations. Must
    /// be called inside the runtime that keeps the background tasks. Calls wait for each other.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed then.
    pub async fn apply(&self, config: Config) -> Result<(), ReloadError> {
        self.running.reload(config).await
    }

    /// How the tasks that watch (discovery, probes) fare. One that was restarted means trouble.
    pub fn tasks(&self) -> Vec<TaskSnapshot> {
        self.running.tasks.snapshot()
    }

    /// The gateway as it is now. Walks over every replica: for people and scrapers, not per request.
    pub fn snapshot(&self) -> Snapshot {
        let shared = self.running.current.load_full();
        let now = Instant::now();
        Snapshot {
            listeners: self.listeners(),
            upstreams: shared.upstreams.iter().map(|upstream| upstream.snapshot(now)).collect(),
            websockets_open: shared.registry.len(),
            websockets_total: shared.telemetry.websockets_total.load(Ordering::Relaxed),
            tcp_open: shared.streams.len(),
            connections_open: shared.places.taken(),
            handshakes: shared.telemetry.handshakes.load(Ordering::Relaxed),
            handshakes_failed: shared.telemetry.handshakes_failed.load(Ordering::Relaxed),
            certificates: shared.certificates.snapshot(),
            uptime: now - shared.started_at,
        }
    }
}

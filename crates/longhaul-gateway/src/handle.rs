//! What the outside may see of a running gateway (snapshots) and ask of it (commands).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

pub use longhaul_policy::admission::revocation::Revocation;

use crate::admission::counters::{BOUNDS_MS, OUTCOMES};
use crate::readiness::Readiness;
use crate::shared::Shared;
use crate::supervise::{TaskSnapshot, Tasks};
use crate::tls::CertificateSnapshot;

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

/// Admission at one moment.
#[derive(Debug, Clone)]
pub struct AdmissionSnapshot {
    /// How often each outcome was reached, by its name.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Upper bounds of `took`, in milliseconds.
    pub took_bounds_ms: &'static [u64],
    /// Verdicts about tokens by how long they took: within each bound and above the one before, and
    /// last those above all.
    pub took: Vec<u64>,
    /// Seconds that all of them took together.
    pub took_s: f64,
    /// Open WebSockets that came by a token and end with it.
    pub granted_open: usize,
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
    pub(crate) fn new(shared: Arc<Shared>, listeners: Vec<SocketAddr>, tasks: Tasks) -> Self {
        Self { shared, listeners: listeners.into(), tasks }
    }

    /// Takes back what a subject or a token was granted: ends its WebSockets (4401) and refuses tokens
    /// from before for as long as `keep`. Returns how many WebSockets were told.
    pub fn revoke(&self, revocation: Revocation, keep: Duration) -> usize {
        self.shared.admission.live.revoke(revocation, keep)
    }

    /// Lets the open WebSockets of a subject go on until `expires`. Returns how many were concerned.
    pub fn refresh(&self, subject: &str, expires: SystemTime) -> usize {
        self.shared.admission.live.refresh(subject, expires)
    }

    /// What became of those who asked to come in, since the start.
    pub fn admission(&self) -> AdmissionSnapshot {
        let admission = &self.shared.admission;
        let counters = &admission.counters;
        AdmissionSnapshot {
            outcomes: OUTCOMES.map(|(it, name)| (name, counters.outcome(it))).into(),
            took_bounds_ms: &BOUNDS_MS,
            took: counters.took(),
            took_s: counters.took_s(),
            granted_open: admission.live.len(),
        }
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

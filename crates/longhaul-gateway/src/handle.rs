//! What the outside may see of a running gateway (snapshots) and ask of it (commands).

mod connections;
mod degraded;
mod snapshots;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

pub use longhaul_policy::admission::revocation::Revocation;
pub use longhaul_policy::diagnosis::Finding;

pub use self::connections::{ConnectionSnapshot, Wanted};
pub use self::snapshots::*;
use crate::admission::counters::OUTCOMES;
use crate::config::Config;
pub use crate::durable::Counts as SessionCounts;
use crate::readiness::Readiness;
use crate::reload::{ReloadDesk, ReloadError, ReloadRefused, Reloaded};
use crate::retire;
use crate::running::Running;
use crate::shared::Shared;
pub use crate::store::StoreSnapshot;
use crate::supervise::TaskSnapshot;
pub use crate::telemetry::ends::End;
pub use crate::telemetry::families::{FAMILIES, Family, Kind};
pub use crate::telemetry::lag::LoopSnapshot;
pub use crate::telemetry::page::Format;
pub use crate::telemetry::process::Memory;
pub use crate::telemetry::totals::Totals;
use crate::telemetry::{gather, process, totals};
use crate::upstream::{Draining, Replica, Upstream};
pub use crate::validate::ServiceSnapshot;

/// A cheap, cloneable view of one gateway. Admin and the binary hold it; the data plane does not.
#[derive(Debug, Clone)]
pub struct Handle {
    running: Arc<Running>,
    readiness: Readiness,
    desk: ReloadDesk,
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
    pub(crate) fn new(running: Arc<Running>, readiness: Readiness, desk: ReloadDesk) -> Self {
        Self { running, readiness, desk }
    }

    /// Asks the client of every durable session for another link, spread over `spread`, before the old
    /// one goes: whoever is connected through something that will be restarted is moved off it. Says how
    /// many were asked.
    pub fn migrate_sessions(&self, spread: Duration) -> usize {
        self.shared().sessions.migrate(spread)
    }

    /// Takes back what a subject or a token was granted: ends its WebSockets (4401) and refuses tokens
    /// from before for as long as `keep`. Returns how many WebSockets were told.
    pub fn revoke(&self, revocation: Revocation, keep: Duration) -> usize {
        self.running.current.load().admission.live.revoke(revocation, keep)
    }

    /// Lets the open WebSockets of a subject go on until `expires`. Returns how many were concerned.
    pub fn refresh(&self, subject: &str, expires: SystemTime) -> usize {
        self.running.current.load().admission.live.refresh(subject, expires)
    }

    /// What became of those who asked to come in, since the start.
    pub fn admission(&self) -> AdmissionSnapshot {
        let shared = self.running.current.load();
        let admission = &shared.admission;
        let counters = &admission.counters;
        AdmissionSnapshot {
            outcomes: OUTCOMES.map(|(it, name)| (name, counters.outcome(it))).into(),
            granted_open: admission.live.len(),
            services: admission.services(),
        }
    }

    /// How it stands with the store that gateways share; `None`: there is none.
    pub fn store(&self) -> Option<StoreSnapshot> {
        self.shared().store.as_ref().map(|store| store.snapshot())
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

    /// Drains a replica: it gets nothing new, and its WebSockets leave by the `cutover` of their
    /// routes, spread over `leave_within`. Who is left is in the [`Snapshot`]. To be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`CommandError`] when there is no such replica.
    pub fn drain_replica(&self, upstream: &str, replica: SocketAddr) -> Result<(), CommandError> {
        let (upstream, replica) = self.find(upstream, replica)?;
        retire::begin(&self.shared(), &upstream, &replica, Draining::Asked);
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
        let shared = self.shared();
        let upstream = shared.upstreams.iter().find(|upstream| upstream.name() == name);
        let upstream = upstream.ok_or_else(|| CommandError::UnknownUpstream(name.to_owned()))?;
        let replica = upstream.find(address).ok_or_else(|| CommandError::UnknownReplica {
            upstream: name.to_owned(),
            replica: address,
        })?;
        Ok((Arc::clone(upstream), replica))
    }

    /// Everything that is counted, for scrapers. [`FAMILIES`] says what there is.
    pub fn metrics(&self, format: Format) -> String {
        gather::page(&self.shared(), &self.running.tasks, format)
    }

    /// Every route, HTTP first, each kind in the order of the config.
    pub fn routes(&self) -> Vec<RouteSnapshot> {
        let shared = self.shared();
        let config = &shared.config;
        let upstream = |index: usize| config.upstreams[index].name.clone();
        let http = config.routes.iter().map(|route| RouteSnapshot {
            name: route.name.clone(),
            is_tcp: false,
            takes: route.pattern.to_string(),
            upstream: upstream(route.upstream),
        });
        let tcp = config.tcp_routes.iter().map(|route| {
            let listener = &config.listeners[route.listener].name;
            let takes = match &route.server_names {
                None => format!("listener {listener}"),
                Some(names) => {
                    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                    format!("listener {listener}, TLS for {}", names.join(", "))
                }
            };
            let (name, upstream) = (route.name.clone(), upstream(route.upstream));
            RouteSnapshot { name, is_tcp: true, takes, upstream }
        });
        http.chain(tcp).collect()
    }

    /// How the last WebSockets ended, oldest first.
    pub fn ends(&self) -> Vec<End> {
        self.shared().telemetry.ends.all()
    }

    /// Counters of all routes together.
    pub fn totals(&self) -> Totals {
        Totals::of(&self.shared().telemetry)
    }

    /// Which hop ends connections lately, and why; the most frequent first.
    pub fn findings(&self) -> Vec<Finding> {
        totals::findings(&self.shared().telemetry)
    }

    /// Memory used and there, as far as the system says.
    pub fn memory(&self) -> Option<Memory> {
        process::memory(self.shared().config.limits.memory_bytes_max)
    }

    /// Client connections that may be open at once.
    pub fn connections_max(&self) -> usize {
        self.shared().config.limits.connections_max
    }

    /// Which event loop hangs, if one does: then the process should be started anew.
    pub fn hanging(&self) -> Option<String> {
        self.running.current.load().telemetry.loops.hanging(Instant::now())
    }

    /// How the event loops fare.
    pub fn loops(&self) -> Vec<LoopSnapshot> {
        self.shared().telemetry.loops.snapshot(Instant::now())
    }

    /// The gateway as it is now. Walks over every replica: for people and scrapers, not per request.
    pub fn snapshot(&self) -> Snapshot {
        let shared = self.shared();
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
            sessions: shared.sessions.counts(),
            uptime: now - shared.started_at,
        }
    }

    /// The sockets that clients come to, each with a descriptor of its own, those of a listener in a row.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub async fn sockets(&self) -> io::Result<Vec<TcpListener>> {
        self.running.sockets().await
    }

    /// Counts an attempt to upgrade the binary by its outcome: `taken`, `failed` or `rehearsed`.
    pub fn note_upgrade(&self, outcome: &'static str) {
        self.shared().telemetry.binary_upgrades.count(&[outcome]);
    }

    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.running
    }

    fn shared(&self) -> Arc<Shared> {
        self.running.current.load_full()
    }
}

//! Shares the health of one upstream's replicas between workers and probes, and says what changed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use longhaul_policy::health::{Change, Health, HealthPolicy, Standing};
use tokio::sync::watch;
use tracing::{info, warn};

use super::lock;
use super::replica::Replica;
use crate::config::UpstreamConfig;

type Tell = Box<dyn Fn(SocketAddr) + Send + Sync>;

/// The health of one upstream's replicas.
pub(super) struct Ward {
    upstream: String,
    policy: ArcSwap<HealthPolicy>,
    health: Mutex<Health>,
    on_lost: OnceLock<Tell>,
    /// Times a replica came up, went down, was ejected.
    changes: [AtomicU64; 3],
    changed: watch::Sender<()>,
}

impl Ward {
    pub(super) fn new(config: &UpstreamConfig, changed: watch::Sender<()>) -> Arc<Self> {
        Arc::new(Self {
            upstream: config.name.clone(),
            policy: ArcSwap::from_pointee(config.health.clone()),
            health: Mutex::new(Health::new(config.health.clone(), config.probe.is_some())),
            on_lost: OnceLock::new(),
            changes: Default::default(),
            changed,
        })
    }

    pub(super) fn policy(&self) -> Guard<Arc<HealthPolicy>> {
        self.policy.load()
    }

    /// Judges by another policy from now on. What was found out stays.
    pub(super) fn retune(&self, config: &UpstreamConfig, replicas: &[Arc<Replica>]) {
        let mut health = lock(&self.health);
        health.retune(config.health.clone(), config.probe.is_some());
        self.policy.store(Arc::new(config.health.clone()));
        replicas.iter().for_each(|replica| refresh(&health, replica));
    }

    /// How often a replica changed since the start, by what it became.
    pub(super) fn changes(&self) -> [(&'static str, u64); 3] {
        let number = |kind: usize| self.changes[kind].load(Ordering::Relaxed);
        [("up", number(0)), ("down", number(1)), ("ejected", number(2))]
    }

    pub(super) fn on_lost(&self, tell: Tell) {
        // Set once at start: a second caller would be a mistake of ours, and the first one stays.
        let _ = self.on_lost.set(tell);
    }

    /// Takes a replica in, and returns how it stands.
    pub(super) fn admit(&self, replica: SocketAddr, now: Instant) -> Standing {
        let mut health = lock(&self.health);
        health.add(replica, now);
        health.standing(replica).expect("it was added one line above")
    }

    pub(super) fn discharge(&self, replica: SocketAddr) {
        lock(&self.health).remove(replica);
    }

    pub(super) fn note_success(&self, replica: &Replica) {
        lock(&self.health).note_success(replica.address());
    }

    pub(super) fn note_failure(&self, replica: &Replica, now: Instant) {
        let change = {
            let mut health = lock(&self.health);
            let change = health.note_failure(replica.address(), now);
            refresh(&health, replica);
            change
        };
        self.announce(replica, change, "connects or handshakes failed");
    }

    pub(super) fn note_probe(&self, replica: &Replica, outcome: &Result<(), String>, now: Instant) {
        let change = {
            let mut health = lock(&self.health);
            let change = health.note_probe(replica.address(), outcome.is_ok(), now);
            refresh(&health, replica);
            change
        };
        self.announce(replica, change, outcome.as_ref().err().map_or("passed", String::as_str));
    }

    /// Logs a change, once, and tells whoever must act on it.
    fn announce(&self, replica: &Replica, change: Option<Change>, reason: &str) {
        let address = replica.address();
        let upstream = self.upstream.as_str();
        let Some(change) = change else { return };
        let kind = match change {
            Change::CameUp => 0,
            Change::WentDown => 1,
            Change::Ejected { .. } => 2,
        };
        self.changes[kind].fetch_add(1, Ordering::Relaxed);
        match change {
            Change::CameUp => info!(upstream, replica = %address, "replica is up"),
            Change::WentDown => {
                warn!(upstream, replica = %address, reason, "replica is down");
                replica.count_loss();
                if let Some(tell) = self.on_lost.get() {
                    tell(address);
                }
            }
            Change::Ejected { out_for } => {
                let out_s = out_for.as_secs_f64();
                warn!(upstream, replica = %address, reason, out_s, "replica is ejected");
            }
        }
        self.changed.send_replace(());
    }
}

/// Copies the new standing to the replica while the ward is still locked, so that copies are made
/// in the order of the changes.
fn refresh(health: &Health, replica: &Replica) {
    if let Some(standing) = health.standing(replica.address()) {
        replica.set_standing(standing);
    }
}

impl fmt::Debug for Ward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ward").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

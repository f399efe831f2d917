//! One backend instance: what it holds now, and how it stands.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use longhaul_policy::affinity::cookie::Tag;
use longhaul_policy::balance::{Candidate, stable_hash};
use longhaul_policy::health::{Standing, State};

use super::ward::Ward;
use super::{Work, lock};

/// One backend instance. Its counters outlive re-resolution: same address, same `Replica`.
pub struct Replica {
    address: SocketAddr,
    id: u64,
    tag: Tag,
    weight: AtomicU32,
    websockets: AtomicUsize,
    requests: AtomicUsize,
    streams: AtomicUsize,
    /// A copy of what the ward knows, so that picking asks no lock that all replicas share.
    standing: Mutex<Standing>,
    /// Failures at work since the last success, or more: lets successes skip the ward.
    failures_seen: AtomicU32,
    /// How often it has gone down by its probes.
    losses: AtomicU64,
    probe_failure: Mutex<Option<String>>,
    /// Whether, and why, it gets nothing new and what it holds is to leave.
    draining: AtomicU8,
    ward: Arc<Ward>,
}

impl Replica {
    pub(super) fn new(
        address: SocketAddr,
        weight: u32,
        tag: Tag,
        ward: Arc<Ward>,
        standing: Standing,
    ) -> Self {
        Self {
            address,
            id: stable_hash(address.to_string().as_bytes()),
            tag,
            weight: AtomicU32::new(weight),
            websockets: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            standing: Mutex::new(standing),
            failures_seen: AtomicU32::new(0),
            losses: AtomicU64::new(0),
            probe_failure: Mutex::new(None),
            draining: AtomicU8::new(0),
            ward,
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// WebSockets it holds through this gateway.
    pub fn open_websockets(&self) -> usize {
        self.websockets.load(Ordering::Relaxed)
    }

    /// HTTP requests it is answering through this gateway.
    pub fn open_requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Raw TCP connections it holds through this gateway.
    pub fn open_streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Everything it holds through this gateway.
    pub fn open_work(&self) -> usize {
        self.open_websockets() + self.open_requests() + self.open_streams()
    }

    /// How it stands.
    pub fn state(&self, now: Instant) -> State {
        lock(&self.standing).state(&self.ward.policy(), now)
    }

    /// Counts one piece of work until the guard is dropped.
    pub fn hold(self: &Arc<Self>, work: Work) -> Held {
        self.counter(work).fetch_add(1, Ordering::Relaxed);
        let losses = self.losses.load(Ordering::Acquire);
        Held { replica: Arc::clone(self), work, losses }
    }

    /// Passive health: a connect or handshake went well.
    pub fn note_success(&self) {
        if self.failures_seen.swap(0, Ordering::Relaxed) > 0 {
            self.ward.note_success(self);
        }
    }

    /// Passive health: a connect or handshake failed. One too many in a row ejects the replica, if
    /// the others can do without it.
    pub fn note_failure(&self, now: Instant) {
        self.failures_seen.fetch_add(1, Ordering::Relaxed);
        self.ward.note_failure(self, now);
    }

    /// Active health: a probe passed or failed.
    pub(crate) fn note_probe(&self, outcome: Result<(), String>, now: Instant) {
        self.ward.note_probe(self, &outcome, now);
        *lock(&self.probe_failure) = outcome.err();
    }

    /// Active health: it answered that it is not ready, which is no failure.
    pub(crate) fn note_unready(&self, reason: Option<String>) {
        *lock(&self.probe_failure) = reason;
    }

    /// Whether its last verdict by probes is that it is well.
    pub(crate) fn is_proven(&self, now: Instant) -> bool {
        !matches!(self.state(now), State::Down | State::Unproven)
    }

    /// What the last probe failed with, if it failed.
    pub fn probe_failure(&self) -> Option<String> {
        lock(&self.probe_failure).clone()
    }

    /// Whether it gets nothing new and is to be left.
    pub fn is_draining(&self) -> bool {
        self.draining().is_some()
    }

    /// Whether it gets new work. One that has left is asked for it only by who looked before it did.
    pub(super) fn takes_work(&self) -> bool {
        matches!(self.draining(), None | Some(Draining::Left))
    }

    /// Why it gets nothing new and is to be left.
    pub fn draining(&self) -> Option<Draining> {
        match self.draining.load(Ordering::Acquire) {
            1 => Some(Draining::Asked),
            2 => Some(Draining::Left),
            3 => Some(Draining::Said),
            4 => Some(Draining::Unready),
            _ => None,
        }
    }

    /// Says whether it drains. True when that changes; who asked for it first keeps the word.
    pub(crate) fn set_draining(&self, draining: Option<Draining>) -> bool {
        let word = match draining {
            None => return self.draining.swap(0, Ordering::AcqRel) != 0,
            Some(Draining::Asked) => 1,
            Some(Draining::Left) => 2,
            Some(Draining::Said) => 3,
            Some(Draining::Unready) => 4,
        };
        self.draining.compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn candidate(&self, now: Instant) -> Candidate {
        Candidate {
            id: self.id,
            open: self.open_work(),
            weight: self.weight.load(Ordering::Relaxed),
            share: lock(&self.standing).share(&self.ward.policy(), now),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn tag(&self) -> &Tag {
        &self.tag
    }

    pub(super) fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        *lock(&self.standing) = standing;
    }

    pub(super) fn count_loss(&self) {
        self.losses.fetch_add(1, Ordering::Release);
    }

    fn counter(&self, work: Work) -> &AtomicUsize {
        match work {
            Work::WebSocket => &self.websockets,
            Work::Request => &self.requests,
            Work::Tcp => &self.streams,
        }
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why a replica gets nothing new and is to be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draining {
    /// An operator asked for it.
    Asked,
    /// It is no longer among those that its sources name.
    Left,
    /// It said so itself.
    Said,
    /// Its probes are answered with 503: it is there, and not ready.
    Unready,
}

impl Draining {
    /// Its name in the API and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Left => "left",
            Self::Said => "said",
            Self::Unready => "unready",
        }
    }
}

/// One piece of work a replica holds; dropping it ends the count.
#[derive(Debug)]
pub struct Held {
    replica: Arc<Replica>,
    work: Work,
    losses: u64,
}

impl Held {
    /// Who holds it.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Whether the replica went down by its probes since this was taken, which ends the work.
    ///
    /// Ask once after registering with whoever `Upstream::on_lost` tells: what was told just before
    /// is not missed then.
    pub fn is_lost(&self) -> bool {
        self.replica.losses.load(Ordering::Acquire) != self.losses
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.replica.counter(self.work).fetch_sub(1, Ordering::Relaxed);
    }
}

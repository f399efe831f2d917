//! The replicas of each upstream as they are now: who may take work, and who holds how much.
//!
//! What to do is decided by `longhaul_policy` (balance, affinity, health); this room keeps the state
//! those decisions need and shares it between workers. Finding replicas is the work of `discover`,
//! asking them how they are that of `probe`, talking to them that of `dial`.
//!
//! Start at [`Upstream::pick`]. Nothing here is touched per message.

mod affinity;
mod members;
mod replica;
#[cfg(test)]
mod tests;
mod ward;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use http::request::Parts;
use longhaul_policy::affinity::sessions::Sessions;
use longhaul_policy::balance::{Balancer, Candidate};
use longhaul_policy::health::State;
use tokio::sync::watch;

use self::members::Members;
pub(crate) use self::members::{Endpoint, SourceId};
pub use self::replica::{Draining, Held, Replica};
use self::ward::Ward;
use crate::config::UpstreamConfig;
use crate::handle::{ReplicaSnapshot, UpstreamSnapshot};
use crate::http::pool::Place;
use crate::redial::overheard::Overheard;

/// How long an Engine.IO session id is remembered without use. Its client polls or pings every 25 s
/// by default; one that was silent for so long has long been given up by its replica.
const SESSION_IDLE_MAX: Duration = Duration::from_secs(15 * 60);

/// One upstream at work. Shared by all workers; nothing here is touched per message.
pub struct Upstream {
    name: String,
    told: ArcSwap<Told>,
    affinity_key: [u8; 32],
    replicas: ArcSwap<Vec<Arc<Replica>>>,
    members: Mutex<Members>,
    balancer: Mutex<Balancer>,
    sessions: Mutex<Sessions>,
    overheard: Overheard,
    ward: Arc<Ward>,
    /// Sources that have not been asked once yet.
    sources_pending: AtomicUsize,
    /// Sent to whenever the replicas or their health may have changed.
    changed: watch::Sender<()>,
    on_leaving: OnceLock<TellLeaving>,
}

type TellLeaving = Box<dyn Fn(&Arc<Replica>, Draining) + Send + Sync>;
/// What an upstream was told, until it is told something else.
#[derive(Debug)]
struct Told {
    config: UpstreamConfig,
    /// Under this name replicas are named to clients.
    cookie_name: Option<String>,
    /// Names how replicas are spoken to: connections made in one way are not used in another.
    pool_terms: u64,
}

/// The config of an upstream as it was when asked for. Not to be kept: a reload makes another one.
#[derive(Debug)]
pub struct ConfigGuard(Guard<Arc<Told>>);

impl Deref for ConfigGuard {
    type Target = UpstreamConfig;

    fn deref(&self) -> &UpstreamConfig {
        &self.0.config
    }
}

/// Why no replica could be picked.
#[derive(Debug, thiserror::Error)]
pub enum NoReplica {
    /// None is known: names have not been found yet, or stand for nothing.
    #[error("upstream {upstream:?} has no replicas")]
    Empty {
        /// Its name.
        upstream: String,
    },
    /// There are some, but every one drains.
    #[error("upstream {upstream:?}: all {total} replicas drain")]
    Draining {
        /// Its name.
        upstream: String,
        /// How many there are.
        total: usize,
    },
    /// There are some, but every one has been tried for this request.
    #[error("upstream {upstream:?}: all {total} replicas have been tried")]
    Exhausted {
        /// Its name.
        upstream: String,
        /// How many there are.
        total: usize,
    },
}

/// What kind of work a replica is picked for. All of it weighs in `least_connections` while it is
/// open, which for a WebSocket is its whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A WebSocket, from its handshake to its end.
    WebSocket,
    /// An HTTP request, from its head to the end of its answer.
    Request,
    /// A raw TCP connection.
    Tcp,
}

impl Upstream {
    /// Makes an upstream of its fixed addresses. Names join once `discover` has found them.
    ///
    /// `affinity_key` signs cookies; `affinity_entries_max` bounds the Engine.IO session ids that
    /// are remembered.
    pub fn new(
        config: UpstreamConfig,
        affinity_key: [u8; 32],
        affinity_entries_max: usize,
    ) -> Arc<Self> {
        let (changed, _) = watch::channel(());
        let upstream = Arc::new(Self {
            name: config.name.clone(),
            replicas: ArcSwap::default(),
            members: Mutex::new(Members::new(&[])),
            balancer: Mutex::new(Balancer::new(config.strategy)),
            sessions: Mutex::new(Sessions::new(affinity_entries_max, SESSION_IDLE_MAX)),
            overheard: Overheard::default(),
            ward: Ward::new(&config, changed.clone()),
            sources_pending: AtomicUsize::new(0),
            changed,
            on_leaving: OnceLock::new(),
            affinity_key,
            told: ArcSwap::from_pointee(Told {
                cookie_name: affinity::cookie_name(&config),
                pool_terms: new_pool_terms(),
                config,
            }),
        });
        let sources = upstream.config().sources.clone();
        upstream.replace_sources(&sources, Instant::now());
        upstream
    }

    /// What it was told.
    pub fn config(&self) -> ConfigGuard {
        ConfigGuard(self.told.load())
    }

    /// Tells it something else. Replicas that stay keep their counters, their health and, where they
    /// are spoken to as before, their connections; those that are gone get no new work.
    ///
    /// Whoever watches on behalf of the old config must be started anew.
    pub(crate) fn retune(&self, config: UpstreamConfig, now: Instant) {
        let before = self.told.load_full();
        let was = &before.config;
        let is_same_way = was.tls == config.tls
            && was.proxy_protocol == config.proxy_protocol
            && was.http2 == config.http2;
        if was.strategy != config.strategy {
            *lock(&self.balancer) = Balancer::new(config.strategy);
        }
        self.ward.retune(&config, &self.replicas.load());
        self.told.store(Arc::new(Told {
            cookie_name: affinity::cookie_name(&config),
            pool_terms: if is_same_way { before.pool_terms } else { new_pool_terms() },
            config,
        }));
        let sources = self.config().sources.clone();
        self.replace_sources(&sources, now);
    }

    /// Lets all its replicas go: no route leads here any more.
    pub(crate) fn retire(&self, now: Instant) {
        self.replace_sources(&[], now);
    }

    /// Where idle connections to a replica are kept.
    pub(crate) fn pool_place(&self, replica: &Replica) -> Place {
        Place { replica: replica.address(), terms: self.told.load().pool_terms }
    }

    /// Its name, for logs and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The replicas it has now.
    pub fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        self.replicas.load_full()
    }

    /// Picks a replica that is not in `tried`: affinity first, then the strategy, among those that
    /// health lets through. When all are ejected or down the floor applies: the least bad is tried.
    /// `head` is `None` for raw TCP.
    ///
    /// # Errors
    /// [`NoReplica`] when there is none, or none left.
    pub fn pick(
        &self,
        head: Option<&Parts>,
        client: IpAddr,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Result<Arc<Replica>, NoReplica> {
        let replicas = self.replicas.load();
        let untried: Vec<(&Arc<Replica>, State)> = replicas
            .iter()
            .filter(|replica| replica.takes_work() && !tried.contains(&replica.address()))
            .map(|replica| (replica, replica.state(now)))
            .collect();
        if let Some(head) = head
            && let Some(known) = self.known_to(head, &untried, now)
        {
            return Ok(Arc::clone(known));
        }
        let best = untried.iter().map(|(_, state)| rank(*state)).min();
        let pool: Vec<&Arc<Replica>> = untried
            .iter()
            .filter(|(_, state)| Some(rank(*state)) == best)
            .map(|(replica, _)| *replica)
            .collect();
        let candidates: Vec<Candidate> =
            pool.iter().map(|replica| replica.candidate(now)).collect();
        let picked = self.choose(&candidates, head, client).and_then(|index| pool.get(index));
        picked.copied().cloned().ok_or_else(|| self.nobody(&replicas))
    }

    /// What affinity adds to the answer of `replica` for the request `head`: a `Set-Cookie` value.
    ///
    /// It is `Secure` when `X-Forwarded-Proto` in `head` says `https`. Give it the head after
    /// `forwarded::apply`; before that a client could set the flag, on its own cookie only.
    pub fn cookie_for(&self, head: &Parts, replica: &Replica) -> Option<http::HeaderValue> {
        let told = self.told.load();
        affinity::set_cookie(&told.config.affinity, told.cookie_name.as_deref()?, head, replica)
    }

    /// Whether the response body of this request must be shown to `learn`: an Engine.IO handshake.
    pub fn learns_from(&self, head: &Parts) -> bool {
        affinity::learns_from(&self.config().affinity, head)
    }

    /// Reads the `sid` from the first bytes of an Engine.IO handshake answer and remembers it. 1 KiB
    /// is more than enough; a compressed answer teaches nothing.
    pub fn learn(&self, body_start: &[u8], replica: &Replica, now: Instant) {
        if let Some(sid) = longhaul_policy::affinity::engine_io::sid_of_answer(body_start) {
            lock(&self.sessions).insert(&sid, replica.address(), now);
        }
    }

    /// Every Engine.IO session id that is remembered, with its replica.
    pub(crate) fn known_sids(&self) -> Vec<(String, SocketAddr)> {
        lock(&self.sessions).all().map(|(sid, replica)| (sid.to_owned(), replica)).collect()
    }

    /// Remembers what another process had learnt.
    pub(crate) fn recall_sids(&self, sids: &[(String, SocketAddr)], now: Instant) {
        let mut sessions = lock(&self.sessions);
        for (sid, replica) in sids {
            sessions.insert(sid, *replica, now);
        }
    }

    /// What clients of Engine.IO said over long-polling.
    pub(crate) fn overheard(&self) -> &Overheard {
        &self.overheard
    }

    /// Sets what is told when a replica goes down by its probes: its address. Its WebSockets are
    /// lost then. Ejection tells nothing, and neither does leaving discovery: what is open may go
    /// on there.
    ///
    /// Called once, at start; later calls change nothing. `tell` must not block.
    pub fn on_lost(&self, tell: impl Fn(SocketAddr) + Send + Sync + 'static) {
        self.ward.on_lost(Box::new(tell));
    }

    /// Sets who is told when a replica is to be left, and why: no source names it any more, or it says
    /// that it is not ready. Called once, at start; later calls change nothing. `tell` must not block.
    pub(crate) fn on_leaving(
        &self,
        tell: impl Fn(&Arc<Replica>, Draining) + Send + Sync + 'static,
    ) {
        let _ = self.on_leaving.set(Box::new(tell));
    }

    /// The replica at this address, also one that has left and still holds something.
    pub(crate) fn find(&self, address: SocketAddr) -> Option<Arc<Replica>> {
        let known = self.replicas.load().iter().find(|one| one.address() == address).cloned();
        known.or_else(|| self.departed().into_iter().find(|one| one.address() == address))
    }

    /// This upstream as the outside sees it, with those that have left and still hold something.
    pub fn snapshot(&self, now: Instant) -> UpstreamSnapshot {
        let replicas = self.replicas.load();
        let departed = self.departed();
        let all = replicas.iter().chain(departed.iter().filter(|one| one.open_work() > 0));
        UpstreamSnapshot {
            name: self.name.clone(),
            replicas: all.map(|replica| ReplicaSnapshot::of(replica, now)).collect(),
            changes: self.ward.changes(),
        }
    }

    /// Wakes whenever the replicas or their health may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn choose(
        &self,
        candidates: &[Candidate],
        head: Option<&Parts>,
        client: IpAddr,
    ) -> Option<usize> {
        let (key, is_pinned) = affinity::hash_key(&self.config(), head, client);
        match &key {
            Some(key) if is_pinned => longhaul_policy::balance::consistent_hash(candidates, key),
            _ => lock(&self.balancer).pick(candidates, key.as_deref(), fastrand::u64(..)),
        }
    }

    fn nobody(&self, replicas: &[Arc<Replica>]) -> NoReplica {
        let (upstream, total) = (self.name.clone(), replicas.len());
        match total {
            0 => NoReplica::Empty { upstream },
            _ if !replicas.iter().any(|replica| replica.takes_work()) => {
                NoReplica::Draining { upstream, total }
            }
            _ => NoReplica::Exhausted { upstream, total },
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key that signs cookies stays out of it.
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .field("replicas", &self.replicas.load())
            .finish_non_exhaustive()
    }
}

impl ReplicaSnapshot {
    fn of(replica: &Replica, now: Instant) -> Self {
        Self {
            address: replica.address(),
            state: replica.state(now).name(),
            websockets_open: replica.open_websockets(),
            requests_open: replica.open_requests(),
            tcp_open: replica.open_streams(),
            probe_failure: replica.probe_failure(),
            draining: replica.draining().map(Draining::name),
        }
    }
}

/// Names one way of speaking to replicas. No two are alike.
fn new_pool_terms() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Those of a lower rank are tried only when none of a higher one is left.
fn rank(state: State) -> u8 {
    match state {
        State::Up | State::Starting => 0,
        State::Unproven => 1,
        State::Ejected => 2,
        State::Down => 3,
    }
}

/// Takes a lock. Nothing under these locks leaves its state half-changed, so a panic elsewhere
/// while one was held is no reason to stop serving.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

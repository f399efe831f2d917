//! HTTP/2 toward replicas: a few connections to each, shared by all requests of one worker.
//!
//! A request takes a [`Place`] on a trunk that has room, waits for one, or has another trunk opened;
//! one at a time, so that a burst does not become as many connections. A replica that does not
//! choose HTTP/2 in its TLS handshake is spoken to by HTTP/1.1. WebSockets never come here.
//!
//! Start at [`Group::way`].

mod trunk;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use hyper::client::conn::http2::SendRequest;
use longhaul_policy::health::State;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;
use trunk::Trunk;

use super::answer::Refusal;
use super::exchange;
use super::pool::{self, Lease, Pool};
use super::upload::Upload;
use super::way::Way;
use crate::config::Http2Policy;
use crate::dial::Dial;
use crate::tls::Alpn;
use crate::transport::Transport;
use crate::upstream::{Replica, Upstream};

/// All trunks of one worker. Its locks are never contended: one thread uses it.
#[derive(Debug, Default)]
pub(crate) struct Trunks(Mutex<HashMap<pool::Place, Arc<Group>>>);

impl Trunks {
    /// The trunks to `replica`.
    pub(crate) fn to(&self, replica: &Arc<Replica>, upstream: &Arc<Upstream>) -> Arc<Group> {
        let key = upstream.pool_place(replica);
        let make = || Arc::new(Group::new(replica, upstream));
        lock(&self.0).entry(key).or_insert_with(make).clone()
    }

    /// Lets go of what has been idle for too long, and of replicas that are gone or down; called
    /// now and then by the worker.
    pub(crate) fn sweep(&self, now: Instant) {
        lock(&self.0).retain(|_, group| group.tidy(now));
    }
}

/// The trunks to one replica.
#[derive(Debug)]
pub(crate) struct Group {
    replica: Arc<Replica>,
    /// On which terms it is spoken to.
    place: pool::Place,
    /// Whose replica it is. Gone when the configuration no longer has it.
    upstream: Weak<Upstream>,
    trunks: Mutex<Vec<Arc<Trunk>>>,
    is_dialing: AtomicBool,
    /// Whether its last TLS handshake ended without HTTP/2.
    is_http1: AtomicBool,
    /// Told of each place that is free again, and of each attempt to connect that ended.
    freed: Notify,
}

/// What a look at the trunks found.
enum Look {
    Room(Place),
    Dial(Dialing),
    Full,
}

impl Group {
    fn new(replica: &Arc<Replica>, upstream: &Arc<Upstream>) -> Self {
        Self {
            replica: replica.clone(),
            place: upstream.pool_place(replica),
            upstream: Arc::downgrade(upstream),
            trunks: Mutex::default(),
            is_dialing: AtomicBool::new(false),
            is_http1: AtomicBool::new(false),
            freed: Notify::new(),
        }
    }

    /// A way to the replica for one request. `None` means: pick the next.
    pub(crate) async fn way(
        self: &Arc<Self>,
        policy: &Http2Policy,
        dial: &mut Dial<'_>,
        pool: &Pool,
    ) -> Option<Way> {
        let config = dial.upstream.config();
        if let Some(lease) = self.idle_http1(dial, pool) {
            return Some(lease.into());
        }
        let patience = dial.attempt();
        let waiting = async {
            loop {
                let mut freed = pin!(self.freed.notified());
                // Counted as waiting before the look, so that nothing is missed between the two.
                freed.as_mut().enable();
                match self.look(policy) {
                    Look::Full => freed.await,
                    found => return found,
                }
            }
        };
        match timeout(patience, waiting).await {
            Ok(Look::Room(place)) => Some(place.into()),
            Ok(Look::Dial(dialing)) => {
                let stream = dial.connect_offering(&self.replica, Alpn::Http2).await?;
                if config.tls.is_some() && stream.protocol() != Some(b"h2") {
                    drop(dialing);
                    return self.fall_back(stream, dial, pool).await;
                }
                let place = self.open(stream, policy, dial).await;
                drop(dialing);
                place.map(Way::from)
            }
            Ok(Look::Full) | Err(_) => {
                let full = format_args!("all connections were full for {patience:?}").to_string();
                dial.fail(Refusal::ConnectTimeout.of(self.replica.address(), full));
                None
            }
        }
    }

    /// An idle connection to a replica that speaks HTTP/1.1 after all.
    fn idle_http1(&self, dial: &Dial<'_>, pool: &Pool) -> Option<Lease> {
        let config = dial.upstream.config();
        if !self.is_http1.load(Ordering::Relaxed) {
            return None;
        }
        let (idle_max, idle_time) = (config.idle_connections_max, config.idle_connection);
        let place = dial.upstream.pool_place(&self.replica);
        pool.take(place, idle_max, idle_time, Instant::now())
    }

    fn look(self: &Arc<Self>, policy: &Http2Policy) -> Look {
        let mut trunks = lock(&self.trunks);
        trunks.retain(|trunk| trunk.is_usable());
        let free = trunks.iter().filter(|trunk| trunk.has_room());
        if let Some(trunk) = free.min_by_key(|trunk| trunk.open_streams()) {
            return Look::Room(Place::on(trunk, self, true));
        }
        if trunks.len() >= policy.connections_max {
            return Look::Full;
        }
        // Whoever cannot share a connection need not wait for another's.
        let may_dial =
            self.is_http1.load(Ordering::Relaxed) || !self.is_dialing.swap(true, Ordering::Relaxed);
        if may_dial { Look::Dial(Dialing(self.clone())) } else { Look::Full }
    }

    async fn open(
        self: &Arc<Self>,
        stream: Transport,
        policy: &Http2Policy,
        dial: &mut Dial<'_>,
    ) -> Option<Place> {
        let patience = dial.attempt();
        let address = self.replica.address();
        let failure = match timeout(patience, Trunk::open(stream, policy)).await {
            Ok(Ok(trunk)) => {
                self.is_http1.store(false, Ordering::Relaxed);
                let place = Place::on(&trunk, self, false);
                lock(&self.trunks).push(trunk);
                return Some(place);
            }
            Ok(Err(error)) => Refusal::AnswerGarbled
                .of(address, format_args!("{error}; does the replica speak HTTP/2 on this port?")),
            Err(_) => Refusal::ConnectTimeout
                .of(address, format_args!("no settings of HTTP/2 in {patience:?}")),
        };
        self.replica.note_failure(Instant::now());
        dial.fail(failure);
        None
    }

    /// Speaks HTTP/1.1 over a connection for which the replica did not choose HTTP/2.
    async fn fall_back(&self, stream: Transport, dial: &Dial<'_>, pool: &Pool) -> Option<Way> {
        if !self.is_http1.swap(true, Ordering::Relaxed) {
            let upstream = dial.upstream.name();
            warn!(upstream, replica = %self.replica.address(),
                "the replica does not choose HTTP/2 (ALPN); speaking HTTP/1.1 with it");
        }
        self.freed.notify_waiters();
        let sender = exchange::open(stream).await.ok()?;
        let idle_max = dial.upstream.config().idle_connections_max;
        let place = dial.upstream.pool_place(&self.replica);
        Some(pool.lease(place, sender, idle_max).into())
    }

    /// Closes what nobody needs. Says whether the group itself is still needed.
    fn tidy(&self, now: Instant) -> bool {
        let mut trunks = lock(&self.trunks);
        let is_ours = |known: &Arc<Replica>| Arc::ptr_eq(known, &self.replica);
        let upstream = self.upstream.upgrade();
        let upstream = upstream.filter(|upstream| {
            let is_same_way = upstream.pool_place(&self.replica) == self.place;
            is_same_way && upstream.replicas().iter().any(is_ours)
        });
        let Some(upstream) = upstream else {
            // Open requests hold their trunk, and go on to their end.
            trunks.clear();
            return false;
        };
        let is_down = self.replica.state(now) == State::Down;
        let idle_time = upstream.config().idle_connection;
        trunks.retain(|trunk| {
            let is_old = trunk.idle_since().is_some_and(|since| now - since >= idle_time);
            trunk.is_usable() && !is_down && !is_old
        });
        true
    }
}

/// The one attempt to connect at a time.
struct Dialing(Arc<Group>);

impl Drop for Dialing {
    fn drop(&mut self) {
        self.0.is_dialing.store(false, Ordering::Relaxed);
        self.0.freed.notify_waiters();
    }
}

/// One request's place on a trunk, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    trunk: Arc<Trunk>,
    group: Arc<Group>,
    /// Whether the trunk served a request before: then the replica may be closing it right now.
    pub(crate) is_reused: bool,
}

impl Place {
    fn on(trunk: &Arc<Trunk>, group: &Arc<Group>, is_reused: bool) -> Self {
        trunk.begin();
        // There may be room for one more of those who wait: the replica may have raised its limit.
        if trunk.has_room() {
            group.freed.notify_one();
        }
        Self { trunk: trunk.clone(), group: group.clone(), is_reused }
    }

    /// What sends the request.
    pub(crate) fn sender(&self) -> SendRequest<Upload> {
        self.trunk.sender()
    }

    /// Begins no further request on this trunk: it does not look well.
    pub(crate) fn retire(&self) {
        self.trunk.retire();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.trunk.end();
        self.group.freed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is whole after each call, whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

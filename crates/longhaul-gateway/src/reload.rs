//! Puts another configuration into effect while connections go on.
//!
//! Whatever may fail is done first, and changes nothing. Then upstreams, certificates and limits
//! take over what is new, and in the end one pointer is swapped: connections and requests that come
//! from then on find the new configuration, whole.
//!
//! Who reads configurations, and from where, is not known here: [`ReloadAsks`] passes the wish on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::DropGuard;
use tracing::{info, warn};

use crate::background;
use crate::config::Config;
use crate::gateway::StartError;
use crate::running::{Bound, Running, make};
use crate::shared::Shared;
use crate::upstream::Upstream;

/// How long clients in the queue of a listener that goes are waited for. They are many only at the
/// connection limit, where they would wait for somebody else to leave.
const CLOSING_MAX: Duration = Duration::from_secs(1);

/// A request that found its route a moment before may still be on its way to this upstream: it picks
/// a replica within the connect deadline, and is admitted before that.
const RETIRE_MARGIN: Duration = Duration::from_secs(15);

/// Wishes that wait while another one is fulfilled; the next one is refused.
const ASKS_MAX: usize = 8;

/// Why a configuration was not put into effect. What held before still does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// It asks for something that the system does not give.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The process is on its way out.
    #[error("the gateway is draining")]
    Draining,
    /// Its connections are on their way to another process.
    #[error("an upgrade of the binary is under way")]
    Moving,
}

/// What a reload has changed, in words for people.
#[derive(Debug, Clone, Default)]
pub struct Reloaded {
    /// One line for each key that is another one now.
    pub changes: Vec<String>,
    /// Keys that are read at the start alone, and were changed: they hold after a restart.
    pub after_restart: Vec<String>,
}

/// Why nothing was reloaded, in words for people.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ReloadRefused(pub String);

/// Somebody's wish to have the configuration read again.
#[derive(Debug)]
pub struct ReloadAsk(oneshot::Sender<Result<Reloaded, ReloadRefused>>);

impl ReloadAsk {
    /// Tells them how it went.
    pub fn answer(self, outcome: Result<Reloaded, ReloadRefused>) {
        // Who asked may have left.
        let _ = self.0.send(outcome);
    }
}

/// Such wishes, for whoever can read the configuration.
pub type ReloadAsks = mpsc::Receiver<ReloadAsk>;

/// Where wishes are brought.
#[derive(Debug, Clone)]
pub(crate) struct ReloadDesk(mpsc::Sender<ReloadAsk>);

impl ReloadDesk {
    pub(crate) fn new() -> (Self, ReloadAsks) {
        let (sender, receiver) = mpsc::channel(ASKS_MAX);
        (Self(sender), receiver)
    }

    pub(crate) async fn ask(&self) -> Result<Reloaded, ReloadRefused> {
        let (sender, answer) = oneshot::channel();
        let refused = |text: &str| ReloadRefused(text.to_owned());
        self.0.try_send(ReloadAsk(sender)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => refused("too many reloads are under way"),
            mpsc::error::TrySendError::Closed(_) => {
                refused("there is no configuration file to read again")
            }
        })?;
        answer.await.unwrap_or_else(|_| Err(refused("the gateway ended before it was done")))
    }
}

impl Running {
    /// Puts `config` into effect. What only a start can change stays as it is: the workers, the
    /// admin API, the key of affinity cookies, the terms of durable sessions and the store.
    ///
    /// # Errors
    /// [`ReloadError`]; then everything is as it was before.
    pub(crate) async fn reload(&self, mut config: Config) -> Result<(), ReloadError> {
        let mut parts = self.parts.lock().await;
        let before = self.current.load_full();
        if before.readiness.is_draining() || before.readiness.is_leaving() {
            return Err(ReloadError::Draining);
        }
        if self.is_moving.load(Ordering::Acquire) {
            return Err(ReloadError::Moving);
        }
        config.workers = before.config.workers;
        config.inherited = before.config.inherited.clone();
        config.affinity_key = before.config.affinity_key;
        // Its clients were told by the terms that held when they came.
        config.durable = before.config.durable.clone();
        config.store = before.config.store.clone();

        let mut doors = Vec::with_capacity(config.listeners.len());
        let mut bound: Vec<Bound> = Vec::new();
        for listener in &config.listeners {
            match parts.listeners.iter().find(|open| open.is(listener)) {
                Some(open) => doors.push(open.door),
                None => {
                    bound.push(parts.bind(listener, &config, None)?);
                    doors.extend(bound.last().map(|bound| bound.door));
                }
            }
        }
        let upstreams = config.upstreams.iter().map(|upstream| {
            let known = before.upstreams.iter().find(|known| known.name() == upstream.name);
            known.cloned().unwrap_or_else(|| make(upstream, &config))
        });
        let upstreams: Vec<Arc<Upstream>> = upstreams.collect();
        let after = before.followed_by(config, doors, upstreams).map_err(StartError::from)?;
        let after = Arc::new(after);

        // From here on nothing is refused any more.
        self.take_up(&mut parts.watches, &before, &after).await;
        after.places.resize(after.config.limits.connections_max);
        after.certificates.replace(&after.config.certificates);
        parts.certificate_watch = Some(self.watch_certificates(&after));

        let (stay, leave): (Vec<_>, Vec<_>) = std::mem::take(&mut parts.listeners)
            .into_iter()
            .partition(|open| after.listener_of(open.door.id).is_some());
        parts.listeners = stay;
        let close = async {
            for open in leave {
                info!("no longer listening on {}", open.door.address);
                open.close().await;
            }
        };
        if tokio::time::timeout(CLOSING_MAX, close).await.is_err() {
            warn!("a listener was closed with clients in its queue");
        }
        self.current.store(after.clone());
        for bound in bound {
            info!(listener = bound.listener.name, "listening on {}", bound.door.address);
            parts.listeners.push(self.open(bound));
        }
        let names: HashSet<&str> = after.upstreams.iter().map(|it| it.name()).collect();
        parts.watches.retain(|name, _| names.contains(name.as_str()));
        for gone in before.upstreams.iter().filter(|it| !names.contains(it.name())) {
            self.retire(gone.clone());
        }
        Ok(())
    }

    /// Has the replicas of an upstream go that no route names any more, once nobody can pick one.
    fn retire(&self, gone: Arc<Upstream>) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let last_pick = gone.config().connect_deadline + RETIRE_MARGIN;
            stop.run_until_cancelled(tokio::time::sleep(last_pick)).await;
            gone.retire(Instant::now());
        });
    }

    /// Tells upstreams what is new, and starts anew whoever watches them. One that was not there
    /// before is waited for, so that the first request finds replicas.
    async fn take_up(
        &self,
        watches: &mut HashMap<String, DropGuard>,
        before: &Shared,
        after: &Shared,
    ) {
        let is_dns_same = before.config.dns_servers == after.config.dns_servers;
        let mut settling = JoinSet::new();
        for (upstream, config) in after.upstreams.iter().zip(&after.config.upstreams) {
            // Whoever watched ends here, before the upstream is another one.
            let watch = watches.remove(upstream.name());
            if let Some(watch) = watch {
                if is_dns_same && *upstream.config() == *config {
                    watches.insert(upstream.name().to_owned(), watch);
                    continue;
                }
                drop(watch);
                upstream.retune(config.clone(), Instant::now());
            } else {
                settling.spawn(hear_of(upstream.clone()));
            }
            watches.insert(upstream.name().to_owned(), self.watch(upstream, after));
        }
        while settling.join_next().await.is_some() {}
    }
}

async fn hear_of(upstream: Arc<Upstream>) {
    if !background::settled(&upstream).await {
        warn!(upstream = upstream.name(), "in use before every replica was heard of");
    }
}

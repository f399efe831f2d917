//! Keeps the key set of an issuer fresh: fetched ahead of need, kept when a fetch fails, and asked
//! for anew when a token names a key that is not in it.
//!
//! A stranger can name keys as fast as it connects. However many do, there is one fetch at a time,
//! and none within [`PAUSE`] of the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::StatusCode;
use longhaul_policy::backoff::Backoff;
use longhaul_policy::token::Algorithm;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::KeySet;
use crate::faults;
use crate::fetch::{Fetch, Service};
use crate::supervise::{TaskError, Tasks};

/// The shortest time between two fetches that tokens asked for.
pub(crate) const PAUSE: Duration = Duration::from_secs(10);
/// What one fetch may take: nobody waits for it longer than its own deadline.
const PATIENCE: Duration = Duration::from_secs(5);
/// A set that is larger is none.
const BYTES_MAX: usize = 1 << 20;
/// Pauses after fetches that failed.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The key set of one issuer.
#[derive(Debug)]
pub(crate) struct RemoteKeys {
    fetch: Fetch,
    refresh: Duration,
    algorithms: Vec<Algorithm>,
    /// `None` until the first fetch went well.
    current: ArcSwap<Option<KeySet>>,
    /// How many fetches have begun and ended; more begun than ended: one is under way.
    began: watch::Sender<u64>,
    ended: watch::Sender<u64>,
    /// Milliseconds from `started_at` to the moment the last fetch began, plus one; 0: none has.
    began_at_ms: AtomicU64,
    started_at: Instant,
    /// Told when a token names an unknown key.
    wanted: tokio::sync::Notify,
}

impl RemoteKeys {
    pub(crate) fn new(service: Service, refresh: Duration, algorithms: Vec<Algorithm>) -> Self {
        Self {
            fetch: Fetch::new(service, 1),
            refresh,
            algorithms,
            current: ArcSwap::default(),
            began: watch::Sender::new(0),
            ended: watch::Sender::new(0),
            began_at_ms: AtomicU64::new(0),
            started_at: Instant::now(),
            wanted: tokio::sync::Notify::new(),
        }
    }

    /// The set as it is now; `None` while there has been none.
    pub(crate) fn current(&self) -> Arc<Option<KeySet>> {
        self.current.load_full()
    }

    /// Waits until there is one.
    pub(crate) async fn fetched(&self) {
        let mut ended = self.ended.subscribe();
        while self.current.load().is_none() {
            // The sender is ours, and so outlives the wait.
            let _ = ended.changed().await;
        }
    }

    /// Waits for a newer set, when one may be had. Says whether there is one. The caller has the
    /// deadline.
    pub(crate) async fn renew(&self) -> bool {
        let mut ended = self.ended.subscribe();
        let before = *ended.borrow_and_update();
        let is_under_way = *self.began.borrow() > before;
        if !is_under_way && !self.is_rested() {
            return false;
        }
        if !is_under_way {
            self.wanted.notify_one();
        }
        ended.changed().await.is_ok()
    }

    fn is_rested(&self) -> bool {
        let began_at = self.began_at_ms.load(Ordering::Acquire);
        let since = Duration::from_millis(began_at.saturating_sub(1));
        began_at == 0 || self.started_at.elapsed() >= since + PAUSE
    }

    async fn fetch_now(&self) -> Result<(), String> {
        let now = u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.began_at_ms.store(now + 1, Ordering::Release);
        self.began.send_modify(|count| *count += 1);
        let fetched = tokio::time::timeout(PATIENCE, self.load()).await;
        let result = match fetched {
            Ok(Ok(keys)) => {
                self.current.store(Arc::new(Some(keys)));
                Ok(())
            }
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err(format!("no answer in {PATIENCE:?}")),
        };
        self.ended.send_modify(|count| *count += 1);
        result
    }

    async fn load(&self) -> Result<KeySet, String> {
        let request = self.fetch.get().map_err(|error| error.to_string())?;
        let answer =
            self.fetch.send(request, BYTES_MAX).await.map_err(|error| error.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("it answers {}", answer.status));
        }
        let mut keys =
            KeySet::of_jwks(&answer.body).map_err(|fault| format!("the answer {fault}"))?;
        keys.restrict(&self.algorithms);
        if keys.is_empty() {
            return Err("none of its keys is of an algorithm among `algorithms`".into());
        }
        Ok(keys)
    }
}

/// Starts what keeps the set fresh; ends with `stop`.
pub(crate) fn keep_fresh(
    keys: &Arc<RemoteKeys>,
    name: &str,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let (keys, authority) = (keys.clone(), name.to_owned());
    let kept = tasks.keep_alive(format!("keys {name}"), stop.clone(), move || {
        watch_over(keys.clone(), authority.clone())
    });
    drop(tokio::spawn(kept));
}

async fn watch_over(keys: Arc<RemoteKeys>, authority: String) -> Result<(), TaskError> {
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    let mut is_first = true;
    loop {
        faults::point("keys")?;
        let pause = match keys.fetch_now().await {
            Ok(()) => {
                if std::mem::take(&mut is_first) {
                    info!(authority, url = %keys.fetch.service(), "keys fetched");
                }
                backoff.reset();
                // Not everybody who started together fetches together.
                keys.refresh.mul_f64(0.9 + 0.2 * fastrand::f64())
            }
            Err(reason) => {
                let pause = backoff.next_delay(fastrand::f64());
                let has_keys = keys.current().is_some();
                warn!(
                    authority, url = %keys.fetch.service(), reason, has_keys,
                    retry_in_s = pause.as_secs_f64(), "keys not fetched; those at hand stay in use"
                );
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = keys.asked() => {}
        }
    }
}

impl RemoteKeys {
    /// Returns when a fetch was asked for that may be.
    async fn asked(&self) {
        loop {
            self.wanted.notified().await;
            if self.is_rested() {
                return;
            }
        }
    }
}

//! Asks again about those who are inside: whether the service that let them in still would.
//!
//! Only where `revalidate` of a service says so. A service that says no ends the WebSocket; one that
//! says nothing ends nobody, since a dead service must not cost those who are connected.
//!
//! Start at [`Recheck::keep`].

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};
use tracing::{debug, info};

use super::authorities::Verdict;
use crate::faults;
use crate::relay::control::{Control, Order};
use crate::shared::Shared;
use crate::supervise::TaskError;

/// Questions under way at once. Nobody waits for them, so they leave the service to those at the door.
const AT_ONCE: usize = 8;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everybody who is asked about again.
#[derive(Debug, Default)]
pub(super) struct Rechecks {
    entries: Mutex<Entries>,
    /// Told when a question may be due sooner than the one that is waited for.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    /// With the moment at which each is due.
    by_id: HashMap<u64, (Instant, Arc<Entry>)>,
    /// Nearest first.
    due: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Entry {
    control: Arc<Control>,
    recheck: Recheck,
}

/// What is asked about somebody, and how often.
pub(super) struct Recheck {
    rechecks: Arc<Rechecks>,
    /// Who is asked, by name: a later configuration may have it elsewhere.
    authority: String,
    token: Option<String>,
    /// For a service that judges by the whole request.
    head: Option<Box<Parts>>,
    every: Duration,
    /// The first question comes so much later; `None`: after one period.
    first: Option<Duration>,
}

/// The same for another process.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct FrozenRecheck {
    pub(super) authority: String,
    token: Option<String>,
    head: Option<FrozenHead>,
    /// Until the next question.
    left: Duration,
}

#[derive(Clone, Serialize, Deserialize)]
struct FrozenHead {
    method: String,
    target: String,
    fields: Vec<FrozenField>,
}

#[derive(Clone, Serialize, Deserialize)]
struct FrozenField {
    name: String,
    #[serde(with = "longhaul_proto::frozen::bytes")]
    value: Vec<u8>,
}

/// One WebSocket that is asked about; dropping it ends that.
#[derive(Debug)]
pub(super) struct Kept {
    rechecks: Arc<Rechecks>,
    id: u64,
}

impl Recheck {
    pub(super) fn new(
        rechecks: &Arc<Rechecks>,
        authority: &str,
        token: Option<String>,
        head: Option<Box<Parts>>,
        every: Duration,
    ) -> Self {
        let (rechecks, authority) = (rechecks.clone(), authority.to_owned());
        Self { rechecks, authority, token, head, every, first: None }
    }

    /// What another process asked, at intervals of this one's.
    pub(super) fn thaw(
        rechecks: &Arc<Rechecks>,
        frozen: FrozenRecheck,
        every: Duration,
    ) -> Option<Self> {
        let FrozenRecheck { authority, token, head, left } = frozen;
        let head = match head {
            Some(head) => Some(Box::new(head.thaw()?)),
            None => None,
        };
        let first = Some(left.min(every));
        Some(Self { rechecks: rechecks.clone(), authority, token, head, every, first })
    }

    /// Asks about this WebSocket from now on.
    pub(super) fn keep(self, control: &Arc<Control>) -> Kept {
        let rechecks = self.rechecks.clone();
        let at = Instant::now() + self.first.unwrap_or_else(|| self.pause());
        let mut entries = rechecks.lock();
        let id = entries.next_id;
        entries.next_id += 1;
        let entry = Entry { control: control.clone(), recheck: self };
        entries.by_id.insert(id, (at, Arc::new(entry)));
        entries.due.insert((at, id));
        let is_first = entries.due.first() == Some(&(at, id));
        drop(entries);
        if is_first {
            rechecks.sooner.notify_one();
        }
        Kept { rechecks, id }
    }

    /// ±10 %, so that those who came together are not asked about together.
    fn pause(&self) -> Duration {
        self.every.mul_f64(0.9 + 0.2 * fastrand::f64())
    }
}

/// Without the token.
impl fmt::Debug for Recheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recheck").field("every", &self.every).finish_non_exhaustive()
    }
}

/// Without the token.
impl fmt::Debug for FrozenRecheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrozenRecheck").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Kept {
    /// For another process.
    pub(super) fn freeze(&self) -> Option<FrozenRecheck> {
        let entries = self.rechecks.lock();
        let (due_at, entry) = entries.by_id.get(&self.id)?;
        let Recheck { authority, token, head, .. } = &entry.recheck;
        Some(FrozenRecheck {
            authority: authority.clone(),
            token: token.clone(),
            head: head.as_deref().map(FrozenHead::of),
            left: due_at.saturating_duration_since(Instant::now()),
        })
    }
}

impl FrozenHead {
    fn of(head: &Parts) -> Self {
        let field = |(name, value): (&HeaderName, &HeaderValue)| FrozenField {
            name: name.as_str().to_owned(),
            value: value.as_bytes().to_vec(),
        };
        Self {
            method: head.method.as_str().to_owned(),
            target: head.uri.to_string(),
            fields: head.headers.iter().map(field).collect(),
        }
    }

    fn thaw(self) -> Option<Parts> {
        let mut head = empty_head();
        head.method = self.method.parse().ok()?;
        head.uri = self.target.parse().ok()?;
        for FrozenField { name, value } in self.fields {
            let name: HeaderName = name.parse().ok()?;
            head.headers.append(name, HeaderValue::from_bytes(&value).ok()?);
        }
        Some(head)
    }
}

fn empty_head() -> Parts {
    Request::new(()).into_parts().0
}

impl Rechecks {
    /// Asks in time; never returns by itself.
    pub(super) async fn ask_in_time(
        self: Arc<Self>,
        current: Arc<ArcSwap<Shared>>,
    ) -> Result<(), TaskError> {
        let mut asking = JoinSet::new();
        loop {
            faults::point("revalidation")?;
            while asking.len() < AT_ONCE
                && let Some(entry) = self.take_due(Instant::now())
            {
                let shared = current.load_full();
                asking.spawn(async move { entry.ask(&shared).await });
            }
            let is_busy = asking.len() >= AT_ONCE;
            let next = self.lock().due.first().map(|(at, _)| *at).filter(|_| !is_busy);
            let due = async {
                match next {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.sooner.notified(), if !is_busy => {}
                // A panic in one was logged, and it is due again.
                Some(_) = asking.join_next() => {}
            }
        }
    }

    /// The next one that is due, which is due again one period later.
    fn take_due(&self, now: Instant) -> Option<Arc<Entry>> {
        let mut entries = self.lock();
        let &(at, id) = entries.due.first().filter(|(at, _)| *at <= now)?;
        entries.due.remove(&(at, id));
        let (due_at, entry) = entries.by_id.get_mut(&id)?;
        *due_at = now + entry.recheck.pause();
        let (due_at, entry) = (*due_at, entry.clone());
        entries.due.insert((due_at, id));
        Some(entry)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    async fn ask(&self, shared: &Shared) {
        let Recheck { authority, token, head, .. } = &self.recheck;
        let judge = shared.admission.judges.iter().find(|judge| judge.config.name == *authority);
        // Who was asked has left the configuration, or is not to be asked again any more.
        let Some(validator) = judge.and_then(|judge| judge.asked_again()) else { return };
        let nothing;
        let head = match head {
            Some(head) => head,
            None => {
                nothing = empty_head();
                &nothing
            }
        };
        let deadline = Instant::now() + PATIENCE;
        let verdict = validator.judge(token.as_deref(), head, deadline);
        let id = self.control.card.id;
        match timeout_at(deadline.into(), verdict).await.map(Verdict::from) {
            Ok(Verdict::Granted(_)) => {}
            Ok(Verdict::Worthless(reason) | Verdict::Forbidden(reason)) => {
                info!(id, reason, "websocket revoked: its right was asked about again");
                self.control.order(Order::Revoked);
            }
            Ok(Verdict::Unavailable { reason, .. }) => {
                debug!(id, reason, "not asked about: the websocket goes on");
            }
            Err(_) => debug!(id, "not answered in time: the websocket goes on"),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut entries = self.rechecks.lock();
        if let Some((due_at, _)) = entries.by_id.remove(&self.id) {
            entries.due.remove(&(due_at, self.id));
        }
    }
}

//! WebSockets whose right to exist ends: when a token does, or when somebody takes it back.
//!
//! Touched when such a WebSocket opens and when it closes; what relays it knows nothing of this and
//! is told by its [`Control`]. Start at [`Live::watch`].

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use longhaul_policy::admission::revocation::{Revocation, Revocations};
use longhaul_policy::token::Grant;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::rechecks::FrozenRecheck;
use crate::faults;
use crate::relay::control::{Control, Order};
use crate::supervise::TaskError;

/// Nobody means a later end than this; and no clock can count much farther.
const LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// Every open WebSocket that came by a grant, and what was taken back lately.
#[derive(Debug, Default)]
pub(crate) struct Live {
    entries: Mutex<Entries>,
    revocations: Mutex<Revocations>,
    /// Told when an end may be nearer than the one that is waited for.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    by_id: HashMap<u64, Entry>,
    /// Nearest first.
    ends: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Entry {
    control: Arc<Control>,
    subject: Option<Arc<str>>,
    token_id: Option<Arc<str>>,
    /// Revocations from before it do not concern it.
    issued: Option<SystemTime>,
    ends_at: Option<Instant>,
}

/// By what right a WebSocket is here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Right {
    subject: Option<Arc<str>>,
    token_id: Option<Arc<str>>,
    /// Since the epoch.
    issued: Option<Duration>,
    /// Until it ends.
    left: Option<Duration>,
    /// How it is asked about again, where it is.
    #[serde(default)]
    pub(super) recheck: Option<Box<FrozenRecheck>>,
}

impl Right {
    /// As it was granted: its end stays what it is.
    pub(crate) fn into_grant(self) -> Grant {
        let Self { subject, token_id, issued, left, recheck: _ } = self;
        let issued = issued.and_then(|issued| UNIX_EPOCH.checked_add(issued));
        let expires = left.map(|left| SystemTime::now() + left.min(LIFE_MAX));
        Grant { subject, token_id, issued, expires, ..Grant::default() }
    }
}

/// One WebSocket in the list; dropping it takes it off.
#[derive(Debug)]
pub(crate) struct Listed {
    live: Arc<Live>,
    id: u64,
}

impl Live {
    /// Lists a WebSocket, to be told when its right ends.
    pub(crate) fn watch(self: &Arc<Self>, control: &Arc<Control>, grant: &Grant) -> Listed {
        let ends_at = grant.expires.map(moment);
        let mut entries = self.lock();
        let id = entries.next_id;
        entries.next_id += 1;
        let entry = Entry {
            control: control.clone(),
            subject: grant.subject.clone(),
            token_id: grant.token_id.clone(),
            issued: grant.issued,
            ends_at,
        };
        entries.by_id.insert(id, entry);
        if let Some(ends_at) = ends_at {
            entries.ends.insert((ends_at, id));
            if entries.ends.first() == Some(&(ends_at, id)) {
                self.sooner.notify_one();
            }
        }
        drop(entries);
        // It may have been taken back between the verdict and this moment.
        if self.is_revoked(grant) {
            control.order(Order::Revoked);
        }
        Listed { live: self.clone(), id }
    }

    /// Whether the grant was taken back.
    pub(crate) fn is_revoked(&self, grant: &Grant) -> bool {
        self.lock_revocations().covers(grant, Instant::now())
    }

    /// Takes back what was granted, and ends the WebSockets that came by it. Returns how many.
    pub(crate) fn revoke(&self, revocation: Revocation, keep: Duration) -> usize {
        let is_meant = |entry: &Entry| match &revocation {
            Revocation::Subject(subject) => entry.subject.as_deref() == Some(subject),
            Revocation::Token(id) => entry.token_id.as_deref() == Some(id),
        };
        // First remembered, then looked up: what opens in between is caught by one of the two.
        self.lock_revocations().add(revocation.clone(), keep, SystemTime::now(), Instant::now());
        let entries = self.lock();
        let meant = entries.by_id.values().filter(|entry| is_meant(entry));
        meant.map(|entry| entry.control.order(Order::Revoked)).count()
    }

    /// What was taken back lately, oldest first: when, and until when that counts.
    pub(crate) fn revoked(&self) -> Vec<(Revocation, SystemTime, Instant)> {
        self.lock_revocations().all().map(|(what, at, until)| (what.clone(), at, until)).collect()
    }

    /// Remembers what another process was told to take back. Its WebSockets were told there.
    pub(crate) fn recall(&self, revocation: Revocation, keep: Duration, at: SystemTime) {
        self.lock_revocations().add(revocation, keep.min(LIFE_MAX), at, Instant::now());
    }

    /// Lets the WebSockets of one subject go on until `expires`. Returns how many.
    pub(crate) fn refresh(&self, subject: &str, expires: SystemTime) -> usize {
        let ends_at = moment(expires);
        let mut guard = self.lock();
        let entries = &mut *guard;
        let mut count = 0;
        for (id, entry) in &mut entries.by_id {
            if entry.subject.as_deref() == Some(subject)
                && let Some(before) = entry.ends_at.replace(ends_at)
            {
                entries.ends.remove(&(before, *id));
                entries.ends.insert((ends_at, *id));
                count += 1;
            }
        }
        drop(guard);
        self.sooner.notify_one();
        count
    }

    /// Lets one WebSocket go on by a newer grant, if that is of the same subject. Says whether it is.
    pub(crate) fn renew(&self, listed: &Listed, grant: &Grant) -> bool {
        let ends_at = grant.expires.map(moment);
        let mut guard = self.lock();
        let entries = &mut *guard;
        let Some(entry) = entries.by_id.get_mut(&listed.id) else { return false };
        if entry.subject != grant.subject {
            return false;
        }
        (entry.token_id, entry.issued) = (grant.token_id.clone(), grant.issued);
        if let Some(before) = std::mem::replace(&mut entry.ends_at, ends_at) {
            entries.ends.remove(&(before, listed.id));
        }
        entries.ends.extend(ends_at.map(|at| (at, listed.id)));
        drop(guard);
        self.sooner.notify_one();
        true
    }

    /// When the right of a listed WebSocket ends, if it does.
    pub(crate) fn ends_at(&self, listed: &Listed) -> Option<Instant> {
        self.lock().by_id.get(&listed.id)?.ends_at
    }

    /// By what right a listed WebSocket is here, for another process.
    pub(crate) fn right_of(&self, listed: &Listed) -> Option<Right> {
        let entries = self.lock();
        let entry = entries.by_id.get(&listed.id)?;
        let left = |at: Instant| at.saturating_duration_since(Instant::now());
        Some(Right {
            subject: entry.subject.clone(),
            token_id: entry.token_id.clone(),
            issued: entry.issued.and_then(|at| at.duration_since(UNIX_EPOCH).ok()),
            left: entry.ends_at.map(left),
            recheck: None,
        })
    }

    /// How many are listed.
    pub(crate) fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Ends WebSockets as their rights end; never returns by itself.
    pub(crate) async fn end_in_time(self: Arc<Self>) -> Result<(), TaskError> {
        loop {
            faults::point("ends")?;
            let next = self.end_due(Instant::now());
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.sooner.notified() => {}
            }
        }
    }

    /// Ends what is due and returns when the next is.
    fn end_due(&self, now: Instant) -> Option<Instant> {
        let mut entries = self.lock();
        while let Some(&(ends_at, id)) = entries.ends.first() {
            if ends_at > now {
                return Some(ends_at);
            }
            entries.ends.pop_first();
            if let Some(entry) = entries.by_id.get(&id) {
                entry.control.order(Order::Expired);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_revocations(&self) -> MutexGuard<'_, Revocations> {
        self.revocations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut entries = self.live.lock();
        if let Some(entry) = entries.by_id.remove(&self.id)
            && let Some(ends_at) = entry.ends_at
        {
            entries.ends.remove(&(ends_at, self.id));
        }
    }
}

/// The moment of the monotonic clock that a time of day means now.
fn moment(time: SystemTime) -> Instant {
    let left = time.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + left.min(LIFE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Card, Telemetry};

    fn control() -> Arc<Control> {
        let card = Card::new(&Telemetry::new(1), "chat".into(), [127, 0, 0, 1].into());
        Arc::new(Control::new(([127, 0, 0, 1], 1).into(), card))
    }

    fn grant(subject: &str, token_id: &str, left: Duration) -> Grant {
        Grant {
            subject: Some(subject.into()),
            token_id: Some(token_id.into()),
            expires: Some(SystemTime::now() + left),
            ..Grant::default()
        }
    }

    #[test]
    fn the_nearest_end_comes_first_and_a_refreshed_one_later() {
        let live = Arc::new(Live::default());
        let minute = Duration::from_secs(60);
        let ann = live.watch(&control(), &grant("ann", "1", minute));
        let bob = live.watch(&control(), &grant("bob", "2", 2 * minute));
        let now = Instant::now();
        let next = live.end_due(now).unwrap();
        assert!(next <= now + minute && next > now + minute / 2);
        assert_eq!(live.refresh("ann", SystemTime::now() + 10 * minute), 1);
        let next = live.end_due(now).unwrap();
        assert!(next > now + minute && next <= Instant::now() + 2 * minute);
        assert!(live.end_due(now + 3 * minute).is_some());
        assert_eq!(live.end_due(now + 11 * minute), None);
        drop((ann, bob));
        assert_eq!((live.len(), live.lock().ends.len()), (0, 0));
    }

    #[test]
    fn a_right_that_moved_to_another_process_ends_when_it_would_have() {
        let (here, there) = (Arc::new(Live::default()), Arc::new(Live::default()));
        let minute = Duration::from_secs(60);
        let before = SystemTime::now() - minute;
        let newer = Grant { issued: Some(SystemTime::now()), ..grant("ann", "1", minute) };
        let listed = here.watch(&control(), &newer);
        let text = serde_json::to_string(&here.right_of(&listed).unwrap()).unwrap();
        let moved = serde_json::from_str::<Right>(&text).unwrap().into_grant();
        there.recall(Revocation::Subject("ann".into()), minute, before);
        assert!(!there.is_revoked(&moved), "it was granted after that");
        let _listed = there.watch(&control(), &moved);
        let next = there.end_due(Instant::now()).unwrap();
        assert!(next > Instant::now() + minute / 2 && next <= Instant::now() + minute);
    }

    #[test]
    fn what_is_taken_back_stays_so_for_tokens_from_before() {
        let live = Arc::new(Live::default());
        let minute = Duration::from_secs(60);
        let _ann = live.watch(&control(), &grant("ann", "1", minute));
        let _bob = live.watch(&control(), &grant("bob", "2", minute));
        assert_eq!(live.revoke(Revocation::Token("2".into()), minute), 1);
        assert!(live.is_revoked(&grant("bob", "2", minute)));
        assert!(!live.is_revoked(&grant("bob", "3", minute)));
        assert_eq!(live.revoke(Revocation::Subject("ann".into()), minute), 1);
        assert!(live.is_revoked(&grant("ann", "4", minute)));
        let later = SystemTime::now() + Duration::from_secs(2);
        let newer = Grant { issued: Some(later), ..grant("ann", "4", minute) };
        assert!(!live.is_revoked(&newer), "a login after it counts again");
    }
}

//! What outlives a replica: how far each session was dealt with, and what its client may not have yet.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use longhaul_proto::durable::backend::{Change, Saved};

/// What a store will have done.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store has not done it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another replica has the session: whatever this one was about to store must not be.
    #[error("another replica has taken the session over; nothing was stored")]
    Fenced,
    /// Anything else. The session goes on with another leg.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where sessions are kept. All replicas of a backend share one, if sessions shall outlive a replica.
///
/// Three rules make a session exact. [`Store::claim`] keeps the highest `leg` it was called with, and refuses
/// lower ones. [`Store::save`] stores nothing for a leg below that, in the transaction that stores the rest. What it stores
/// is there when it returns.
pub trait Store: Send + Sync + 'static {
    /// Takes a session over for this leg, and says what is known of it.
    fn claim<'a>(&'a self, sid: &'a str, leg: u64) -> Answer<'a, Saved>;

    /// Stores a change: `recv` and `sent`, and `items` behind those kept already, without those up to
    /// `acked`.
    fn save<'a>(&'a self, change: &'a Change) -> Answer<'a, ()>;

    /// Forgets a session that is over.
    fn forget<'a>(&'a self, sid: &'a str) -> Answer<'a, ()>;
}

/// A store that ends with its process: exact while links and legs are lost, not when the replica dies.
#[derive(Debug, Default)]
pub struct Memory {
    sessions: Mutex<HashMap<String, (u64, Saved)>>,
}

impl Memory {
    /// The one of this process.
    pub fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Arc<Memory>> = LazyLock::new(Arc::default);
        SHARED.clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (u64, Saved)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn claim<'a>(&'a self, sid: &'a str, leg: u64) -> Answer<'a, Saved> {
        Box::pin(async move {
            let mut sessions = self.lock();
            let (fence, saved) = sessions.entry(sid.to_owned()).or_default();
            if leg < *fence {
                return Err(StoreError::Fenced);
            }
            *fence = leg;
            Ok(saved.clone())
        })
    }

    fn save<'a>(&'a self, change: &'a Change) -> Answer<'a, ()> {
        Box::pin(async move {
            let Some(sid) = &change.sid else { return Ok(()) };
            let mut sessions = self.lock();
            let Some((fence, saved)) = sessions.get_mut(sid) else {
                return Err(StoreError::Fenced);
            };
            if change.leg < *fence {
                return Err(StoreError::Fenced);
            }
            apply(saved, change);
            Ok(())
        })
    }

    fn forget<'a>(&'a self, sid: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.lock().remove(sid);
            Ok(())
        })
    }
}

/// What is saved once this change is.
fn apply(saved: &mut Saved, change: &Change) {
    saved.recv = Some(change.recv);
    saved.sent = change.sent;
    saved.unacked.retain(|item| item.seq > change.acked);
    saved.unacked.extend(change.items.iter().cloned());
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use longhaul_proto::durable::Form;
    use longhaul_proto::durable::backend::{Kind, Numbered};

    use super::*;

    /// Memory answers at once.
    fn now<T>(mut answer: Answer<'_, T>) -> Result<T, StoreError> {
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("nothing is waited for"),
        }
    }

    fn change(leg: u64, recv: u64, sent: u64, acked: u64) -> Change {
        let payload = "x".into();
        let item = Numbered { seq: sent, kind: Kind::Message, form: Form::Text, payload };
        Change { sid: Some("s".to_owned()), leg, recv, sent, items: vec![item], acked }
    }

    #[test]
    fn whoever_was_given_up_stores_nothing() {
        let memory = Memory::default();
        assert_eq!(now(memory.claim("s", 1)).unwrap(), Saved::default());
        now(memory.save(&change(1, 4, 1, 0))).unwrap();
        now(memory.save(&change(1, 5, 2, 1))).unwrap();
        let saved = now(memory.claim("s", 2)).unwrap();
        assert_eq!((saved.recv, saved.sent, saved.unacked.len()), (Some(5), 2, 1));
        assert!(matches!(now(memory.save(&change(1, 6, 3, 2))), Err(StoreError::Fenced)));
        assert!(matches!(now(memory.claim("s", 1)), Err(StoreError::Fenced)));
        assert_eq!(now(memory.claim("s", 2)).unwrap(), saved);
        now(memory.forget("s")).unwrap();
        assert_eq!(now(memory.claim("s", 3)).unwrap(), Saved::default());
    }
}

//! Descriptors kept for the moment when there are no others: with them clients are accepted even then,
//! so that probes get their answers.
//!
//! Several, since a client that says nothing keeps its descriptor while it is listened to, and a
//! probe must not wait behind a crowd of such. Start at [`Spares::lend`].

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::process;

/// What is kept where there is plenty.
const COUNT_MAX: u64 = 32;
/// One in so many of those there may be is kept, where there are few.
const SHARE: u64 = 32;

/// Files that are open for their descriptors alone.
#[derive(Debug)]
pub(crate) struct Spares {
    kept: Mutex<Vec<File>>,
    /// One for each that is not in use.
    free: Arc<Semaphore>,
}

/// A descriptor that somebody else may open now. Dropping it takes one back.
#[derive(Debug)]
pub(crate) struct Lent {
    spares: Arc<Spares>,
    _permit: OwnedSemaphorePermit,
}

impl Default for Spares {
    fn default() -> Self {
        let limit = process::descriptors_max().unwrap_or(u64::MAX);
        Self::new((limit / SHARE).clamp(1, COUNT_MAX) as usize)
    }
}

impl Spares {
    fn new(count: usize) -> Self {
        let kept = std::iter::from_fn(open).take(count).collect();
        Self { kept: Mutex::new(kept), free: Arc::new(Semaphore::new(count)) }
    }

    /// Frees one. Waits while all are in use; `None`: others have taken them.
    pub(crate) async fn lend(self: &Arc<Self>) -> Option<Lent> {
        let permit = self.free.clone().acquire_owned().await.ok()?;
        // Where one was taken by others there may be one again by now.
        let file = self.lock().pop().or_else(open)?;
        drop(file);
        Some(Lent { spares: self.clone(), _permit: permit })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<File>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // This one's, and those that others took before.
        let missing = self.spares.free.available_permits() + 1;
        let mut kept = self.spares.lock();
        while kept.len() < missing
            && let Some(file) = open()
        {
            kept.push(file);
        }
    }
}

fn open() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_lent_comes_back_and_who_finds_none_waits() {
        let spares = Arc::new(Spares::new(2));
        let (one, two) = (spares.lend().await.unwrap(), spares.lend().await.unwrap());
        assert_eq!(spares.lock().len(), 0);
        let waits = tokio::time::timeout(Duration::from_millis(1), spares.lend()).await;
        assert!(waits.is_err());
        drop(one);
        let again = spares.lend().await.unwrap();
        drop((two, again));
        assert_eq!((spares.lock().len(), spares.free.available_permits()), (2, 2));
    }

    #[tokio::test]
    async fn what_others_have_taken_is_made_up_for() {
        let spares = Arc::new(Spares::new(3));
        spares.lock().clear();
        let lent = spares.lend().await.expect("there are others");
        drop(lent);
        assert_eq!(spares.lock().len(), 3);
    }
}

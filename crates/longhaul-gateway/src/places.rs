//! So many client connections at once and no more. How many may change while they are open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

/// The places for client connections.
#[derive(Debug)]
pub(crate) struct Places {
    free: Semaphore,
    /// Places taken that are not given back when they fall free, because there are fewer now.
    surplus: AtomicUsize,
    taken: AtomicUsize,
    count: Mutex<usize>,
}

/// One place, taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        let count = count.min(Semaphore::MAX_PERMITS);
        Self {
            free: Semaphore::new(count),
            surplus: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            count: Mutex::new(count),
        }
    }

    /// Takes a place as soon as one is free. Those who wait get theirs in the order in which they
    /// came; dropping the future leaves the queue.
    pub(crate) async fn take(self: &Arc<Self>) -> Place {
        let permit = self.free.acquire().await.expect("the semaphore is never closed");
        permit.forget();
        self.taken.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }

    /// Takes a place for a connection that is there already, even where none is free.
    pub(crate) fn claim(self: &Arc<Self>) -> Place {
        match self.free.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => {
                self.surplus.fetch_add(1, Ordering::AcqRel);
            }
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }

    /// Takes a place if one is free and nobody waits for it.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Place> {
        self.free.try_acquire().ok()?.forget();
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Place(self.clone()))
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Changes how many there are. Nobody loses a place: where more are taken than there shall be,
    /// the next ones that fall free are gone.
    pub(crate) fn resize(&self, count: usize) {
        let count = count.min(Semaphore::MAX_PERMITS);
        let mut before = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if count > *before {
            let paid = self.pay(count - *before);
            self.free.add_permits(count - *before - paid);
        } else {
            let wanted = *before - count;
            let gone = self.free.forget_permits(wanted);
            self.surplus.fetch_add(wanted - gone, Ordering::AcqRel);
        }
        *before = count;
    }

    /// Takes up to so many off the surplus. Says how many they were.
    fn pay(&self, count: usize) -> usize {
        let pay = |surplus: usize| (surplus > 0).then(|| surplus - surplus.min(count));
        let before = self.surplus.fetch_update(Ordering::AcqRel, Ordering::Acquire, pay);
        before.map_or(0, |surplus| surplus.min(count))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        if self.0.pay(1) == 0 {
            self.0.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn is_full(places: &Arc<Places>) -> bool {
        tokio::time::timeout(Duration::ZERO, places.take()).await.is_err()
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_it_is_given_back() {
        let places = Arc::new(Places::new(1));
        let place = places.take().await;
        assert!(is_full(&places).await);
        assert_eq!(places.taken(), 1);
        assert!(places.try_take().is_none());
        drop(place);
        assert!(!is_full(&places).await);
        assert!(places.try_take().is_some());
    }

    #[tokio::test]
    async fn fewer_places_turn_nobody_out() {
        let places = Arc::new(Places::new(3));
        let (first, second) = (places.take().await, places.take().await);
        places.resize(1);
        assert_eq!(places.taken(), 2);
        drop(first);
        assert!(is_full(&places).await, "one is taken, and one is all there is");
        drop(second);
        let _only = places.take().await;
        assert!(is_full(&places).await);
    }

    #[tokio::test]
    async fn who_was_there_before_has_a_place_and_newcomers_wait_for_it() {
        let places = Arc::new(Places::new(1));
        let (first, second) = (places.claim(), places.claim());
        assert_eq!(places.taken(), 2);
        drop(first);
        assert!(is_full(&places).await);
        drop(second);
        assert!(!is_full(&places).await);
    }

    #[tokio::test]
    async fn more_places_are_there_at_once_also_after_fewer() {
        let places = Arc::new(Places::new(2));
        let _taken = (places.take().await, places.take().await);
        places.resize(1);
        places.resize(3);
        let _third = places.take().await;
        assert!(is_full(&places).await);
    }
}

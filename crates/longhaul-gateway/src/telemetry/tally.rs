//! What the relays of one thread and one route have moved.
//!
//! Only that thread writes here, so an addition is a load and a store of its own cache
//! line: nothing on the relay path waits for another core. Scrapers add the threads up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use longhaul_proto::session::Side;

/// What the relays of one thread and one route have moved.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    pub(crate) up: Flow,
    pub(crate) down: Flow,
    pub(crate) open: Number,
    /// Bytes that wait for legs that do not take them.
    pub(crate) buffered: Number,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) messages: Number,
    pub(crate) bytes: Number,
    /// Times the leg it goes to took no more.
    pub(crate) stalls: Number,
}

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, less: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(less), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    /// What comes from this leg.
    pub(crate) fn from(&self, side: Side) -> &Flow {
        match side {
            Side::Client => &self.up,
            Side::Backend => &self.down,
        }
    }
}

/// The tallies of all workers, and behind them those of their reactors.
#[derive(Debug)]
pub(crate) struct Tallies(Vec<Mutex<HashMap<Box<str>, Arc<Tally>>>>);

/// The workers added up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) messages: [u64; 2],
    pub(crate) bytes: [u64; 2],
    pub(crate) stalls: [u64; 2],
    pub(crate) open: u64,
    pub(crate) buffered: u64,
}

impl Tallies {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..2 * workers).map(|_| Mutex::default()).collect())
    }

    /// The tally of a route on a worker, for the worker's thread alone. Asked once per connection;
    /// the lock is the thread's own but for scrapers.
    pub(crate) fn of(&self, worker: usize, route: &str) -> Arc<Tally> {
        self.of_thread(worker, route)
    }

    /// The tally of a route on a worker's reactor, for the reactor's thread alone.
    pub(crate) fn of_reactor(&self, worker: usize, route: &str) -> Arc<Tally> {
        self.of_thread(self.0.len() / 2 + worker, route)
    }

    fn of_thread(&self, thread: usize, route: &str) -> Arc<Tally> {
        let mut routes = self.0[thread].lock().unwrap_or_else(PoisonError::into_inner);
        match routes.get(route) {
            Some(tally) => tally.clone(),
            None => routes.entry(route.into()).or_default().clone(),
        }
    }

    /// Every route with its threads added up, by name.
    pub(crate) fn sums(&self) -> Vec<(Box<str>, Sum)> {
        let mut sums: Vec<(Box<str>, Sum)> = Vec::new();
        for routes in &self.0 {
            for (route, tally) in routes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let at = match sums.iter().position(|(known, _)| known == route) {
                    Some(at) => at,
                    None => {
                        sums.push((route.clone(), Sum::default()));
                        sums.len() - 1
                    }
                };
                sums[at].1.add(tally);
            }
        }
        sums.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        sums
    }
}

impl Sum {
    fn add(&mut self, tally: &Tally) {
        for (at, flow) in [&tally.up, &tally.down].into_iter().enumerate() {
            self.messages[at] += flow.messages.get();
            self.bytes[at] += flow.bytes.get();
            self.stalls[at] += flow.stalls.get();
        }
        self.open += tally.open.get();
        self.buffered += tally.buffered.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_added_up_by_route() {
        let tallies = Tallies::new(2);
        for worker in 0..2 {
            let tally = tallies.of(worker, "chat");
            tally.up.bytes.add(10);
            tally.open.add(2);
            tally.open.sub(1);
        }
        tallies.of_reactor(1, "admin").down.messages.add(3);
        let sums = tallies.sums();
        assert_eq!(&*sums[0].0, "admin");
        assert_eq!(sums[0].1.messages, [0, 3]);
        assert_eq!((sums[1].1.bytes, sums[1].1.open), ([20, 0], 2));
    }
}

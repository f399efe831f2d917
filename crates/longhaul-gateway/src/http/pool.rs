//! Idle HTTP connections to replicas, one pool for each worker.
//!
//! A connection comes back only when its answer was read to the end; hyper closes it by itself when
//! the request was not fully sent or bytes are left over (RFC 9112 §9.3), and a closed one is never
//! given out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;

use super::upload::Upload;

/// To whom a connection goes, and on which terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) replica: SocketAddr,
    /// Of an upstream, as long as it speaks to its replicas in the same way.
    pub(crate) terms: u64,
}

/// The idle connections of one worker. Its lock is never contended: one thread uses it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pool(Arc<Mutex<HashMap<Place, Vec<Idle>>>>);

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

/// A connection in use; [`Lease::release`] puts it back, dropping it closes it.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Pool,
    place: Place,
    pub(crate) sender: SendRequest<Upload>,
    idle_max: usize,
    /// Whether it served a request before: then the replica may be closing it at this moment.
    pub(crate) is_reused: bool,
}

impl Pool {
    /// Takes the connection that was used last, so that the others may grow old and go.
    pub(crate) fn take(
        &self,
        place: Place,
        idle_max: usize,
        idle_time: Duration,
        now: Instant,
    ) -> Option<Lease> {
        let mut pool = self.lock();
        let idle = pool.get_mut(&place)?;
        idle.retain(|idle| !idle.sender.is_closed() && now - idle.since < idle_time);
        let found = idle.iter().rposition(|idle| idle.sender.is_ready());
        let sender = found.map(|at| idle.swap_remove(at).sender);
        if idle.is_empty() {
            pool.remove(&place);
        }
        drop(pool);
        sender.map(|sender| Lease { is_reused: true, ..self.lease(place, sender, idle_max) })
    }

    /// Wraps a connection that was just made.
    pub(crate) fn lease(
        &self,
        place: Place,
        sender: SendRequest<Upload>,
        idle_max: usize,
    ) -> Lease {
        Lease { pool: self.clone(), place, sender, idle_max, is_reused: false }
    }

    /// Closes what has been idle for too long; called now and then by the worker.
    pub(crate) fn sweep(&self, idle_time: Duration, now: Instant) {
        self.lock().retain(|_, idle| {
            idle.retain(|idle| !idle.sender.is_closed() && now - idle.since < idle_time);
            !idle.is_empty()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Vec<Idle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Puts the connection back. It may need a moment to become ready; `take` looks again.
    pub(crate) fn release(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut pool = self.pool.lock();
        let idle = pool.entry(self.place).or_default();
        if idle.len() < self.idle_max {
            idle.push(Idle { sender: self.sender, since: Instant::now() });
        }
    }
}

//! Who comes back soon after a WebSocket of theirs ended: the sign of a link or a proxy that cuts.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Coming back within this time is a reconnect.
const WINDOW: Duration = Duration::from_secs(60);
/// Clients remembered at most, 32 bytes each. Beyond it new ones are not, so reconnects of a larger
/// crowd are counted too low rather than with unbounded memory.
const CLIENTS_MAX: usize = 65_536;
const SWEEP: Duration = Duration::from_secs(1);

/// Clients whose WebSocket ended a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    ended: Mutex<Ended>,
    /// Seeded at random, so that nobody can choose addresses that collide.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Ended {
    at: HashMap<u64, Instant>,
    /// When a full table was last looked through.
    swept_at: Option<Instant>,
}

impl Returns {
    pub(crate) fn note_end(&self, route: &str, client: IpAddr, now: Instant) {
        let key = self.key(route, client);
        let mut ended = self.lock();
        // Once a second at most: a crowd must not make every end walk over the whole table.
        let may_sweep = ended.swept_at.is_none_or(|at| now >= at + SWEEP);
        if ended.at.len() >= CLIENTS_MAX && may_sweep {
            ended.at.retain(|_, at| now.duration_since(*at) < WINDOW);
            ended.swept_at = Some(now);
        }
        if ended.at.len() < CLIENTS_MAX {
            ended.at.insert(key, now);
        }
    }

    /// Whether a WebSocket of this client and route ended within the window. Asked once per opening.
    pub(crate) fn is_return(&self, route: &str, client: IpAddr, now: Instant) -> bool {
        let ended_at = self.lock().at.remove(&self.key(route, client));
        ended_at.is_some_and(|at| now.duration_since(at) < WINDOW)
    }

    fn key(&self, route: &str, client: IpAddr) -> u64 {
        self.hasher.hash_one((route, client))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_comes_back_within_the_window_is_counted_once() {
        let returns = Returns::default();
        let (client, now) = (IpAddr::from([10, 0, 0, 1]), Instant::now());
        assert!(!returns.is_return("chat", client, now));
        returns.note_end("chat", client, now);
        assert!(!returns.is_return("other", client, now));
        assert!(returns.is_return("chat", client, now + WINDOW / 2));
        assert!(!returns.is_return("chat", client, now + WINDOW / 2));
        returns.note_end("chat", client, now);
        assert!(!returns.is_return("chat", client, now + WINDOW));
    }

    #[test]
    fn a_crowd_is_remembered_within_bounds() {
        let returns = Returns::default();
        let now = Instant::now();
        for n in 0..CLIENTS_MAX as u32 + 10 {
            returns.note_end("chat", IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(returns.lock().at.len(), CLIENTS_MAX);
        returns.note_end("chat", IpAddr::from([1, 2, 3, 4]), now + WINDOW);
        assert_eq!(returns.lock().at.len(), 1);
    }
}

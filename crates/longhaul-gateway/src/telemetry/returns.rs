//! Who comes back soon after a WebSocket of theirs ended: the sign of a link or a proxy that cuts.
//!
//! Who is known by a token is known by its subject, all others by their address.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Coming back within this time is a reconnect.
const WINDOW: Duration = Duration::from_secs(60);
/// Clients remembered at most, 32 bytes each. Beyond it new ones are not, so reconnects of a larger
/// crowd are counted too low rather than with unbounded memory.
const CLIENTS_MAX: usize = 65_536;
const SWEEP: Duration = Duration::from_secs(1);

/// Who comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who<'a> {
    /// Somebody known, wherever they come from: a phone changes its network.
    Subject(&'a str),
    /// Whoever comes from there.
    Address(IpAddr),
}

/// Clients whose WebSocket ended a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    ended: Mutex<Ended>,
    /// Seeded at random, so that nobody can choose addresses that collide.
    hasher: RandomState,
}

/// Somebody known is here; when this is dropped, they have left.
#[derive(Debug)]
pub(crate) struct Presence {
    returns: Arc<Returns>,
    key: u64,
}

#[derive(Debug, Default)]
struct Ended {
    at: HashMap<u64, Instant>,
    /// When a full table was last looked through.
    swept_at: Option<Instant>,
}

impl Returns {
    pub(crate) fn note_end(&self, route: &str, who: Who<'_>, now: Instant) {
        self.note_end_of(self.key(route, who), now);
    }

    /// Notes the end when what is returned is dropped.
    pub(crate) fn note_presence(self: &Arc<Self>, route: &str, who: Who<'_>) -> Presence {
        Presence { returns: self.clone(), key: self.key(route, who) }
    }

    /// Whether a WebSocket of theirs on this route ended within the window. Asked once per opening.
    pub(crate) fn is_return(&self, route: &str, who: Who<'_>, now: Instant) -> bool {
        let ended_at = self.lock().at.remove(&self.key(route, who));
        ended_at.is_some_and(|at| now.duration_since(at) < WINDOW)
    }

    fn note_end_of(&self, key: u64, now: Instant) {
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

    fn key(&self, route: &str, who: Who<'_>) -> u64 {
        self.hasher.hash_one((route, who))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.returns.note_end_of(self.key, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_comes_back_within_the_window_is_counted_once() {
        let returns = Returns::default();
        let (client, now) = (Who::Address([10, 0, 0, 1].into()), Instant::now());
        assert!(!returns.is_return("chat", client, now));
        returns.note_end("chat", client, now);
        assert!(!returns.is_return("other", client, now));
        assert!(returns.is_return("chat", client, now + WINDOW / 2));
        assert!(!returns.is_return("chat", client, now + WINDOW / 2));
        returns.note_end("chat", client, now);
        assert!(!returns.is_return("chat", client, now + WINDOW));
    }

    #[test]
    fn who_is_known_comes_back_from_anywhere_once_they_have_left() {
        let returns = Arc::new(Returns::default());
        let ann = Who::Subject("ann");
        let presence = returns.note_presence("chat", ann);
        assert!(!returns.is_return("chat", ann, Instant::now()));
        drop(presence);
        assert!(!returns.is_return("chat", Who::Subject("bob"), Instant::now()));
        assert!(returns.is_return("chat", ann, Instant::now()));
    }

    #[test]
    fn a_crowd_is_remembered_within_bounds() {
        let returns = Returns::default();
        let now = Instant::now();
        let address = |octets: [u8; 4]| Who::Address(octets.into());
        for n in 0..CLIENTS_MAX as u32 + 10 {
            returns.note_end("chat", address(n.to_be_bytes()), now);
        }
        assert_eq!(returns.lock().at.len(), CLIENTS_MAX);
        returns.note_end("chat", address([1, 2, 3, 4]), now + WINDOW);
        assert_eq!(returns.lock().at.len(), 1);
    }
}

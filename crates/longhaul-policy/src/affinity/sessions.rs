//! Remembers which replica issued which Engine.IO session id, within bounds.
//!
//! The least recently used id goes first, so somebody who opens sessions without end pushes out
//! idle ones and not those at work.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A bounded table from session id to replica.
#[derive(Debug)]
pub struct Sessions {
    entries_max: usize,
    idle_max: Duration,
    entries: HashMap<Arc<str>, Entry>,
    /// Ids in the order of their last use. An entry whose stamp has moved on is stale: the id
    /// stands again further back.
    order: VecDeque<(Arc<str>, u64)>,
    stamp: u64,
}

#[derive(Debug)]
struct Entry {
    replica: SocketAddr,
    used_at: Instant,
    stamp: u64,
}

impl Sessions {
    /// An empty table of at most `entries_max` ids (at least one), each forgotten after `idle_max`
    /// without use. An entry costs some 150 bytes.
    pub fn new(entries_max: usize, idle_max: Duration) -> Self {
        Self {
            entries_max: entries_max.max(1),
            idle_max,
            entries: HashMap::new(),
            order: VecDeque::new(),
            stamp: 0,
        }
    }

    /// Remembers that `replica` issued `sid`. A full table forgets the least recently used one.
    pub fn insert(&mut self, sid: &str, replica: SocketAddr, now: Instant) {
        self.forget_idle(now);
        let sid: Arc<str> = Arc::from(sid);
        let stamp = self.next_stamp();
        self.entries.insert(Arc::clone(&sid), Entry { replica, used_at: now, stamp });
        self.order.push_back((sid, stamp));
        while self.entries.len() > self.entries_max {
            self.forget_oldest();
        }
        self.compact();
    }

    /// Returns the replica that issued `sid`, and counts that as a use.
    pub fn find(&mut self, sid: &str, now: Instant) -> Option<SocketAddr> {
        let stamp = self.next_stamp();
        let (id, _) = self.entries.get_key_value(sid)?;
        let id = Arc::clone(id);
        let entry = self.entries.get_mut(sid)?;
        if now.saturating_duration_since(entry.used_at) > self.idle_max {
            self.entries.remove(sid);
            return None;
        }
        let replica = entry.replica;
        entry.used_at = now;
        entry.stamp = stamp;
        self.order.push_back((id, stamp));
        self.compact();
        Some(replica)
    }

    /// Forgets every session of a replica that is gone.
    pub fn forget_replica(&mut self, replica: SocketAddr) {
        self.entries.retain(|_, entry| entry.replica != replica);
        self.compact();
    }

    /// Every id with its replica, the least recently used first.
    pub fn all(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.order.iter().filter_map(|(sid, stamp)| {
            let entry = self.entries.get(sid).filter(|entry| entry.stamp == *stamp)?;
            Some((&**sid, entry.replica))
        })
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn next_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    fn forget_idle(&mut self, now: Instant) {
        while let Some((sid, stamp)) = self.order.front() {
            let is_current = |entry: &&Entry| entry.stamp == *stamp;
            match self.entries.get(sid).filter(is_current) {
                Some(entry) if now.saturating_duration_since(entry.used_at) <= self.idle_max => {
                    return;
                }
                _ => self.forget_oldest(),
            }
        }
    }

    /// Takes the front of the order; when it is not stale, its id goes too.
    fn forget_oldest(&mut self) {
        let Some((sid, stamp)) = self.order.pop_front() else { return };
        if self.entries.get(&sid).is_some_and(|entry| entry.stamp == stamp) {
            self.entries.remove(&sid);
        }
    }

    /// Drops stale places once they outnumber the others, so that the order stays in proportion.
    fn compact(&mut self) {
        if self.order.len() > 2 * self.entries.len() + 16 {
            let entries = &self.entries;
            self.order
                .retain(|(sid, stamp)| entries.get(sid).is_some_and(|entry| entry.stamp == *stamp));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDLE_MAX: Duration = Duration::from_secs(60);

    fn replica(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_full_table_forgets_the_least_recently_used() {
        let now = Instant::now();
        let mut sessions = Sessions::new(2, IDLE_MAX);
        sessions.insert("a", replica(1), now);
        sessions.insert("b", replica(2), now);
        assert_eq!(sessions.find("a", now), Some(replica(1)));
        sessions.insert("c", replica(3), now);
        assert_eq!(sessions.find("b", now), None);
        assert_eq!(sessions.find("a", now), Some(replica(1)));
        assert_eq!(sessions.find("c", now), Some(replica(3)));
    }

    #[test]
    fn an_idle_session_is_forgotten_and_a_used_one_is_not() {
        let start = Instant::now();
        let mut sessions = Sessions::new(10, IDLE_MAX);
        sessions.insert("idle", replica(1), start);
        sessions.insert("used", replica(1), start);
        sessions.find("used", start + IDLE_MAX);
        let later = start + IDLE_MAX * 3 / 2;
        assert_eq!(sessions.find("idle", later), None);
        sessions.insert("new", replica(1), later);
        assert_eq!(sessions.len(), 2);
        assert_eq!(sessions.find("used", later), Some(replica(1)));
    }

    #[test]
    fn a_replica_that_is_gone_takes_its_sessions_along() {
        let now = Instant::now();
        let mut sessions = Sessions::new(10, IDLE_MAX);
        sessions.insert("a", replica(1), now);
        sessions.insert("b", replica(2), now);
        sessions.forget_replica(replica(1));
        assert_eq!(sessions.find("a", now), None);
        assert_eq!(sessions.find("b", now), Some(replica(2)));
    }

    proptest! {
        #[test]
        fn memory_stays_within_bounds_and_what_is_found_is_true(
            steps in prop::collection::vec((0_u8..3, 0_u8..20, 0_u64..30), 0..400),
        ) {
            let mut now = Instant::now();
            let mut sessions = Sessions::new(5, IDLE_MAX);
            let mut issued: HashMap<String, SocketAddr> = HashMap::new();
            for (step, number, seconds) in steps {
                let sid = format!("s{number}");
                match step {
                    0 => {
                        now += Duration::from_secs(seconds);
                        let by = replica(u16::from(number) + seconds as u16 * 100);
                        sessions.insert(&sid, by, now);
                        prop_assert_eq!(sessions.find(&sid, now), Some(by));
                        issued.insert(sid, by);
                    }
                    1 => {
                        let found = sessions.find(&sid, now);
                        prop_assert!(found.is_none() || found.as_ref() == issued.get(&sid));
                    }
                    _ => sessions.forget_replica(replica(u16::from(number))),
                }
                prop_assert!(sessions.len() <= 5);
                prop_assert!(sessions.order.len() <= 2 * 5 + 17);
            }
        }
    }
}

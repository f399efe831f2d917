//! Remembers verdicts about tokens: a yes until the token ends at the latest, a no for moments, and
//! never that there was none.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use crate::token::Grant;

/// How long verdicts count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    /// A yes, if the token does not end before. Zero: not at all.
    pub granted: Duration,
    /// A no. Zero: not at all.
    pub denied: Duration,
    /// How long beyond that a yes counts while nobody can be asked. Zero: not at all.
    pub stale: Duration,
    /// Verdicts that are remembered, oldest out first.
    pub entries_max: usize,
}

/// What was asked, without saying it: a hash of the token and of all else that the verdict depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question([u8; 32]);

impl Question {
    /// The question that these parts make up, in this order.
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// What somebody who could be asked has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Granted(Grant),
    /// No: the token is worth nothing.
    Worthless,
    /// No: the token is good, and not for this.
    Forbidden,
}

/// Verdicts of one service.
#[derive(Debug)]
pub struct Verdicts {
    policy: CachePolicy,
    entries: HashMap<Question, Entry>,
    order: VecDeque<(Question, u64)>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    number: u64,
    fresh_until: Instant,
    stale_until: Instant,
}

impl Verdicts {
    /// Remembers nothing yet.
    pub fn new(policy: CachePolicy) -> Self {
        Self { policy, entries: HashMap::new(), order: VecDeque::new(), next: 0 }
    }

    /// What is known, if it still counts.
    pub fn fresh(&self, question: &Question, now: Instant) -> Option<Answer> {
        let entry = self.entries.get(question).filter(|entry| now < entry.fresh_until)?;
        Some(entry.answer.clone())
    }

    /// A yes that would not count any more, were there somebody to ask. Never beyond the token's end.
    pub fn stale(&self, question: &Question, now: Instant, wall: SystemTime) -> Option<Grant> {
        let entry = self.entries.get(question).filter(|entry| now < entry.stale_until)?;
        match &entry.answer {
            Answer::Granted(grant) if grant.expires.is_none_or(|expires| expires > wall) => {
                Some(grant.clone())
            }
            _ => None,
        }
    }

    /// Remembers what was said.
    pub fn remember(&mut self, question: Question, answer: Answer, now: Instant, wall: SystemTime) {
        let (fresh, stale) = match &answer {
            Answer::Granted(grant) => {
                let left = grant.expires.map(|at| at.duration_since(wall).unwrap_or_default());
                let capped = |time: Duration| left.map_or(time, |left| left.min(time));
                let fresh = capped(self.policy.granted);
                (fresh, capped(fresh + self.policy.stale))
            }
            Answer::Worthless | Answer::Forbidden => (self.policy.denied, Duration::ZERO),
        };
        if fresh.max(stale).is_zero() {
            self.entries.remove(&question);
            return;
        }
        let number = self.next;
        self.next += 1;
        let entry = Entry { answer, number, fresh_until: now + fresh, stale_until: now + stale };
        self.entries.insert(question, entry);
        self.order.push_back((question, number));
        // An entry that was replaced stands in the order twice, the first time in vain.
        while self.order.len() > 2 * self.policy.entries_max
            || self.entries.len() > self.policy.entries_max
        {
            let Some((oldest, number)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.number == number) {
                self.entries.remove(&oldest);
            }
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> CachePolicy {
        CachePolicy {
            granted: 60 * SECOND,
            denied: 2 * SECOND,
            stale: 600 * SECOND,
            entries_max: 3,
        }
    }

    fn question(number: u8) -> Question {
        Question::new(&[&[number]])
    }

    fn grant(left: Option<Duration>, wall: SystemTime) -> Answer {
        Answer::Granted(Grant { expires: left.map(|left| wall + left), ..Grant::default() })
    }

    #[test]
    fn a_yes_counts_for_its_time_and_never_beyond_the_end_of_the_token() {
        let (mut verdicts, now, wall) =
            (Verdicts::new(policy()), Instant::now(), SystemTime::now());
        verdicts.remember(question(1), grant(None, wall), now, wall);
        verdicts.remember(question(2), grant(Some(5 * SECOND), wall), now, wall);
        let later = |seconds: u32| (now + seconds * SECOND, wall + seconds * SECOND);
        let (at, wall_at) = later(4);
        assert!(verdicts.fresh(&question(2), at).is_some());
        assert!(verdicts.stale(&question(2), at, wall_at).is_some());
        let (at, wall_at) = later(5);
        assert!(verdicts.fresh(&question(2), at).is_none());
        assert!(verdicts.stale(&question(2), at, wall_at).is_none());
        let (at, wall_at) = later(61);
        assert!(verdicts.fresh(&question(1), at).is_none());
        assert!(verdicts.stale(&question(1), at, wall_at).is_some());
        let (at, wall_at) = later(661);
        assert!(verdicts.stale(&question(1), at, wall_at).is_none());
    }

    #[test]
    fn a_no_counts_for_moments_and_is_never_served_stale() {
        let (mut verdicts, now, wall) =
            (Verdicts::new(policy()), Instant::now(), SystemTime::now());
        verdicts.remember(question(1), Answer::Worthless, now, wall);
        assert_eq!(verdicts.fresh(&question(1), now + SECOND), Some(Answer::Worthless));
        assert_eq!(verdicts.fresh(&question(1), now + 2 * SECOND), None);
        assert_eq!(verdicts.stale(&question(1), now, wall), None);
    }

    #[test]
    fn the_oldest_go_first_and_the_order_does_not_grow() {
        let (mut verdicts, now, wall) =
            (Verdicts::new(policy()), Instant::now(), SystemTime::now());
        for number in 0..100 {
            verdicts.remember(question(number % 5), Answer::Forbidden, now, wall);
        }
        assert!(verdicts.len() <= 3 && verdicts.order.len() <= 6);
        assert!(verdicts.fresh(&question(4), now).is_some());
    }

    #[test]
    fn questions_differ_wherever_their_parts_do() {
        assert_ne!(Question::new(&[b"ab", b"c"]), Question::new(&[b"a", b"bc"]));
        assert_eq!(Question::new(&[b"ab", b"c"]), Question::new(&[b"ab", b"c"]));
    }
}

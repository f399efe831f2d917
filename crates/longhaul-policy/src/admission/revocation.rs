//! Remembers what was taken back, for as long as it could be shown again.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use crate::token::Grant;

/// Revocations that are remembered; beyond, the oldest is forgotten.
const ENTRIES_MAX: usize = 100_000;

/// What is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revocation {
    /// Every token that a subject got before.
    Subject(String),
    /// One token, by its `jti`.
    Token(String),
}

/// What was taken back lately.
#[derive(Debug, Default)]
pub struct Revocations {
    entries: HashMap<Revocation, Entry>,
    /// In the order in which they came.
    order: VecDeque<Revocation>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    revoked_at: SystemTime,
    until: Instant,
}

impl Revocations {
    /// Remembers one for `keep`, which should be the longest life of a token.
    pub fn add(&mut self, revocation: Revocation, keep: Duration, wall: SystemTime, now: Instant) {
        let entry = Entry { revoked_at: wall, until: now + keep };
        if self.entries.insert(revocation.clone(), entry).is_none() {
            self.order.push_back(revocation);
        }
        while self.order.front().is_some_and(|oldest| {
            self.order.len() > ENTRIES_MAX
                || self.entries.get(oldest).is_none_or(|entry| entry.until <= now)
        }) {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    /// What is remembered, oldest first: when it was taken back, and until when that counts.
    pub fn all(&self) -> impl Iterator<Item = (&Revocation, SystemTime, Instant)> {
        let entry = |it| self.entries.get(it).map(|entry| (it, entry.revoked_at, entry.until));
        self.order.iter().filter_map(entry)
    }

    /// Whether a grant was taken back. A token that does not say when it was issued counts as from
    /// before.
    pub fn covers(&self, grant: &Grant, now: Instant) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let entry = |revocation: &Revocation| {
            self.entries.get(revocation).filter(|entry| entry.until > now)
        };
        let token = grant.token_id.as_deref().map(|id| Revocation::Token(id.to_owned()));
        let subject = grant.subject.as_deref().map(|name| Revocation::Subject(name.to_owned()));
        token.as_ref().and_then(entry).is_some()
            || subject
                .as_ref()
                .and_then(entry)
                .is_some_and(|entry| grant.issued.is_none_or(|issued| issued <= entry.revoked_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_forgotten() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        let mut revocations = Revocations::default();
        revocations.add(Revocation::Token("1".into()), second, wall, now);
        let grant = Grant { token_id: Some("1".into()), ..Grant::default() };
        let all: Vec<_> = revocations.all().collect();
        assert_eq!(all, [(&Revocation::Token("1".into()), wall, now + second)]);
        assert!(revocations.covers(&grant, now));
        assert!(!revocations.covers(&grant, now + second));
        revocations.add(Revocation::Token("2".into()), second, wall, now + 2 * second);
        assert_eq!((revocations.entries.len(), revocations.order.len()), (1, 1));
    }
}

//! What became of those who asked to come in, and how long the answer took. Apart from how long
//! WebSockets live: one is milliseconds, the other hours.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Let in by a token or a ticket.
    Granted,
    /// Let in by a bypass token. Counted beside `Granted`.
    Bypassed,
    /// No token.
    Missing,
    /// A token that is worth nothing.
    Worthless,
    /// A good token that is not for this.
    Forbidden,
    /// An authority could not be asked, and that was known at once.
    Unavailable,
    /// An authority did not answer within the deadline.
    TimedOut,
    /// A page of a foreign origin.
    Origin,
    /// More than a limit allows.
    Limited,
}

/// Every outcome, with its name in metrics.
pub(crate) const OUTCOMES: [(Outcome, &str); 9] = [
    (Outcome::Granted, "granted"),
    (Outcome::Bypassed, "bypassed"),
    (Outcome::Missing, "token_missing"),
    (Outcome::Worthless, "token_refused"),
    (Outcome::Forbidden, "forbidden"),
    (Outcome::Unavailable, "auth_unavailable"),
    (Outcome::TimedOut, "auth_timed_out"),
    (Outcome::Origin, "origin_forbidden"),
    (Outcome::Limited, "limited"),
];

/// Upper bounds of the histogram, in seconds. What is over the last should never happen.
pub(crate) const BOUNDS_S: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// One more than bounds: what took longer than all of them.
    took: [AtomicU64; BOUNDS_S.len() + 1],
    took_us: AtomicU64,
}

impl Counters {
    pub(crate) fn note(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how long a verdict took.
    pub(crate) fn note_took(&self, took: Duration) {
        let at = BOUNDS_S.partition_point(|&bound| bound < took.as_secs_f64());
        self.took[at].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.took_us.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    /// Verdicts by how long they took: for each bound those within it and above the one before.
    pub(crate) fn took(&self) -> Vec<u64> {
        self.took.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Seconds that all verdicts took together.
    pub(crate) fn took_s(&self) -> f64 {
        self.took_us.load(Ordering::Relaxed) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_under_their_own_names() {
        for (index, (outcome, _)) in OUTCOMES.iter().enumerate() {
            assert_eq!(*outcome as usize, index, "{outcome:?}");
        }
        let counters = Counters::default();
        counters.note(Outcome::Limited);
        counters.note_took(Duration::from_micros(900));
        counters.note_took(Duration::from_secs(6));
        assert_eq!(counters.outcome(Outcome::Limited), 1);
        let took = counters.took();
        assert_eq!((took[0], took[BOUNDS_S.len()], took.iter().sum::<u64>()), (1, 1, 2));
    }
}

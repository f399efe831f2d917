//! Decides when a leg gets a ping and when it counts as dead.
//!
//! A ping is due when nothing was heard from the leg for the interval, or nothing was said to it:
//! hops on the path time each direction for themselves, so a stream one way does not keep the
//! other way's timer from firing.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::frozen::{age, ago};

/// The life signs of one leg.
#[derive(Debug)]
pub(super) struct Keepalive {
    heard_at: Instant,
    spoken_at: Instant,
    pinged_at: Instant,
    unanswered: u32,
    /// A ping waits for a frame boundary; no second one becomes due meanwhile.
    is_due: bool,
}

/// The life signs of one leg, as another process can take them up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FrozenKeepalive {
    heard_us: u64,
    spoken_us: u64,
    pinged_us: u64,
    unanswered: u32,
    is_due: bool,
}

/// What a deadline asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    Dead,
}

impl Keepalive {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard_at: now, spoken_at: now, pinged_at: now, unanswered: 0, is_due: false }
    }

    pub(super) fn freeze(&self, now: Instant) -> FrozenKeepalive {
        FrozenKeepalive {
            heard_us: age(self.heard_at, now),
            spoken_us: age(self.spoken_at, now),
            pinged_us: age(self.pinged_at, now),
            unanswered: self.unanswered,
            is_due: self.is_due,
        }
    }

    pub(super) fn thaw(frozen: &FrozenKeepalive, now: Instant) -> Self {
        Self {
            heard_at: ago(frozen.heard_us, now),
            spoken_at: ago(frozen.spoken_us, now),
            pinged_at: ago(frozen.pinged_us, now),
            unanswered: frozen.unanswered,
            is_due: frozen.is_due,
        }
    }

    pub(super) fn note_heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.unanswered = 0;
    }

    pub(super) fn note_spoken(&mut self, now: Instant) {
        self.spoken_at = now;
    }

    /// When [`Self::check`] has something to say.
    pub(super) fn deadline(&self, interval: Duration) -> Option<Instant> {
        if self.is_due {
            return None;
        }
        let since = match self.unanswered {
            0 => self.heard_at.min(self.spoken_at),
            _ => self.pinged_at,
        };
        Some(since + interval)
    }

    pub(super) fn check(&mut self, interval: Duration, missed_max: u32, now: Instant) -> Verdict {
        if self.deadline(interval).is_some_and(|deadline| deadline <= now) {
            if self.unanswered >= missed_max {
                return Verdict::Dead;
            }
            self.is_due = true;
        }
        Verdict::Alive
    }

    pub(super) fn is_ping_due(&self) -> bool {
        self.is_due
    }

    pub(super) fn note_pinged(&mut self, now: Instant) {
        self.is_due = false;
        self.unanswered += 1;
        self.pinged_at = now;
        self.spoken_at = now;
    }
}

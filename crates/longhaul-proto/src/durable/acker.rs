//! When to acknowledge on one link: soon enough to keep the other end's window open, seldom enough
//! to cost nothing.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Window;
use crate::frozen::{age, ago};

/// Items that make an acknowledgement due, however large the window.
const ITEMS_MAX: u64 = 32;

/// How fast acknowledgements follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckPace {
    /// How long news may wait.
    pub delay: Duration,
    /// Time between two.
    pub spacing: Duration,
}

impl AckPace {
    /// 200 ms and 25 ms.
    pub const DEFAULT: Self =
        Self { delay: Duration::from_millis(200), spacing: Duration::from_millis(25) };
}

/// What one link was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Acker {
    /// The last acknowledgement on this link.
    told: Option<u64>,
    told_at: Option<Instant>,
    /// Since when there is news.
    news_since: Option<Instant>,
    news: Window,
    is_urgent: bool,
}

/// The same as another process can take it up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FrozenAcker {
    told: Option<u64>,
    told_us: Option<u64>,
    news_us: Option<u64>,
    news: Window,
    is_urgent: bool,
}

impl Acker {
    pub(super) fn freeze(&self, now: Instant) -> FrozenAcker {
        FrozenAcker {
            told: self.told,
            told_us: self.told_at.map(|at| age(at, now)),
            news_us: self.news_since.map(|since| age(since, now)),
            news: self.news,
            is_urgent: self.is_urgent,
        }
    }

    pub(super) fn thaw(frozen: &FrozenAcker, now: Instant) -> Self {
        Self {
            told: frozen.told,
            told_at: frozen.told_us.map(|us| ago(us, now)),
            news_since: frozen.news_us.map(|us| ago(us, now)),
            news: frozen.news,
            is_urgent: frozen.is_urgent,
        }
    }

    /// Counts something that may be acknowledged now.
    pub(super) fn note(&mut self, payload_bytes: usize, now: Instant) {
        self.news_since.get_or_insert(now);
        self.news.bytes += payload_bytes as u64;
        self.news.items += 1;
    }

    /// Makes the next one due at once, news or not.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// Whether to send one now.
    pub(super) fn is_due(&self, window: Window, pace: AckPace, now: Instant) -> bool {
        self.is_urgent || self.due_at(window, pace).is_some_and(|at| at <= now)
    }

    /// When to look again; `None` without news.
    pub(super) fn due_at(&self, window: Window, pace: AckPace) -> Option<Instant> {
        let since = self.news_since?;
        let is_plenty = self.news.items >= ITEMS_MAX.min(window.items.div_ceil(4))
            || self.news.bytes * 4 >= window.bytes;
        let wanted_at = if is_plenty { since } else { since + pace.delay };
        Some(self.told_at.map_or(wanted_at, |told_at| wanted_at.max(told_at + pace.spacing)))
    }

    /// Notes that `seq` was sent.
    pub(super) fn note_told(&mut self, seq: u64, now: Instant) {
        *self = Self { told: Some(seq), told_at: Some(now), ..Self::default() };
    }

    /// The last one sent on this link.
    pub(super) fn told(&self) -> Option<u64> {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_waits_for_company_but_not_long() {
        let (pace, window, start) = (AckPace::DEFAULT, Window::DEFAULT, Instant::now());
        let mut acker = Acker::default();
        assert_eq!(acker.due_at(window, pace), None);
        acker.note(10, start);
        assert_eq!(acker.due_at(window, pace), Some(start + pace.delay));
        for _ in 1..ITEMS_MAX {
            acker.note(10, start);
        }
        assert!(acker.is_due(window, pace, start));
        acker.note_told(32, start);
        acker.note(1 << 20, start);
        assert_eq!(acker.due_at(window, pace), Some(start + pace.spacing));
        acker.hurry();
        assert!(acker.is_due(window, pace, start));
    }
}

//! How fast links may resume: after an outage all clients come at once, and each costs a replay.

use std::time::{Duration, Instant};

/// A token bucket that holds one second's worth.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: per_second.into(), left: per_second.into(), at: now }
    }

    /// Lets one through, or says when to come back.
    pub(super) fn pass(&mut self, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + since * self.per_second).min(self.per_second);
        self.left -= 1.0;
        if self.left >= 0.0 {
            return Ok(());
        }
        // Everybody who is sent away is given a place of its own behind those before: not all of them
        // shall come back in the same moment.
        let wait = -self.left / self.per_second;
        // Places farther away than a minute are not kept.
        self.left = self.left.max(-60.0 * self.per_second);
        Err(Duration::from_secs_f64(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_spread_over_the_seconds_that_follow() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        assert_eq!((0..100).filter(|_| pace.pass(start).is_ok()).count(), 100);
        let waits: Vec<Duration> = (0..200).filter_map(|_| pace.pass(start).err()).collect();
        assert_eq!(waits.len(), 200);
        assert!(waits.is_sorted() && waits[199] >= Duration::from_millis(1990));
        assert!(pace.pass(start + Duration::from_secs(4)).is_ok());
    }
}

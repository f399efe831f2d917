//! Decides how long to wait before the next try of something that keeps failing.
//!
//! Waiting is the caller's work, and so is the random number: the same numbers give the same delays.

use std::time::Duration;

/// Delays that grow exponentially up to a cap, spread by decorrelated jitter.
///
/// Each delay is drawn between `min` and three times the one before, so many that failed together
/// do not come back together, and none of them comes back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    previous: Duration,
}

impl Backoff {
    /// Starts at `min`; no delay is longer than `max` (or than `min`, when that is longer).
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), previous: min }
    }

    /// Returns the next delay. `random` is uniform in 0.0..1.0.
    pub fn next_delay(&mut self, random: f64) -> Duration {
        let ceiling = self.previous.saturating_mul(3).min(self.max);
        let spread = ceiling.saturating_sub(self.min);
        self.previous = self.min + spread.mul_f64(random.clamp(0.0, 1.0));
        self.previous
    }

    /// Takes note that the last try went well for `ran`: one that outlived the cap starts over.
    pub fn note_run(&mut self, ran: Duration) {
        if ran >= self.max {
            self.reset();
        }
    }

    /// Starts over at the shortest delay.
    pub fn reset(&mut self) {
        self.previous = self.min;
    }
}

/// Moves `interval` by up to `fraction` of itself either way, so that periodic work of many does
/// not fall together. `random` is uniform in 0.0..1.0.
pub fn jittered(interval: Duration, fraction: f64, random: f64) -> Duration {
    let factor = 1.0 + fraction.clamp(0.0, 1.0) * (2.0 * random.clamp(0.0, 1.0) - 1.0);
    interval.mul_f64(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(10);

    #[test]
    fn unlucky_delays_triple_up_to_the_cap() {
        let mut backoff = Backoff::new(MIN, MAX);
        let delays: Vec<_> = (0..6).map(|_| backoff.next_delay(1.0).as_millis()).collect();
        assert_eq!(delays, [300, 900, 2_700, 8_100, 10_000, 10_000]);
    }

    #[test]
    fn a_long_run_starts_over_and_a_short_one_does_not() {
        let mut backoff = Backoff::new(MIN, MAX);
        backoff.next_delay(1.0);
        backoff.note_run(MAX / 2);
        assert_eq!(backoff.next_delay(1.0).as_millis(), 900);
        backoff.note_run(MAX);
        assert_eq!(backoff.next_delay(1.0).as_millis(), 300);
    }

    #[test]
    fn jitter_stays_within_its_fraction() {
        let interval = Duration::from_secs(5);
        assert_eq!(jittered(interval, 0.2, 0.0), Duration::from_secs(4));
        assert_eq!(jittered(interval, 0.2, 0.5), interval);
        assert_eq!(jittered(interval, 0.2, 1.0), Duration::from_secs(6));
    }

    proptest! {
        #[test]
        fn every_delay_is_between_min_and_max(randoms in prop::collection::vec(0.0..1.0f64, 1..50)) {
            let mut backoff = Backoff::new(MIN, MAX);
            for random in randoms {
                let delay = backoff.next_delay(random);
                prop_assert!((MIN..=MAX).contains(&delay), "{delay:?}");
            }
        }
    }
}

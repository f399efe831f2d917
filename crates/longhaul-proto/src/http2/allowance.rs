//! An allowance that is spent by what happens and grows back with time.

use std::time::Instant;

/// So many points at most, of which some come back each second.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    left: u32,
    max: u32,
    per_second: u32,
    /// Up to here time has been paid for.
    paid_until: Instant,
}

impl Allowance {
    pub(super) fn new(left: u32, max: u32, per_second: u32, now: Instant) -> Self {
        Self { left, max, per_second, paid_until: now }
    }

    /// Adds points for something that happened.
    pub(super) fn grant(&mut self, points: u32) {
        self.left = self.left.saturating_add(points).min(self.max);
    }

    /// Takes points, if there are so many. Says whether there were.
    pub(super) fn spend(&mut self, points: u32, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.paid_until).as_millis();
        let earned = elapsed * u128::from(self.per_second) / 1000;
        // Time that earned less than a point is kept for the next look.
        if earned > 0 {
            self.grant(u32::try_from(earned).unwrap_or(u32::MAX));
            self.paid_until = now;
        }
        match self.left.checked_sub(points) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn points_come_back_with_time_and_never_beyond_the_most() {
        let start = Instant::now();
        let mut allowance = Allowance::new(2, 3, 10, start);
        assert!(allowance.spend(2, start));
        assert!(!allowance.spend(1, start));
        let mut now = start;
        for _ in 0..99 {
            now += Duration::from_millis(1);
            assert!(!allowance.spend(1, now), "{:?}", now - start);
        }
        now += Duration::from_millis(1);
        assert!(allowance.spend(1, now));
        now += Duration::from_secs(1000);
        assert!(allowance.spend(3, now));
        assert!(!allowance.spend(1, now));
        allowance.grant(u32::MAX);
        assert!(allowance.spend(3, now) && !allowance.spend(1, now));
    }
}

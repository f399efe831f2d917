//! When a client tries again: soon after a link that was good, ever later after links that were not,
//! and never together with all the others.

use std::time::{Duration, Instant};

/// How a client tries again.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconnect {
    /// The first try after a link that lived for `settled`: between zero and this.
    pub first: Duration,
    /// A link that lived so long was good.
    pub settled: Duration,
    /// Every other try, one after another, each times 0.5 to 1.5; the last repeats.
    pub steps: Vec<Duration>,
    /// Tries in a row before the client gives up; `None` leaves it to the session's time.
    pub tries_max: Option<u32>,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            settled: Duration::from_secs(30),
            steps: [2, 4, 8, 16, 32, 60].map(Duration::from_secs).to_vec(),
            tries_max: None,
        }
    }
}

/// The tries of one client.
#[derive(Debug, Clone)]
pub(super) struct Tries {
    how: Reconnect,
    /// Tries since the last good link.
    since_good: u32,
    /// What the server asked for; it counts once.
    asked: Option<Duration>,
    random: u64,
}

impl Tries {
    pub(super) fn new(how: Reconnect, random: u64) -> Self {
        Self { how, since_good: 0, asked: None, random: random | 1 }
    }

    /// Notes what the server wants the next try to wait.
    pub(super) fn ask(&mut self, delay: Duration) {
        self.asked = Some(delay);
    }

    /// When to try again; `None` when it is time to give up. `lived` is how long the lost link was
    /// there, if it ever was.
    pub(super) fn next(&mut self, lived: Option<Duration>, now: Instant) -> Option<Instant> {
        let was_good = lived.is_some_and(|lived| lived >= self.how.settled);
        if was_good {
            self.since_good = 0;
        }
        let tries = self.since_good;
        if self.how.tries_max.is_some_and(|max| tries >= max) {
            return None;
        }
        self.since_good += 1;
        let share = self.share();
        let delay = match (self.asked.take(), was_good) {
            (Some(asked), _) => asked,
            (None, true) => self.how.first.mul_f64(share),
            (None, false) => {
                let last = self.how.steps.len().saturating_sub(1);
                let step = self.how.steps.get((tries as usize).min(last));
                step.copied().unwrap_or(self.how.first).mul_f64(0.5 + share)
            }
        };
        Some(now + delay)
    }

    /// Between 0 and 1. xorshift64 is plenty for spreading clients.
    fn share(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_grow_apart_and_start_anew_behind_a_good_link() {
        let now = Instant::now();
        let mut tries = Tries::new(Reconnect::default(), 7);
        for step in [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let wait = tries.next(None, now).unwrap() - now;
            assert!((0.5..=1.5).contains(&(wait.as_secs_f64() / step)), "{wait:?} for {step}");
        }
        let wait = tries.next(Some(Duration::from_secs(31)), now).unwrap() - now;
        assert!(wait <= Duration::from_millis(500));
        tries.ask(Duration::from_millis(2500));
        assert_eq!(tries.next(None, now), Some(now + Duration::from_millis(2500)));
    }

    #[test]
    fn a_phone_gives_up_in_the_end() {
        let how = Reconnect { tries_max: Some(10), ..Reconnect::default() };
        let mut tries = Tries::new(how, 7);
        let made = std::iter::from_fn(|| tries.next(None, Instant::now())).count();
        assert_eq!(made, 10);
    }
}

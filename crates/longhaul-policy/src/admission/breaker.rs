//! Decides whether a service is worth asking: one that failed so often is left alone for a while,
//! and then tried by one.
//!
//! A health check may say more than failures do: a service that it finds dead is not asked at all,
//! and one that it finds alive again is tried at once.

use std::time::{Duration, Instant};

/// When a service is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row.
    pub failures: u32,
    /// How long it is left alone then.
    pub recovery: Duration,
}

/// What came of asking.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    /// The health check found it dead, and has not found it alive since.
    is_sick: bool,
    /// How often it was opened.
    opened: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Asked by everybody; this many failed in a row.
    Closed { failures: u32 },
    /// Asked by nobody until then.
    Open { until: Instant },
    /// To be asked by one, or being asked by one.
    HalfOpen { is_asked: bool },
}

/// May it be asked?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Yes; what comes of it must be noted.
    Ask,
    /// Yes, by this one alone, to see whether it answers again; what comes of it must be noted.
    Try,
    /// No, and not before this time.
    Wait(Duration),
}

impl Breaker {
    /// A service of which nothing is known is worth asking.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 }, is_sick: false, opened: 0 }
    }

    /// Whether the service may be asked now. After [`Leave::Ask`] and [`Leave::Try`], either
    /// [`Breaker::note_success`] or [`Breaker::note_failure`] must follow.
    pub fn ask(&mut self, now: Instant) -> Leave {
        /// What is looked at each second or so may change any moment.
        const SOON: Duration = Duration::from_secs(1);
        if self.is_sick {
            return Leave::Wait(SOON);
        }
        match self.state {
            State::Closed { .. } => Leave::Ask,
            State::Open { until } if now < until => Leave::Wait(until - now),
            State::Open { .. } | State::HalfOpen { is_asked: false } => {
                self.state = State::HalfOpen { is_asked: true };
                Leave::Try
            }
            State::HalfOpen { is_asked: true } => Leave::Wait(SOON),
        }
    }

    /// Whether asking would be of use, without a promise to do it.
    pub fn is_worth_waiting_for(&self, now: Instant) -> bool {
        !self.is_sick
            && match self.state {
                State::Closed { .. } => true,
                State::Open { until } => now >= until,
                State::HalfOpen { .. } => false,
            }
    }

    /// Takes note of an answer, whatever it said.
    pub fn note_success(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// Takes note that no answer came. Says whether that was one too many.
    pub fn note_failure(&mut self, now: Instant) -> bool {
        let failures = match self.state {
            State::Closed { failures } => failures + 1,
            State::HalfOpen { .. } => self.policy.failures,
            // Asked before it was opened; what follows from it was decided then.
            State::Open { .. } => return false,
        };
        if failures < self.policy.failures {
            self.state = State::Closed { failures };
            return false;
        }
        self.state = State::Open { until: now + self.policy.recovery };
        self.opened += 1;
        true
    }

    /// Takes note of what the health check found. Says whether that changed anything.
    pub fn note_health(&mut self, is_well: bool) -> bool {
        let has_changed = self.is_sick == is_well;
        self.is_sick = !is_well;
        if has_changed && is_well && matches!(self.state, State::Open { .. }) {
            // It was dead, and is not any more: no reason to wait for the end of the recovery time.
            self.state = State::HalfOpen { is_asked: false };
        }
        has_changed
    }

    /// `closed`, `open`, `half_open`, or `sick`.
    pub fn name(&self, now: Instant) -> &'static str {
        match self.state {
            _ if self.is_sick => "sick",
            State::Closed { .. } => "closed",
            State::Open { until } if now < until => "open",
            State::Open { .. } | State::HalfOpen { .. } => "half_open",
        }
    }

    /// How often it was opened since the start.
    pub fn opened(&self) -> u64 {
        self.opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECOVERY: Duration = Duration::from_secs(30);

    fn breaker() -> Breaker {
        Breaker::new(BreakerPolicy { failures: 2, recovery: RECOVERY })
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_one_tries_after_the_recovery_time() {
        let (mut breaker, now) = (breaker(), Instant::now());
        assert!(!breaker.note_failure(now));
        breaker.note_success();
        assert!(!breaker.note_failure(now), "a success in between counts anew");
        assert!(breaker.note_failure(now));
        assert_eq!(breaker.ask(now), Leave::Wait(RECOVERY));
        let later = now + RECOVERY;
        assert_eq!(breaker.ask(later), Leave::Try);
        assert!(matches!(breaker.ask(later), Leave::Wait(_)), "the others wait for the one");
        assert!(breaker.note_failure(later));
        assert_eq!(breaker.ask(later), Leave::Wait(RECOVERY));
        assert_eq!(breaker.ask(later + RECOVERY), Leave::Try);
        breaker.note_success();
        assert_eq!((breaker.ask(later), breaker.opened()), (Leave::Ask, 2));
    }

    #[test]
    fn failures_of_those_who_asked_before_do_not_prolong_it() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for second in 0..10 {
            breaker.note_failure(now + Duration::from_secs(second));
        }
        assert_eq!(breaker.ask(now + Duration::from_secs(1) + RECOVERY), Leave::Try);
        assert_eq!(breaker.opened(), 1);
    }

    #[test]
    fn the_health_check_closes_the_door_and_opens_it_early() {
        let (mut breaker, now) = (breaker(), Instant::now());
        assert!(breaker.note_health(false));
        assert!(!breaker.note_health(false));
        assert!(matches!(breaker.ask(now), Leave::Wait(_)));
        breaker.note_failure(now);
        breaker.note_failure(now);
        assert!(breaker.note_health(true));
        assert_eq!(breaker.ask(now), Leave::Try);
        // Without having been sick, health is no reason to believe an open breaker wrong.
        breaker.note_failure(now);
        assert!(!breaker.note_health(true));
        assert!(matches!(breaker.ask(now), Leave::Wait(_)));
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_asked_again_in_the_end(steps in prop::collection::vec(0u8..5, 0..50)) {
            let (mut breaker, mut now) = (breaker(), Instant::now());
            for step in steps {
                now += Duration::from_millis(700);
                match step {
                    0 => { breaker.note_failure(now); }
                    1 => breaker.note_success(),
                    2 => { breaker.note_health(false); }
                    3 => { breaker.note_health(true); }
                    // Who asks has to say what came of it.
                    _ => if !matches!(breaker.ask(now), Leave::Wait(_)) { breaker.note_failure(now); }
                }
            }
            breaker.note_health(true);
            if matches!(breaker.ask(now), Leave::Wait(_)) {
                // Whoever was asking has failed by now.
                breaker.note_failure(now);
                prop_assert_eq!(breaker.ask(now + RECOVERY), Leave::Try);
            }
        }
    }
}

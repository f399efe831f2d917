//! Stories of replicas that fail, return and flap.

use super::*;
use proptest::prelude::*;

/// Health with a clock that only the test moves.
struct Ward {
    health: Health,
    policy: HealthPolicy,
    now: Instant,
}

fn replica(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], number))
}

impl Ward {
    fn new(replicas: u16, is_probed: bool) -> Self {
        Self::with(HealthPolicy::default(), replicas, is_probed)
    }

    fn with(policy: HealthPolicy, replicas: u16, is_probed: bool) -> Self {
        let mut ward =
            Self { health: Health::new(policy.clone(), is_probed), policy, now: Instant::now() };
        for number in 0..replicas {
            ward.health.add(replica(number), ward.now);
        }
        ward
    }

    fn probe(&mut self, number: u16, passed: bool) -> Option<Change> {
        self.health.note_probe(replica(number), passed, self.now)
    }

    /// Fails as often as an ejection takes and returns what that changed.
    fn fail(&mut self, number: u16) -> Option<Change> {
        (0..self.policy.eject_after)
            .filter_map(|_| self.health.note_failure(replica(number), self.now))
            .last()
    }

    fn state(&self, number: u16) -> State {
        self.health.standing(replica(number)).unwrap().state(&self.policy, self.now)
    }

    fn usable(&self) -> usize {
        let standings = self.health.replicas.values().map(|record| record.standing);
        standings.filter(|standing| standing.state(&self.policy, self.now).is_usable()).count()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

fn ejected(seconds: u64) -> Option<Change> {
    Some(Change::Ejected { out_for: Duration::from_secs(seconds) })
}

#[test]
fn the_first_probe_decides_and_later_ones_need_a_row() {
    let mut ward = Ward::new(2, true);
    assert_eq!(ward.state(0), State::Unproven);
    assert_eq!(ward.probe(0, true), Some(Change::CameUp));
    assert_eq!(ward.probe(1, false), Some(Change::WentDown));

    assert_eq!(ward.probe(0, false), None);
    assert_eq!(ward.probe(0, false), None);
    assert_eq!(ward.probe(0, true), None, "a pass in between starts the row over");
    assert_eq!(ward.probe(0, false), None);
    assert_eq!(ward.probe(0, false), None);
    assert_eq!(ward.probe(0, false), Some(Change::WentDown));
    assert_eq!(ward.state(0), State::Down);

    assert_eq!(ward.probe(0, true), None);
    assert_eq!(ward.probe(0, false), None);
    assert_eq!(ward.probe(0, true), None);
    assert_eq!(ward.probe(0, true), Some(Change::CameUp));
    assert_eq!(ward.state(0), State::Up);
}

#[test]
fn without_probes_a_replica_is_up_from_the_start() {
    assert_eq!(Ward::new(1, false).state(0), State::Up);
}

#[test]
fn failures_in_a_row_eject_and_time_brings_back() {
    let mut ward = Ward::new(3, false);
    ward.health.note_failure(replica(0), ward.now);
    ward.health.note_failure(replica(0), ward.now);
    ward.health.note_success(replica(0));
    ward.health.note_failure(replica(0), ward.now);
    ward.health.note_failure(replica(0), ward.now);
    assert_eq!(ward.state(0), State::Up, "a success in between starts the row over");
    assert_eq!(ward.health.note_failure(replica(0), ward.now), ejected(10));
    assert_eq!(ward.state(0), State::Ejected);
    ward.pass(10);
    assert_eq!(ward.state(0), State::Up);
}

#[test]
fn ejections_in_a_row_double_and_good_conduct_is_remembered() {
    let mut ward = Ward::new(3, false);
    for seconds in [10, 20, 40, 60, 60] {
        assert_eq!(ward.fail(0), ejected(seconds));
        ward.pass(seconds + 1);
        ward.health.note_success(replica(0));
    }
    ward.pass(60);
    assert_eq!(ward.fail(0), ejected(10));
}

#[test]
fn the_last_usable_replica_is_never_ejected() {
    let mut alone = Ward::new(1, false);
    assert_eq!(alone.fail(0), None);
    assert_eq!(alone.state(0), State::Up);

    let mut pair = Ward::new(2, false);
    assert_eq!(pair.fail(0), ejected(10));
    assert_eq!(pair.fail(1), None);
    pair.pass(11);
    assert_eq!(pair.fail(1), ejected(10), "the other is back, so this one may go");

    let mut one_down = Ward::new(2, true);
    one_down.probe(0, false);
    one_down.probe(1, true);
    assert_eq!(one_down.fail(1), None, "the other is down by its probes");
}

#[test]
fn at_most_half_are_ejected() {
    let mut ward = Ward::new(5, false);
    assert_eq!([ward.fail(0), ward.fail(1), ward.fail(2)], [ejected(10), ejected(10), None]);
    assert_eq!(ward.usable(), 3);
}

#[test]
fn coming_up_ends_an_ejection() {
    let mut ward = Ward::new(2, true);
    ward.probe(0, true);
    ward.probe(1, true);
    ward.fail(0);
    for passed in [false, false, false, true, true] {
        ward.probe(0, passed);
    }
    assert_eq!(ward.state(0), State::Up);
}

#[test]
fn a_returning_replica_takes_a_growing_share() {
    let policy = HealthPolicy { slow_start: Duration::from_secs(100), ..HealthPolicy::default() };
    let mut ward = Ward::with(policy, 3, false);
    let share =
        |ward: &Ward| ward.health.standing(replica(0)).unwrap().share(&ward.policy, ward.now);
    assert_eq!(ward.state(0), State::Starting);
    ward.pass(100);
    assert_eq!(ward.state(0), State::Up);

    ward.fail(0);
    ward.pass(10);
    assert_eq!((ward.state(0), share(&ward)), (State::Starting, 0.1));
    ward.pass(50);
    assert_eq!((ward.state(0), share(&ward)), (State::Starting, 0.5));
    ward.pass(50);
    assert_eq!((ward.state(0), share(&ward)), (State::Up, 1.0));
}

#[test]
fn a_replica_that_flaps_every_second_changes_at_most_twice_a_minute() {
    let mut ward = Ward::new(2, true);
    ward.probe(0, true);
    ward.probe(1, true);
    // Probed every five seconds, it is found well and ill in turn.
    let changes = (0..60).filter(|round| ward.probe(0, round % 2 == 0).is_some()).count();
    assert!(changes <= 10, "{changes} changes in five minutes");
}

proptest! {
    #[test]
    fn failures_alone_always_leave_half_and_never_nobody(
        replicas in 1_u16..9,
        failures in prop::collection::vec((0_u16..9, 0_u64..20), 0..200),
    ) {
        let mut ward = Ward::new(replicas, false);
        for (number, seconds) in failures {
            ward.pass(seconds / 10);
            ward.fail(number % replicas);
            prop_assert!(ward.usable() >= usize::from(replicas).div_ceil(2));
        }
    }

    #[test]
    fn probes_and_failures_never_eject_the_last_one(
        events in prop::collection::vec((0_u16..4, 0_u8..4), 0..300),
    ) {
        let mut ward = Ward::new(4, true);
        for (number, event) in events {
            let before = ward.usable();
            match event {
                0 => { ward.probe(number, true); }
                1 => { ward.probe(number, false); }
                2 => { ward.fail(number); }
                _ => ward.pass(3),
            }
            // Only probes may take the last one away.
            prop_assert!(event == 1 || before == 0 || ward.usable() > 0);
        }
    }
}

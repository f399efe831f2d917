//! Every order of events of a small session, and one broken rule at a time for each of which an order is
//! found that goes wrong.
//!
//! Both machines are the real ones. One client, one node; cuts that either end learns of first, so that what
//! was sent before arrives late from a link that is dead; a second link beside the first; replicas that
//! die, and such as acknowledge messages themselves, which are given up and do not know it. Time stands still: heartbeats, deadlines and expiry are tried by seed, in `sessions`.
// A model says how large it was.
#![allow(clippy::print_stdout)]

mod aware;
mod world;

use std::time::Duration;

use aware::Care;
use longhaul_proto::durable::Rule;
use longhaul_proto::durable::rule::Keeps;
use stateright::{Checker, HasDiscoveries, Model, Path, Property};
use world::{Bounds, Step, World};

/// Far above what a model takes; a loaded machine must not look like a broken rule.
const PATIENCE: Duration = Duration::from_secs(300);

impl Model for Bounds {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.steps(self, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        world.take(&step, self);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing goes wrong", |_, world: &World| world.wrong.is_none()),
            Property::always("whoever rests is done", |bounds: &Self, world: &World| {
                let mut steps = Vec::new();
                world.steps(bounds, &mut steps);
                !steps.is_empty() || world.wrong.is_some() || world.is_complete(bounds)
            }),
            Property::sometimes("all is said", |bounds: &Self, world: &World| {
                world.is_complete(bounds)
            }),
        ]
    }
}

const BOUNDS: Bounds = Bounds {
    messages: [1, 1],
    chunk: 2,
    window: 2,
    cuts: 1,
    migrations: 0,
    crashes: 0,
    writes_first: false,
    aware: None,
    keeps: Keeps::ALL,
};

/// Goes through all states and finds nothing.
#[track_caller]
fn holds(bounds: Bounds, states_min: usize) {
    let began = std::time::Instant::now();
    let checker = bounds.checker().timeout(PATIENCE).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{states} states, {depth} steps deep, {:.1} s", began.elapsed().as_secs_f64());
    for (name, path) in checker.discoveries().into_iter().filter(|(name, _)| *name != "all is said")
    {
        show(name, path);
    }
    checker.assert_properties();
    assert!(checker.is_done());
    assert!(states >= states_min, "a model of {states} states tries little");
}

/// Finds an order in which the rule is missed.
#[track_caller]
fn breaks(rule: Rule, bounds: Bounds) {
    fails(Bounds { keeps: Keeps::all_but(rule), ..bounds });
}

/// Finds an order that goes wrong.
#[track_caller]
fn fails(bounds: Bounds) {
    let failures = HasDiscoveries::AnyFailures;
    let checker = bounds.checker().timeout(PATIENCE).finish_when(failures).spawn_bfs().join();
    let found = checker.discoveries().into_iter().find(|(name, _)| *name != "all is said");
    let (name, path) = found.expect("the rule is needed");
    show(name, path);
}

fn show(name: &str, path: Path<World, Step>) {
    println!("not {name:?} ({:?}):", path.last_state().wrong);
    for step in path.into_actions() {
        println!("  {step:?}");
    }
}

#[test]
fn a_talk_over_two_cuts_is_whole_in_every_order() {
    holds(Bounds { cuts: 2, ..BOUNDS }, 1_000);
}

#[test]
fn a_talk_is_whole_while_its_link_is_replaced_and_cut() {
    holds(Bounds { migrations: 1, ..BOUNDS }, 1_000);
}

#[test]
fn a_talk_outlives_its_replica_and_a_cut() {
    holds(Bounds { crashes: 1, ..BOUNDS }, 1_000);
}

#[test]
fn two_full_windows_do_not_lock_each_other() {
    holds(Bounds { messages: [2, 2], window: 1, writes_first: true, ..BOUNDS }, 1_000);
}

/// Replicas that acknowledge messages themselves, one after the other.
const AWARE: Bounds = Bounds {
    cuts: 0,
    crashes: 1,
    aware: Some(Care { is_fenced: true, stores_first: true }),
    ..BOUNDS
};

#[test]
fn a_talk_is_exact_though_its_replica_dies_or_is_given_up_at_any_moment() {
    holds(AWARE, 1_000);
}

#[test]
fn chunks_are_exact_through_the_end_of_their_replica() {
    holds(Bounds { chunk: 1, ..AWARE }, 1_000);
}

#[test]
fn what_replicas_say_is_exact_though_two_of_them_go() {
    holds(Bounds { messages: [0, 1], crashes: 2, ..AWARE }, 1_000);
}

#[test]
fn what_replicas_say_is_exact_though_one_of_them_and_a_link_go() {
    holds(Bounds { messages: [0, 1], cuts: 1, ..AWARE }, 1_000);
}

#[test]
fn an_order_fails_when_a_replica_that_was_given_up_may_store() {
    let aware = Some(Care { is_fenced: false, stores_first: true });
    fails(Bounds { aware, ..AWARE });
}

#[test]
fn an_order_fails_when_a_replica_says_what_it_has_not_stored() {
    let aware = Some(Care { is_fenced: true, stores_first: false });
    fails(Bounds { aware, ..AWARE });
}

#[test]
fn an_order_fails_when_an_older_recv_is_refused() {
    breaks(Rule::OlderRecv, Bounds { messages: [0, 1], migrations: 1, ..BOUNDS });
}

#[test]
fn an_order_fails_when_only_the_last_token_is_good() {
    breaks(Rule::TokenRange, Bounds { cuts: 2, ..BOUNDS });
}

#[test]
fn an_order_fails_when_an_older_link_confirms() {
    breaks(Rule::NewestConfirms, Bounds { messages: [0, 1], migrations: 1, ..BOUNDS });
}

#[test]
fn an_order_fails_when_a_late_resume_is_taken() {
    breaks(Rule::LateResume, Bounds { cuts: 2, ..BOUNDS });
}

#[test]
fn an_order_fails_when_a_new_link_is_not_told_the_last_acknowledgement() {
    breaks(Rule::AckPerLink, BOUNDS);
}

#[test]
fn an_order_fails_when_a_full_window_stops_the_reading() {
    let messages = [2, 3];
    breaks(Rule::AlwaysRead, Bounds { messages, window: 1, cuts: 0, writes_first: true, ..BOUNDS });
}

#[test]
fn an_order_fails_when_superseded_is_always_final() {
    breaks(Rule::LowerSuperseded, Bounds { messages: [0, 0], migrations: 1, ..BOUNDS });
}

#[test]
fn an_order_fails_when_recv_leaves_out_unfinished_messages() {
    breaks(Rule::RecvCountsChunks, Bounds { messages: [1, 0], chunk: 1, ..BOUNDS });
}

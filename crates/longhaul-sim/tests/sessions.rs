//! A thousand runs in which nothing may be lost, doubled or reordered, and one broken rule at a time
//! for each of which something is.
// A run says its seed and what it found.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use fastrand::Rng;
use longhaul_proto::durable::{Rule, Sizes, Window};
use longhaul_sim::{Scenario, run};

fn scenario(seed: u64) -> Scenario {
    Scenario::random(&mut Rng::with_seed(seed))
}

#[test]
fn nothing_is_lost_doubled_or_reordered_in_a_thousand_runs() {
    let (mut links, mut messages) = (0, 0);
    for seed in 0..1_000 {
        match run(&scenario(seed), seed) {
            Ok(report) => {
                links += report.links;
                messages += report.messages;
            }
            Err(failure) => panic!("seed {seed} (cargo xtask sim {seed}): {failure}"),
        }
    }
    // A simulation without trouble, or without messages, would pass as well.
    assert!(links > 4_000, "{links} links");
    assert!(messages > 40_000, "{messages} messages");
}

#[test]
fn nothing_is_lost_or_dealt_with_twice_while_replicas_die() {
    let (mut crashes, mut messages) = (0, 0);
    for seed in 0..500 {
        match run(&scenario(seed).aware(), seed) {
            Ok(report) => {
                crashes += report.crashes;
                messages += report.messages;
            }
            Err(failure) => panic!("seed {seed} (cargo xtask sim {seed}): {failure}"),
        }
    }
    assert!(crashes > 1_000, "{crashes} replicas died");
    assert!(messages > 20_000, "{messages} messages");
}

#[test]
fn runs_fail_when_a_store_takes_what_a_replica_says_that_was_given_up() {
    let fails = |seed: u64| run(&scenario(seed).aware().unfenced(), seed).err();
    let failure = (0..500).find_map(fails).expect("500 runs do not need the fence");
    eprintln!("without the fence a run fails {failure}");
}

/// Links that carry eight items each, and messages of fifty.
fn narrow() -> Scenario {
    let mut scenario = scenario(1);
    scenario.owner.sizes = Sizes { message_bytes_max: 1_000, chunk_bytes_max: 20 };
    scenario.owner.window = Window::DEFAULT;
    scenario.client.window = Window::DEFAULT;
    scenario.message_bytes = 1_000;
    scenario.messages = 6;
    scenario.trouble = Duration::ZERO;
    scenario.link_items_max = Some(8);
    scenario.delay_max = Duration::from_millis(10);
    scenario.pause = Duration::from_millis(5);
    scenario.replica_writes_first = false;
    scenario
}

#[test]
fn a_message_of_many_chunks_passes_links_that_carry_few() {
    let report = run(&narrow(), 1).unwrap();
    assert!(report.links > 10, "{report:?}");
}

#[track_caller]
fn breaks(rule: Rule) {
    let fails = |seed: u64| run(&scenario(seed).breaking(rule), seed).err().map(|why| (seed, why));
    let (seed, failure) = (0..1_500).find_map(fails).expect("1,500 runs do not need the rule");
    eprintln!("without {rule:?}, seed {seed} fails {failure}");
}

#[test]
fn runs_fail_when_an_older_recv_is_refused() {
    breaks(Rule::OlderRecv);
}

#[test]
fn runs_fail_when_only_the_last_token_is_good() {
    breaks(Rule::TokenRange);
}

#[test]
fn runs_fail_when_an_older_link_confirms() {
    breaks(Rule::NewestConfirms);
}

#[test]
fn runs_fail_when_a_late_resume_is_taken() {
    breaks(Rule::LateResume);
}

#[test]
fn runs_fail_when_a_new_link_is_not_told_the_last_acknowledgement() {
    breaks(Rule::AckPerLink);
}

#[test]
fn runs_fail_when_a_full_window_stops_the_reading() {
    breaks(Rule::AlwaysRead);
}

#[test]
fn runs_fail_when_superseded_is_always_final() {
    breaks(Rule::LowerSuperseded);
}

#[test]
fn runs_fail_when_recv_leaves_out_unfinished_messages() {
    assert!(run(&narrow().breaking(Rule::RecvCountsChunks), 1).is_err());
}

//! Stories of protocols whose opening each replica must hear.

use super::*;

const OPEN: &[u8] = br#"0{"sid":"one","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;

fn socket_io(policy: RedialPolicy) -> Story {
    let mut story = Story::speaking(Profile::SocketIo { was_polling: false }, policy);
    story.replica_sends(&down(0x81, OPEN));
    story
}

/// A client in the default namespace.
fn connected(policy: RedialPolicy) -> Story {
    let mut story = socket_io(policy);
    story.client_sends(&up(0x81, b"40{\"token\":\"t\"}"), ALL);
    story.replica_sends(&down(0x81, b"40{\"sid\":\"a\"}"));
    assert_eq!(story.said(), ["40{\"token\":\"t\"}"]);
    story.hears();
    story
}

impl Story {
    fn hears(&mut self) -> Vec<String> {
        self.sends(&[], false);
        texts(&std::mem::take(&mut self.client))
    }

    fn said(&mut self) -> Vec<String> {
        while self.flush(ALL) > 0 {}
        texts(&std::mem::take(&mut self.replica))
    }

    fn say(&mut self, text: &str) {
        self.client_sends(&up(0x81, text.as_bytes()), ALL);
    }

    fn says(&mut self, text: &str) {
        self.replica_sends(&down(0x81, text.as_bytes()));
    }

    fn is_lost(&mut self) -> bool {
        matches!(self.redial.lose(true, self.now), Loss::Hidden { .. })
    }
}

#[test]
fn a_new_replica_is_opened_and_connected_to_before_the_client_is_heard() {
    let mut story = connected(policy());
    assert!(story.is_lost());
    assert_eq!(story.hears(), ["2"], "somebody has to ping");
    story.say("42[\"meanwhile\"]");
    story.next_replica();
    assert!(story.said().is_empty(), "it speaks first");
    story.replica_sends(&down(0x81, OPEN));
    assert_eq!(story.said(), ["40{\"token\":\"t\"}"]);
    story.says("40{\"sid\":\"b\"}");
    assert_eq!(story.said(), ["42[\"meanwhile\"]"]);
    assert!(story.hears().is_empty());
    story.say("3");
    assert!(story.said().is_empty(), "it has asked for nothing");
    story.says("2");
    story.say("3");
    assert_eq!((story.hears(), story.said()), (vec!["2".into()], vec!["3".into()]));
}

#[test]
fn each_namespace_is_entered_again_unless_it_was_left() {
    let mut story = connected(policy());
    for packet in ["40/a,", "40/b,{\"x\":1}", "40/c,"] {
        story.say(packet);
    }
    for answer in ["40/a,{\"sid\":\"1\"}", "40/b,{\"sid\":\"2\"}", "41/a,"] {
        story.says(answer);
    }
    story.say("41/");
    story.said();
    story.hears();
    assert!(story.is_lost());
    story.next_replica();
    story.replica_sends(&down(0x81, OPEN));
    assert_eq!(story.said(), ["40/b,{\"x\":1}", "40/c,"]);
    story.says("40/b,{\"sid\":\"3\"}");
    story.say("42/b,[1]");
    assert!(story.said().is_empty(), "one is still to come");
    story.says("40/c,{\"sid\":\"4\"}");
    assert_eq!(story.said(), ["42/b,[1]"]);
    assert_eq!(story.hears(), ["2", "40/c,{\"sid\":\"4\"}"], "which the client never had");
}

#[test]
fn a_replica_that_refuses_what_another_took_ends_it() {
    let mut story = connected(policy());
    story.is_lost();
    story.next_replica();
    story.replica_sends(&down(0x81, OPEN));
    story.says("44{\"message\":\"no\"}");
    assert_eq!(story.news, News::Refuses);
}

#[test]
fn a_replica_that_does_not_open_is_given_up_in_time() {
    let mut story = connected(policy());
    story.is_lost();
    story.next_replica();
    story.now += 29 * SECOND;
    assert_eq!(story.redial.check(true, story.now), Alarm::None);
    story.now += SECOND;
    assert_eq!(story.redial.check(true, story.now), Alarm::Unsettled);
}

#[test]
fn a_packet_with_attachments_reaches_each_side_whole_or_not_at_all() {
    let mut story = connected(policy());
    let head = "452-[\"file\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
    story.says(head);
    story.replica_sends(&down(0x82, b"one"));
    assert!(story.hears().is_empty());
    story.say(head);
    story.client_sends(&up(0x82, b"ONE"), ALL);
    assert_eq!(story.said().len(), 2);
    assert!(!story.redial.may_move(), "not inside of a packet");
    assert!(story.is_lost());
    assert_eq!(story.hears(), ["2"]);
    story.client_sends(&up(0x82, b"TWO"), ALL);
    story.next_replica();
    story.replica_sends(&down(0x81, OPEN));
    story.said();
    story.says("40{\"sid\":\"b\"}");
    assert_eq!(story.said(), [head, "ONE", "TWO"]);
    story.says(head);
    story.replica_sends(&[down(0x82, b"1"), down(0x82, b"2")].concat());
    assert_eq!(story.hears(), [head, "1", "2"]);
}

#[test]
fn a_packet_too_large_to_be_held_passes_and_its_break_shows() {
    for size in [700, 1200] {
        let mut story = connected(policy());
        story.says("452-[]");
        story.replica_sends(&down(0x82, &vec![7; size]));
        story.replica_sends(&down(0x81, b"2"));
        if size == 700 {
            assert!(story.is_lost(), "all of it was held");
            continue;
        }
        assert_eq!(story.client.len(), 2 + 6 + 4 + size + 3);
        assert!(!story.is_lost());
    }
    let mut story = connected(policy());
    story.say("452-[]");
    story.client_sends(&up(0x82, &[7; 1200]), ALL);
    assert!(!story.is_lost());
}

#[test]
fn at_least_once_packets_are_kept_whole() {
    let mut story = connected(RedialPolicy { uncertain: Uncertain::AtLeastOnce, ..policy() });
    story.say("451-[]");
    story.client_sends(&up(0x82, b"1"), ALL);
    story.say("42[\"x\"]");
    story.say("451-[2]");
    story.said();
    for _ in 0..2 {
        story.is_lost();
        story.next_replica();
        story.replica_sends(&down(0x81, OPEN));
        assert_eq!(story.said(), ["40{\"token\":\"t\"}"]);
        story.says("40{}");
        assert_eq!(story.said(), ["451-[]", "1", "42[\"x\"]", "451-[2]"]);
    }
}

#[test]
fn more_than_may_be_remembered_cannot_be_hidden() {
    let mut story = connected(policy());
    story.say(&format!("40/big,\"{}\"", "x".repeat(900)));
    story.say(&format!("40/big2,\"{}\"", "x".repeat(300)));
    assert!(!story.is_lost());
}

#[test]
fn the_client_is_pinged_as_often_as_it_was_promised() {
    let mut story = connected(policy());
    story.is_lost();
    assert_eq!(story.hears(), ["2"]);
    for _ in 0..3 {
        story.now += 25 * SECOND;
        story.redial.check(false, story.now);
        assert_eq!(story.hears(), ["2"]);
    }
    story.next_replica();
    story.replica_sends(&down(0x81, &OPEN.replace_interval()));
    story.says("40{}");
    story.said();
    // The new one pings more seldom than the client can bear.
    story.now += 36 * SECOND;
    story.redial.check(false, story.now);
    assert_eq!(story.hears(), ["2"]);
    story.say("3");
    assert!(texts(&story.replica).is_empty());
}

trait ReplaceInterval {
    fn replace_interval(&self) -> Vec<u8>;
}

impl ReplaceInterval for [u8] {
    fn replace_interval(&self) -> Vec<u8> {
        String::from_utf8_lossy(self).replace("25000", "90000").into_bytes()
    }
}

#[test]
fn an_answer_to_a_question_of_a_dead_replica_goes_nowhere() {
    let mut story = connected(policy());
    story.says("420[\"sure?\"]");
    story.is_lost();
    story.next_replica();
    story.replica_sends(&down(0x81, OPEN));
    story.says("40{}");
    story.said();
    story.says("420[\"really?\"]");
    story.say("430[\"yes\"]");
    story.say("430[\"indeed\"]");
    assert_eq!(story.said(), ["430[\"indeed\"]"]);
}

#[test]
fn a_session_that_came_over_from_polling_is_told_of_what_was_polled() {
    let polled = |packets: &[u8]| {
        let mut polled = Polled::opened_by(OPEN);
        polled.note_posted(packets, 1000);
        Some(polled)
    };
    let from_polling = || {
        let mut story = Story::speaking(Profile::SocketIo { was_polling: true }, policy());
        story.say("2probe");
        story.says("3probe");
        story
    };
    assert!(!from_polling().is_lost(), "the session is not here yet");
    let mut story = from_polling();
    story.say("5");
    assert!(story.redial.wants_polled());
    story.redial.note_polled(polled(b"40{\"a\":1}\x1e42[\"hi\"]"));
    assert!(!story.redial.wants_polled());
    story.said();
    assert!(story.is_lost());
    story.next_replica();
    story.replica_sends(&down(0x81, OPEN));
    assert_eq!(story.said(), ["40{\"a\":1}"]);
    story.says("40{\"sid\":\"b\"}");
    assert_eq!(story.hears(), ["3probe", "2"]);
    let mut unknown = from_polling();
    unknown.say("5");
    unknown.redial.note_polled(None);
    assert!(!unknown.is_lost());
}

#[test]
fn a_prelude_of_events_follows_the_opening() {
    let prelude = Prelude { first: 1, bytes_max: 100, suppress: 1 };
    let mut story = connected(RedialPolicy { prelude, ..policy() });
    story.say("42[\"join\"]");
    story.say("42[\"chat\"]");
    story.said();
    story.is_lost();
    story.next_replica();
    story.replica_sends(&down(0x81, OPEN));
    assert_eq!(story.said(), ["40{\"token\":\"t\"}"]);
    story.says("40{}");
    assert_eq!(story.said(), ["42[\"join\"]"]);
    for packet in ["42[\"welcome\"]", "42[\"news\"]"] {
        story.says(packet);
    }
    assert_eq!(story.hears(), ["2", "42[\"news\"]"]);
}

#[test]
fn a_replica_that_closes_without_a_word_to_its_namespaces_goes() {
    let mut story = connected(policy());
    story.replica_sends(&down(0x88, &[]));
    assert_eq!(story.news, News::Goes(CloseCode::GOING_AWAY));
    let mut story = connected(policy());
    story.says("41");
    story.replica_sends(&down(0x88, &[]));
    assert_eq!(story.news, News::None);
}

#[test]
fn a_move_opens_the_new_replica_behind_the_last_words_of_the_old() {
    let mut story = connected(policy());
    story.redial.switch(story.now);
    story.say("42[1]");
    story.sends(&down(0x81, b"42[\"last\"]"), true);
    story.sends(&down(0x81, b"41"), true);
    assert!(story.redial.end_former());
    assert!(story.said().is_empty());
    story.replica_sends(&down(0x81, OPEN));
    story.says("40{}");
    assert_eq!(story.said(), ["40{\"token\":\"t\"}", "42[1]"]);
    assert_eq!(story.hears(), ["42[\"last\"]"]);
}

fn graphql(policy: RedialPolicy) -> Story {
    let mut story = Story::speaking(Profile::GraphQl, policy);
    story.say(r#"{"type":"connection_init","payload":{"token":"t"}}"#);
    story.says(r#"{"type":"connection_ack"}"#);
    story.said();
    story.hears();
    story
}

fn subscribe(id: &str, query: &str) -> String {
    format!(r#"{{"id":"{id}","type":"subscribe","payload":{{"query":"{query}"}}}}"#)
}

#[test]
fn live_subscriptions_are_asked_for_again_behind_the_acknowledgement() {
    let mut story = graphql(policy());
    for (id, query) in [("1", "subscription { a }"), ("2", "{ b }"), ("3", "{ c }"), ("4", "{ d }")]
    {
        story.say(&subscribe(id, query));
    }
    story.says(r#"{"id":"2","type":"complete"}"#);
    story.says(r#"{"id":"3","type":"error","payload":[]}"#);
    story.say(r#"{"id":"4","type":"complete"}"#);
    story.said();
    story.hears();
    assert!(story.is_lost());
    story.say(r#"{"type":"ping"}"#);
    story.say(&subscribe("5", "{ e }"));
    assert_eq!(story.hears(), [r#"{"type":"pong"}"#]);
    story.next_replica();
    assert_eq!(story.said(), [r#"{"type":"connection_init","payload":{"token":"t"}}"#]);
    story.says(r#"{"type":"connection_ack"}"#);
    assert_eq!(story.said(), [subscribe("1", "subscription { a }"), subscribe("5", "{ e }")]);
    assert!(story.hears().is_empty());
}

#[test]
fn a_mutation_is_not_done_twice_unless_it_may() {
    let pay = subscribe("1", "mutation { pay }");
    let mut story = graphql(policy());
    story.say(&pay);
    assert!(!story.redial.may_move());
    story.is_lost();
    story.next_replica();
    story.says(r#"{"type":"connection_ack"}"#);
    assert_eq!(story.said().len(), 1);
    assert!(story.hears()[0].contains("nobody knows whether this was done"));
    let mut story = graphql(RedialPolicy { uncertain: Uncertain::AtLeastOnce, ..policy() });
    story.say(&pay);
    story.is_lost();
    story.next_replica();
    story.says(r#"{"type":"connection_ack"}"#);
    assert_eq!(story.said()[1..], [pay]);
}

#[test]
fn an_init_that_was_never_acknowledged_is_answered_by_the_next() {
    let mut story = Story::speaking(Profile::GraphQl, policy());
    story.say(r#"{"type":"connection_init"}"#);
    story.is_lost();
    story.next_replica();
    story.says(r#"{"type":"connection_ack"}"#);
    assert_eq!(story.hears(), [r#"{"type":"connection_ack"}"#]);
}

proptest! {
    /// However replicas come and go and whatever they say: each hears every namespace once, and
    /// nothing of the client's before that; the client gets its events once and in order.
    #[test]
    fn socket_io_survives_any_order_of_breaks(ops in proptest::collection::vec(0u8..8, 1..120)) {
        let mut story = connected(policy());
        story.replica.clear();
        let (mut is_up, mut stage, mut number) = (true, 2, 0);
        let (mut sent, mut heard): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        let mut arrived: Vec<String> = Vec::new();
        for op in ops {
            match op {
                0 | 1 => {
                    number += 1;
                    story.say(&format!("42[{number}]"));
                }
                2 if is_up && stage == 2 => {
                    number += 1;
                    sent.push(format!("42[\"down\",{number}]"));
                    story.says(&format!("42[\"down\",{number}]"));
                }
                3 if is_up => {
                    prop_assert!(story.is_lost());
                    is_up = false;
                }
                4 if !is_up => {
                    story.next_replica();
                    (is_up, stage) = (true, 0);
                }
                5 if is_up && stage == 0 => {
                    story.replica_sends(&down(0x81, OPEN));
                    stage = 1;
                }
                6 if is_up && stage == 1 => {
                    prop_assert_eq!(story.said(), ["40{\"token\":\"t\"}"]);
                    story.says("40{}");
                    stage = 2;
                }
                7 => {
                    story.now += 10 * SECOND;
                    story.redial.check(false, story.now);
                    story.say("3");
                }
                _ => {}
            }
            heard.extend(story.hears());
            if stage == 2 && is_up {
                arrived.extend(story.said());
            }
        }
        heard.retain(|text| text != "2");
        prop_assert_eq!(heard, sent);
        let arrived: Vec<u32> = arrived.iter().filter(|text| *text != "3")
            .map(|text| text[3..text.len() - 1].parse().unwrap()).collect();
        prop_assert!(arrived.is_sorted_by(|a, b| a < b), "twice, or out of order: {:?}", arrived);
    }
}

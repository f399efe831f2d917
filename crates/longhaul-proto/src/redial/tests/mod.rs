//! Stories of one client leg and the replicas behind it, one after the other.

mod profiles;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::websocket::mask;

const SECOND: Duration = Duration::from_secs(1);
const KEY: [u8; 4] = [1, 2, 3, 4];

fn policy() -> RedialPolicy {
    RedialPolicy {
        ping: Some(25 * SECOND),
        pings_missed_max: 2,
        write_stall: 60 * SECOND,
        hold_bytes_max: 1000,
        wait_bytes_max: 2000,
        uncertain: Uncertain::AtMostOnce,
        codes: [1001, 1006, 1012, 1013].map(CloseCode).to_vec(),
        keep_bytes_max: 1000,
        settle: 30 * SECOND,
        prelude: Prelude::default(),
    }
}

/// A frame as a client sends it; `first` holds FIN and opcode.
fn up(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut masked = payload.to_vec();
    mask::apply(&mut masked, KEY, 0);
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0xfe);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    [frame, KEY.to_vec(), masked].concat()
}

/// A frame as a replica sends it.
fn down(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(len as u8),
        len => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    [&frame[..], payload].concat()
}

/// Opcode and unmasked payload of each whole frame.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(header) = crate::websocket::Header::parse(bytes).expect("frames are good") {
        let end = header.len + header.payload_len as usize;
        let Some(payload) = bytes.get(header.len..end) else { break };
        let mut payload = payload.to_vec();
        if let Some(key) = header.mask {
            mask::apply(&mut payload, key, 0);
        }
        frames.push((header.opcode.0, payload));
        bytes = &bytes[end..];
    }
    frames
}

fn texts(bytes: &[u8]) -> Vec<String> {
    let data = frames(bytes).into_iter().filter(|(opcode, _)| *opcode < 8);
    data.map(|(_, payload)| String::from_utf8(payload).unwrap()).collect()
}

struct Story {
    redial: Redial,
    now: Instant,
    /// What the replica of the moment was sent.
    replica: Vec<u8>,
    client: Vec<u8>,
    news: News,
    /// Moves to another process between each two steps.
    moves: bool,
}

impl Story {
    fn with(policy: RedialPolicy) -> Self {
        Self::speaking(Profile::Plain, policy)
    }

    fn speaking(profile: Profile, policy: RedialPolicy) -> Self {
        let now = Instant::now();
        Self {
            redial: Redial::new(Arc::new(policy), profile, 7, now),
            now,
            replica: Vec::new(),
            client: Vec::new(),
            news: News::None,
            moves: true,
        }
    }

    fn new() -> Self {
        Self::with(policy())
    }

    /// Puts the leg down and takes it up, by way of what travels between processes.
    fn move_over(&mut self) {
        let Some(frozen) = self.redial.freeze(self.now).filter(|_| self.moves) else { return };
        let text = serde_json::to_string(&frozen).unwrap();
        let frozen: FrozenRedial = serde_json::from_str(&text).unwrap();
        let policy = self.redial.policy.clone();
        let moved = Redial::thaw(policy, frozen.clone(), self.now).expect("it is a leg's state");
        assert!(moved.freeze(self.now).unwrap() == frozen, "nothing is left behind");
        self.redial = moved;
    }

    /// The client sends; the replica takes at most `takes` bytes. Returns how many were accepted.
    fn client_sends(&mut self, bytes: &[u8], mut takes: usize) -> usize {
        let mut accepted = 0;
        while accepted < bytes.len() {
            self.move_over();
            takes -= self.flush(takes);
            match self.redial.send(&bytes[accepted..], self.now).unwrap() {
                Sending::Direct(len) => {
                    let piece = &bytes[accepted..accepted + len];
                    let written = takes.min(len);
                    takes -= written;
                    self.replica.extend_from_slice(&piece[..written]);
                    self.redial.wrote_directly(piece, written, self.now);
                    accepted += len;
                }
                Sending::Owed(0) => break,
                Sending::Owed(len) => accepted += len,
            }
        }
        self.flush(takes);
        accepted
    }

    fn flush(&mut self, takes: usize) -> usize {
        self.move_over();
        let owed = self.redial.owed();
        let count = takes.min(owed.len());
        self.replica.extend_from_slice(&owed[..count]);
        self.redial.wrote(count, self.now);
        count
    }

    fn replica_sends(&mut self, bytes: &[u8]) {
        self.sends(bytes, false);
    }

    fn sends(&mut self, bytes: &[u8], is_former: bool) {
        self.move_over();
        let received = self.redial.receive(bytes, is_former, self.now);
        self.client.extend_from_slice(&bytes[..received.pass]);
        let mut buffer = [0; 7];
        while self.redial.has_for_client() {
            let count = self.redial.take_for_client(&mut buffer);
            self.client.extend_from_slice(&buffer[..count]);
        }
        self.news = received.news;
    }

    fn next_replica(&mut self) {
        self.replica.clear();
        self.redial.connect(self.now);
        self.flush(usize::MAX);
    }

    fn answer_pings(&mut self) {
        let pings = frames(&self.replica).into_iter().filter(|(opcode, _)| *opcode == 9);
        for (_, payload) in pings.collect::<Vec<_>>() {
            self.replica_sends(&down(0x8a, &payload));
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        assert_eq!(self.redial.check(true, self.now), Alarm::None);
        self.flush(usize::MAX);
    }
}

const ALL: usize = usize::MAX;

#[test]
fn half_a_message_of_a_dead_replica_never_reaches_the_client() {
    let mut story = Story::new();
    story.replica_sends(&down(0x81, b"whole"));
    story.replica_sends(&down(0x01, b"first fragment, "));
    story.replica_sends(&down(0x80, b"second fragment")[..5]);
    assert!(matches!(story.redial.lose(true, story.now), Loss::Hidden { .. }));
    story.next_replica();
    story.replica_sends(&down(0x81, b"from the next"));
    assert_eq!(texts(&story.client), ["whole", "from the next"]);
}

#[test]
fn half_a_message_of_the_client_goes_whole_to_the_next_replica() {
    let mut story = Story::new();
    let message = up(0x81, b"of two reads");
    story.client_sends(&message[..8], ALL);
    assert!(story.replica.is_empty());
    story.redial.lose(true, story.now);
    assert_eq!(story.client_sends(&message[8..], ALL), message.len() - 8);
    story.next_replica();
    assert_eq!(story.replica, message);
}

#[test]
fn a_message_half_written_to_a_dead_replica_is_written_again() {
    let mut story = Story::new();
    let both = [up(0x81, b"one"), up(0x81, b"two")].concat();
    story.client_sends(&both, 12);
    assert_eq!(story.redial.lose(true, story.now), Loss::Hidden { uncertain: Some((1, 1)) });
    story.next_replica();
    assert_eq!(story.replica, up(0x81, b"two"));
}

#[test]
fn what_comes_while_nobody_is_there_waits_up_to_the_bound() {
    let mut story = Story::new();
    story.redial.lose(true, story.now);
    let many = up(0x82, &[b'x'; 94]).repeat(30);
    assert_eq!(story.client_sends(&many, ALL), 2000);
    story.next_replica();
    assert_eq!(story.replica, many[..2000]);
    story.client_sends(&many[2000..], ALL);
    assert_eq!(story.replica, many);
}

#[test]
fn a_large_message_cut_off_is_lost_alone_and_counted() {
    let mut story = Story::new();
    let large = up(0x82, &[b'l'; 5000]);
    story.client_sends(&large[..3000], ALL);
    assert_eq!(story.replica.len(), 3000, "it passes as it comes");
    assert_eq!(story.redial.lose(true, story.now), Loss::Hidden { uncertain: Some((1, 1)) });
    story.client_sends(&large[3000..], ALL);
    story.client_sends(&up(0x81, b"next"), ALL);
    story.next_replica();
    assert_eq!(story.replica, up(0x81, b"next"));
}

#[test]
fn half_a_large_message_at_the_client_ends_the_session() {
    let mut story = Story::new();
    let large = down(0x82, &[b'l'; 5000]);
    story.replica_sends(&large[..3000]);
    assert_eq!(story.client, large[..3000]);
    assert_eq!(story.redial.lose(true, story.now), Loss::Fatal);
}

#[test]
fn at_most_once_nothing_is_sent_again_and_the_uncertain_ones_are_named() {
    let mut story = Story::new();
    for text in [b"1", b"2", b"3"] {
        story.client_sends(&up(0x81, text), ALL);
    }
    story.advance(SECOND);
    story.answer_pings();
    story.client_sends(&up(0x81, b"4"), ALL);
    assert_eq!(story.redial.lose(true, story.now), Loss::Hidden { uncertain: Some((4, 4)) });
    story.next_replica();
    assert!(story.replica.is_empty());
    story.client_sends(&up(0x81, b"5"), ALL);
    assert_eq!(texts(&story.replica), ["5"]);
    assert_eq!(story.redial.lose(true, story.now), Loss::Hidden { uncertain: Some((5, 5)) });
}

#[test]
fn at_least_once_they_are_sent_again_until_a_replica_has_read_them() {
    let mut story = Story::with(RedialPolicy { uncertain: Uncertain::AtLeastOnce, ..policy() });
    story.client_sends(&up(0x81, b"1"), ALL);
    story.advance(SECOND);
    story.answer_pings();
    story.client_sends(&up(0x81, b"2"), ALL);
    story.redial.lose(true, story.now);
    story.next_replica();
    assert_eq!(texts(&story.replica), ["1", "2"], "what was just read is kept for a while");
    // It dies before it took all of it: nothing multiplies.
    story.redial.lose(true, story.now);
    story.next_replica();
    assert_eq!(texts(&story.replica), ["1", "2"]);
    for _ in 0..2 {
        story.advance(SECOND);
        story.answer_pings();
        story.replica.clear();
        story.client_sends(&up(0x81, b"3"), ALL);
    }
    story.redial.lose(true, story.now);
    story.next_replica();
    assert_eq!(texts(&story.replica), ["3", "3"], "1 and 2 were read, by a question and an answer");
}

#[test]
fn a_client_that_outruns_the_answers_waits_for_them() {
    let mut story = Story::with(RedialPolicy { uncertain: Uncertain::AtLeastOnce, ..policy() });
    let many = up(0x82, &[b'x'; 94]).repeat(40);
    let accepted: usize = many.chunks(500).map(|read| story.client_sends(read, ALL)).sum();
    assert!((2000..=2500).contains(&accepted), "{accepted}");
    for _ in 0..2 {
        // Asked at once, not after a second.
        story.advance(Duration::ZERO);
        story.answer_pings();
        story.replica.clear();
    }
    assert!(story.client_sends(&many[accepted..], ALL) > 0);
}

#[test]
fn a_close_that_means_going_is_not_shown_and_others_are() {
    let mut story = Story::new();
    story.replica_sends(&[down(0x81, b"last"), down(0x88, &[0x03, 0xf4])].concat());
    assert_eq!(story.news, News::Goes(CloseCode(1012)));
    assert_eq!(texts(&story.client), ["last"]);
    assert!(matches!(story.redial.lose(false, story.now), Loss::Hidden { .. }));
    story.next_replica();
    let end = down(0x88, &[0x03, 0xe8]);
    story.replica_sends(&end);
    assert_eq!((story.news, frames(&story.client).len()), (News::None, 2));
    assert_eq!(story.redial.lose(true, story.now), Loss::Fatal);
}

#[test]
fn the_client_s_own_close_ends_it() {
    let mut story = Story::new();
    story.client_sends(&up(0x88, &[0x03, 0xe8]), ALL);
    assert!(story.redial.is_closing());
    assert_eq!(story.redial.lose(true, story.now), Loss::Fatal);
}

#[test]
fn a_client_that_closes_while_nobody_is_there_is_answered() {
    let mut story = Story::new();
    story.redial.lose(true, story.now);
    story.client_sends(&up(0x88, &[0x03, 0xe8]), ALL);
    story.replica_sends(&[]);
    assert_eq!(frames(&story.client), [(8, vec![0x03, 0xe8])]);
    assert!(story.redial.is_closed_alone());
}

#[test]
fn last_words_before_a_close_are_delivered_first() {
    let mut story = Story::new();
    story.redial.lose(true, story.now);
    story.client_sends(&[up(0x81, b"bye"), up(0x88, &[0x03, 0xe8])].concat(), ALL);
    assert!(!story.redial.is_closed_alone());
    story.next_replica();
    assert_eq!(frames(&story.replica), [(1, b"bye".to_vec()), (8, vec![0x03, 0xe8])]);
}

#[test]
fn each_replica_hears_the_prelude_and_its_answer_is_swallowed() {
    let prelude = Prelude { first: 2, bytes_max: 100, suppress: 1 };
    let mut story = Story::with(RedialPolicy { prelude, ..policy() });
    let three = [up(0x81, b"hello"), up(0x81, b"join"), up(0x81, b"chat")].concat();
    story.client_sends(&three, ALL);
    story.replica_sends(&down(0x81, b"welcome"));
    for _ in 0..2 {
        story.redial.lose(true, story.now);
        story.next_replica();
        assert_eq!(texts(&story.replica), ["hello", "join"]);
        story.replica_sends(&[down(0x81, b"welcome"), down(0x81, b"news")].concat());
    }
    assert_eq!(texts(&story.client), ["welcome", "news", "news"]);
}

#[test]
fn a_replica_that_answers_no_ping_is_silent_and_one_that_was_not_read_is_not() {
    let mut story = Story::new();
    story.advance(25 * SECOND);
    assert_eq!(frames(&story.replica).len(), 1);
    story.now += 50 * SECOND;
    assert_eq!(story.redial.check(false, story.now), Alarm::None);
    assert_eq!(story.redial.check(true, story.now), Alarm::Silent);
}

#[test]
fn a_replica_that_reads_nothing_is_stalled() {
    let mut story = Story::new();
    story.client_sends(&up(0x81, b"hello"), 3);
    story.now += 60 * SECOND;
    assert_eq!(story.redial.check(true, story.now), Alarm::Stalled);
}

#[test]
fn a_move_lets_the_old_replica_finish_its_sentence() {
    let mut story = Story::new();
    story.client_sends(&up(0x81, b"question"), ALL);
    story.replica_sends(&down(0x81, b"an answer")[..4]);
    assert!(story.redial.may_move());
    assert_eq!(story.redial.switch(story.now), Some((1, 1)));
    story.replica.clear();
    story.client_sends(&up(0x81, b"next question"), ALL);
    assert_eq!(texts(&story.replica), ["next question"]);
    story.sends(&down(0x81, b"an answer")[4..], true);
    story.sends(&down(0x88, &[0x03, 0xe8]), true);
    assert_eq!(story.news, News::Goes(CloseCode(1000)));
    assert!(story.redial.end_former());
    story.replica_sends(&down(0x81, b"from the new one"));
    assert_eq!(texts(&story.client), ["an answer", "from the new one"]);
}

proptest! {
    /// Messages of both directions arrive whole, in order and once, whatever is cut where; those
    /// that went to a replica that died are missing at most, and then counted.
    #[test]
    fn breaks_anywhere_leave_whole_messages_in_order(
        sizes in proptest::collection::vec(0usize..1500, 1..20),
        reads in proptest::collection::vec(1usize..700, 1..40),
        takes in proptest::collection::vec(0usize..900, 1..40),
        breaks in proptest::collection::vec(0usize..40, 0..4),
        moves in any::<bool>(),
    ) {
        let mut story = Story { moves, ..Story::new() };
        let messages: Vec<Vec<u8>> = sizes.iter().enumerate()
            .map(|(number, len)| format!("{number:03}:").into_bytes().into_iter().chain(vec![b'x'; *len]).collect())
            .collect();
        let stream: Vec<u8> = messages.iter().flat_map(|payload| up(0x82, payload)).collect();
        let mut rest = &stream[..];
        let mut arrived: Vec<Vec<u8>> = Vec::new();
        let mut lost = 0;
        let collect = |replica: &mut Vec<u8>| -> Vec<Vec<u8>> {
            frames(&std::mem::take(replica)).into_iter().filter(|(opcode, _)| *opcode == 2).map(|(_, payload)| payload).collect()
        };
        let mut turn = 0;
        while !rest.is_empty() || !story.redial.owed().is_empty() {
            let read = reads[turn % reads.len()].min(rest.len());
            let takes = takes[turn % takes.len()] + usize::from(turn > 200) * 5000;
            if read > 0 {
                let accepted = story.client_sends(&rest[..read], takes);
                rest = &rest[accepted..];
            } else {
                story.flush(takes);
            }
            if breaks.contains(&turn) {
                let Loss::Hidden { uncertain } = story.redial.lose(true, story.now) else { panic!("nothing streams down") };
                lost += uncertain.map_or(0, |(first, last)| last - first + 1);
                arrived.extend(collect(&mut story.replica));
                story.next_replica();
            }
            turn += 1;
        }
        arrived.extend(collect(&mut story.replica));
        let mut expected = messages.iter();
        for message in &arrived {
            prop_assert!(expected.any(|sent| sent == message), "out of order, twice or torn");
        }
        prop_assert!(messages.len() - arrived.len() <= lost as usize, "lost and not counted");
    }
}

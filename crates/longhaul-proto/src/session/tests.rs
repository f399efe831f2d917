//! Stories of one session, told through what each leg receives. Time is advanced, never slept.

use proptest::prelude::*;

use super::*;
use crate::websocket::{CloseCode, Header, mask};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A session between two pretended peers.
pub(super) struct Pair {
    pub(super) session: Session,
    pub(super) now: Instant,
    pub(super) to_client: Vec<u8>,
    pub(super) to_backend: Vec<u8>,
    finished: Vec<Side>,
    done: Option<Cause>,
}

pub(super) fn policy() -> SessionPolicy {
    SessionPolicy {
        ping: Some(25 * SECOND),
        pings_missed_max: 2,
        idle: None,
        linger: 10 * SECOND,
        write_stall: 60 * SECOND,
        minds_backend: true,
        bounds: Bounds::default(),
    }
}

/// A frame as the peer on `side` would send it.
pub(super) fn frame(side: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let masked = if side == Side::Client { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..126 => bytes.push(masked | len as u8),
        len => {
            bytes.push(masked | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
    }
    let mut payload = payload.to_vec();
    if side == Side::Client {
        let key = [1, 2, 3, 4];
        bytes.extend(key);
        mask::apply(&mut payload, key, 0);
    }
    bytes.extend(payload);
    bytes
}

pub(super) fn close(side: Side, code: u16) -> Vec<u8> {
    frame(side, 0x88, &code.to_be_bytes())
}

/// Splits what a leg received into opcode and unmasked payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(header) = Header::parse(bytes).expect("the gateway writes good frames") {
        let end = header.len + header.payload_len as usize;
        let mut payload = bytes[header.len..end.min(bytes.len())].to_vec();
        if let Some(key) = header.mask {
            mask::apply(&mut payload, key, 0);
        }
        frames.push((header.opcode.0, payload));
        bytes = &bytes[end.min(bytes.len())..];
    }
    frames
}

impl Pair {
    pub(super) fn relaying() -> Self {
        Self::with(policy(), None)
    }

    pub(super) fn with(policy: SessionPolicy, lifetime: Option<Duration>) -> Self {
        let now = Instant::now();
        let ends_at = lifetime.map(|lifetime| now + lifetime);
        Self {
            session: Session::new(Arc::new(policy), ends_at, 0x1234_5678_9abc_def0, now),
            now,
            to_client: Vec::new(),
            to_backend: Vec::new(),
            finished: Vec::new(),
            done: None,
        }
    }

    pub(super) fn sends(&mut self, from: Side, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let step = self.session.receive(from, rest, self.now);
            rest = &rest[step.consumed..];
            let sink = match from {
                Side::Client => &mut self.to_backend,
                Side::Backend => &mut self.to_client,
            };
            sink.extend_from_slice(step.forward);
            self.settle();
        }
    }

    fn ends(&mut self, from: Side) {
        self.session.receive_end(from, false, self.now);
        self.settle();
    }

    pub(super) fn advance(&mut self, by: Duration) {
        let target = self.now + by;
        while let Output::Wait(Some(deadline)) = self.session.poll() {
            if deadline > target {
                break;
            }
            self.now = self.now.max(deadline);
            self.session.deadline_reached(self.now);
            self.settle();
        }
        self.now = target;
    }

    fn settle(&mut self) {
        loop {
            match self.session.poll() {
                Output::Send { to: Side::Client, frame } => self.to_client.extend(frame.as_bytes()),
                Output::Send { to: Side::Backend, frame } => {
                    self.to_backend.extend(frame.as_bytes())
                }
                Output::Finish(side) => self.finished.push(side),
                Output::Done(cause) => return self.done = Some(cause),
                Output::Wait(_) => return,
            }
        }
    }

    pub(super) fn pong(&mut self, from: Side) {
        let received = if from == Side::Client { &self.to_client } else { &self.to_backend };
        let (opcode, payload) = frames(received).pop().expect("a ping was received");
        assert_eq!(opcode, 9);
        self.sends(from, &frame(from, 0x8a, &payload));
    }
}

/// A bound on what clients send ends the session before a byte too much has reached the replica.
#[test]
fn a_client_that_sends_too_much_is_told_and_the_replica_is_spared() {
    let bounds = Bounds { message_bytes_max: Some(3), ..Bounds::default() };
    let mut pair = Pair::with(SessionPolicy { bounds, ..policy() }, None);
    let fine = frame(Side::Client, 0x82, b"abc");
    let stream =
        [fine.clone(), frame(Side::Client, 0x89, b"ping"), frame(Side::Client, 0x82, b"abcd")];
    pair.sends(Side::Client, &stream.concat());
    assert_eq!(frames(&pair.to_client), [(8, b"\x03\xf1message too large".to_vec())]);
    let received = frames(&pair.to_backend);
    assert_eq!(received[..2], [(2, b"abc".to_vec()), (9, b"ping".to_vec())]);
    assert_eq!((received.len(), received[2].0), (3, 8), "then it is told that the client is gone");
    // What the replica sends is not bounded.
    let mut pair = Pair::with(SessionPolicy { bounds, ..policy() }, None);
    pair.sends(Side::Backend, &frame(Side::Backend, 0x82, b"abcd"));
    assert_eq!(frames(&pair.to_client), [(2, b"abcd".to_vec())]);
}

#[test]
fn bytes_pass_unchanged_both_ways() {
    let mut pair = Pair::relaying();
    let up =
        [frame(Side::Client, 0xc1, b"up"), frame(Side::Client, 0x89, b"ping of the app")].concat();
    let down = frame(Side::Backend, 0x02, &[7; 300]);
    pair.sends(Side::Client, &up);
    pair.sends(Side::Backend, &down);
    assert_eq!((pair.to_backend, pair.to_client), (up, down));
    assert_eq!(pair.session.messages(Side::Client), 1);
}

#[test]
fn a_silent_leg_is_pinged_and_its_pong_goes_no_further() {
    let mut pair = Pair::relaying();
    pair.advance(25 * SECOND);
    assert_eq!((frames(&pair.to_client).len(), frames(&pair.to_backend).len()), (1, 1));
    let to_backend = pair.to_backend.clone();
    pair.pong(Side::Client);
    assert_eq!(pair.to_backend, to_backend, "the pong was swallowed");
    assert_eq!(pair.session.messages(Side::Client), 0);
}

#[test]
fn a_leg_that_answers_no_ping_is_dead_after_two() {
    let mut pair = Pair::relaying();
    for _ in 0..2 {
        pair.advance(25 * SECOND);
        pair.pong(Side::Client);
    }
    pair.advance(25 * SECOND);
    assert_eq!(
        frames(&pair.to_client).last(),
        Some(&(8, b"\x03\xf4replica stopped answering".to_vec()))
    );
    pair.ends(Side::Client);
    assert_eq!(pair.done, Some(Cause::Silent(Side::Backend)));
}

#[test]
fn a_stream_one_way_does_not_hide_a_dead_peer() {
    let mut pair = Pair::relaying();
    for _ in 0..80 {
        pair.sends(Side::Backend, &frame(Side::Backend, 0x82, b"tick"));
        pair.advance(SECOND);
        if pair.finished.contains(&Side::Backend) {
            pair.ends(Side::Backend);
            break;
        }
    }
    assert_eq!(pair.done, Some(Cause::Silent(Side::Client)));
}

#[test]
fn a_ping_waits_for_the_frame_boundary() {
    let mut pair = Pair::relaying();
    let whole = frame(Side::Backend, 0x82, b"0123456789");
    pair.sends(Side::Backend, &whole[..5]);
    pair.advance(30 * SECOND);
    assert_eq!(pair.to_client, whole[..5], "nothing may stand inside a frame");
    pair.sends(Side::Backend, &whole[5..]);
    assert_eq!(frames(&pair.to_client).iter().map(|(op, _)| *op).collect::<Vec<_>>(), [2, 9]);
}

#[test]
fn a_close_passes_both_ways_and_names_who_closed() {
    let mut pair = Pair::relaying();
    pair.sends(Side::Client, &close(Side::Client, 3000));
    pair.sends(Side::Backend, &close(Side::Backend, 3000));
    pair.ends(Side::Backend);
    pair.ends(Side::Client);
    assert_eq!(pair.to_backend, close(Side::Client, 3000));
    assert_eq!(pair.to_client, close(Side::Backend, 3000));
    assert_eq!(pair.finished, [Side::Client, Side::Backend]);
    let cause = Cause::Closed { by: Side::Client, code: Some(CloseCode(3000)) };
    assert_eq!(pair.done, Some(cause));
}

#[test]
fn a_client_that_leaves_behind_both_close_frames_leaves_nothing_to_wait_for() {
    let mut pair = Pair::relaying();
    pair.sends(Side::Client, &close(Side::Client, 3000));
    pair.ends(Side::Client);
    assert_eq!(pair.done, None, "the replica has not answered");
    let mut pair = Pair::relaying();
    pair.sends(Side::Backend, &close(Side::Backend, 3000));
    pair.sends(Side::Client, &close(Side::Client, 3000));
    pair.session.note_pressure(Side::Backend, true, false, pair.now);
    pair.ends(Side::Client);
    assert_eq!(pair.done, None, "the replica has not taken the answer");
    pair.session.note_pressure(Side::Backend, false, true, pair.now);
    pair.settle();
    assert_eq!(pair.finished, [Side::Client, Side::Backend]);
    let cause = Cause::Closed { by: Side::Backend, code: Some(CloseCode(3000)) };
    assert_eq!(pair.done, Some(cause));
}

#[test]
fn a_replica_that_vanishes_between_frames_is_told_as_1012() {
    let mut pair = Pair::relaying();
    pair.sends(Side::Backend, &frame(Side::Backend, 0x81, b"half an answ"));
    pair.ends(Side::Backend);
    assert_eq!(frames(&pair.to_client)[1], (8, b"\x03\xf4replica went away".to_vec()));
    assert_eq!(pair.finished, [Side::Client]);
}

#[test]
fn a_replica_that_vanishes_inside_a_frame_leaves_no_garbage() {
    let mut pair = Pair::relaying();
    let whole = frame(Side::Backend, 0x81, b"half an answer");
    pair.sends(Side::Backend, &whole[..7]);
    pair.ends(Side::Backend);
    assert_eq!(pair.to_client, whole[..7]);
    assert_eq!(pair.finished, [Side::Client]);
}

#[test]
fn a_client_that_ends_its_side_may_still_hear_the_rest() {
    let mut pair = Pair::relaying();
    pair.ends(Side::Client);
    assert_eq!(pair.finished, [Side::Backend]);
    for _ in 0..5 {
        pair.advance(8 * SECOND);
        pair.sends(Side::Backend, &frame(Side::Backend, 0x82, b"more"));
    }
    assert_eq!(frames(&pair.to_client).len(), 5);
    pair.advance(10 * SECOND);
    assert_eq!(pair.done, Some(Cause::Gone(Side::Client)));
}

#[test]
fn a_drained_session_lets_the_current_frame_finish() {
    let mut pair = Pair::relaying();
    let whole = frame(Side::Backend, 0x81, b"first half, second half");
    let next = frame(Side::Backend, 0x81, b"never begun");
    pair.sends(Side::Backend, &whole[..8]);
    pair.session.end(Cause::Drained, pair.now);
    pair.settle();
    pair.sends(Side::Backend, &[&whole[8..], &next].concat());
    let seen = frames(&pair.to_client);
    assert_eq!(seen[0], (1, b"first half, second half".to_vec()));
    assert_eq!(seen[1], (8, b"\x03\xf4gateway drains".to_vec()));
    assert_eq!(seen.len(), 2);
}

#[test]
fn what_a_client_says_before_it_answers_a_drain_still_arrives() {
    let mut pair = Pair::relaying();
    pair.session.end(Cause::Drained, pair.now);
    pair.settle();
    pair.sends(Side::Client, &frame(Side::Client, 0x81, b"last words"));
    pair.sends(Side::Client, &close(Side::Client, 1012));
    let seen = frames(&pair.to_backend);
    assert_eq!(seen[0], (1, b"last words".to_vec()));
    assert_eq!(seen[1], (8, b"\x03\xe9client left".to_vec()));
    assert_eq!(pair.finished, [Side::Client]);
    pair.sends(Side::Backend, &close(Side::Backend, 1001));
    pair.ends(Side::Backend);
    pair.ends(Side::Client);
    assert_eq!(pair.done, Some(Cause::Drained));
}

#[test]
fn an_end_has_a_deadline_when_nobody_answers() {
    let mut pair = Pair::relaying();
    pair.session.end(Cause::Drained, pair.now);
    pair.settle();
    pair.advance(9 * SECOND);
    assert_eq!(pair.done, None);
    pair.advance(SECOND);
    assert_eq!(pair.done, Some(Cause::Drained));
}

#[test]
fn a_client_whose_frames_cannot_be_followed_gets_1002() {
    let mut pair = Pair::relaying();
    pair.sends(Side::Client, b"\x81\x05hello");
    assert_eq!(frames(&pair.to_client)[0].1[..2], 1002u16.to_be_bytes());
    let told = (8, b"\x03\xe9client broke the protocol".to_vec());
    assert_eq!(frames(&pair.to_backend), [told], "nothing of the bad frame passes");
    assert_eq!(pair.finished, [Side::Client, Side::Backend]);
}

#[test]
fn a_replica_whose_frames_cannot_be_followed_is_told_1002_as_well() {
    let mut pair = Pair::relaying();
    pair.sends(Side::Backend, b"\x89\x7e\x00\x7etoo long a ping");
    let told = (8, b"\x03\xeaframes cannot be followed".to_vec());
    assert_eq!(frames(&pair.to_backend), [told]);
    assert_eq!(frames(&pair.to_client).last().map(|frame| frame.0), Some(8));
    assert_eq!(pair.finished, [Side::Client, Side::Backend]);
    pair.ends(Side::Client);
    pair.ends(Side::Backend);
    assert!(matches!(pair.done, Some(Cause::Fault(Side::Backend, _))));
}

#[test]
fn idle_counts_messages_and_not_pings() {
    let mut pair = Pair::with(SessionPolicy { idle: Some(40 * SECOND), ..policy() }, None);
    pair.advance(20 * SECOND);
    pair.sends(Side::Client, &frame(Side::Client, 0x81, b"x"));
    pair.advance(35 * SECOND);
    pair.pong(Side::Client);
    assert!(frames(&pair.to_client).iter().all(|(opcode, _)| *opcode == 9));
    pair.advance(5 * SECOND);
    assert_eq!(frames(&pair.to_client).last(), Some(&(8, b"\x03\xe9idle for too long".to_vec())));
}

#[test]
fn a_lifetime_ends_even_a_busy_session() {
    let mut pair = Pair::with(policy(), Some(5 * SECOND));
    for _ in 0..5 {
        pair.sends(Side::Client, &frame(Side::Client, 0x81, b"x"));
        pair.advance(SECOND);
    }
    assert_eq!(frames(&pair.to_client)[0].1[2..], *b"lifetime reached");
}

#[test]
fn a_leg_that_takes_nothing_stops_the_other_and_then_ends() {
    let mut pair = Pair::with(SessionPolicy { ping: None, ..policy() }, None);
    pair.session.note_pressure(Side::Client, true, true, pair.now);
    assert!(!pair.session.wants(Side::Backend));
    assert!(pair.session.wants(Side::Client));
    pair.advance(60 * SECOND);
    assert!(!pair.session.wants(Side::Client));
    pair.ends(Side::Backend);
    assert_eq!(pair.done, Some(Cause::Stalled(Side::Client)));
}

#[test]
fn a_backend_that_somebody_else_looks_after_is_neither_pinged_nor_given_up() {
    let policy = SessionPolicy { minds_backend: false, ..policy() };
    let mut pair = Pair::with(policy, None);
    pair.session.note_pressure(Side::Backend, true, true, pair.now);
    for _ in 0..5 {
        pair.advance(25 * SECOND);
        pair.pong(Side::Client);
    }
    assert!(pair.to_backend.is_empty());
    pair.session.lose_backend(Cause::RedialGaveUp(30 * SECOND), pair.now);
    pair.settle();
    let told = (8, b"\x03\xf5no replica could be reached".to_vec());
    assert_eq!(frames(&pair.to_client).last(), Some(&told));
    // The client answers and keeps its connection open: that is its end all the same.
    pair.sends(Side::Client, &frame(Side::Client, 0x88, b"\x03\xf5"));
    assert_eq!(pair.done, Some(Cause::RedialGaveUp(30 * SECOND)));
}

proptest! {
    /// What arrives is a prefix of what was sent, in frames, with whole control frames between.
    #[test]
    fn ends_at_any_moment_leave_a_readable_stream(
        sizes in proptest::collection::vec(0usize..400, 1..6),
        cut in 1usize..40,
        end_after in 0usize..12,
        cause in prop_oneof![Just(Cause::Drained), Just(Cause::Idle), Just(Cause::ReplicaLost)],
    ) {
        let mut pair = Pair::relaying();
        let sent: Vec<Vec<u8>> = sizes.iter().map(|len| vec![0x61; *len]).collect();
        let stream: Vec<u8> = sent.iter().flat_map(|payload| frame(Side::Backend, 0x82, payload)).collect();
        for (turn, piece) in stream.chunks(cut).enumerate() {
            if turn == end_after {
                pair.session.end(cause, pair.now);
                pair.settle();
            }
            pair.sends(Side::Backend, piece);
        }
        let mut seen = frames(&pair.to_client);
        let closes: Vec<usize> = seen.iter().enumerate().filter(|(_, f)| f.0 == 8).map(|(at, _)| at).collect();
        if let [at] = closes[..] {
            prop_assert_eq!(at, seen.len() - 1, "nothing follows a close frame");
            seen.pop();
        }
        prop_assert!(closes.len() <= 1);
        for (index, (_, payload)) in seen.iter().enumerate() {
            prop_assert!(sent[index].starts_with(payload));
        }
    }
}

//! Plays an arbitrary list of things that happen to a session. Whatever they are: what a leg gets is
//! a readable stream of frames; without the gateway's own it is a prefix of what the other leg sent;
//! nothing follows a close of the gateway's; and an end, once begun, comes.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use longhaul_proto::session::{Bounds, Cause, Output, Session, SessionPolicy, Side};
use longhaul_proto::websocket::{Header, Opcode, mask};

const SECOND: Duration = Duration::from_secs(1);
const KEY: [u8; 4] = [9, 8, 7, 6];

#[derive(Default)]
struct Peer {
    /// What this leg sends and was not shown to the session yet.
    unsent: Vec<u8>,
    sent: Vec<u8>,
    received: Vec<u8>,
    has_ended: bool,
}

fuzz_target!(|ops: Vec<(u8, u16)>| {
    let mut now = Instant::now();
    let policy = SessionPolicy {
        ping: Some(25 * SECOND),
        pings_missed_max: 2,
        idle: Some(300 * SECOND),
        linger: 10 * SECOND,
        write_stall: 60 * SECOND,
        minds_backend: true,
        bounds: Bounds::default(),
    };
    let mut session = Session::new(Arc::new(policy), Some(now + 1000 * SECOND), 77, now);
    let mut peers = [Peer::default(), Peer::default()];
    for (op, amount) in ops {
        let side = if op & 1 == 0 { Side::Client } else { Side::Backend };
        let peer = &mut peers[usize::from(op & 1)];
        match op >> 1 & 0x7 {
            0 | 1 => peer.unsent.extend(frame(side, 0x80 | (op >> 4 & 0x3), usize::from(amount % 700))),
            2 => peer.unsent.extend(frame(side, 0x88 + (op >> 4) % 3, usize::from(amount % 126))),
            3 | 4 => show(&mut session, &mut peers, side, usize::from(amount), now),
            5 => session.note_pressure(side, amount & 1 == 0, amount & 2 == 0, now),
            6 => {
                now += Duration::from_millis(u64::from(amount) * 2);
                session.deadline_reached(now);
            }
            _ if amount & 1 == 0 => session.end(cause(amount), now),
            _ if !peer.has_ended => {
                peer.has_ended = true;
                session.receive_end(side, amount & 2 == 0, now);
            }
            _ => {}
        }
        if settle(&mut session, &mut peers) {
            break;
        }
    }
    check(&peers[0], &peers[1]);
    check(&peers[1], &peers[0]);
});

fn cause(amount: u16) -> Cause {
    match amount >> 1 & 3 {
        0 => Cause::Drained,
        1 => Cause::ReplicaLost,
        2 => Cause::Idle,
        _ => Cause::Lifetime,
    }
}

/// Shows the session up to `len` bytes that a leg sent.
fn show(session: &mut Session, peers: &mut [Peer; 2], side: Side, len: usize, now: Instant) {
    let from = usize::from(side == Side::Backend);
    if peers[from].has_ended || !session.wants(side) {
        return;
    }
    let len = len.min(peers[from].unsent.len());
    let bytes: Vec<u8> = peers[from].unsent.drain(..len).collect();
    peers[from].sent.extend(&bytes);
    let mut rest = &bytes[..];
    let mut rounds = 0;
    while !rest.is_empty() {
        let step = session.receive(side, rest, now);
        rest = &rest[step.consumed..];
        peers[1 - from].received.extend_from_slice(step.forward);
        settle(session, peers);
        rounds += 1;
        assert!(rounds <= 2 * bytes.len() + 2, "the session stands still");
    }
}

fn settle(session: &mut Session, peers: &mut [Peer; 2]) -> bool {
    loop {
        match session.poll() {
            Output::Send { to, frame } => {
                peers[usize::from(to == Side::Backend)].received.extend(frame.as_bytes());
            }
            Output::Finish(_) => {}
            Output::Done(_) => return true,
            Output::Wait(_) => return false,
        }
    }
}

/// Compares what a leg received with what the other sent.
fn check(to: &Peer, from: &Peer) {
    let (received, sent) = (frames(&to.received), frames(&from.sent));
    let mut sent = sent.iter();
    for (index, (opcode, payload)) in received.iter().enumerate() {
        let is_last = index + 1 == received.len();
        let is_own_ping = *opcode == Opcode::PING && payload.starts_with(b"lh");
        if is_own_ping {
            continue;
        }
        match sent.next() {
            Some((from, body)) if from == opcode && body.starts_with(payload) => {
                assert!(is_last || body == payload, "a frame was cut in the middle of the stream");
            }
            _ => {
                assert_eq!(*opcode, Opcode::CLOSE, "a frame that nobody sent");
                assert!(is_last, "something follows the gateway's close");
            }
        }
    }
}

/// Splits a stream into opcodes and unmasked payloads; the last one may be cut.
fn frames(mut bytes: &[u8]) -> Vec<(Opcode, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(header) = Header::parse(bytes).expect("only good frames were sent") {
        let end = (header.len + header.payload_len as usize).min(bytes.len());
        let mut payload = bytes[header.len..end].to_vec();
        if let Some(key) = header.mask {
            mask::apply(&mut payload, key, 0);
        }
        frames.push((header.opcode, payload));
        bytes = &bytes[end..];
    }
    frames
}

fn frame(side: Side, first: u8, len: usize) -> Vec<u8> {
    let masked = if side == Side::Client { 0x80 } else { 0 };
    let mut bytes = vec![first];
    if len < 126 {
        bytes.push(masked | len as u8);
    } else {
        bytes.push(masked | 126);
        bytes.extend((len as u16).to_be_bytes());
    }
    let mut payload: Vec<u8> = (0..len).map(|at| b'a' + (at % 23) as u8).collect();
    if side == Side::Client {
        bytes.extend(KEY);
        mask::apply(&mut payload, KEY, 0);
    }
    bytes.extend(payload);
    bytes
}

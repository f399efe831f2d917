//! The guard of HTTP/2 beside the plainest reader of frames and the plainest book of what they cost,
//! on the whole input at once: cuts between reads must change nothing.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use longhaul_proto::http2::{Guard, Kind, Waiting};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// No time passes here, so these are all there is.
const CONTROL: usize = 1000;
const WINDOWS: usize = 1000;
const WINDOWS_MAX: usize = 20_000;

/// What came of a connection.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The frame that was one too many: where it begins, and its kind.
    excess: Option<(usize, Kind)>,
    /// What is owed, unless there was an excess: then nothing is waited for.
    waiting: Option<Waiting>,
    last_stream: u32,
}

// Frames are repeated, because what ends in a flood takes more of them than a fuzzer would write.
fuzz_target!(|input: (u8, u8, u16, &[u8])| {
    let (cut, times, written, frames) = input;
    let connection = [PREFACE, &frames.repeat(1 + usize::from(times))].concat();
    let expected = read(&connection, written.into());
    assert_eq!(guard(&connection, connection.len(), written.into()), expected);

    let outcome = guard(&connection, usize::from(cut).max(1), written.into());
    let (Some((at, kind)), Some((passed, cut_kind))) = (expected.excess, outcome.excess) else {
        assert_eq!(outcome, expected, "cut into pieces of {cut}");
        return;
    };
    // Of the head itself, bytes may have passed in an earlier piece.
    assert!(kind == cut_kind && (at..at + 9).contains(&passed), "{passed} instead of {at}");
});

fn guard(connection: &[u8], size: usize, written: usize) -> Outcome {
    let now = Instant::now();
    let mut guard = Guard::new(now);
    guard.note_written(written);
    let mut passed = 0;
    let excess = connection.chunks(size).find_map(|piece| {
        let excess = guard.feed(piece, now).err();
        passed += excess.map_or(piece.len(), |excess| excess.passed);
        excess.map(|excess| (passed, excess.kind))
    });
    let waiting = excess.is_none().then(|| guard.waiting());
    Outcome { excess, waiting, last_stream: guard.last_stream() }
}

fn read(connection: &[u8], written: usize) -> Outcome {
    let (mut control, mut windows) = (CONTROL, (WINDOWS + written / 4).min(WINDOWS_MAX));
    let (mut has_settings, mut is_in_block, mut last_stream) = (false, false, 0);
    let mut excess = None;
    let mut at = PREFACE.len();
    while let Some(&[l0, l1, l2, kind, flags, s0, s1, s2, s3]) = connection[at..].first_chunk::<9>() {
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let cost = match kind {
            0 => usize::from(length == 0 && flags & 1 == 0),
            1 => {
                last_stream = last_stream.max(u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]));
                windows = (windows + 2).min(WINDOWS_MAX);
                0
            }
            3 | 4 | 9 => 4,
            8 => 0,
            _ => 1,
        };
        has_settings |= kind == 4;
        if kind == 1 || kind == 9 {
            is_in_block = flags & 4 == 0;
        }
        if control < cost || (kind == 8 && windows == 0) {
            excess = Some((at, name(kind)));
            break;
        }
        control -= cost;
        windows -= usize::from(kind == 8);
        at += 9 + length;
        if at >= connection.len() {
            break;
        }
    }
    let is_in_frame = at != connection.len();
    let waiting = match (has_settings, is_in_block) {
        (false, _) => Waiting::Preface,
        (true, true) => Waiting::Block,
        (true, false) if is_in_frame => Waiting::Frame,
        (true, false) => Waiting::Nothing,
    };
    Outcome { excess, waiting: excess.is_none().then_some(waiting), last_stream }
}

fn name(kind: u8) -> Kind {
    const KNOWN: [Kind; 10] = [
        Kind::Data,
        Kind::Headers,
        Kind::Priority,
        Kind::ResetStream,
        Kind::Settings,
        Kind::PushPromise,
        Kind::Ping,
        Kind::GoAway,
        Kind::WindowUpdate,
        Kind::Continuation,
    ];
    KNOWN.get(usize::from(kind)).copied().unwrap_or(Kind::Other(kind))
}

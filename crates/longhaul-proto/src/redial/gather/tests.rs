//! Whatever reads cut, messages pass whole.

use proptest::prelude::*;

use super::*;

/// What passed, and what was still held back at the end.
#[derive(Debug, Default, PartialEq)]
struct Passed {
    data: Vec<u8>,
    controls: Vec<Vec<u8>>,
    messages: u64,
    is_streaming: bool,
}

fn gather(hold_bytes_max: usize, pieces: &[&[u8]]) -> Passed {
    let mut gather = Gather::new(Role::Server, hold_bytes_max);
    let mut passed = Passed::default();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let next = gather.next(rest, 3).expect("the frames are good");
            let (input, after) = rest.split_at(next.consumed);
            rest = after;
            let Some(unit) = next.unit else { continue };
            let stash = (unit.place == Place::Stash).then(|| gather.take_stash());
            let bytes = stash.as_deref().unwrap_or(input);
            match unit.kind {
                Kind::Messages(count) => {
                    assert_eq!(each_message(bytes).count() as u64, count);
                    passed.messages += count;
                    passed.data.extend_from_slice(bytes);
                }
                Kind::Piece { is_last, .. } => {
                    passed.messages += u64::from(is_last);
                    passed.data.extend_from_slice(bytes);
                }
                Kind::Control(_) => passed.controls.push(bytes.to_vec()),
            }
        }
    }
    passed.is_streaming = gather.is_streaming();
    passed
}

#[test]
fn half_a_message_stays_and_a_control_frame_overtakes_it() {
    let first = [0x01, 2, b'h', b'e'];
    let ping = [0x89, 1, b'!'];
    let stream = [&first[..], &ping, &[0x80, 1]].concat();
    let passed = gather(100, &[&stream]);
    assert_eq!((passed.data.len(), passed.controls), (0, vec![ping.to_vec()]));
    let passed = gather(100, &[&stream, b"y"]);
    assert_eq!(passed.data, [&first[..], &[0x80, 1, b'y']].concat());
    assert_eq!(passed.messages, 1);
}

#[test]
fn a_message_larger_than_the_bound_passes_as_it_comes() {
    let whole = [&[0x82, 50][..], &[7; 50]].concat();
    let passed = gather(20, &[&whole[..30]]);
    assert_eq!((&passed.data[..], passed.is_streaming), (&whole[..30], true));
    // Fragments grow beyond the bound one by one.
    let fragments = [&[0x02, 15][..], &[1; 15], &[0x80, 15], &[2; 15]].concat();
    let passed = gather(20, &[&fragments[..17], &fragments[17..21]]);
    assert_eq!((&passed.data[..], passed.is_streaming), (&fragments[..21], true));
    let passed = gather(20, &[&fragments[..17], &fragments[17..]]);
    assert_eq!((&passed.data, passed.messages), (&fragments, 1));
    assert!(!passed.is_streaming);
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    (prop_oneof![Just(1u8), Just(0u8), Just(9u8)], any::<bool>(), 0usize..300).prop_map(
        |(opcode, is_final, len)| {
            let len = if opcode == 9 { len.min(125) } else { len };
            let mut frame = vec![opcode | if is_final || opcode == 9 { 0x80 } else { 0 }];
            match len {
                0..126 => frame.push(len as u8),
                _ => {
                    frame.push(126);
                    frame.extend((len as u16).to_be_bytes());
                }
            }
            frame.resize(frame.len() + len, 0x5a);
            frame
        },
    )
}

proptest! {
    #[test]
    fn how_reads_cut_the_stream_changes_nothing_in_the_end(
        frames in proptest::collection::vec(frame(), 1..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        hold_bytes_max in 0usize..400,
    ) {
        // A last frame ends whatever message is still open.
        let stream = [frames.concat(), vec![0x80, 1, b'.']].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let passed = gather(hold_bytes_max, &pieces);
        let is_control = |frame: &&Vec<u8>| frame[0] & 8 != 0;
        let data: Vec<u8> = frames.iter().filter(|frame| !is_control(frame)).flatten().copied()
            .chain([0x80, 1, b'.']).collect();
        let controls: Vec<Vec<u8>> = frames.iter().filter(is_control).cloned().collect();
        prop_assert_eq!(passed.data, data);
        prop_assert_eq!(passed.controls, controls);
        prop_assert!(!passed.is_streaming);
    }
}

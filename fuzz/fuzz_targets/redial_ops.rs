//! Plays an arbitrary list of things that happen to a leg whose replicas come and go, with each profile. Whatever
//! they are: what a replica gets is a readable stream of masked frames, each in one piece at the replica that gets its
//! start, and opaque messages arrive in order and at most once where nothing is said twice.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use longhaul_proto::redial::{
    Alarm, Loss, Polled, Prelude, Profile, Redial, RedialPolicy, Sending, Uncertain,
};
use longhaul_proto::websocket::{CloseCode, Header, mask};

const SECOND: Duration = Duration::from_secs(1);
const KEY: [u8; 4] = [9, 8, 7, 6];

fuzz_target!(|input: (u8, Vec<(u8, u16)>, Vec<u8>)| {
    let (kind, ops, text) = input;
    let mut now = Instant::now();
    let profile = match kind % 4 {
        0 => Profile::Plain,
        1 => Profile::SocketIo { was_polling: false },
        2 => Profile::SocketIo { was_polling: true },
        _ => Profile::GraphQl,
    };
    let policy = RedialPolicy {
        ping: Some(25 * SECOND),
        pings_missed_max: 2,
        write_stall: 60 * SECOND,
        hold_bytes_max: 500,
        wait_bytes_max: 1000,
        uncertain: Uncertain::AtMostOnce,
        codes: [1001, 1006, 1012, 1013].map(CloseCode).to_vec(),
        keep_bytes_max: 300,
        settle: 30 * SECOND,
        prelude: Prelude::default(),
    };
    let mut redial = Redial::new(Arc::new(policy), profile, 77, now);
    let mut is_up = true;
    let mut replica: Vec<u8> = Vec::new();
    let mut arrived = 0;
    let mut sent = 0_u32;
    for (op, amount) in ops {
        match op % 8 {
            0 | 1 => {
                // Either a numbered message, or a slice of what the fuzzer thinks a protocol says.
                sent += 1;
                let payload = match op & 0x10 {
                    0 => [&sent.to_be_bytes()[..], &vec![7; usize::from(amount % 700)]].concat(),
                    _ => slice(&text, amount).to_vec(),
                };
                let first = if op & 0x10 == 0 { 0x82 } else { 0x81 };
                if !client_sends(&mut redial, &frame(first, &payload, true), &mut replica, now) {
                    return;
                }
            }
            2 => drop(redial.receive(&frame(0x81, slice(&text, amount), false), false, now)),
            3 => drop(redial.receive(&frame(0x82, &vec![1; usize::from(amount % 900)], false), false, now)),
            4 if is_up => {
                match redial.lose(amount & 1 == 0, now) {
                    Loss::Fatal => return,
                    Loss::Hidden { uncertain } => {
                        assert!(uncertain.is_none_or(|(first, last)| first <= last));
                    }
                }
                is_up = false;
                check(&std::mem::take(&mut replica), &mut arrived);
            }
            5 if !is_up => {
                redial.connect(now);
                is_up = true;
            }
            6 => {
                now += Duration::from_millis(u64::from(amount));
                if redial.check(amount & 1 == 0, now) != Alarm::None {
                    return;
                }
            }
            _ if redial.wants_polled() => {
                let mut polled = Polled::opened_by(slice(&text, amount));
                polled.note_posted(&text, 300);
                redial.note_polled(Some(polled));
            }
            _ => flush(&mut redial, &mut replica, usize::from(amount), now),
        }
        let mut buffer = [0; 4096];
        while redial.has_for_client() {
            redial.take_for_client(&mut buffer);
        }
    }
    check(&replica, &mut arrived);
});

fn slice(text: &[u8], amount: u16) -> &[u8] {
    let (from, len) = (usize::from(amount >> 8), usize::from(amount & 0xff));
    let rest = &text[from.min(text.len())..];
    &rest[..len.min(rest.len())]
}

fn frame(first: u8, payload: &[u8], is_masked: bool) -> Vec<u8> {
    let bit = if is_masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(bit | len as u8),
        len => {
            frame.push(bit | 126);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    let mut payload = payload.to_vec();
    if is_masked {
        frame.extend(KEY);
        mask::apply(&mut payload, KEY, 0);
    }
    frame.extend(payload);
    frame
}

/// False when there was no room for all of it.
fn client_sends(redial: &mut Redial, mut bytes: &[u8], replica: &mut Vec<u8>, now: Instant) -> bool {
    while !bytes.is_empty() {
        match redial.send(bytes, now) {
            Ok(Sending::Direct(len)) => {
                // Half of it, so that the rest is owed.
                replica.extend(&bytes[..len / 2]);
                redial.wrote_directly(&bytes[..len], len / 2, now);
                bytes = &bytes[len..];
            }
            // No room: a relay would hold the client back here. This one tries again with the leg flushed, and
            // what is left then waits for ever, which ends the play.
            Ok(Sending::Owed(0)) if redial.owed().is_empty() => return false,
            Ok(Sending::Owed(0)) => flush(redial, replica, usize::MAX, now),
            Ok(Sending::Owed(len)) => bytes = &bytes[len..],
            Err(fault) => panic!("good frames are followed: {fault}"),
        }
    }
    true
}

fn flush(redial: &mut Redial, replica: &mut Vec<u8>, most: usize, now: Instant) {
    let count = redial.owed().len().min(most);
    replica.extend(&redial.owed()[..count]);
    redial.wrote(count, now);
}

/// Reads what one replica got: whole masked frames, and perhaps half of one more.
fn check(mut bytes: &[u8], arrived: &mut u32) {
    while let Some(header) = Header::parse(bytes).expect("what a replica gets can be read") {
        let key = header.mask.expect("a client's frames are masked");
        let end = header.len + header.payload_len as usize;
        let Some(payload) = bytes.get(header.len..end) else { return };
        if header.opcode.0 == 2 && payload.len() >= 4 {
            let mut payload = payload.to_vec();
            mask::apply(&mut payload, key, 0);
            let number = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]);
            assert!(number > *arrived, "{number} behind {arrived}");
            *arrived = number;
        }
        bytes = &bytes[end..];
    }
}

//! The scanner against the plainest reader of frames that can be written (RFC 6455 §5.2).
#![no_main]

use libfuzzer_sys::fuzz_target;
use longhaul_proto::websocket::{Found, FrameFault, Role, Scanner};

#[derive(Debug, Default, PartialEq)]
struct Read {
    /// Data frames, headers included, one behind the other.
    data: Vec<u8>,
    controls: Vec<Vec<u8>>,
    messages: u64,
    fault: Option<FrameFault>,
}

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (is_client, cut, bytes) = input;
    let role = if is_client { Role::Client } else { Role::Server };
    let expected = read_plainly(role, bytes);
    for size in [usize::from(cut).max(1), bytes.len().max(1)] {
        let read = scan(role, bytes.chunks(size));
        assert_eq!(read.fault, expected.fault, "in pieces of {size}");
        assert_eq!(read.controls, expected.controls, "in pieces of {size}");
        if expected.fault.is_none() {
            assert_eq!(read, expected, "in pieces of {size}");
        } else {
            // The first byte of a bad header may have passed before the second showed the fault.
            assert!(read.data.starts_with(&expected.data), "in pieces of {size}");
        }
    }
});

fn scan<'a>(role: Role, pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut scanner = Scanner::new(role);
    let mut read = Read::default();
    for mut piece in pieces {
        while !piece.is_empty() {
            match scanner.next(piece) {
                Ok(Found::Data(len)) => {
                    assert_ne!(len, 0);
                    read.data.extend(&piece[..len]);
                    piece = &piece[len..];
                }
                Ok(Found::Control { frame, consumed }) => {
                    read.controls.push(frame.wire.to_vec());
                    let _read = (frame.payload(&mut [0; 125]).len(), frame.close_code());
                    piece = &piece[consumed..];
                }
                Ok(Found::Held) => break,
                Err(fault) => {
                    read.fault = Some(fault);
                    return read;
                }
            }
        }
    }
    read.messages = scanner.messages();
    read
}

fn read_plainly(role: Role, mut bytes: &[u8]) -> Read {
    let mut read = Read::default();
    while !bytes.is_empty() {
        let is_control = bytes[0] & 0x08 != 0;
        let Some(&second) = bytes.get(1) else {
            if !is_control {
                read.data.extend(bytes);
            }
            break;
        };
        let short = u64::from(second & 0x7f);
        let is_masked = second & 0x80 != 0;
        read.fault = match (role, is_masked) {
            (Role::Client, false) => Some(FrameFault::Unmasked),
            (Role::Server, true) => Some(FrameFault::Masked),
            _ if is_control && bytes[0] & 0x80 == 0 => Some(FrameFault::ControlFragmented),
            _ if is_control && short > 125 => Some(FrameFault::ControlLength),
            _ => None,
        };
        if read.fault.is_some() {
            break;
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let header = 2 + extended + if is_masked { 4 } else { 0 };
        let length = bytes
            .get(2..2 + extended)
            .map(|length| length.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)));
        if extended == 8 && length.is_some_and(|length| length >> 63 != 0) {
            read.fault = Some(FrameFault::Length);
            break;
        }
        let length = if extended == 0 { short } else { length.unwrap_or(0) };
        let whole = (header as u64).saturating_add(length);
        let here = usize::try_from(whole).unwrap_or(usize::MAX).min(bytes.len());
        let is_whole = bytes.len() >= header && bytes.len() as u64 >= whole;
        if is_control && is_whole {
            read.controls.push(bytes[..here].to_vec());
        } else if !is_control {
            let here = if bytes.len() < header { bytes.len() } else { here };
            read.data.extend(&bytes[..here]);
            read.messages += u64::from(bytes.len() >= header && bytes[0] & 0x80 != 0);
        }
        if !is_whole {
            break;
        }
        bytes = &bytes[here..];
    }
    read
}

//! Follows frame boundaries through a byte stream without holding a payload.
//!
//! Data passes as it comes, split wherever the reads split it. Control frames are found whole, at
//! most 131 bytes, so that the session can read them, keep them back or put its own between two
//! frames. Start at [`Scanner::next`].

mod frozen;

pub use frozen::FrozenScanner;

use super::frame::{CONTROL_BYTES_MAX, ControlFrame, FrameFault, HEADER_BYTES_MAX, Header, Opcode};

/// Whose frames these are: it decides whether they must be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Frames of a client: masked.
    Client,
    /// Frames of a server: never masked.
    Server,
}

/// The frame boundaries of one direction.
#[derive(Debug)]
pub struct Scanner {
    role: Role,
    /// Payload bytes of the current data frame still to come.
    payload_rest: u64,
    /// The bytes of a data frame's header that was split by a read; they have been passed on.
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// The start of a control frame that was split by a read; not passed on.
    held: Option<Box<HeldControl>>,
    /// Whether `held` was given out whole and is to be forgotten.
    is_held_spent: bool,
    messages: u64,
}

#[derive(Debug)]
struct HeldControl {
    bytes: [u8; CONTROL_BYTES_MAX],
    len: usize,
}

/// What stands next in the stream.
#[derive(Debug)]
pub enum Found<'a> {
    /// This many bytes belong to data frames, up to a control frame or the end of what was given.
    Data(usize),
    /// A whole control frame, ending after `consumed` of the bytes given.
    Control {
        /// The frame; its bytes may reach back into an earlier read.
        frame: ControlFrame<'a>,
        /// Bytes to skip before the next call.
        consumed: usize,
    },
    /// All that was given is the start of a control frame; it is held back until it is whole.
    Held,
}

impl Scanner {
    /// Starts at a frame boundary.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            payload_rest: 0,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            held: None,
            is_held_spent: false,
            messages: 0,
        }
    }

    /// Says what `bytes`, which must not be empty, begins with. Call again with the rest.
    ///
    /// # Errors
    /// [`FrameFault`] when the stream cannot be followed; the scanner is of no use afterwards.
    pub fn next<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Found<'a>, FrameFault> {
        if self.is_held_spent {
            self.held = None;
            self.is_held_spent = false;
        }
        if self.held.is_some() {
            return self.complete_held(bytes);
        }
        let data = self.pass_data(bytes)?;
        if data > 0 {
            return Ok(Found::Data(data));
        }
        // Not data, so the first byte starts a control frame.
        let Some(header) = self.parse(bytes)? else { return Ok(self.hold(bytes)) };
        let frame_len = header.len + header.payload_len as usize;
        match bytes.get(..frame_len) {
            Some(wire) => {
                Ok(Found::Control { frame: ControlFrame { header, wire }, consumed: frame_len })
            }
            None => Ok(self.hold(bytes)),
        }
    }

    /// Whether what was passed on so far ends with a whole frame: other frames may follow here.
    pub fn is_at_boundary(&self) -> bool {
        self.payload_rest == 0 && self.header_len == 0
    }

    /// How many bytes may be passed on before looking for a boundary again; 0 at a boundary.
    pub fn bytes_to_boundary(&self) -> usize {
        match (self.payload_rest, self.header_len) {
            (0, 0) => 0,
            // The header tells the rest once it is whole.
            (0, _) => 1,
            (rest, _) => usize::try_from(rest).unwrap_or(usize::MAX),
        }
    }

    /// Messages whose last frame has begun.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Walks over data frames and returns how many bytes they take.
    fn pass_data(&mut self, bytes: &[u8]) -> Result<usize, FrameFault> {
        let mut at = 0;
        while at < bytes.len() {
            if self.payload_rest > 0 {
                let here = self.payload_rest.min((bytes.len() - at) as u64);
                self.payload_rest -= here;
                at += here as usize;
            } else if self.header_len > 0 {
                at += self.complete_header(&bytes[at..])?;
            } else if Opcode(bytes[at] & 0x0f).is_control() {
                break;
            } else if let Some(header) = match self.parse(&bytes[at..]) {
                // What stands in front of a fault still passes; the next call finds the fault.
                Err(_) if at > 0 => return Ok(at),
                parsed => parsed?,
            } {
                at += header.len;
                self.enter(header);
            } else {
                let split = &bytes[at..];
                self.header[..split.len()].copy_from_slice(split);
                self.header_len = split.len() as u8;
                at = bytes.len();
            }
        }
        Ok(at)
    }

    /// Adds bytes to a split header until it is whole; returns how many it took.
    fn complete_header(&mut self, bytes: &[u8]) -> Result<usize, FrameFault> {
        for (taken, &byte) in bytes.iter().enumerate() {
            self.header[usize::from(self.header_len)] = byte;
            self.header_len += 1;
            let so_far = self.header;
            if let Some(header) = self.parse(&so_far[..usize::from(self.header_len)])? {
                self.header_len = 0;
                self.enter(header);
                return Ok(taken + 1);
            }
        }
        Ok(bytes.len())
    }

    fn enter(&mut self, header: Header) {
        self.payload_rest = header.payload_len;
        self.messages += u64::from(header.is_final);
    }

    /// Holds the whole of `bytes`, which is less than one control frame.
    fn hold<'a>(&mut self, bytes: &[u8]) -> Found<'a> {
        let mut held = Box::new(HeldControl { bytes: [0; CONTROL_BYTES_MAX], len: bytes.len() });
        held.bytes[..bytes.len()].copy_from_slice(bytes);
        self.held = Some(held);
        Found::Held
    }

    fn complete_held<'a>(&'a mut self, bytes: &[u8]) -> Result<Found<'a>, FrameFault> {
        let role = self.role;
        let Some(held) = self.held.as_mut() else { return Ok(Found::Held) };
        for (taken, &byte) in bytes.iter().enumerate() {
            held.bytes[held.len] = byte;
            held.len += 1;
            let Some(header) = parse_as(role, &held.bytes[..held.len])? else { continue };
            let frame_len = header.len + header.payload_len as usize;
            if held.len == frame_len {
                self.is_held_spent = true;
                let wire = &held.bytes[..frame_len];
                let frame = ControlFrame { header, wire };
                return Ok(Found::Control { frame, consumed: taken + 1 });
            }
        }
        Ok(Found::Held)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Option<Header>, FrameFault> {
        parse_as(self.role, bytes)
    }
}

fn parse_as(role: Role, bytes: &[u8]) -> Result<Option<Header>, FrameFault> {
    // The mask bit is known before the header is whole; a fault should not wait for more bytes.
    if let Some(second) = bytes.get(1) {
        match (role, second & 0x80 != 0) {
            (Role::Client, false) => return Err(FrameFault::Unmasked),
            (Role::Server, true) => return Err(FrameFault::Masked),
            (Role::Client, true) | (Role::Server, false) => {}
        }
    }
    Header::parse(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a scanner found, with data runs joined: independent of how the reads were cut.
    #[derive(Debug, Default, PartialEq)]
    struct Seen {
        data: Vec<u8>,
        controls: Vec<Vec<u8>>,
        messages: u64,
        at_boundary: bool,
    }

    fn scan(role: Role, pieces: &[&[u8]]) -> Result<Seen, FrameFault> {
        let mut scanner = Scanner::new(role);
        let mut seen = Seen::default();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                match scanner.next(rest)? {
                    Found::Data(len) => {
                        seen.data.extend_from_slice(&rest[..len]);
                        rest = &rest[len..];
                    }
                    Found::Control { frame, consumed } => {
                        seen.controls.push(frame.wire.to_vec());
                        rest = &rest[consumed..];
                    }
                    Found::Held => rest = &[],
                }
            }
        }
        seen.messages = scanner.messages();
        seen.at_boundary = scanner.is_at_boundary();
        Ok(seen)
    }

    #[test]
    fn a_control_frame_between_fragments_is_found_whole() {
        let stream = [0x01, 2, b'h', b'e', 0x89, 1, b'!', 0x80, 1, b'y'];
        let seen = scan(Role::Server, &[&stream]).unwrap();
        assert_eq!(seen.controls, [vec![0x89, 1, b'!']]);
        assert_eq!(seen.data, [0x01, 2, b'h', b'e', 0x80, 1, b'y']);
        assert_eq!((seen.messages, seen.at_boundary), (1, true));
    }

    #[test]
    fn the_wrong_masking_is_a_fault_as_soon_as_the_bit_is_there() {
        assert_eq!(scan(Role::Client, &[&[0x81, 0x05]]), Err(FrameFault::Unmasked));
        assert_eq!(scan(Role::Server, &[&[0x81], &[0x85]]), Err(FrameFault::Masked));
    }

    #[test]
    fn half_a_frame_is_not_a_boundary_but_a_held_control_frame_is() {
        assert!(!scan(Role::Server, &[&[0x82]]).unwrap().at_boundary);
        assert!(!scan(Role::Server, &[&[0x82, 3, 1]]).unwrap().at_boundary);
        assert!(scan(Role::Server, &[&[0x89, 3, 1]]).unwrap().at_boundary);
    }

    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let data = (0u8..3, any::<bool>(), prop_oneof![0usize..300, 65530usize..65540]).prop_map(
            |(opcode, is_final, len)| {
                let mut frame = vec![opcode | if is_final { 0x80 } else { 0 }];
                match len {
                    0..126 => frame.push(len as u8),
                    126..65536 => {
                        frame.push(126);
                        frame.extend((len as u16).to_be_bytes());
                    }
                    _ => {
                        frame.push(127);
                        frame.extend((len as u64).to_be_bytes());
                    }
                }
                frame.resize(frame.len() + len, 0x5a);
                frame
            },
        );
        let control = (8u8..11, 0usize..126).prop_map(|(opcode, len)| {
            let mut frame = vec![0x80 | opcode, len as u8];
            frame.resize(2 + len, 0xa5);
            frame
        });
        prop_oneof![data, control]
    }

    proptest! {
        #[test]
        fn how_reads_cut_the_stream_changes_nothing(
            frames in proptest::collection::vec(frame(), 1..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let stream = frames.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let cut = scan(Role::Server, &pieces).unwrap();
            prop_assert_eq!(&cut, &scan(Role::Server, &[&stream]).unwrap());
            let controls: Vec<_> = frames.iter().filter(|frame| frame[0] & 8 != 0).cloned().collect();
            prop_assert_eq!(&cut.controls, &controls);
            prop_assert!(cut.at_boundary);
        }
    }
}

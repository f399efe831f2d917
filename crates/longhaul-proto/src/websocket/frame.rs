//! One frame's header, and the small frames the gateway writes itself (RFC 6455 §5.2, §5.5).
//!
//! Payloads of data frames are opaque here; following them through a stream is the work of
//! [`Scanner`](super::Scanner).

use super::{CloseCode, mask};

/// Longest header: 2 bytes, 8 of length, 4 of mask key.
pub const HEADER_BYTES_MAX: usize = 14;
/// Longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;
/// Longest control frame: its header never needs an extended length.
pub const CONTROL_BYTES_MAX: usize = 2 + 4 + CONTROL_PAYLOAD_BYTES_MAX;

/// The low four bits of a frame's first byte. Unknown values are kept: an extension may own them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Opcode(pub u8);

impl Opcode {
    /// What goes on with a message that a frame before has begun (§5.4).
    pub const CONTINUATION: Self = Self(0x0);
    /// Text (§5.6).
    pub const TEXT: Self = Self(0x1);
    /// Bytes (§5.6).
    pub const BINARY: Self = Self(0x2);
    /// Close (§5.5.1).
    pub const CLOSE: Self = Self(0x8);
    /// Ping (§5.5.2).
    pub const PING: Self = Self(0x9);
    /// Pong (§5.5.3).
    pub const PONG: Self = Self(0xa);

    /// Whether this is a control frame, which may stand between the fragments of a message.
    pub fn is_control(self) -> bool {
        self.0 & 0x8 != 0
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Header {
    /// Whether this is the last frame of its message.
    pub is_final: bool,
    /// Whether a bit is set that only an extension gives a meaning (§5.2).
    pub is_extended: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The mask key, if the frame is masked.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload after the header.
    pub payload_len: u64,
    /// Bytes of the header itself, 2 to 14.
    pub len: usize,
}

/// Why a byte stream cannot be followed as frames. All of them end the session (1002).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// RFC 6455 §5.2: the most significant bit of a 64-bit length must be 0.
    #[error("frame length does not fit 63 bits")]
    Length,
    /// RFC 6455 §5.1: clients mask every frame.
    #[error("client frame is not masked")]
    Unmasked,
    /// RFC 6455 §5.1: servers mask no frame.
    #[error("server frame is masked")]
    Masked,
    /// RFC 6455 §5.5: control frames carry at most 125 bytes.
    #[error("control frame is longer than 125 bytes")]
    ControlLength,
    /// RFC 6455 §5.5: control frames are never fragmented.
    #[error("control frame is fragmented")]
    ControlFragmented,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` while it is not whole.
    ///
    /// # Errors
    /// [`FrameFault`] for what no later byte could mend; masking is the reader's to judge.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameFault> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        let opcode = Opcode(first & 0x0f);
        let is_final = first & 0x80 != 0;
        let short = second & 0x7f;
        if opcode.is_control() && !is_final {
            return Err(FrameFault::ControlFragmented);
        }
        if opcode.is_control() && short > 125 {
            return Err(FrameFault::ControlLength);
        }
        let (payload_len, at) = match short {
            126 => match bytes.get(2..4) {
                Some(&[a, b]) => (u64::from(u16::from_be_bytes([a, b])), 4),
                _ => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|length| length.try_into().ok()) {
                Some(length) => (u64::from_be_bytes(length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if payload_len >> 63 != 0 {
            return Err(FrameFault::Length);
        }
        let (mask, len) = if second & 0x80 == 0 {
            (None, at)
        } else {
            match bytes.get(at..at + 4).and_then(|key| key.try_into().ok()) {
                Some(key) => (Some(key), at + 4),
                None => return Ok(None),
            }
        };
        let is_extended = first & 0x70 != 0;
        Ok(Some(Self { is_final, is_extended, opcode, mask, payload_len, len }))
    }
}

/// The header of a whole frame, ready for the wire. Holds no heap memory.
#[derive(Debug, Clone, Copy)]
pub struct FrameHead {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl FrameHead {
    /// For one final frame with this payload.
    pub fn new(opcode: Opcode, payload_len: usize, mask: Option<[u8; 4]>) -> Self {
        let mut head = Self { bytes: [0; HEADER_BYTES_MAX], len: 0 };
        let bit = if mask.is_some() { 0x80 } else { 0 };
        match payload_len {
            short @ 0..=125 => head.push(&[0x80 | opcode.0, bit | short as u8]),
            middle @ 126..=0xffff => {
                head.push(&[0x80 | opcode.0, bit | 126]);
                head.push(&(middle as u16).to_be_bytes());
            }
            long => {
                head.push(&[0x80 | opcode.0, bit | 127]);
                head.push(&(long as u64).to_be_bytes());
            }
        }
        head.push(mask.as_ref().map_or(&[], |key| &key[..]));
        head
    }

    /// For a fragment that others follow.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.bytes[0] &= 0x7f;
        self
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

/// A whole control frame as it came, lent from the reader's buffer.
#[derive(Debug, Clone, Copy)]
pub struct ControlFrame<'a> {
    /// Its header.
    pub header: Header,
    /// The frame on the wire, header included.
    pub wire: &'a [u8],
}

impl ControlFrame<'_> {
    /// Copies the payload out, unmasked; the slice is the used part of `buffer`.
    pub fn payload<'b>(&self, buffer: &'b mut [u8; CONTROL_PAYLOAD_BYTES_MAX]) -> &'b [u8] {
        let wire = &self.wire[self.header.len..];
        let payload = &mut buffer[..wire.len()];
        payload.copy_from_slice(wire);
        if let Some(key) = self.header.mask {
            mask::apply(payload, key, 0);
        }
        payload
    }

    /// The code of a close frame; `None` when it carries none.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self.payload(&mut [0; CONTROL_PAYLOAD_BYTES_MAX]) {
            [high, low, ..] => Some(CloseCode(u16::from_be_bytes([*high, *low]))),
            _ => None,
        }
    }
}

/// A small control frame of the gateway's own, ready for the wire. Holds no heap memory.
#[derive(Debug, Clone, Copy)]
pub struct OwnFrame {
    bytes: [u8; Self::BYTES_MAX],
    len: u8,
}

impl OwnFrame {
    /// Header, mask key, and a payload of up to 58 bytes.
    const BYTES_MAX: usize = 64;
    const PAYLOAD_BYTES_MAX: usize = Self::BYTES_MAX - 6;

    /// A ping. The payload is cut at 58 bytes.
    pub fn ping(payload: &[u8], mask: Option<[u8; 4]>) -> Self {
        Self::new(Opcode::PING, payload, mask)
    }

    /// A close frame with a reason of ASCII text, cut at 56 bytes.
    pub fn close(code: CloseCode, reason: &str, mask: Option<[u8; 4]>) -> Self {
        let mut payload = [0; Self::PAYLOAD_BYTES_MAX];
        let reason = &reason.as_bytes()[..reason.len().min(payload.len() - 2)];
        payload[..2].copy_from_slice(&code.0.to_be_bytes());
        payload[2..2 + reason.len()].copy_from_slice(reason);
        Self::new(Opcode::CLOSE, &payload[..2 + reason.len()], mask)
    }

    fn new(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Self {
        let payload = &payload[..payload.len().min(Self::PAYLOAD_BYTES_MAX)];
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[0] = 0x80 | opcode.0;
        bytes[1] = payload.len() as u8;
        let mut at = 2;
        if let Some(key) = mask {
            bytes[1] |= 0x80;
            bytes[2..6].copy_from_slice(&key);
            at = 6;
        }
        let body = &mut bytes[at..at + payload.len()];
        body.copy_from_slice(payload);
        if let Some(key) = mask {
            mask::apply(body, key, 0);
        }
        Self { bytes, len: (at + payload.len()) as u8 }
    }

    /// The frame as it goes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_length_form_are_read() {
        #[track_caller]
        fn check(bytes: &[u8], payload_len: u64, len: usize) {
            for cut in 0..len {
                assert_eq!(Header::parse(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
            let header = Header::parse(bytes).unwrap().unwrap();
            assert_eq!((header.payload_len, header.len), (payload_len, len));
        }
        check(&[0x82, 0x00], 0, 2);
        check(&[0x81, 0x85, 1, 2, 3, 4], 5, 6);
        check(&[0x82, 126, 0x01, 0x00], 256, 4);
        check(&[0x82, 254, 0x01, 0x00, 1, 2, 3, 4], 256, 8);
        check(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65536, 10);
        check(&[0x82, 255, 0, 0, 0, 0, 0, 1, 0, 0, 9, 9, 9, 9], 65536, 14);
    }

    #[test]
    fn what_cannot_be_followed_is_a_fault() {
        #[track_caller]
        fn check(bytes: &[u8], fault: FrameFault) {
            assert_eq!(Header::parse(bytes), Err(fault));
        }
        check(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], FrameFault::Length);
        check(&[0x09, 0], FrameFault::ControlFragmented);
        check(&[0x89, 126, 0, 126], FrameFault::ControlLength);
    }

    #[test]
    fn written_headers_read_back() {
        for payload_len in [0, 125, 126, 0xffff, 0x1_0000] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let head = FrameHead::new(Opcode::TEXT, payload_len, mask);
                let header = Header::parse(head.as_bytes()).unwrap().unwrap();
                assert_eq!((header.payload_len, header.mask), (payload_len as u64, mask));
                assert_eq!((header.len, header.is_final), (head.as_bytes().len(), true));
            }
        }
    }

    #[test]
    fn own_frames_read_back_as_written() {
        let frame = OwnFrame::close(CloseCode::SERVICE_RESTART, "draining", Some([7, 7, 1, 2]));
        let header = Header::parse(frame.as_bytes()).unwrap().unwrap();
        let control = ControlFrame { header, wire: frame.as_bytes() };
        assert_eq!(control.close_code(), Some(CloseCode::SERVICE_RESTART));
        assert_eq!(&control.payload(&mut [0; 125])[2..], b"draining");
    }
}

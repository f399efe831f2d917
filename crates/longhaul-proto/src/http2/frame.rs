//! Frame heads and where frames end (RFC 9113 §4.1). Payloads are counted, not read.

/// Bytes of a frame head.
const HEAD_BYTES: usize = 9;
/// The error code that tells a peer to stop flooding (RFC 9113 §7).
pub const ENHANCE_YOUR_CALM: u32 = 0xb;
/// Bytes of the frame that [`goaway`] makes.
pub const GOAWAY_BYTES: usize = HEAD_BYTES + 8;

/// Kind of a frame (RFC 9113 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of a body or a tunnel.
    Data,
    /// Opens a stream, or ends one with trailers.
    Headers,
    /// Advice that nobody needs to follow.
    Priority,
    /// Ends a stream at once.
    ResetStream,
    /// Parameters of the connection.
    Settings,
    /// A server's promise; no client may send it.
    PushPromise,
    /// Asks for an answer, or is one.
    Ping,
    /// Ends the connection.
    GoAway,
    /// Lets the peer send more.
    WindowUpdate,
    /// More of a header block.
    Continuation,
    /// A kind that nothing here knows, which everybody must ignore.
    Other(u8),
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::ResetStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            other => Self::Other(other),
        }
    }
}

/// The first nine bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the payload.
    pub payload_bytes: usize,
    /// What it is.
    pub kind: Kind,
    flags: u8,
    /// The stream it belongs to; 0 is the connection.
    pub stream: u32,
}

impl FrameHead {
    fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            payload_bytes: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind: Kind::of(kind),
            flags,
            // The highest bit means nothing and must be ignored.
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    /// Whether it ends its stream; asked of DATA and HEADERS.
    pub fn ends_stream(&self) -> bool {
        self.flags & 0x1 != 0
    }

    /// Whether it ends its header block; asked of HEADERS and CONTINUATION.
    pub fn ends_headers(&self) -> bool {
        self.flags & 0x4 != 0
    }

    /// Whether it answers one of ours; asked of SETTINGS.
    pub fn is_ack(&self) -> bool {
        self.flags & 0x1 != 0
    }
}

/// Follows the frames of one direction of a connection, behind its preface.
#[derive(Debug, Clone, Copy, Default)]
pub struct FrameScan {
    head: [u8; HEAD_BYTES],
    /// Bytes of the head seen so far, until it is whole.
    head_seen: usize,
    /// Bytes of the payload that are still to come.
    payload_left: usize,
}

impl FrameScan {
    /// Goes on to the end of the next frame head, or of `bytes`. Says how many of them that were.
    pub fn advance(&mut self, bytes: &[u8]) -> (usize, Option<FrameHead>) {
        let skipped = self.payload_left.min(bytes.len());
        self.payload_left -= skipped;
        let rest = &bytes[skipped..];
        let len = rest.len().min(HEAD_BYTES - self.head_seen);
        self.head[self.head_seen..][..len].copy_from_slice(&rest[..len]);
        self.head_seen += len;
        if self.head_seen < HEAD_BYTES {
            return (skipped + len, None);
        }
        let head = FrameHead::parse(self.head);
        self.head_seen = 0;
        self.payload_left = head.payload_bytes;
        (skipped + len, Some(head))
    }

    /// Goes to the end of `bytes`.
    pub fn advance_all(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (len, _) = self.advance(bytes);
            bytes = &bytes[len..];
        }
    }

    /// How many of `bytes` still belong to the frame that has begun; all of them when they do not
    /// end it.
    pub fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        let mut scan = *self;
        let mut seen = 0;
        while !scan.is_between_frames() && seen < bytes.len() {
            let whole = match scan.head_seen {
                0 => scan.payload_left,
                seen => HEAD_BYTES - seen,
            };
            let len = whole.min(bytes.len() - seen);
            scan.advance(&bytes[seen..seen + len]);
            seen += len;
        }
        seen
    }

    /// Whether the next byte begins a frame.
    pub fn is_between_frames(&self) -> bool {
        self.head_seen == 0 && self.payload_left == 0
    }
}

/// A GOAWAY that says which stream was the last to be looked at, and why it was (RFC 9113 §6.8).
pub fn goaway(last_stream: u32, code: u32) -> [u8; GOAWAY_BYTES] {
    let mut frame = [0; GOAWAY_BYTES];
    frame[2] = 8;
    frame[3] = 7;
    frame[9..13].copy_from_slice(&last_stream.to_be_bytes());
    frame[13..].copy_from_slice(&code.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<FrameHead> {
        let mut scan = FrameScan::default();
        let mut heads = Vec::new();
        for piece in pieces {
            let mut bytes = &piece[..];
            while !bytes.is_empty() {
                let (len, head) = scan.advance(bytes);
                heads.extend(head);
                bytes = &bytes[len..];
            }
        }
        assert!(scan.is_between_frames());
        heads
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let mut bytes = b"\0\0\x03\x00\x01\x80\0\0\x05abc".to_vec();
        bytes.extend(goaway(7, ENHANCE_YOUR_CALM));
        bytes.extend(b"\0\0\0\x04\x01\0\0\0\0");
        let whole = heads(std::iter::once(bytes.clone()));
        assert_eq!(whole.len(), 3);
        assert_eq!((whole[0].kind, whole[0].stream, whole[0].payload_bytes), (Kind::Data, 5, 3));
        assert!(whole[0].ends_stream());
        assert_eq!((whole[1].kind, whole[1].stream), (Kind::GoAway, 0));
        assert!(whole[2].is_ack());
        for size in 1..bytes.len() {
            assert_eq!(heads(bytes.chunks(size).map(<[u8]>::to_vec)), whole, "pieces of {size}");
        }
    }

    #[test]
    fn the_rest_of_a_frame_ends_where_the_next_begins() {
        let bytes = b"\0\0\x03\x00\x01\0\0\0\x05abc\0\0\x01";
        for cut in 1..12 {
            let mut scan = FrameScan::default();
            scan.advance_all(&bytes[..cut]);
            assert_eq!(scan.rest_of_frame(&bytes[cut..]), 12 - cut, "behind {cut}");
            assert_eq!(scan.rest_of_frame(&bytes[cut..cut]), 0);
        }
        assert_eq!(FrameScan::default().rest_of_frame(bytes), 0);
    }
}

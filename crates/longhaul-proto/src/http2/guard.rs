//! Counts the frames of one client that cost more than they carry, until there are too many.

use std::time::Instant;

use super::allowance::Allowance;
use super::frame::{FrameHead, FrameScan, Kind};

/// Bytes of the preface (RFC 9113 §3.4). Whether it is right is the library's to say.
const PREFACE_BYTES: usize = 24;

/// Points for frames that carry nothing: at most, and back each second. A browser that leaves a
/// page resets a hundred streams at once and sends a priority for each request; floods send tens
/// of thousands in a second.
const CONTROL_MAX: u32 = 1000;
const CONTROL_PER_SECOND: u32 = 200;

/// Updates of windows answer what was sent to the client, so they are earned mostly by that: twice
/// as many as the smallest frames with a byte in them would need.
const WINDOW_START: u32 = 1000;
const WINDOW_MAX: u32 = 20_000;
const WINDOW_PER_SECOND: u32 = 200;
const WINDOW_PER_REQUEST: u32 = 2;
const BYTES_PER_WINDOW_UPDATE: usize = 4;

/// Too many frames of a kind: the connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// How many of the bytes come before the frame that was one too many.
    pub passed: usize,
    /// Its kind.
    pub kind: Kind,
}

/// What of a client is begun and not ended, so that its end is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The preface and the settings that come with it.
    Preface,
    /// A header block: no other frame may come before its end.
    Block,
    /// Some other frame.
    Frame,
    /// Nothing: the client may be silent as long as its streams let it.
    Nothing,
}

/// Follows the frames of one client. Keeps none of them.
#[derive(Debug)]
pub struct Guard {
    preface_left: usize,
    scan: FrameScan,
    has_settings: bool,
    /// Whether a header block has begun and its last frame has not been seen.
    is_in_block: bool,
    last_stream: u32,
    control: Allowance,
    windows: Allowance,
}

impl Guard {
    /// Starts before the preface.
    pub fn new(now: Instant) -> Self {
        Self {
            preface_left: PREFACE_BYTES,
            scan: FrameScan::default(),
            has_settings: false,
            is_in_block: false,
            last_stream: 0,
            control: Allowance::new(CONTROL_MAX, CONTROL_MAX, CONTROL_PER_SECOND, now),
            windows: Allowance::new(WINDOW_START, WINDOW_MAX, WINDOW_PER_SECOND, now),
        }
    }

    /// Looks at the bytes that come next.
    ///
    /// # Errors
    /// [`Excess`] at the first frame too many; nothing from there on should be handled.
    pub fn feed(&mut self, bytes: &[u8], now: Instant) -> Result<(), Excess> {
        let mut at = self.preface_left.min(bytes.len());
        self.preface_left -= at;
        while at < bytes.len() {
            let before = at + self.scan.rest_of_frame(&bytes[at..]);
            let (len, head) = self.scan.advance(&bytes[at..]);
            // A head that began in earlier bytes has no byte before it in these.
            let passed = if before >= at + len { at } else { before };
            at += len;
            if let Some(head) = head {
                self.judge(&head, now).map_err(|kind| Excess { passed, kind })?;
            }
        }
        Ok(())
    }

    /// Says how many bytes were written to the client, which is what it may answer.
    pub fn note_written(&mut self, bytes: usize) {
        self.windows.grant(u32::try_from(bytes / BYTES_PER_WINDOW_UPDATE).unwrap_or(u32::MAX));
    }

    /// What the client owes.
    pub fn waiting(&self) -> Waiting {
        if !self.has_settings || self.preface_left > 0 {
            Waiting::Preface
        } else if self.is_in_block {
            Waiting::Block
        } else if self.scan.is_between_frames() {
            Waiting::Nothing
        } else {
            Waiting::Frame
        }
    }

    /// The highest stream that the client has opened.
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    fn judge(&mut self, head: &FrameHead, now: Instant) -> Result<(), Kind> {
        let control = match head.kind {
            Kind::Headers => {
                self.last_stream = self.last_stream.max(head.stream);
                self.is_in_block = !head.ends_headers();
                self.windows.grant(WINDOW_PER_REQUEST);
                0
            }
            Kind::Continuation => {
                self.is_in_block = !head.ends_headers();
                4
            }
            Kind::Data if head.payload_bytes == 0 && !head.ends_stream() => 1,
            Kind::Data => 0,
            Kind::Settings => {
                self.has_settings = true;
                4
            }
            // The request may have cost a connection to a replica.
            Kind::ResetStream => 4,
            Kind::WindowUpdate => {
                return if self.windows.spend(1, now) { Ok(()) } else { Err(head.kind) };
            }
            Kind::Priority | Kind::PushPromise | Kind::Ping | Kind::GoAway | Kind::Other(_) => 1,
        };
        if control == 0 || self.control.spend(control, now) { Ok(()) } else { Err(head.kind) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let len = u8::try_from(payload.len()).unwrap();
        [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn begun() -> (Guard, Instant) {
        let now = Instant::now();
        let mut guard = Guard::new(now);
        assert_eq!(guard.waiting(), Waiting::Preface);
        guard.feed(PREFACE, now).unwrap();
        assert_eq!(guard.waiting(), Waiting::Nothing);
        (guard, now)
    }

    /// Frames that pass in one moment, of those sent.
    fn passing(frames: usize, frame: &[u8]) -> usize {
        let (mut guard, now) = begun();
        (0..frames).take_while(|_| guard.feed(frame, now).is_ok()).count()
    }

    #[test]
    fn each_flood_ends_and_what_carries_something_is_no_flood() {
        const MANY: usize = 100_000;
        assert_eq!(passing(MANY, &frame(6, 0, 0, &[0; 8])), 996, "PING");
        assert_eq!(passing(MANY, &frame(4, 0, 0, &[])), 249, "SETTINGS");
        assert_eq!(passing(MANY, &frame(3, 0, 1, &[0; 4])), 249, "RST_STREAM");
        assert_eq!(passing(MANY, &frame(9, 0, 1, &[])), 249, "CONTINUATION");
        assert_eq!(passing(MANY, &frame(2, 0, 1, &[0; 5])), 996, "PRIORITY");
        assert_eq!(passing(MANY, &frame(0, 0, 1, &[])), 996, "empty DATA");
        assert_eq!(passing(MANY, &frame(0xfa, 0, 0, &[])), 996, "unknown");
        assert_eq!(passing(MANY, &frame(8, 0, 1, &[0; 4])), 1000, "WINDOW_UPDATE");
        assert_eq!(passing(MANY, &frame(0, 0, 1, b"x")), MANY, "DATA");
        assert_eq!(passing(MANY, &frame(0, 1, 1, b"")), MANY, "DATA that ends");
        assert_eq!(passing(MANY, &frame(1, 5, 1, b"")), MANY, "HEADERS");
    }

    #[test]
    fn a_steady_client_never_runs_out() {
        let (mut guard, mut now) = begun();
        let ping = frame(6, 0, 0, &[0; 8]);
        for _ in 0..100_000 {
            now += Duration::from_millis(5);
            guard.feed(&ping, now).unwrap();
        }
    }

    #[test]
    fn windows_are_earned_by_what_the_client_was_sent() {
        let (mut guard, now) = begun();
        let update = frame(8, 0, 1, &[0, 0, 0, 1]);
        for _ in 0..100_000 {
            guard.note_written(10);
            guard.feed(&update.repeat(2), now).unwrap();
        }
    }

    #[test]
    fn what_came_before_the_excess_passes_however_it_is_cut() {
        let ping = frame(6, 0, 0, &[7; 8]);
        let bytes = ping.repeat(1000);
        for size in [1, 5, 16, 17, 18, 1000, bytes.len()] {
            let (mut guard, now) = begun();
            let mut passed = 0;
            let excess = bytes.chunks(size).find_map(|piece| {
                let excess = guard.feed(piece, now).err();
                passed += excess.map_or(piece.len(), |excess| excess.passed);
                excess
            });
            assert_eq!(excess.map(|excess| excess.kind), Some(Kind::Ping));
            // Bytes of the head itself may have passed in an earlier piece.
            let behind = passed - 996 * ping.len();
            assert!(behind < 9 && (behind == 0 || size < 9 * 17), "{size}: {behind}");
        }
    }

    #[test]
    fn what_is_begun_is_owed() {
        let (mut guard, now) = begun();
        guard.feed(&frame(0, 0, 3, b"ab")[..10], now).unwrap();
        assert_eq!(guard.waiting(), Waiting::Frame);
        guard.feed(b"b", now).unwrap();
        assert_eq!(guard.waiting(), Waiting::Nothing);
        guard.feed(&frame(1, 0, 5, b"ab"), now).unwrap();
        assert_eq!(guard.waiting(), Waiting::Block);
        guard.feed(&frame(9, 4, 5, b"ab"), now).unwrap();
        assert_eq!(guard.waiting(), Waiting::Nothing);
        assert_eq!(guard.last_stream(), 5);
    }
}

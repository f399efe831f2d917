//! Follows one client connection: head, body, head, body, until an upgrade or a violation.

use super::chunked::ChunkedScan;
use super::head::{Follows, HeadScan, Progress};
use super::violation::Violation;

/// Bounds of one request head, and of the trailers of one chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the head, start line and last empty line included. Default: 16 KiB.
    pub head_bytes_max: usize,
    /// Header fields. Default: 100.
    pub fields_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes_max: 16 * 1024, fields_max: 100 }
    }
}

/// What to do with the bytes last shown to [`Screen::feed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Part of a head: the screen kept all of them. Show it more when more arrives.
    Kept,
    /// A head is whole: pass `kept` on, then the first `len` bytes, and show the rest again.
    Head {
        /// What earlier calls kept of this head; empty when it arrived at once.
        kept: Vec<u8>,
        /// How many of the bytes end the head.
        len: usize,
    },
    /// The first `len` bytes are body: pass them on, and show the rest again.
    Body {
        /// How many of the bytes are body; never 0 unless none were shown.
        len: usize,
    },
    /// A WebSocket upgrade was passed on. None of the bytes may follow before it is answered: keep
    /// them, within bounds. With a 101 they are frames; with anything else close the connection.
    Held,
    /// The bytes break a rule. Nothing that arrives from now on means anything.
    Refused(Violation),
}

/// Lets the bytes of one client pass as long as every HTTP/1.1 parser reads them alike.
///
/// Keeps at most one partial head ([`Limits::head_bytes_max`]) and none of a body. The verdict
/// does not depend on how the bytes were cut into reads.
#[derive(Debug)]
pub struct Screen {
    limits: Limits,
    state: State,
}

#[derive(Debug)]
enum State {
    Head { scan: HeadScan, kept: Vec<u8> },
    Length { left: u64 },
    Chunked(ChunkedScan),
    Held,
    Refused { violation: Violation, was_body: bool, is_head_request: bool },
}

impl Screen {
    /// Starts before the first request of a connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::before_head() }
    }

    /// Judges the bytes that follow what was passed on or kept before. Call it again with the rest
    /// after [`Step::Head`] and [`Step::Body`], until nothing is left.
    pub fn feed(&mut self, bytes: &[u8]) -> Step {
        let body_step = match &mut self.state {
            State::Head { .. } => return self.feed_head(bytes),
            State::Held => return Step::Held,
            State::Refused { violation, .. } => return Step::Refused(*violation),
            State::Length { left } => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= len as u64;
                Ok((len, *left == 0))
            }
            State::Chunked(scan) => {
                scan.advance(bytes, &self.limits).map(|len| (len, scan.is_ended()))
            }
        };
        match body_step {
            Ok((len, is_ended)) => {
                if is_ended {
                    self.state = State::before_head();
                }
                Step::Body { len }
            }
            Err(violation) => {
                self.state = State::Refused { violation, was_body: true, is_head_request: false };
                Step::Refused(violation)
            }
        }
    }

    /// Whether the next byte would begin a request: the connection is idle, or was just opened.
    pub fn is_between_requests(&self) -> bool {
        matches!(&self.state, State::Head { scan, .. } if scan.is_untouched())
    }

    /// Whether the next byte falls into a head, its first byte included.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    /// Whether the next byte falls into a body.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Length { .. } | State::Chunked(_))
    }

    /// Whether an upgrade waits for its answer.
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held)
    }

    /// Whether what was refused is the body of a request that was already passed on.
    pub fn was_refused_in_body(&self) -> bool {
        matches!(self.state, State::Refused { was_body: true, .. })
    }

    /// Whether the request being read or refused is a HEAD, whose answer must have no body.
    pub fn is_head_request(&self) -> bool {
        match &self.state {
            State::Head { scan, kept } => scan.is_head_request(kept),
            State::Refused { is_head_request, .. } => *is_head_request,
            State::Length { .. } | State::Chunked(_) | State::Held => false,
        }
    }

    fn feed_head(&mut self, bytes: &[u8]) -> Step {
        let State::Head { scan, kept } = &mut self.state else {
            unreachable!("the caller has matched this state")
        };
        let kept_before = kept.len();
        // Most heads arrive at once and are judged where they lie.
        let progress = if kept_before == 0 {
            scan.advance(bytes, &self.limits)
        } else {
            let room = self.limits.head_bytes_max - kept_before;
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            scan.advance(kept, &self.limits)
        };
        match progress {
            Ok(Progress::Partial) => {
                if kept_before == 0 {
                    kept.extend_from_slice(bytes);
                }
                Step::Kept
            }
            Ok(Progress::Whole { len, follows }) => {
                kept.truncate(kept_before);
                let kept = std::mem::take(kept);
                self.state = match follows {
                    Follows::Length(0) => State::before_head(),
                    Follows::Length(left) => State::Length { left },
                    Follows::Chunked => State::Chunked(ChunkedScan::new()),
                    Follows::Upgrade => State::Held,
                };
                Step::Head { kept, len: len - kept_before }
            }
            Err(violation) => {
                let head = if kept_before == 0 { bytes } else { kept };
                let is_head_request = scan.is_head_request(head);
                self.state = State::Refused { violation, was_body: false, is_head_request };
                Step::Refused(violation)
            }
        }
    }
}

impl State {
    fn before_head() -> Self {
        Self::Head { scan: HeadScan::default(), kept: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out when the bytes come in these pieces: what was passed, and how it ended.
    fn screen<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<Step>) {
        let mut screen = Screen::new(Limits { head_bytes_max: 256, fields_max: 8 });
        let mut passed = Vec::new();
        for mut piece in pieces {
            while !piece.is_empty() {
                match screen.feed(piece) {
                    Step::Kept => break,
                    Step::Head { kept, len } => {
                        passed.extend(kept);
                        passed.extend(&piece[..len]);
                        piece = &piece[len..];
                    }
                    Step::Body { len } => {
                        assert_ne!(len, 0, "a step must get somewhere");
                        passed.extend(&piece[..len]);
                        piece = &piece[len..];
                    }
                    end @ (Step::Held | Step::Refused(_)) => return (passed, Some(end)),
                }
            }
        }
        (passed, None)
    }

    const STORY: &str = "\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn a_clean_connection_passes_unchanged_however_it_is_cut() {
        for size in 1..=STORY.len() {
            let (passed, end) = screen(STORY.as_bytes().chunks(size));
            assert_eq!(passed, STORY.as_bytes(), "in pieces of {size}");
            assert_eq!(end, None);
        }
    }

    #[test]
    fn what_came_before_a_violation_passes() {
        let bad = format!("{STORY}GET / HTTP/1.1\r\nHost : a\r\n\r\n");
        for size in 1..=bad.len() {
            let (passed, end) = screen(bad.as_bytes().chunks(size));
            assert_eq!(passed, STORY.as_bytes(), "in pieces of {size}");
            assert_eq!(end, Some(Step::Refused(Violation::SpaceBeforeColon)));
        }
    }

    #[test]
    fn bytes_behind_an_upgrade_are_held() {
        let head = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        let (passed, end) = screen([format!("{head}\x01\x02").as_bytes()]);
        assert_eq!(passed, head.as_bytes());
        assert_eq!(end, Some(Step::Held));
    }

    #[test]
    fn an_idle_connection_keeps_nothing() {
        let mut screen = Screen::new(Limits::default());
        assert!(screen.is_between_requests());
        assert_eq!(screen.feed(b"GET / HT"), Step::Kept);
        assert!(!screen.is_between_requests());
        let rest = b"TP/1.0\r\n\r\n";
        assert_eq!(screen.feed(rest), Step::Head { kept: b"GET / HT".to_vec(), len: rest.len() });
        assert!(screen.is_between_requests());
        assert!(matches!(&screen.state, State::Head { kept, .. } if kept.capacity() == 0));
    }

    #[test]
    fn a_forgiven_empty_line_does_not_begin_a_request() {
        let mut screen = Screen::new(Limits::default());
        assert_eq!(screen.feed(b"\r"), Step::Kept);
        assert_eq!(screen.feed(b"\n"), Step::Kept);
        assert!(screen.is_between_requests());
    }

    #[test]
    fn a_refused_head_request_is_known_as_one() {
        let mut screen = Screen::new(Limits::default());
        assert_eq!(screen.feed(b"HEAD / HTT"), Step::Kept);
        assert_eq!(screen.feed(b"P/1.1\r\n\r\n"), Step::Refused(Violation::HostMissing));
        assert!(screen.is_head_request());
        assert!(!screen.was_refused_in_body());
    }
}

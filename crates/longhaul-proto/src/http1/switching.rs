//! Recognises the one answer that turns a connection into a tunnel: a clean 101.
//!
//! Whether it answers the handshake that was sent is judged by
//! [`handshake::validate_response`](crate::websocket::handshake::validate_response). Every other
//! answer, and every 101 that two readers could read two ways, is left to an HTTP library.
//!
//! Start at [`judge`].

use memchr::memchr;

use super::field;
use super::screen::Limits;

/// What every such answer begins with.
const STATUS: &[u8] = b"HTTP/1.1 101";

/// What an answer to an upgrade begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing speaks against a clean 101, but its head is not whole.
    Partial,
    /// A clean 101.
    Switching {
        /// Bytes of the head, the empty line included; what follows are frames.
        len: usize,
    },
    /// Anything else.
    Other,
}

/// Names what `bytes`, all that arrived so far, begin with.
pub fn judge(bytes: &[u8], limits: &Limits) -> Start {
    if bytes.len() < STATUS.len() {
        return if STATUS.starts_with(bytes) { Start::Partial } else { Start::Other };
    }
    let Some(reason) = bytes.strip_prefix(STATUS) else { return Start::Other };
    let seen = &bytes[..bytes.len().min(limits.head_bytes_max)];
    let mut line_start = 0;
    let mut lines = 0;
    while let Some(found) = memchr(b'\n', &seen[line_start..]) {
        let line_end = line_start + found;
        let Some(line) = seen[line_start..line_end].strip_suffix(b"\r") else {
            return Start::Other;
        };
        line_start = line_end + 1;
        lines += 1;
        let is_clean = match line {
            [] => return Start::Switching { len: line_start },
            _ if lines == 1 => is_reason(&line[STATUS.len()..]),
            _ => lines - 1 <= limits.fields_max && is_clean_field(line),
        };
        if !is_clean {
            return Start::Other;
        }
    }
    // What cannot become a 101 any more should not wait for the rest of its first line.
    let is_hopeless = !matches!(reason.first(), None | Some(b' ' | b'\r'));
    if is_hopeless || seen.len() == limits.head_bytes_max { Start::Other } else { Start::Partial }
}

/// The fields of a head that was judged clean: names as they were spelled, values trimmed.
pub fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    super::head::fields(head)
}

/// Whether this may stand behind the status: nothing, or a space and whatever words.
fn is_reason(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b' ', words @ ..] => field::is_value(words),
        _ => false,
    }
}

/// A 101 has no body (RFC 9110 §15.2); one that frames a body is not clean.
fn is_clean_field(line: &[u8]) -> bool {
    let frames_body = |name: &[u8]| {
        name.eq_ignore_ascii_case(b"content-length")
            || name.eq_ignore_ascii_case(b"transfer-encoding")
    };
    field::split(line).is_ok_and(|(name, _)| !frames_body(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        connection: Upgrade\r\nSec-WebSocket-Accept:s3pPLMBiTxaQ9kYGzzhZRbK+xOo= \r\n\r\n";

    #[track_caller]
    fn check(bytes: &str, expected: Start) {
        let limits = Limits { head_bytes_max: 256, fields_max: 4 };
        assert_eq!(judge(bytes.as_bytes(), &limits), expected, "{}", bytes.escape_debug());
    }

    #[test]
    fn a_clean_101_is_known_by_its_last_byte_and_not_before() {
        for len in 0..CLEAN.len() {
            check(&CLEAN[..len], Start::Partial);
        }
        let whole = Start::Switching { len: CLEAN.len() };
        check(CLEAN, whole);
        check(&format!("{CLEAN}\u{1}\u{2}frames\r\n\r\n"), whole);
        check("HTTP/1.1 101\r\n\r\n", Start::Switching { len: 16 });
        check("HTTP/1.1 101 \r\n\r\n", Start::Switching { len: 17 });
    }

    #[test]
    fn everything_else_is_left_to_others() {
        check("HTTP/1.1 200 OK\r\n", Start::Other);
        check("HTTP/1.1 1010", Start::Other);
        check("HTTP/1.0 101 Switching Protocols\r\n\r\n", Start::Other);
        check("HTTP/1.1 100 Continue\r\n\r\n", Start::Other);
        check("ICY", Start::Other);
        check("HTTP/1.1 101 Switching\nUpgrade: websocket\r\n\r\n", Start::Other);
        check("HTTP/1.1 101 Swi\u{1}tching\r\n", Start::Other);
        for line in [
            "Content-Length: 0",
            "transfer-encoding: chunked",
            "Upgrade : websocket",
            " folded: line",
            "no colon",
            "a: b\rc",
            "a: \u{7f}",
            "a: b\r\na: b\r\na: b\r\na: b\r\na: b",
        ] {
            check(&format!("HTTP/1.1 101 X\r\n{line}\r\n"), Start::Other);
        }
        check(&format!("HTTP/1.1 101 X\r\na: {}", "b".repeat(256)), Start::Other);
    }

    #[test]
    fn fields_keep_their_spelling_and_lose_their_blanks() {
        let found: Vec<_> = fields(CLEAN.as_bytes()).collect();
        assert_eq!(found[0], (&b"Upgrade"[..], &b"websocket"[..]));
        assert_eq!(found[2], (&b"Sec-WebSocket-Accept"[..], &b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="[..]));
        assert_eq!(found.len(), 3);
    }
}

//! Judges one request head, line by line as it arrives (RFC 9112 §2 to §6).
//!
//! A line is judged once, when its end is seen; what was looked at is never looked at again. The
//! verdict depends on the bytes alone, not on how they were cut into reads.

use memchr::memchr;

use super::field;
use super::screen::Limits;
use super::target;
use super::violation::Violation;
use crate::websocket::handshake;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// The next head, or this many bytes of body before it.
    Length(u64),
    /// A chunked body.
    Chunked,
    /// Whatever the answer to a WebSocket upgrade decides.
    Upgrade,
}

/// How far a head has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The empty line has not been seen.
    Partial,
    /// The head is the first `len` bytes.
    Whole {
        /// Bytes of the head, the empty line included.
        len: usize,
        /// What comes behind it.
        follows: Follows,
    },
}

/// A head while it arrives. Holds no bytes: the caller shows all of them each time.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// Bytes already searched for the end of the current line.
    searched: usize,
    /// Where the current line begins.
    line_start: usize,
    /// Where the request line begins: behind the one empty line that may precede it.
    request_start: usize,
    request: Option<RequestLine>,
    fields: usize,
    hosts: usize,
    content_length: Option<u64>,
    is_chunked: bool,
    names_websocket: bool,
}

#[derive(Debug, Clone, Copy)]
struct RequestLine {
    is_http11: bool,
    /// Where the method ends, counted from `request_start`.
    method_len: usize,
}

impl HeadScan {
    /// Goes on with a head of which `bytes` is all that arrived so far.
    pub(super) fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Violation> {
        if let Some(&first) = bytes.first() {
            judge_first_byte(first)?;
        }
        let seen = &bytes[..bytes.len().min(limits.head_bytes_max)];
        while let Some(found) = memchr(b'\n', &seen[self.searched..]) {
            let line_end = self.searched + found;
            let line = &bytes[self.line_start..line_end];
            self.searched = line_end + 1;
            if let Some(follows) = self.judge_line(line, bytes, limits)? {
                return Ok(Progress::Whole { len: self.searched, follows });
            }
            self.line_start = self.searched;
        }
        self.searched = seen.len();
        if seen.len() == limits.head_bytes_max {
            return Err(self.too_long());
        }
        Ok(Progress::Partial)
    }

    /// Whether no byte of a request was seen, apart from the empty line that may precede it.
    pub(super) fn is_untouched(&self) -> bool {
        self.searched == self.request_start
    }

    /// Whether the request is a HEAD, so far as is known: its answer has no body.
    pub(super) fn is_head_request(&self, bytes: &[u8]) -> bool {
        bytes.get(self.request_start..).is_some_and(|request| request.starts_with(b"HEAD "))
    }

    fn too_long(&self) -> Violation {
        match self.request {
            None => Violation::TargetTooLong,
            Some(_) => Violation::HeadTooLong,
        }
    }

    /// Judges a line without its LF. Says what follows when it is the empty one at the end.
    fn judge_line(
        &mut self,
        line: &[u8],
        head: &[u8],
        limits: &Limits,
    ) -> Result<Option<Follows>, Violation> {
        let Some(request) = self.request else {
            self.judge_first_line(line)?;
            return Ok(None);
        };
        let line = without_cr(line)?;
        if line.is_empty() {
            return self.judge_whole(request, &head[..self.searched]).map(Some);
        }
        self.fields += 1;
        if self.fields > limits.fields_max {
            return Err(Violation::TooManyFields);
        }
        self.judge_field(request, line)?;
        Ok(None)
    }

    fn judge_first_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        // Before the rules of HTTP: these were never meant to be HTTP/1.1.
        if line.starts_with(b"SSH-") {
            return Err(Violation::SshOnHttpPort);
        }
        let line = without_cr(line)?;
        if line == b"PRI * HTTP/2.0" {
            return Err(Violation::Http2OnHttp1Port);
        }
        // Old clients sent an empty line behind a form (RFC 9112 §2.2); one is forgiven.
        if line.is_empty() && self.line_start == 0 {
            self.request_start = self.searched;
            return Ok(());
        }
        self.request = Some(judge_request_line(line)?);
        Ok(())
    }

    fn judge_field(&mut self, request: RequestLine, line: &[u8]) -> Result<(), Violation> {
        let (name, value) = field::split(line)?;
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            if self.hosts > 1 {
                return Err(Violation::HostRepeated);
            }
            if !target::host(field::trim(value)) {
                return Err(Violation::HostMalformed);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = field::content_length(value)?;
            // Even twice the same length is refused: some parsers take the first, some the last.
            if self.content_length.replace(length).is_some() {
                return Err(Violation::ContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !request.is_http11 {
                return Err(Violation::EncodingInHttp10);
            }
            field::transfer_encoding(value)?;
            if std::mem::replace(&mut self.is_chunked, true) {
                return Err(Violation::TransferEncoding);
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.names_websocket |=
                field::members(value).any(|member| member.eq_ignore_ascii_case(b"websocket"));
        }
        Ok(())
    }

    fn judge_whole(&self, request: RequestLine, head: &[u8]) -> Result<Follows, Violation> {
        if self.hosts == 0 && request.is_http11 {
            return Err(Violation::HostMissing);
        }
        if self.is_chunked && self.content_length.is_some() {
            return Err(Violation::LengthAndEncoding);
        }
        // Upgrade means nothing in HTTP/1.0 (RFC 9110 §7.8), and a token that is not `websocket`
        // means nothing here: both are ordinary requests.
        if self.names_websocket && request.is_http11 {
            let method = &head[self.request_start..][..request.method_len];
            // Looked through once for each rule.
            let fields: Vec<_> = fields(head).collect();
            handshake::validate_request(method, fields.iter().copied())?;
            return Ok(Follows::Upgrade);
        }
        Ok(if self.is_chunked {
            Follows::Chunked
        } else {
            Follows::Length(self.content_length.unwrap_or(0))
        })
    }
}

/// The fields of a head whose lines were all judged: what stands before the first colon of each line
/// but the first, and what stands behind it.
pub(super) fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    let mut rest = head.strip_prefix(b"\r\n").unwrap_or(head);
    let lines = std::iter::from_fn(move || {
        let line;
        (line, rest) = rest.split_at(memchr(b'\n', rest)? + 1);
        Some(line)
    });
    lines.skip(1).filter_map(|line| {
        let (name, value) = line.split_at(memchr(b':', line)?);
        let value = value[1..].strip_suffix(b"\r\n")?;
        Some((name, field::trim(value)))
    })
}

/// Refuses at once what will never be a request, because its end of line may never come.
fn judge_first_byte(first: u8) -> Result<(), Violation> {
    match first {
        0x16 => Err(Violation::TlsOnPlainPort),
        b'\r' | b'\n' => Ok(()),
        byte if field::is_token_byte(byte) => Ok(()),
        _ => Err(Violation::RequestLine),
    }
}

fn without_cr(line: &[u8]) -> Result<&[u8], Violation> {
    match line.strip_suffix(b"\r") {
        None => Err(Violation::BareLf),
        Some(line) if memchr(b'\r', line).is_some() => Err(Violation::BareCr),
        Some(line) => Ok(line),
    }
}

fn judge_request_line(line: &[u8]) -> Result<RequestLine, Violation> {
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target) = match (words.next(), words.next()) {
        (Some(method), Some(target)) if field::is_token(method) && !target.is_empty() => {
            (method, target)
        }
        _ => return Err(Violation::RequestLine),
    };
    let Some(version) = words.next() else {
        return Err(Violation::Http09);
    };
    if words.next().is_some() {
        return Err(Violation::RequestLine);
    }
    let is_http11 = judge_version(version)?;
    match method {
        b"CONNECT" => return Err(Violation::Connect),
        b"TRACE" => return Err(Violation::Trace),
        _ => target::judge(method, target)?,
    }
    Ok(RequestLine { is_http11, method_len: method.len() })
}

fn judge_version(version: &[u8]) -> Result<bool, Violation> {
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Violation::Version)
        }
        _ => Err(Violation::RequestLine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBSOCKET: &str = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

    fn judge(head: impl AsRef<[u8]>) -> Result<Progress, Violation> {
        HeadScan::default().advance(head.as_ref(), &Limits::default())
    }

    #[track_caller]
    fn refused(head: impl AsRef<[u8]>, violation: Violation) {
        assert_eq!(judge(&head), Err(violation), "{}", head.as_ref().escape_ascii());
    }

    #[track_caller]
    fn followed_by(head: impl AsRef<[u8]>, expected: Follows) {
        let len = head.as_ref().len();
        let shown = head.as_ref().escape_ascii().to_string();
        assert_eq!(judge(head), Ok(Progress::Whole { len, follows: expected }), "{shown}");
    }

    #[test]
    fn ordinary_requests_pass() {
        followed_by("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Follows::Length(0));
        followed_by("GET / HTTP/1.0\r\n\r\n", Follows::Length(0));
        followed_by("\r\nGET / HTTP/1.0\r\n\r\n", Follows::Length(0));
        followed_by("POST / HTTP/1.1\r\nhost:a\r\ncontent-length: 7\r\n\r\n", Follows::Length(7));
        followed_by(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            Follows::Chunked,
        );
        followed_by("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Follows::Length(0));
        followed_by("PURGE http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Follows::Length(0));
    }

    #[test]
    fn what_never_was_http_is_told_what_it_met() {
        refused(b"\x16\x03\x01\x02\x00\x01", Violation::TlsOnPlainPort);
        refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Violation::Http2OnHttp1Port);
        refused("SSH-2.0-OpenSSH_10.0\r\n", Violation::SshOnHttpPort);
        refused("SSH-2.0-old\n", Violation::SshOnHttpPort);
        refused(b"\x00\x01", Violation::RequestLine);
    }

    #[test]
    fn request_lines_are_strict() {
        refused("GET /\r\n", Violation::Http09);
        refused("GET\r\n", Violation::RequestLine);
        refused("GET  / HTTP/1.1\r\n", Violation::RequestLine);
        refused("GET / HTTP/1.1 \r\n", Violation::RequestLine);
        refused("GET /a b HTTP/1.1\r\n", Violation::RequestLine);
        refused("GET\t/\tHTTP/1.1\r\n", Violation::RequestLine);
        refused(" GET / HTTP/1.1\r\n", Violation::RequestLine);
        refused("GE{T / HTTP/1.1\r\n", Violation::RequestLine);
        refused("GET / http/1.1\r\n", Violation::RequestLine);
        refused("GET / HTTP/1.10\r\n", Violation::RequestLine);
        refused("GET / HTTP/2.0\r\n", Violation::Version);
        refused("GET / HTTP/1.2\r\n", Violation::Version);
        refused("GET / HTTP/0.9\r\n", Violation::Version);
        refused("CONNECT a:443 HTTP/1.1\r\n", Violation::Connect);
        refused("TRACE / HTTP/1.1\r\n", Violation::Trace);
        refused("GET /#a HTTP/1.1\r\n", Violation::Fragment);
        refused("GET a HTTP/1.1\r\n", Violation::Target);
        refused("\r\n\r\nGET / HTTP/1.1\r\n", Violation::RequestLine);
    }

    #[test]
    fn lines_end_with_cr_lf_and_nothing_else() {
        refused("GET / HTTP/1.1\n", Violation::BareLf);
        refused("\nGET / HTTP/1.1\r\n", Violation::BareLf);
        refused("GET / HTTP/1.1\r\nHost: a\n\r\n", Violation::BareLf);
        refused("GET / HTTP/1.1\r\nHost: a\r\n\n", Violation::BareLf);
        refused("GET / HTTP/1.1\r\nHost: a\rX: b\r\n", Violation::BareCr);
        refused("GET / HTTP/1.1\r\r\n", Violation::BareCr);
        refused("GET / HTTP/1.1\r\n Host: a\r\n", Violation::LeadingWhitespace);
        refused("GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n", Violation::LeadingWhitespace);
        refused("GET / HTTP/1.1\r\nHost: a\r\n \r\n", Violation::LeadingWhitespace);
    }

    #[test]
    fn a_request_names_one_host() {
        refused("GET / HTTP/1.1\r\n\r\n", Violation::HostMissing);
        refused("GET http://a/ HTTP/1.1\r\n\r\n", Violation::HostMissing);
        refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", Violation::HostRepeated);
        refused("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n", Violation::HostRepeated);
        refused("GET / HTTP/1.1\r\nHost:\r\n", Violation::HostMalformed);
        refused("GET / HTTP/1.1\r\nHost: a, b\r\n", Violation::HostMalformed);
    }

    #[test]
    fn a_body_is_framed_in_one_way() {
        let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        refused(
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            Violation::LengthAndEncoding,
        );
        refused(
            post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
            Violation::LengthAndEncoding,
        );
        refused(post("Content-Length: 5\r\nContent-Length: 5\r\n"), Violation::ContentLength);
        refused(
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            Violation::TransferEncoding,
        );
        refused(post("Transfer-Encoding: gzip, chunked\r\n"), Violation::TransferCoding);
        refused(post("Transfer-Encoding : chunked\r\n"), Violation::SpaceBeforeColon);
        refused(
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Violation::EncodingInHttp10,
        );
    }

    #[test]
    fn limits_hold_and_say_which_part_was_too_long() {
        let limits = Limits { head_bytes_max: 64, fields_max: 2 };
        let judge = |head: &str| HeadScan::default().advance(head.as_bytes(), &limits);
        let long = "a".repeat(64);
        assert_eq!(judge(&format!("GET /{long} HTTP/1.1\r\n")), Err(Violation::TargetTooLong));
        assert_eq!(judge(&format!("GET / HTTP/1.1\r\nX: {long}")), Err(Violation::HeadTooLong));
        let many = "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nD: e\r\n\r\n";
        assert_eq!(judge(many), Err(Violation::TooManyFields));
        let exact = format!("GET / HTTP/1.0\r\nX: {}\r\n\r\n", "a".repeat(64 - 23));
        assert_eq!(exact.len(), 64);
        assert!(matches!(judge(&exact), Ok(Progress::Whole { .. })));
    }

    #[test]
    fn an_upgrade_to_websocket_is_complete_or_refused() {
        let get = |fields: &str| format!("GET /ws HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        followed_by(get(WEBSOCKET), Follows::Upgrade);
        followed_by(get(&format!("{WEBSOCKET}Content-Length: 0\r\n")), Follows::Upgrade);
        followed_by(format!("GET / HTTP/1.0\r\n{WEBSOCKET}\r\n"), Follows::Length(0));
        followed_by(get("Upgrade: h2c\r\nConnection: Upgrade\r\n"), Follows::Length(0));
        let is_handshake_fault = |head: String| matches!(judge(head), Err(Violation::Handshake(_)));
        assert!(is_handshake_fault(format!("POST / HTTP/1.1\r\nHost: a\r\n{WEBSOCKET}\r\n")));
        assert!(is_handshake_fault(get(&format!("{WEBSOCKET}Content-Length: 1\r\n"))));
        assert!(is_handshake_fault(get(&format!("{WEBSOCKET}Transfer-Encoding: chunked\r\n"))));
        assert!(is_handshake_fault(get("Upgrade: websocket\r\n")));
    }
}

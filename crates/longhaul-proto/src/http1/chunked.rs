//! Follows a chunked body byte by byte without keeping any of it (RFC 9112 §7.1).

use super::Violation;
use super::field::{is_token_byte, is_value_byte};
use super::screen::Limits;

/// Caps the extensions of one chunk, in bytes. They have no known use; a parser that skips them
/// carelessly has been a way in.
const EXTENSION_BYTES_MAX: usize = 256;
/// What all extensions of a body may weigh beyond its data, in bytes: a few for every real client,
/// none for one that sends a hundred bytes for each byte of data.
const EXTENSION_BYTES_FREE: u64 = 16 * 1024;
/// Sixteen digits fill 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Where in a chunked body the next byte falls.
#[derive(Debug)]
pub(super) struct ChunkedScan {
    state: State,
    /// Extension bytes not yet paid for by data.
    extension_debt: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Size { digits: u8, size: u64 },
    Extension { size: u64, len: usize, part: Part },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart { bytes: usize, count: usize },
    TrailerName { bytes: usize, count: usize },
    TrailerValue { bytes: usize, count: usize },
    TrailerLf { bytes: usize, count: usize },
    EndLf,
    Ended,
}

/// Parts of an extension: `; name = value` with blanks between them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    /// Behind `;`, or behind blanks there.
    BeforeName,
    Name,
    /// Blanks behind a name.
    AfterName,
    /// Behind `=`, or behind blanks there.
    BeforeValue,
    Value,
    Quoted,
    /// The byte behind a backslash in quotes.
    Escaped,
    /// Behind a value: blanks, or the closing quote.
    AfterValue,
}

impl ChunkedScan {
    /// Starts before the first chunk size.
    pub(super) fn new() -> Self {
        Self { state: State::Size { digits: 0, size: 0 }, extension_debt: 0 }
    }

    /// Says how many of `bytes` belong to the body: all of them, unless it ends or goes wrong among
    /// them. Show it the rest again.
    pub(super) fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Result<usize, Violation> {
        let mut at = 0;
        while at < bytes.len() && !self.is_ended() {
            if let State::Data { left } = self.state {
                let step = left.min((bytes.len() - at) as u64);
                self.extension_debt = self.extension_debt.saturating_sub(step);
                self.state =
                    if step == left { State::DataCr } else { State::Data { left: left - step } };
                at += usize::try_from(step).expect("it is at most the length of a slice");
            } else {
                match self.next(bytes[at], limits) {
                    Ok(state) => self.state = state,
                    // What came before passes first; the bad byte is met again in the next call.
                    Err(_) if at > 0 => return Ok(at),
                    Err(violation) => return Err(violation),
                }
                at += 1;
            }
        }
        Ok(at)
    }

    /// Whether the last chunk and the trailers are over.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn next(&mut self, byte: u8, limits: &Limits) -> Result<State, Violation> {
        Ok(match self.state {
            State::Size { digits, size } => size_byte(byte, digits, size)?,
            State::Extension { size, len, part } => self.extension_byte(byte, size, len, part)?,
            State::SizeLf { size } => match (byte, size) {
                (b'\n', 0) => State::TrailerStart { bytes: 0, count: 0 },
                (b'\n', left) => State::Data { left },
                _ => return Err(Violation::BareCr),
            },
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size { digits: 0, size: 0 },
            State::DataCr | State::DataLf => return Err(Violation::ChunkEnd),
            State::EndLf if byte == b'\n' => State::Ended,
            State::EndLf => return Err(Violation::BareCr),
            State::TrailerStart { bytes, count }
            | State::TrailerName { bytes, count }
            | State::TrailerValue { bytes, count }
            | State::TrailerLf { bytes, count } => {
                if bytes >= limits.head_bytes_max || count > limits.fields_max {
                    return Err(Violation::TrailersTooLong);
                }
                trailer_byte(self.state, byte, bytes + 1, count)?
            }
            State::Data { .. } | State::Ended => self.state,
        })
    }

    fn extension_byte(
        &mut self,
        byte: u8,
        size: u64,
        len: usize,
        part: Part,
    ) -> Result<State, Violation> {
        let may_end = matches!(part, Part::Name | Part::AfterName | Part::Value | Part::AfterValue);
        if byte == b'\r' && may_end {
            return Ok(State::SizeLf { size });
        }
        self.extension_debt += 1;
        if len >= EXTENSION_BYTES_MAX || self.extension_debt > EXTENSION_BYTES_FREE {
            return Err(Violation::ChunkExtension);
        }
        let part = extension_part(part, byte).ok_or(Violation::ChunkExtension)?;
        Ok(State::Extension { size, len: len + 1, part })
    }
}

fn size_byte(byte: u8, digits: u8, size: u64) -> Result<State, Violation> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(State::SizeLf { size }),
        b';' if digits > 0 => {
            return Ok(State::Extension { size, len: 1, part: Part::BeforeName });
        }
        _ => return Err(Violation::ChunkSize),
    };
    // The top bit stays free, so that the size fits signed integers too.
    if digits == SIZE_DIGITS_MAX || size > (i64::MAX as u64) >> 4 {
        return Err(Violation::ChunkSize);
    }
    Ok(State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
}

/// The part that the next byte falls in, if it may stand there (RFC 9112 §7.1.1).
fn extension_part(part: Part, byte: u8) -> Option<Part> {
    let is_blank = matches!(byte, b' ' | b'\t');
    let is_token = is_token_byte(byte);
    match part {
        Part::BeforeName if is_blank => Some(Part::BeforeName),
        Part::BeforeName | Part::Name if is_token => Some(Part::Name),
        Part::Name | Part::AfterName if is_blank => Some(Part::AfterName),
        Part::Name | Part::AfterName if byte == b'=' => Some(Part::BeforeValue),
        Part::BeforeValue if is_blank => Some(Part::BeforeValue),
        Part::BeforeValue if byte == b'"' => Some(Part::Quoted),
        Part::BeforeValue | Part::Value if is_token => Some(Part::Value),
        Part::Quoted if byte == b'"' => Some(Part::AfterValue),
        Part::Quoted if byte == b'\\' => Some(Part::Escaped),
        Part::Quoted | Part::Escaped if is_value_byte(byte) => Some(Part::Quoted),
        Part::Value | Part::AfterValue if is_blank => Some(Part::AfterValue),
        Part::Name | Part::AfterName | Part::Value | Part::AfterValue if byte == b';' => {
            Some(Part::BeforeName)
        }
        _ => None,
    }
}

fn trailer_byte(state: State, byte: u8, bytes: usize, count: usize) -> Result<State, Violation> {
    Ok(match (state, byte) {
        (State::TrailerStart { .. }, b'\r') => State::EndLf,
        (State::TrailerStart { .. }, _) if is_token_byte(byte) => {
            State::TrailerName { bytes, count: count + 1 }
        }
        (State::TrailerName { .. }, b':') => State::TrailerValue { bytes, count },
        (State::TrailerName { .. }, _) if is_token_byte(byte) => {
            State::TrailerName { bytes, count }
        }
        (State::TrailerValue { .. }, b'\r') => State::TrailerLf { bytes, count },
        (State::TrailerValue { .. }, _) if is_value_byte(byte) => {
            State::TrailerValue { bytes, count }
        }
        (State::TrailerLf { .. }, b'\n') => State::TrailerStart { bytes, count },
        _ => return Err(Violation::Trailer),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict, which must not depend on whether the bytes come at once or one by one.
    #[track_caller]
    fn judge(body: impl AsRef<[u8]>) -> Result<(usize, bool), Violation> {
        let body = body.as_ref();
        let whole = scan([body]);
        assert_eq!(whole, scan(body.chunks(1)));
        whole.1.map_or(Ok((whole.0, whole.2)), Err)
    }

    /// How far it came, and how it ended.
    fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (usize, Option<Violation>, bool) {
        let (mut scan, mut passed) = (ChunkedScan::new(), 0);
        for mut piece in pieces {
            while !piece.is_empty() && !scan.is_ended() {
                match scan.advance(piece, &Limits::default()) {
                    Ok(len) => {
                        passed += len;
                        piece = &piece[len..];
                    }
                    Err(violation) => return (passed, Some(violation), false),
                }
            }
        }
        (passed, None, scan.is_ended())
    }

    #[track_caller]
    fn refused(body: impl AsRef<[u8]>, violation: Violation) {
        assert_eq!(judge(&body), Err(violation), "{}", body.as_ref().escape_ascii());
    }

    #[test]
    fn a_body_ends_behind_its_last_chunk_and_trailers() {
        assert_eq!(judge("5\r\nhello\r\n0\r\n\r\nGET"), Ok((15, true)));
        assert_eq!(judge("0\r\n\r\n"), Ok((5, true)));
        assert_eq!(judge("00\r\nA: b\r\nC:\r\n\r\nX"), Ok((16, true)));
        assert_eq!(judge("a;x\r\n0123456789\r\n"), Ok((17, false)));
        assert_eq!(judge("5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn sizes_are_hex_digits_and_fit() {
        for bad in ["\r\n", "0x5\r\n", "+5\r\n", "-5\r\n", " 5\r\n", "5 \r\n", "g\r\n", "5\n"] {
            refused(bad, Violation::ChunkSize);
        }
        refused("5\rX", Violation::BareCr);
        refused("8000000000000000\r\n", Violation::ChunkSize);
        refused("00000000000000005\r\n", Violation::ChunkSize);
        assert_eq!(judge("7fffffffffffffff\r\n"), Ok((18, false)));
        assert_eq!(judge("0000000000000005\r\nhello\r\n"), Ok((25, false)));
    }

    #[test]
    fn chunks_end_with_cr_lf() {
        refused("5\r\nhelloX", Violation::ChunkEnd);
        refused("5\r\nhello\n", Violation::ChunkEnd);
        refused("5\r\nhello\rX", Violation::ChunkEnd);
    }

    #[test]
    fn extensions_are_well_formed_and_light() {
        for good in ["1;a\r\n", "1;a=b\r\n", "1; a\t= \"b\\\"\" \r\n", "1;a=\"b;\";c\r\n"] {
            assert_eq!(judge(good), Ok((good.len(), false)), "{good:?}");
        }
        // The grammar allows blanks before the semicolon, but parsers differ and no client sends them.
        refused("1 ;a", Violation::ChunkSize);
        refused("1;a=\"b\r\"", Violation::ChunkExtension);
        refused("1;a\rb", Violation::BareCr);
        for bad in ["1;\r\n", "1;a\n", "1;a=\r\n", "1;a\0", "1;a b", "1;=b", "1;a=\"b\"c", "1;a;\r"]
        {
            refused(bad, Violation::ChunkExtension);
        }
        assert!(judge(format!("1;{}\r\n", "a".repeat(255))).is_ok());
        refused(format!("1;{}\r\n", "a".repeat(256)), Violation::ChunkExtension);
        refused(format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(100), Violation::ChunkExtension);
        assert!(judge(format!("200;{}\r\n{:512}\r\n", "a".repeat(200), 0).repeat(200)).is_ok());
    }

    #[test]
    fn trailers_are_fields_and_bounded() {
        for bad in
            ["0\r\n A: b", "0\r\nA : b", "0\r\n: b", "0\r\nA\r\n", "0\r\nA: \0", "0\r\nA: b\n"]
        {
            refused(bad, Violation::Trailer);
        }
        refused("0\r\n\rX", Violation::BareCr);
        refused("0\r\n\n", Violation::Trailer);
        refused(format!("0\r\nA: {}", "b".repeat(17_000)), Violation::TrailersTooLong);
        refused(format!("0\r\n{}", "A: b\r\n".repeat(101)), Violation::TrailersTooLong);
    }
}

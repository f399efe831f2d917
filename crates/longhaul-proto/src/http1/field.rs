//! Judges the small words of HTTP: tokens, values, lists and lengths (RFC 9110 §5.6, §8.6).

use memchr::memchr;

use super::Violation;

/// Whether this byte may stand in a token (RFC 9110 §5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
        | b'`' | b'|' | b'~')
}

/// The same for all bytes, to be looked up: every name of every head is.
static TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_token_byte(byte as u8);
        byte += 1;
    }
    table
};

/// Whether this is a token: at least one byte, all of them allowed.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| TOKEN_BYTES[usize::from(byte)])
}

/// Whether this byte may stand in a field value: anything but controls, tab excepted.
pub(super) const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Whether this is a field value. Every byte is looked at, which is done sixteen at once.
pub(super) fn is_value(text: &[u8]) -> bool {
    text.iter().fold(true, |are_all, &byte| are_all & is_value_byte(byte))
}

/// Takes off optional white space (RFC 9110 §5.6.3).
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// The members of a comma-separated list, empty ones left out (RFC 9110 §5.6.1).
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Splits a line into name and value as sent, white space around the value included.
///
/// # Errors
/// Whatever is wrong with the name or the value.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Violation::LeadingWhitespace);
    }
    let colon = memchr(b':', line).ok_or(Violation::FieldName)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        let spaced = matches!(name.last(), Some(b' ' | b'\t')) && is_token(trim(name));
        return Err(if spaced { Violation::SpaceBeforeColon } else { Violation::FieldName });
    }
    if !is_value(value) {
        return Err(if value.contains(&b'\r') { Violation::BareCr } else { Violation::FieldValue });
    }
    Ok((name, value))
}

/// Reads the value of a Content-Length field: digits only, at most 2^63-1, so that it fits every
/// parser's integer.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Violation> {
    let digits = framing_value(value).ok_or(Violation::ContentLength)?;
    if digits.is_empty() {
        return Err(Violation::ContentLength);
    }
    digits.iter().try_fold(0_u64, |length, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
        digit
            .and_then(|digit| length.checked_mul(10)?.checked_add(digit))
            .filter(|&length| length <= i64::MAX as u64)
            .ok_or(Violation::ContentLength)
    })
}

/// Judges the value of a Transfer-Encoding field: exactly `chunked`, in any case of letters.
pub(super) fn transfer_encoding(value: &[u8]) -> Result<(), Violation> {
    let codings = framing_value(value).ok_or(Violation::TransferEncoding)?;
    if codings.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    // Well formed but not spoken here: 501. Anything that two parsers could read differently: 400.
    let mut last_first = codings.rsplit(|&byte| byte == b',').map(trim);
    let ends_chunked = last_first.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    let others_known =
        last_first.all(|other| is_token(other) && !other.eq_ignore_ascii_case(b"chunked"));
    Err(if ends_chunked && others_known {
        Violation::TransferCoding
    } else {
        Violation::TransferEncoding
    })
}

/// Fields that frame a body are trimmed of spaces only: parsers have disagreed about tabs.
fn framing_value(value: &[u8]) -> Option<&[u8]> {
    (!value.contains(&b'\t')).then(|| trim(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_that_fit_63_bits() {
        assert_eq!(content_length(b" 42 "), Ok(42));
        assert_eq!(content_length(b"9223372036854775807"), Ok(i64::MAX as u64));
        for bad in [
            &b""[..],
            b"+5",
            b"-5",
            b"5,5",
            b"5, 5",
            b"5 5",
            b"0x5",
            b"5.",
            b"\t5",
            b"9223372036854775808",
            b"99999999999999999999999",
            "٥".as_bytes(),
        ] {
            assert_eq!(content_length(bad), Err(Violation::ContentLength), "{bad:?}");
        }
    }

    #[test]
    fn only_one_plain_chunked_frames_a_body() {
        assert_eq!(transfer_encoding(b" Chunked"), Ok(()));
        assert_eq!(transfer_encoding(b"gzip, chunked"), Err(Violation::TransferCoding));
        for bad in [
            &b""[..],
            b"identity",
            b"xchunked",
            b"chunked, chunked",
            b"chunked, gzip",
            b"chunked;q=1",
            b"\"chunked\"",
            b"\tchunked",
            b",chunked",
            b"chunked,",
        ] {
            assert_eq!(transfer_encoding(bad), Err(Violation::TransferEncoding), "{bad:?}");
        }
    }

    #[test]
    fn a_field_line_is_a_token_a_colon_and_a_clean_value() {
        assert_eq!(split(b"Host: a"), Ok((&b"Host"[..], &b" a"[..])));
        assert_eq!(split(b"X-Empty:"), Ok((&b"X-Empty"[..], &b""[..])));
        assert_eq!(split("X: ü".as_bytes()).map(|(name, _)| name), Ok(&b"X"[..]));
        let check = |line: &[u8], expected| assert_eq!(split(line), Err(expected), "{line:?}");
        check(b" Host: a", Violation::LeadingWhitespace);
        check(b"\tfold", Violation::LeadingWhitespace);
        check(b"Host : a", Violation::SpaceBeforeColon);
        check(b"Ho st: a", Violation::FieldName);
        check(b": a", Violation::FieldName);
        check(b"Host", Violation::FieldName);
        check(b"Ho\0st: a", Violation::FieldName);
        check(b"X: a\0b", Violation::FieldValue);
        check(b"X: a\x7fb", Violation::FieldValue);
        check(b"X: a\rb", Violation::BareCr);
    }
}

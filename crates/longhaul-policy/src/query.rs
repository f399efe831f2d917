//! Reads single parameters from a query string, without building a map of it.

use std::borrow::Cow;

/// Returns the first value of `name`, percent-decoded; a parameter without `=` has an empty value.
///
/// A `+` stays a `+`: ids are compared as they were issued, not as form fields. Bytes that are not
/// UTF-8 after decoding become replacement characters, which match no id.
pub fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    pairs(query).find(|(key, _)| *key == name).map(|(_, value)| decoded(value.unwrap_or_default()))
}

/// Splits a query into names and raw values.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    query.split('&').map(|piece| match piece.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (piece, None),
    })
}

/// Undoes percent-encoding; a `%` that starts no escape stays as it is.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if is_hex(*high) && is_hex(*low) => {
                bytes.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn hex(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_is_returned_decoded() {
        let query = "EIO=4&transport=polling&sid=a%2Bb+c&sid=second&flag&odd=%zz%4";
        assert_eq!(parameter(query, "sid").as_deref(), Some("a+b+c"));
        assert_eq!(parameter(query, "flag").as_deref(), Some(""));
        assert_eq!(parameter(query, "odd").as_deref(), Some("%zz%4"));
        assert_eq!(parameter(query, "id"), None);
        assert_eq!(parameter("", "sid"), None);
    }
}

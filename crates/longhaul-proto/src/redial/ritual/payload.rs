//! What a whole message says, whoever masked it and however it was cut into frames.

use std::borrow::Cow;

use crate::websocket::{Header, Opcode, mask};

/// Reads the start of a message's payload, `bytes_max` at most, and whether it is text.
pub(super) fn start(wire: &[u8], bytes_max: usize) -> (bool, Cow<'_, [u8]>) {
    let mut is_text = false;
    let mut start: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut at = 0;
    while let Ok(Some(header)) = Header::parse(&wire[at..]) {
        if at == 0 {
            // With an extension's bit set nobody here can read it.
            is_text = header.opcode == Opcode::TEXT && !header.is_extended;
        }
        let from = at + header.len;
        let end = from.saturating_add(usize::try_from(header.payload_len).unwrap_or(usize::MAX));
        let end = end.min(wire.len());
        let piece = &wire[from..end.min(from.saturating_add(bytes_max - start.len()))];
        match header.mask {
            None if start.is_empty() => start = Cow::Borrowed(piece),
            None => start.to_mut().extend_from_slice(piece),
            Some(key) => {
                let start = start.to_mut();
                let begin = start.len();
                start.extend_from_slice(piece);
                mask::apply(&mut start[begin..], key, 0);
            }
        }
        at = end;
        if header.is_final || at >= wire.len() || start.len() >= bytes_max {
            break;
        }
    }
    (is_text, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_and_masks_are_seen_through() {
        let plain = [&[0x01, 2][..], b"he", &[0x80, 3], b"llo"].concat();
        assert_eq!(start(&plain, 100), (true, b"hello".as_slice().into()));
        assert_eq!(start(&plain, 3), (true, b"hel".as_slice().into()));
        let masked = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
        assert_eq!(start(&masked, 100), (true, b"hi".as_slice().into()));
        assert_eq!(start(&masked, 1), (true, b"h".as_slice().into()));
        assert!(!start(&[0x82, 1, 7], 9).0);
        assert!(!start(&[0xc1, 1, 7], 9).0, "compressed");
    }
}

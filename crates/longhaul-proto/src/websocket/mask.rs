//! Masking of payloads (RFC 6455 §5.3).

/// Masks or unmasks `payload`, whose first byte stands `offset` bytes into the frame's payload.
pub fn apply(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    for (byte, mask) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_as_the_rfc_example() {
        let mut hello = *b"Hello";
        apply(&mut hello, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(hello, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn a_payload_may_be_masked_in_pieces() {
        let key = [1, 2, 3, 4];
        let (mut whole, mut pieces) = ([9; 11], [9; 11]);
        apply(&mut whole, key, 0);
        apply(&mut pieces[..3], key, 0);
        apply(&mut pieces[3..], key, 3);
        assert_eq!(whole, pieces);
    }
}

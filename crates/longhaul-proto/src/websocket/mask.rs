//! Masking of payloads (RFC 6455 §5.3).

/// Masks or unmasks `payload`, whose first byte stands `offset` bytes into the frame's payload.
pub fn apply(payload: &mut [u8], key: [u8; 4], offset: usize) {
    // Blocks of a known size become vector instructions; one byte after the other does not.
    const BLOCK: usize = 32;
    let masks: [u8; BLOCK] = std::array::from_fn(|at| key[(offset + at) % 4]);
    let mut blocks = payload.chunks_exact_mut(BLOCK);
    for block in &mut blocks {
        for (byte, mask) in block.iter_mut().zip(masks) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in blocks.into_remainder().iter_mut().zip(masks) {
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
    fn a_payload_may_be_masked_in_pieces_wherever_it_is_cut() {
        let key = [1, 2, 3, 4];
        let mut whole = [9; 150];
        for (at, byte) in whole.iter_mut().enumerate() {
            *byte ^= key[at % 4];
        }
        for cut in 0..=whole.len() {
            let mut pieces = [9; 150];
            apply(&mut pieces[..cut], key, 0);
            apply(&mut pieces[cut..], key, cut);
            assert_eq!(whole, pieces, "cut at {cut}");
        }
    }
}

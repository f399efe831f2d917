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

/// Whether `masked` is UTF-8 once it is unmasked. Looks at it through a small window and changes nothing.
pub fn is_utf8(masked: &[u8], key: [u8; 4]) -> bool {
    /// Small enough for the fastest memory, large enough that a turn costs nothing; a multiple of the key.
    const WINDOW: usize = 1024;
    /// A character that a window cuts has at most so many bytes in it.
    const CUT_MAX: usize = 3;
    let mut window = [0; CUT_MAX + WINDOW];
    let mut cut = 0;
    for piece in masked.chunks(WINDOW) {
        let end = cut + piece.len();
        unmask_into(&mut window[cut..end], piece, key);
        match std::str::from_utf8(&window[..end]) {
            Ok(_) => cut = 0,
            Err(fault) if fault.error_len().is_some() => return false,
            Err(fault) => {
                let valid = fault.valid_up_to();
                window.copy_within(valid..end, 0);
                cut = end - valid;
            }
        }
    }
    cut == 0
}

fn unmask_into(plain: &mut [u8], masked: &[u8], key: [u8; 4]) {
    const BLOCK: usize = 32;
    let masks: [u8; BLOCK] = std::array::from_fn(|at| key[at % 4]);
    for (plain, masked) in plain.chunks_mut(BLOCK).zip(masked.chunks(BLOCK)) {
        for (plain, (masked, mask)) in plain.iter_mut().zip(masked.iter().zip(masks)) {
            *plain = masked ^ mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn masked_text_is_judged_as_plain_text(
            parts in prop::collection::vec(
                prop_oneof![
                    8 => "[a-zé€𝄞]{0,700}".prop_map(String::into_bytes),
                    1 => prop::collection::vec(any::<u8>(), 0..3),
                ],
                0..5,
            ),
            key in any::<[u8; 4]>(),
        ) {
            let plain = parts.concat();
            let mut masked = plain.clone();
            apply(&mut masked, key, 0);
            prop_assert_eq!(is_utf8(&masked, key), std::str::from_utf8(&plain).is_ok());
        }
    }

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

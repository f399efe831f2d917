//! Cuts a message into the pieces that one item each may carry.

use bytes::Bytes;

use super::Form;

/// The pieces of `payload`, of at most `chunk_bytes_max` each; text is cut between code points.
/// An empty message is one empty piece. Nothing is copied.
pub(super) fn split(
    form: Form,
    mut payload: Bytes,
    chunk_bytes_max: usize,
) -> impl Iterator<Item = Bytes> {
    let mut is_done = false;
    std::iter::from_fn(move || {
        if is_done {
            return None;
        }
        if payload.len() <= chunk_bytes_max {
            is_done = true;
            return Some(std::mem::take(&mut payload));
        }
        let end = match form {
            Form::Binary => chunk_bytes_max,
            Form::Text => boundary(&payload, chunk_bytes_max),
        };
        Some(payload.split_to(end))
    })
}

/// The last place up to `at` where a code point begins. A chunk shorter than a code point, which no
/// gateway asks for, cuts it rather than stands still.
fn boundary(text: &[u8], at: usize) -> usize {
    let is_start = |index: &usize| text[*index] & 0xc0 != 0x80;
    (1..=at).rev().take(4).find(is_start).unwrap_or(at)
}

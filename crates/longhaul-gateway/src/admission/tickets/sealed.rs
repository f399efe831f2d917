//! What the store is told of a ticket: a name and a value that say nothing to who does not have the word.
//!
//! Both come from the word alone. So gateways need no secret in common, and who reads the store learns
//! neither words nor who is about to connect.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, Digest, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Word;

/// Under what name the store has it.
pub(super) fn name(word: &Word) -> String {
    format!("ticket:{}", URL_SAFE_NO_PAD.encode(drawn(b"longhaul ticket name", word)))
}

/// Makes a value unreadable, in place.
pub(super) fn seal(word: &Word, value: &mut Vec<u8>) {
    key(word)
        .seal_in_place_append_tag(nonce(), Aad::empty(), value)
        .expect("a ticket is far below what one key may seal");
}

/// The value, if it was sealed by this word and is whole.
pub(super) fn open<'v>(word: &Word, value: &'v mut [u8]) -> Option<&'v [u8]> {
    key(word).open_in_place(nonce(), Aad::empty(), value).ok().map(|value| &*value)
}

fn key(word: &Word) -> LessSafeKey {
    let key = drawn(b"longhaul ticket value", word);
    let key = UnboundKey::new(&AES_256_GCM, key.as_ref());
    LessSafeKey::new(key.expect("SHA-256 gives as many bytes as the key has"))
}

/// A word is given once, and seals one value.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn drawn(purpose: &[u8], word: &Word) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(purpose);
    context.update(word);
    context.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_opens_what_it_has_sealed() {
        let (word, other) = ([7; _], [8; _]);
        let mut sealed = b"ann".to_vec();
        seal(&word, &mut sealed);
        assert!(!sealed.windows(3).any(|part| part == b"ann"));
        assert_eq!(open(&word, &mut sealed.clone()), Some(&b"ann"[..]));
        assert_eq!(open(&other, &mut sealed.clone()), None);
        sealed[0] ^= 1;
        assert_eq!(open(&word, &mut sealed), None);
        assert_eq!(open(&word, &mut []), None);
        assert_eq!(name(&word).len(), "ticket:".len() + 43);
        assert_ne!(name(&word), name(&other));
    }
}

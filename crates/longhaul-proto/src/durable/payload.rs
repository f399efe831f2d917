//! What a message carries, as it came: perhaps still under its sender's mask, perhaps in pieces.
//!
//! Nobody between the two ends reads payloads, so nobody needs them plain or whole. A client's is kept
//! under the mask it came with and leaves under the same one, whose key is only turned by the length of the
//! head that was in front; one that came in chunks leaves in as many fragments. Nothing is copied or
//! unmasked on the way. Start at [`Letter::open`].

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::HEAD_BYTES_MAX;
use crate::websocket::mask;

/// What an item carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    bytes: Bytes,
    /// What its bytes are masked with, from the first on. Zero is no mask.
    key: [u8; 4],
}

/// What a whole message carries: the payload of each of its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    before: Vec<Payload>,
    last: Payload,
}

/// One WebSocket message of a client's, whose payload may be masked.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Plain up to the payload.
    pub(super) bytes: Bytes,
    /// What the payload is masked with.
    pub(super) key: [u8; 4],
}

impl Payload {
    pub(super) fn masked(bytes: Bytes, key: [u8; 4]) -> Self {
        Self { bytes, key }
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What it is masked with behind so many bytes that are masked likewise; `None` if it is plain.
    pub fn key_behind(&self, head_bytes: usize) -> Option<[u8; 4]> {
        (self.key != [0; 4]).then(|| turned_right(self.key, head_bytes))
    }

    /// As it lies here, masked or not.
    pub fn into_raw(self) -> Bytes {
        self.bytes
    }

    /// Plain. Copies what is masked.
    pub fn to_bytes(&self) -> Bytes {
        if self.key == [0; 4] {
            return self.bytes.clone();
        }
        let mut plain = BytesMut::from(&self.bytes[..]);
        mask::apply(&mut plain, self.key, 0);
        plain.freeze()
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, key: [0; 4] }
    }
}

/// Plain, wherever it goes.
impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::frozen::bytes::serialize(self.to_bytes(), serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::frozen::bytes::deserialize::<D, Bytes>(deserializer).map(Self::from)
    }
}

impl Pieces {
    pub(super) fn new(before: Vec<Payload>, last: Payload) -> Self {
        Self { before, last }
    }

    /// Plain and in one piece, if that is not so yet.
    pub(super) fn joined(self) -> Self {
        self.to_bytes().into()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Payload> {
        self.before.iter().chain([&self.last])
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.before.iter().map(Payload::len).sum::<usize>() + self.last.len()
    }

    /// Whether the message is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All but the last, and the last.
    pub fn into_parts(self) -> (Vec<Payload>, Payload) {
        (self.before, self.last)
    }

    /// Plain and in one piece. Copies what is neither.
    pub fn to_bytes(&self) -> Bytes {
        if self.before.is_empty() {
            return self.last.to_bytes();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for piece in self.iter() {
            let at = whole.len();
            whole.extend_from_slice(&piece.bytes);
            mask::apply(&mut whole[at..], piece.key, 0);
        }
        whole.freeze()
    }
}

impl From<Bytes> for Pieces {
    fn from(whole: Bytes) -> Self {
        Self::new(Vec::new(), whole.into())
    }
}

impl From<Vec<Bytes>> for Pieces {
    fn from(mut pieces: Vec<Bytes>) -> Self {
        let last = pieces.pop().unwrap_or_default();
        Self::new(pieces.into_iter().map(Payload::from).collect(), last.into())
    }
}

/// As one piece, wherever it goes.
impl Serialize for Pieces {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::frozen::bytes::serialize(self.to_bytes(), serializer)
    }
}

impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Payload::deserialize(deserializer).map(|last| Self::new(Vec::new(), last))
    }
}

impl From<Bytes> for Letter {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, key: [0; 4] }
    }
}

impl Letter {
    /// All of it, for who wants no message of an application's: only the payload of one is still masked.
    pub fn into_message(self) -> Bytes {
        self.bytes
    }

    /// Opens a message that is masked with `key`: unmasks the head of an item where it lies and leaves the
    /// payload alone. Whatever else it is, is short, and unmasked to its end.
    pub fn open(mut message: BytesMut, key: [u8; 4]) -> Self {
        let first = message.first().map(|byte| byte ^ key[0]);
        let is_message = matches!(first, Some(b'm' | b'n'));
        let mut head = message.iter().zip(key.iter().cycle()).take(HEAD_BYTES_MAX);
        let end = head.position(|(byte, mask)| byte ^ mask == b';').filter(|_| is_message);
        let Some(end) = end else {
            mask::apply(&mut message, key, 0);
            return Self::from(message.freeze());
        };
        let head_bytes = end + 1;
        mask::apply(&mut message[..head_bytes], key, 0);
        let mut key = key;
        key.rotate_left(head_bytes % 4);
        Self { bytes: message.freeze(), key }
    }
}

fn turned_right(mut key: [u8; 4], by: usize) -> [u8; 4] {
    key.rotate_right(by % 4);
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Body, Form, Item};
    use super::*;

    fn letter(message: &[u8], key: [u8; 4]) -> Letter {
        let mut masked = BytesMut::from(message);
        mask::apply(&mut masked, key, 0);
        Letter::open(masked, key)
    }

    proptest! {
        #[test]
        fn a_masked_message_reads_as_the_plain_one(
            message in prop_oneof![
                any::<Vec<u8>>(),
                "[mnxe][0-9]{1,18};[a-z;]{0,40}".prop_map(String::into_bytes),
            ],
            key in any::<[u8; 4]>(),
        ) {
            let letter = letter(&message, key);
            let payload_of = |body| match body {
                Body::Message(payload) | Body::Chunk(payload) => Some(payload.len()),
                Body::Event(_) | Body::End { .. } => None,
            };
            match (Item::parse(Form::Text, &message), Item::parse(Form::Text, &letter.bytes)) {
                (Ok(Item::Sequenced { seq, body }), Ok(Item::Sequenced { seq: same, body: veiled })) => {
                    prop_assert_eq!((seq, payload_of(body)), (same, payload_of(veiled)));
                    if let Body::Message(payload) | Body::Chunk(payload) = veiled {
                        let payload = letter.bytes.slice_ref(payload);
                        let at = letter.bytes.len() - payload.len();
                        let payload = Payload::masked(payload, letter.key);
                        prop_assert_eq!(&payload.to_bytes()[..], &message[at..]);
                    }
                }
                (plain, veiled) => prop_assert_eq!(plain, veiled),
            }
        }

        #[test]
        fn a_key_that_is_turned_masks_the_same_bytes(
            key in any::<[u8; 4]>(),
            before in 3usize..20,
            behind in 0usize..20,
        ) {
            let head = format!("m{:0>1$};", 1, before - 2).replace("m0", "m1");
            let letter = letter(format!("{head}payload").as_bytes(), key);
            let at = letter.bytes.len() - "payload".len();
            let payload = Payload::masked(letter.bytes.slice(at..), letter.key);
            // What goes out: another head in front, all of it masked with one key.
            let key = payload.key_behind(behind).unwrap_or_default();
            let mut frame = vec![b'h'; behind];
            mask::apply(&mut frame, key, 0);
            frame.extend_from_slice(&payload.into_raw());
            mask::apply(&mut frame, key, 0);
            prop_assert_eq!(&frame[behind..], b"payload");
        }
    }

    #[test]
    fn pieces_under_different_masks_are_one_message() {
        let piece = |text: &str, key| {
            let mut bytes = BytesMut::from(text);
            mask::apply(&mut bytes, key, 0);
            Payload::masked(bytes.freeze(), key)
        };
        let pieces = Pieces::new(
            vec![piece("one, ", [1, 2, 3, 4]), piece("two, ", [0; 4])],
            piece("three", [9, 8, 7, 6]),
        );
        assert_eq!((&pieces.to_bytes()[..], pieces.len()), (&b"one, two, three"[..], 15));
        let text = serde_json::to_string(&pieces).unwrap();
        let moved: Pieces = serde_json::from_str(&text).unwrap();
        assert_eq!(&moved.to_bytes()[..], b"one, two, three");
    }
}

//! The grammar of items: what one WebSocket message of a link says.
//!
//! Payloads are lent from the message, never copied. Whether an item fits what came before it is the
//! [`Receiver`](super::Receiver)'s to judge, and control is read by [`Control`](super::Control).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{HEAD_BYTES_MAX, SEQ_MAX, code};
use crate::websocket::CloseCode;

/// Longest reason of an end: what fits a close frame behind its code (RFC 6455 §5.5.1).
const REASON_BYTES_MAX: usize = 123;
const NONCE_BYTES_MAX: usize = 16;

/// Whether a message is text or bytes. It is the application's opcode, kept on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Form {
    /// UTF-8.
    Text,
    /// Anything.
    Binary,
}

/// One item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// One that has a number.
    Sequenced {
        /// Its number.
        seq: u64,
        /// What it carries.
        body: Body<'a>,
    },
    /// Everything up to this number may be forgotten.
    Ack(u64),
    /// To be answered with the same nonce.
    Ping(Nonce),
    /// The answer.
    Pong(Nonce),
    /// A JSON object, unread.
    Control(&'a [u8]),
}

/// What a numbered item carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// A message, or its last chunk.
    Message(&'a [u8]),
    /// A chunk; more follow.
    Chunk(&'a [u8]),
    /// Something the gateway tells at this place of the stream, as JSON.
    Event(&'a [u8]),
    /// The end of this direction.
    End {
        /// The application's close code; 1005 for none.
        code: CloseCode,
        /// Its reason.
        reason: &'a str,
    },
}

/// What makes a ping and its pong belong together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce {
    bytes: [u8; NONCE_BYTES_MAX],
    len: u8,
}

impl Nonce {
    /// A nonce that shows `number`.
    pub fn of(number: u32) -> Self {
        let mut bytes = [0; NONCE_BYTES_MAX];
        for (at, byte) in bytes[..8].iter_mut().enumerate() {
            *byte = b"0123456789abcdef"[(number >> (28 - 4 * at) & 0xf) as usize];
        }
        Self { bytes, len: 8 }
    }

    /// Its letters and digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > NONCE_BYTES_MAX || !text.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let mut bytes = [0; NONCE_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { bytes, len: text.len() as u8 })
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.as_bytes()), f)
    }
}

impl<'a> Item<'a> {
    /// Reads one WebSocket message. Text must have been found to be UTF-8.
    ///
    /// # Errors
    /// The code to close the link with: 4900 for whatever is not an item.
    pub fn parse(form: Form, message: &'a [u8]) -> Result<Self, CloseCode> {
        Self::read(form, message).ok_or(code::FAULT)
    }

    fn read(form: Form, message: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = message.split_first()?;
        match (kind, form) {
            (b'm' | b'n', _) | (b'e' | b'x', Form::Text) => {
                let end = rest.iter().take(HEAD_BYTES_MAX).position(|&byte| byte == b';')?;
                let seq = number(&rest[..end]).filter(|&seq| seq > 0)?;
                let body = Body::read(kind, &rest[end + 1..])?;
                Some(Self::Sequenced { seq, body })
            }
            (b'a', Form::Text) => number(rest).map(Self::Ack),
            (b'p', Form::Text) => Nonce::parse(rest).map(Self::Ping),
            (b'q', Form::Text) => Nonce::parse(rest).map(Self::Pong),
            (b'{', Form::Text) => Some(Self::Control(message)),
            _ => None,
        }
    }
}

impl<'a> Body<'a> {
    fn read(kind: u8, payload: &'a [u8]) -> Option<Self> {
        match kind {
            b'm' => Some(Self::Message(payload)),
            b'n' if !payload.is_empty() => Some(Self::Chunk(payload)),
            b'e' => Some(Self::Event(payload)),
            b'x' => read_end(payload),
            _ => None,
        }
    }
}

fn read_end(payload: &[u8]) -> Option<Body<'_>> {
    let (digits, rest) = payload.split_at_checked(4)?;
    let (&b';', reason) = rest.split_first()? else { return None };
    let code = CloseCode(u16::try_from(number(digits)?).ok()?);
    let reason = std::str::from_utf8(reason).ok()?;
    let is_bare = code != code::NO_STATUS || reason.is_empty();
    let is_good = code::may_travel(code) && reason.len() <= REASON_BYTES_MAX && is_bare;
    is_good.then_some(Body::End { code, reason })
}

/// A decimal number up to 2^53-1 without a leading zero.
fn number(digits: &[u8]) -> Option<u64> {
    let is_canonical = match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.len() < 16 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let value = |so_far, digit: &u8| so_far * 10 + u64::from(digit - b'0');
    is_canonical.then(|| digits.iter().fold(0, value)).filter(|&value| value <= SEQ_MAX)
}

/// What stands in front of a payload, or a whole small item. Holds no heap memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: u8,
}

impl Head {
    /// The head of a numbered item; `kind` is its first letter.
    pub fn sequenced(kind: u8, seq: u64) -> Self {
        let mut head = Self::start(kind);
        head.push_number(seq);
        head.push(b";");
        head
    }

    /// An acknowledgement.
    pub fn ack(seq: u64) -> Self {
        let mut head = Self::start(b'a');
        head.push_number(seq);
        head
    }

    /// A ping.
    pub fn ping(nonce: Nonce) -> Self {
        let mut head = Self::start(b'p');
        head.push(nonce.as_bytes());
        head
    }

    /// A pong.
    pub fn pong(nonce: Nonce) -> Self {
        let mut head = Self::start(b'q');
        head.push(nonce.as_bytes());
        head
    }

    /// No head: the payload is the whole item, as with control.
    pub fn none() -> Self {
        Self { bytes: [0; HEAD_BYTES_MAX], len: 0 }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn start(kind: u8) -> Self {
        let mut head = Self::none();
        head.push(&[kind]);
        head
    }

    fn push(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    /// `number` is at most [`SEQ_MAX`], which has 16 digits.
    fn push_number(&mut self, mut number: u64) {
        let mut digits = [0; 16];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 || at == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.as_bytes()), f)
    }
}

/// The payload of an end item. A reason that is too long is cut between characters.
pub(super) fn end_payload(code: CloseCode, reason: &str) -> Vec<u8> {
    let reason = if code == code::NO_STATUS { "" } else { reason };
    let mut cut = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{code};{}", &reason[..cut]).into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            kind in prop::sample::select(b"mne".to_vec()),
            seq in prop_oneof![1..=100u64, SEQ_MAX - 100..=SEQ_MAX],
            payload in "[a-z;0-9{]{1,40}",
        ) {
            let mut message = Head::sequenced(kind, seq).as_bytes().to_vec();
            message.extend_from_slice(payload.as_bytes());
            let payload = payload.as_bytes();
            let body = match kind {
                b'm' => Body::Message(payload),
                b'n' => Body::Chunk(payload),
                _ => Body::Event(payload),
            };
            prop_assert_eq!(Item::parse(Form::Text, &message), Ok(Item::Sequenced { seq, body }));
        }

        #[test]
        fn an_ack_reads_back(seq in 0..=SEQ_MAX) {
            let head = Head::ack(seq);
            prop_assert_eq!(Item::parse(Form::Text, head.as_bytes()), Ok(Item::Ack(seq)));
        }

        #[test]
        fn no_message_is_too_strange_to_judge(message in any::<Vec<u8>>()) {
            for form in [Form::Text, Form::Binary] {
                if let Err(fault) = Item::parse(form, &message) {
                    prop_assert_eq!(fault, code::FAULT);
                }
            }
        }
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let payload = end_payload(CloseCode(1000), &"é".repeat(70));
        assert_eq!(payload.len(), "1000;".len() + 122);
        assert!(read_end(&payload).is_some());
    }
}

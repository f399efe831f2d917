//! A reader of messages as another process can take it up, in the middle of a frame if need be.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::{Frame, Messages};
use crate::websocket::frame::{CONTROL_PAYLOAD_BYTES_MAX, HEADER_BYTES_MAX};
use crate::websocket::{Header, Role, mask};

/// Where in its stream a reader stands.
#[derive(Clone, Serialize, Deserialize)]
pub struct FrozenMessages {
    header: Vec<u8>,
    frame: Option<(Header, usize)>,
    #[serde(with = "crate::frozen::bytes")]
    message: Vec<u8>,
    is_text: Option<bool>,
    control: Vec<u8>,
    has_closed: bool,
}

impl Messages {
    /// Where it stands.
    pub fn freeze(&self) -> FrozenMessages {
        let mut message = self.before.concat();
        message.extend_from_slice(&self.message);
        self.remask(&mut message);
        FrozenMessages {
            header: self.header.clone(),
            frame: self.frame.as_ref().map(|frame| (frame.header, frame.at)),
            message,
            is_text: self.is_text,
            control: self.control.clone(),
            has_closed: self.has_closed,
        }
    }

    /// Goes on from there. `None` for a place where none can stand.
    pub fn thaw(role: Role, message_bytes_max: usize, frozen: FrozenMessages) -> Option<Self> {
        let FrozenMessages { header, frame, message, is_text, control, has_closed } = frozen;
        let is_inside = frame.is_none_or(|(header, at)| {
            let payload = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
            let fits = if header.opcode.is_control() {
                payload <= CONTROL_PAYLOAD_BYTES_MAX
            } else {
                at <= message.len()
            };
            at <= payload && fits
        });
        let can_be = is_inside
            && header.len() < HEADER_BYTES_MAX
            && control.len() <= CONTROL_PAYLOAD_BYTES_MAX;
        if !can_be {
            return None;
        }
        let mut messages = Self {
            role,
            as_they_come: false,
            // One that was begun under another bound is heard to its end.
            message_bytes_max: message_bytes_max.max(message.len()),
            header,
            frame: frame.map(|(header, at)| Frame { header, at }),
            message: BytesMut::from(&message[..]),
            before: Vec::new(),
            before_bytes: 0,
            is_text,
            control,
            has_closed,
        };
        let mut message = std::mem::take(&mut messages.message);
        messages.remask(&mut message);
        messages.message = message;
        Some(messages)
    }

    /// Unmasks what came of a frame that is not whole, or masks it again: it travels plain.
    fn remask(&self, message: &mut [u8]) {
        let Some(Frame { header, at }) = &self.frame else { return };
        let start = message.len().checked_sub(*at).filter(|_| !header.opcode.is_control());
        if let Some((key, start)) = header.mask.zip(start) {
            mask::apply(&mut message[start..], key, 0);
        }
    }
}

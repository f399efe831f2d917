//! Cuts what one side sends into whole messages, so that a leg can end without leaving half of one.
//!
//! Messages that came whole pass where they lie. The start of one that did not is copied and held
//! until the rest is there, up to a bound; a larger message passes piece by piece as it comes, and
//! whoever sees its pieces knows that it cannot be taken back. Control frames overtake what is held.
//!
//! Start at [`Gather::next`].

mod frozen;
#[cfg(test)]
mod tests;

pub(super) use frozen::FrozenGather;

use crate::websocket::{FrameFault, Header, Role};

/// One direction of one leg.
#[derive(Debug)]
pub(super) struct Gather {
    role: Role,
    hold_bytes_max: usize,
    /// The start of a message, in data frames.
    held: Vec<u8>,
    /// A header or a control frame that a read has split.
    split: Vec<u8>,
    /// Payload bytes of the current data frame still to come.
    rest: u64,
    /// Whether the current data frame is the last of its message.
    is_last_frame: bool,
    /// Between the first byte of a message and its last.
    is_inside: bool,
    /// The message is larger than may be held; what came of it was given out.
    is_streaming: bool,
    /// What was given out by the call before and is to be forgotten.
    spent: Spent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    Nothing,
    Held,
    Split,
}

/// What stands next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    /// Bytes of the input that are dealt with; 0 when something held goes first.
    pub(super) consumed: usize,
    /// What may pass now; `None` while nothing is whole.
    pub(super) unit: Option<Unit>,
}

/// Something that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) kind: Kind,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// So many whole data messages.
    Messages(u64),
    /// A piece of a message that is larger than may be held.
    Piece { is_first: bool, is_last: bool },
    /// A whole control frame.
    Control(Header),
}

/// Where the bytes of a unit lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The input, up to what was consumed.
    Input,
    /// [`Gather::take_stash`].
    Stash,
}

impl Gather {
    /// Starts at a frame boundary.
    pub(super) fn new(role: Role, hold_bytes_max: usize) -> Self {
        Self {
            role,
            hold_bytes_max,
            held: Vec::new(),
            split: Vec::new(),
            rest: 0,
            is_last_frame: false,
            is_inside: false,
            is_streaming: false,
            spent: Spent::Nothing,
        }
    }

    /// Says what `bytes`, which must not be empty, begins with; `messages_max` bounds how many
    /// messages are given out at once. Call again with the rest.
    ///
    /// # Errors
    /// [`FrameFault`] when the stream cannot be followed.
    pub(super) fn next(&mut self, bytes: &[u8], messages_max: u64) -> Result<Next, FrameFault> {
        self.forget_spent();
        if self.rest > 0 {
            return Ok(self.take_payload(bytes));
        }
        if !self.split.is_empty() {
            return self.complete_split(bytes);
        }
        if !self.is_inside {
            let (len, count) = self.whole_messages(bytes, messages_max)?;
            if count > 0 {
                let unit = Unit { kind: Kind::Messages(count), place: Place::Input };
                return Ok(Next { consumed: len, unit: Some(unit) });
            }
        }
        self.begin_frame(bytes)
    }

    /// The bytes of a unit whose place this is. Until the next call.
    pub(super) fn take_stash(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.spent, Spent::Nothing) {
            Spent::Nothing => Vec::new(),
            Spent::Held => std::mem::take(&mut self.held),
            Spent::Split => std::mem::take(&mut self.split),
        }
    }

    /// Whether part of a message was given out and the rest was not.
    pub(super) fn is_streaming(&self) -> bool {
        self.is_streaming
    }

    /// Whether nothing has begun that is not yet given out whole.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_inside && self.split.is_empty()
    }

    /// Whether what was given out so far ends with a whole frame.
    pub(super) fn is_at_frame_boundary(&self) -> bool {
        !self.is_streaming || self.rest == 0
    }

    fn whole_messages(&self, bytes: &[u8], messages_max: u64) -> Result<(usize, u64), FrameFault> {
        let (mut at, mut end, mut count) = (0, 0, 0);
        while count < messages_max && at < bytes.len() {
            let header = match self.parse(&bytes[at..]) {
                Ok(Some(header)) if !header.opcode.is_control() => header,
                // What stands in front of a fault still passes; the next call finds the fault.
                Err(fault) if end == 0 => return Err(fault),
                Ok(_) | Err(_) => break,
            };
            let frame_len = header.len as u64 + header.payload_len;
            if frame_len > (bytes.len() - at) as u64 {
                break;
            }
            at += frame_len as usize;
            if header.is_final {
                (end, count) = (at, count + 1);
            }
        }
        Ok((end, count))
    }

    /// Takes the header of a data frame, or a control frame.
    fn begin_frame(&mut self, bytes: &[u8]) -> Result<Next, FrameFault> {
        let Some(header) = self.parse(bytes)? else { return Ok(self.split_off(bytes)) };
        if header.opcode.is_control() {
            let len = header.len + header.payload_len as usize;
            if len > bytes.len() {
                return Ok(self.split_off(bytes));
            }
            let unit = Unit { kind: Kind::Control(header), place: Place::Input };
            return Ok(Next { consumed: len, unit: Some(unit) });
        }
        let unit = self.enter(header, &bytes[..header.len], Place::Input);
        Ok(Next { consumed: header.len, unit })
    }

    fn split_off(&mut self, bytes: &[u8]) -> Next {
        self.split.extend_from_slice(bytes);
        Next { consumed: bytes.len(), unit: None }
    }

    /// Adds bytes to what a read has split until that is a header, or a whole control frame.
    fn complete_split(&mut self, bytes: &[u8]) -> Result<Next, FrameFault> {
        for (taken, &byte) in bytes.iter().enumerate() {
            self.split.push(byte);
            let consumed = taken + 1;
            let Some(header) = self.parse(&self.split)? else { continue };
            if !header.opcode.is_control() {
                let split = std::mem::take(&mut self.split);
                let mut unit = self.enter(header, &split, Place::Stash);
                if let Some(Unit { kind: Kind::Piece { .. }, .. }) = &mut unit {
                    self.split = split;
                    self.spent = Spent::Split;
                }
                return Ok(Next { consumed, unit });
            }
            if self.split.len() == header.len + header.payload_len as usize {
                self.spent = Spent::Split;
                let unit = Unit { kind: Kind::Control(header), place: Place::Stash };
                return Ok(Next { consumed, unit: Some(unit) });
            }
        }
        Ok(Next { consumed: bytes.len(), unit: None })
    }

    /// Enters a data frame, whose header is `wire` and lies at `place`.
    fn enter(&mut self, header: Header, wire: &[u8], place: Place) -> Option<Unit> {
        let is_first = !self.is_inside;
        self.is_inside = true;
        self.rest = header.payload_len;
        self.is_last_frame = header.is_final;
        if is_first && header.len as u64 + header.payload_len > self.hold_bytes_max as u64 {
            // It is known to be too large before a byte of it is copied.
            self.is_streaming = true;
        }
        if self.is_streaming {
            let is_last = self.rest == 0 && self.end_frame();
            return Some(Unit { kind: Kind::Piece { is_first, is_last }, place });
        }
        self.held.extend_from_slice(wire);
        (self.rest == 0 && self.end_frame()).then(|| self.give_held())
    }

    fn take_payload(&mut self, bytes: &[u8]) -> Next {
        let here = self.rest.min(bytes.len() as u64) as usize;
        if !self.is_streaming && self.held.len() + here > self.hold_bytes_max {
            self.is_streaming = true;
            self.spent = Spent::Held;
            let kind = Kind::Piece { is_first: true, is_last: false };
            return Next { consumed: 0, unit: Some(Unit { kind, place: Place::Stash }) };
        }
        self.rest -= here as u64;
        let is_last = self.rest == 0 && self.is_last_frame;
        let unit = if self.is_streaming {
            let kind = Kind::Piece { is_first: false, is_last };
            Some(Unit { kind, place: Place::Input })
        } else {
            self.held.extend_from_slice(&bytes[..here]);
            is_last.then(|| self.give_held())
        };
        if self.rest == 0 {
            self.end_frame();
        }
        Next { consumed: here, unit }
    }

    /// Says whether the frame that ends was the last of its message.
    fn end_frame(&mut self) -> bool {
        if self.is_last_frame {
            self.is_inside = false;
            self.is_streaming = false;
        }
        self.is_last_frame
    }

    fn give_held(&mut self) -> Unit {
        self.spent = Spent::Held;
        Unit { kind: Kind::Messages(1), place: Place::Stash }
    }

    fn forget_spent(&mut self) {
        match self.spent {
            Spent::Nothing => {}
            // Freed and not cleared: a connection at rest holds no buffer.
            Spent::Held => self.held = Vec::new(),
            Spent::Split => self.split = Vec::new(),
        }
        self.spent = Spent::Nothing;
    }

    fn parse(&self, bytes: &[u8]) -> Result<Option<Header>, FrameFault> {
        if let Some(second) = bytes.get(1) {
            match (self.role, second & 0x80 != 0) {
                (Role::Client, false) => return Err(FrameFault::Unmasked),
                (Role::Server, true) => return Err(FrameFault::Masked),
                (Role::Client, true) | (Role::Server, false) => {}
            }
        }
        Header::parse(bytes)
    }
}

/// Walks over whole data messages and gives the bytes of each.
pub(super) fn each_message(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut at = 0;
        while let Ok(Some(header)) = Header::parse(bytes.get(at..)?) {
            at += header.len + header.payload_len as usize;
            if header.is_final {
                let (message, rest) = bytes.split_at_checked(at)?;
                bytes = rest;
                return Some(message);
            }
        }
        None
    })
}

//! Reads whole messages out of a byte stream, for who must hold them: ends of durable sessions.
//!
//! The relay follows frames with [`Scanner`](super::Scanner) and holds none. Here fragments are joined,
//! payloads unmasked, text checked to be UTF-8, and what breaks RFC 6455 or is too big is refused.
//! Start at [`Messages::feed`].

mod frozen;

use bytes::{Bytes, BytesMut};
pub use frozen::FrozenMessages;

use super::frame::{CONTROL_PAYLOAD_BYTES_MAX, HEADER_BYTES_MAX};
use super::{CloseCode, Header, Opcode, Role, mask};

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message of text.
    Text(Bytes),
    /// A message of bytes.
    Binary(Bytes),
    /// A message as its sender masked it, of a reader that takes them [as they come](Messages::as_they_come).
    Masked {
        /// Whether it is text: UTF-8, once it is unmasked.
        is_text: bool,
        /// Its payload.
        payload: BytesMut,
        /// What that is masked with.
        key: [u8; 4],
    },
    /// A message that came in fragments, of such a reader. Pieces of text are text.
    Pieces {
        /// Whether it is text.
        is_text: bool,
        /// Its payload.
        pieces: Vec<Bytes>,
    },
    /// A ping, to be answered with this payload.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// A close frame; nothing that follows counts.
    Close(Option<CloseCode>, String),
}

/// Reads the messages of one direction.
#[derive(Debug)]
pub struct Messages {
    role: Role,
    as_they_come: bool,
    message_bytes_max: usize,
    /// The start of a header that was split by a read.
    header: Vec<u8>,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// Payload of the message, as far as it came. Empty between messages.
    message: BytesMut,
    /// What came of it before that, once that has no room for a fragment.
    before: Vec<Bytes>,
    before_bytes: usize,
    /// Whether the message is text, once its first frame came.
    is_text: Option<bool>,
    /// Payload of a control frame between two fragments.
    control: Vec<u8>,
    has_closed: bool,
}

#[derive(Debug)]
struct Frame {
    header: Header,
    /// Payload bytes that came.
    at: usize,
}

impl Messages {
    /// Starts at a frame boundary. `role` is whose frames these are.
    pub fn new(role: Role, message_bytes_max: usize) -> Self {
        Self {
            role,
            as_they_come: false,
            message_bytes_max,
            header: Vec::new(),
            frame: None,
            message: BytesMut::new(),
            before: Vec::new(),
            before_bytes: 0,
            is_text: None,
            control: Vec::new(),
            has_closed: false,
        }
    }

    /// Copies each payload once: leaves one of a single frame under its mask, and one of many in pieces.
    #[must_use]
    pub fn as_they_come(self) -> Self {
        Self { as_they_come: true, ..self }
    }

    /// Reads up to the next event and returns it with the bytes that were used; `None` when all were
    /// and more are needed.
    ///
    /// # Errors
    /// The close code for what broke a rule: 1002, 1007 or 1009.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Event>), CloseCode> {
        let mut used = 0;
        if self.has_closed {
            return Ok((bytes.len(), None));
        }
        loop {
            if self.frame.is_none() {
                let (taken, is_whole) = self.read_header(&bytes[used..])?;
                used += taken;
                if !is_whole {
                    return Ok((used, None));
                }
            }
            let (taken, event) = self.read_payload(&bytes[used..])?;
            used += taken;
            if event.is_some() || self.frame.is_some() {
                return Ok((used, event));
            }
        }
    }

    fn read_header(&mut self, bytes: &[u8]) -> Result<(usize, bool), CloseCode> {
        let fault = |_| CloseCode::PROTOCOL_ERROR;
        let before = self.header.len();
        let parsed = if before == 0 {
            Header::parse(bytes).map_err(fault)?
        } else {
            let room = HEADER_BYTES_MAX - before;
            self.header.extend_from_slice(&bytes[..bytes.len().min(room)]);
            Header::parse(&self.header).map_err(fault)?
        };
        let Some(header) = parsed else {
            if before == 0 {
                self.header.extend_from_slice(bytes);
            }
            return Ok((bytes.len(), false));
        };
        self.header = Vec::new();
        self.judge(&header)?;
        self.frame = Some(Frame { header, at: 0 });
        let is_data = !header.opcode.is_control();
        if is_data && self.as_they_come && !self.message.is_empty() {
            self.make_room(header.payload_len as usize)?;
        }
        Ok((header.len - before, true))
    }

    fn judge(&mut self, header: &Header) -> Result<(), CloseCode> {
        let is_masked = header.mask.is_some();
        let is_known = matches!(header.opcode.0, 0..=2 | 8..=10);
        if header.is_extended || !is_known || is_masked != (self.role == Role::Client) {
            return Err(CloseCode::PROTOCOL_ERROR);
        }
        if header.opcode.is_control() {
            return Ok(());
        }
        match (header.opcode.0, self.is_text) {
            (0, Some(_)) => {}
            (1 | 2, None) => self.is_text = Some(header.opcode.0 == 1),
            _ => return Err(CloseCode::PROTOCOL_ERROR),
        }
        let room = (self.message_bytes_max - self.before_bytes - self.message.len()) as u64;
        if header.payload_len > room {
            return Err(CloseCode::TOO_BIG);
        }
        Ok(())
    }

    /// Begins another piece where the one before has no room for a fragment. As large as all that came, so that
    /// neither pieces are many nor much of them stays empty.
    fn make_room(&mut self, fragment_bytes: usize) -> Result<(), CloseCode> {
        /// Larger pieces would not be fewer chunks.
        const PIECE_BYTES: usize = 16 << 10;
        if self.message.capacity() - self.message.len() >= fragment_bytes {
            return Ok(());
        }
        let mut end = self.message.len();
        if self.is_text == Some(true)
            && let Err(fault) = std::str::from_utf8(&self.message)
        {
            // The next piece begins with the character that was begun here.
            let is_cut = fault.error_len().is_none();
            end = is_cut.then(|| fault.valid_up_to()).ok_or(CloseCode::INVALID_PAYLOAD)?;
        }
        let came = self.before_bytes + self.message.len();
        let mut piece = BytesMut::with_capacity(fragment_bytes.max(came.min(PIECE_BYTES)) + 3);
        piece.extend_from_slice(&self.message[end..]);
        let mut full = std::mem::replace(&mut self.message, piece);
        full.truncate(end);
        if end > 0 {
            self.before_bytes += end;
            self.before.push(full.freeze());
        }
        Ok(())
    }

    fn read_payload(&mut self, bytes: &[u8]) -> Result<(usize, Option<Event>), CloseCode> {
        let Some(frame) = &mut self.frame else { return Ok((0, None)) };
        let rest = frame.header.payload_len as usize - frame.at;
        let taken = rest.min(bytes.len());
        let piece = &bytes[..taken];
        let header = frame.header;
        let target: &mut [u8] = if header.opcode.is_control() {
            let start = self.control.len();
            self.control.extend_from_slice(piece);
            &mut self.control[start..]
        } else {
            // All of the frame at once, since what grows is copied. Its header is believed up to the bound,
            // and memory that nobody has written to costs nothing yet.
            self.message.reserve(rest.min(self.message_bytes_max));
            self.message.extend_from_slice(piece);
            &mut []
        };
        if let Some(key) = header.mask {
            mask::apply(target, key, frame.at);
        }
        frame.at += taken;
        if taken < rest {
            return Ok((taken, None));
        }
        self.frame = None;
        if let Some(key) = header.mask.filter(|_| !header.opcode.is_control()) {
            let start = self.message.len() - header.payload_len as usize;
            if self.as_they_come && header.is_final && start == 0 && self.before.is_empty() {
                return self.end_masked(key).map(|event| (taken, Some(event)));
            }
            mask::apply(&mut self.message[start..], key, 0);
        }
        let event = if header.opcode.is_control() {
            Some(self.end_control(header.opcode)?)
        } else if header.is_final {
            Some(self.end_message()?)
        } else {
            None
        };
        Ok((taken, event))
    }

    fn end_masked(&mut self, key: [u8; 4]) -> Result<Event, CloseCode> {
        let payload = std::mem::take(&mut self.message);
        let is_text = self.is_text.take() == Some(true);
        if is_text && !mask::is_utf8(&payload, key) {
            return Err(CloseCode::INVALID_PAYLOAD);
        }
        Ok(Event::Masked { is_text, payload, key })
    }

    fn end_message(&mut self) -> Result<Event, CloseCode> {
        let payload = std::mem::take(&mut self.message).freeze();
        let is_text = self.is_text.take() == Some(true);
        if is_text && std::str::from_utf8(&payload).is_err() {
            return Err(CloseCode::INVALID_PAYLOAD);
        }
        let mut pieces = std::mem::take(&mut self.before);
        self.before_bytes = 0;
        if !pieces.is_empty() {
            pieces.push(payload);
            return Ok(Event::Pieces { is_text, pieces });
        }
        Ok(if is_text { Event::Text(payload) } else { Event::Binary(payload) })
    }

    fn end_control(&mut self, opcode: Opcode) -> Result<Event, CloseCode> {
        let payload = std::mem::take(&mut self.control);
        debug_assert!(payload.len() <= CONTROL_PAYLOAD_BYTES_MAX);
        match opcode {
            Opcode::PING => Ok(Event::Ping(payload.into())),
            Opcode::PONG => Ok(Event::Pong),
            _ => {
                self.has_closed = true;
                let (code, reason) = match &payload[..] {
                    [] => return Ok(Event::Close(None, String::new())),
                    [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
                    [_] => return Err(CloseCode::PROTOCOL_ERROR),
                };
                let is_good = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                let reason = std::str::from_utf8(reason).map_err(|_| CloseCode::INVALID_PAYLOAD)?;
                if !is_good {
                    return Err(CloseCode::PROTOCOL_ERROR);
                }
                Ok(Event::Close(Some(CloseCode(code)), reason.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::FrameHead;
    use super::*;

    /// Goes to another process, by way of what travels between them.
    fn move_over(messages: Messages) -> Messages {
        let text = serde_json::to_string(&messages.freeze()).unwrap();
        Messages::thaw(messages.role, 1000, serde_json::from_str(&text).unwrap()).unwrap()
    }

    fn read(role: Role, pieces: &[&[u8]]) -> Result<Vec<Event>, CloseCode> {
        let plain = read_with(Messages::new, role, pieces);
        let as_they_come = |role, max| Messages::new(role, max).as_they_come();
        let other = read_with(as_they_come, role, pieces)
            .map(|events| events.into_iter().map(plainly).collect::<Vec<Event>>());
        assert_eq!(plain, other, "how messages are kept changes nothing");
        plain
    }

    /// What a reader gives that does not take messages as they come.
    fn plainly(event: Event) -> Event {
        let (is_text, payload) = match event {
            Event::Masked { is_text, mut payload, key } => {
                mask::apply(&mut payload, key, 0);
                (is_text, payload.freeze())
            }
            Event::Pieces { is_text, pieces } => {
                let is_good = |piece: &Bytes| std::str::from_utf8(piece).is_ok();
                assert!(!is_text || pieces.iter().all(is_good), "pieces of text are text");
                (is_text, pieces.concat().into())
            }
            other => return other,
        };
        if is_text { Event::Text(payload) } else { Event::Binary(payload) }
    }

    fn read_with(
        reader: impl Fn(Role, usize) -> Messages,
        role: Role,
        pieces: &[&[u8]],
    ) -> Result<Vec<Event>, CloseCode> {
        let mut messages = reader(role, 1000);
        let as_they_come = messages.as_they_come;
        let mut events = Vec::new();
        for mut rest in pieces.iter().copied() {
            while !rest.is_empty() {
                let (used, event) = messages.feed(rest)?;
                rest = &rest[used..];
                events.extend(event);
            }
            messages = Messages { as_they_come, ..move_over(messages) };
        }
        Ok(events)
    }

    #[test]
    fn fragments_are_joined_and_what_stands_between_comes_first() {
        let stream = [0x01, 2, b'h', b'e', 0x89, 1, b'!', 0x80, 1, b'y', 0x82, 0];
        let events = read(Role::Server, &[&stream]).unwrap();
        let wanted = [
            Event::Ping(Bytes::from_static(b"!")),
            Event::Text(Bytes::from_static(b"hey")),
            Event::Binary(Bytes::new()),
        ];
        assert_eq!(events, wanted);
    }

    #[test]
    fn what_breaks_the_standard_is_refused() {
        #[track_caller]
        fn check(stream: &[u8], code: u16) {
            assert_eq!(read(Role::Server, &[stream]), Err(CloseCode(code)));
        }
        check(&[0x80, 1, b'x'], 1002);
        check(&[0x01, 1, b'x', 0x81, 1, b'y'], 1002);
        check(&[0xc1, 1, b'x'], 1002);
        check(&[0x83, 1, b'x'], 1002);
        check(&[0x81, 0x81, 0, 0, 0, 0, b'x'], 1002);
        check(&[0x81, 1, 0xff], 1007);
        check(&[0x82, 126, 0x03, 0xe9], 1009);
        check(&[0x88, 1, 3], 1002);
        check(&[0x88, 2, 3, 0xed], 1002);
        check(&[0x88, 3, 3, 0xe8, 0xff], 1007);
    }

    #[test]
    fn nothing_counts_behind_a_close() {
        let events = read(Role::Server, &[&[0x88, 3, 3, 0xe8, b'x', 0xff, 0xff, 0xff]]).unwrap();
        assert_eq!(events, [Event::Close(Some(CloseCode(1000)), "x".to_owned())]);
    }

    proptest! {
        #[test]
        fn how_reads_cut_the_stream_changes_nothing(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
            key in any::<[u8; 4]>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut stream = Vec::new();
            for payload in &payloads {
                stream.push(0x82);
                match payload.len() {
                    short @ 0..=125 => stream.push(0x80 | short as u8),
                    long => {
                        stream.push(0x80 | 126);
                        stream.extend((long as u16).to_be_bytes());
                    }
                }
                stream.extend(key);
                let at = stream.len();
                stream.extend(payload);
                mask::apply(&mut stream[at..], key, 0);
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let wanted: Vec<Event> =
                payloads.into_iter().map(|payload| Event::Binary(payload.into())).collect();
            prop_assert_eq!(read(Role::Client, &pieces).unwrap(), wanted);
        }

        #[test]
        fn text_may_be_cut_into_fragments_anywhere(
            text in "[a-zé€𝄞]{0,200}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            role in prop::sample::select(vec![Role::Client, Role::Server]),
            spoils in any::<Option<prop::sample::Index>>(),
        ) {
            let mut bytes = text.into_bytes();
            if let Some(at) = spoils.filter(|_| !bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] ^= 0x80;
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let count = cuts.len() - 1;
            let mut stream = Vec::new();
            for (number, cut) in cuts.windows(2).enumerate() {
                let fragment = &bytes[cut[0]..cut[1]];
                let key = (role == Role::Client).then_some([number as u8, 2, 3, 4]);
                let opcode = if number == 0 { Opcode::TEXT } else { Opcode::CONTINUATION };
                let head = FrameHead::new(opcode, fragment.len(), key);
                let head = if number + 1 < count { head.unfinished() } else { head };
                stream.extend_from_slice(head.as_bytes());
                let at = stream.len();
                stream.extend_from_slice(fragment);
                mask::apply(&mut stream[at..], key.unwrap_or_default(), 0);
            }
            let wanted = match std::str::from_utf8(&bytes) {
                Ok(_) => Ok(vec![Event::Text(bytes.into())]),
                Err(_) => Err(CloseCode::INVALID_PAYLOAD),
            };
            prop_assert_eq!(read(role, &[&stream]), wanted);
        }
    }
}

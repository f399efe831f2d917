//! The sending half: numbers items within the window and keeps them until they are answered for.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::item::end_payload;
use super::{CHUNKS_MAX, Form, Head, Payload, Pieces, SEQ_MAX, Window, chunk, code};
use crate::websocket::CloseCode;

/// What events and an end may take beside the window where others number them: some hundreds.
const EVENTS_BYTES_MAX: u64 = 64 << 10;

/// More waits than may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more waits to be sent than may wait; send again once some of it was acknowledged")]
pub struct BufferFull;

/// The sending half.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sender {
    window: Window,
    chunk_bytes_max: usize,
    /// Items `acked + 1` to `sent`, in order.
    held: VecDeque<Held>,
    /// What of `held` the window counts.
    used: Window,
    acked: u64,
    /// The last item that was written to the newest link. Never behind `acked`.
    written: u64,
    /// What has no number yet, since the window is full.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Bytes of `held`, events and ends included.
    held_bytes: usize,
    /// The last event that has a number.
    last_event: u64,
    has_ended: bool,
}

/// One numbered item that the other end has not answered for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Held {
    kind: u8,
    form: Form,
    payload: Payload,
}

/// Whether windows count items of this kind.
fn is_counted(kind: u8) -> bool {
    matches!(kind, b'm' | b'n')
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Waiting {
    Message(Form, Pieces),
    Event(#[serde(with = "crate::frozen::bytes")] Bytes),
    End(#[serde(with = "crate::frozen::bytes")] Bytes),
}

impl Sender {
    /// The same, if it can be: it may come from another process.
    pub(super) fn checked(mut self) -> Option<Self> {
        self.used = Window::default();
        for item in self.held.iter().filter(|item| is_counted(item.kind)) {
            self.used.bytes += item.payload.len() as u64;
            self.used.items += 1;
        }
        self.held_bytes = self.held.iter().map(|item| item.payload.len()).sum();
        let waiting = self.waiting.iter().map(|waiting| match waiting {
            Waiting::Message(_, payload) => payload.len(),
            Waiting::Event(_) | Waiting::End(_) => 0,
        });
        self.waiting_bytes = waiting.sum();
        let sent =
            self.acked.checked_add(self.held.len() as u64).filter(|sent| *sent <= SEQ_MAX)?;
        (self.acked..=sent).contains(&self.written).then_some(self)
    }

    /// Starts with item `acked + 1`.
    pub fn starting_at(acked: u64, window: Window, chunk_bytes_max: usize) -> Self {
        Self {
            window: window.min(window),
            chunk_bytes_max: chunk_bytes_max.max(1),
            held: VecDeque::new(),
            used: Window::default(),
            acked,
            written: acked,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            held_bytes: 0,
            last_event: 0,
            has_ended: false,
        }
    }

    /// Starts before it is known what the other end allows: nothing gets a number until then.
    pub fn unagreed(window: Window) -> Self {
        Self { chunk_bytes_max: 0, ..Self::starting_at(0, window, 1) }
    }

    /// Learns what the other end allows.
    pub fn agree(&mut self, window: Window, chunk_bytes_max: usize) {
        self.window = self.window.min(window);
        self.chunk_bytes_max = chunk_bytes_max.max(1);
        self.number();
    }

    /// Puts a message behind everything before it. Nothing more is taken after an end.
    pub fn message(&mut self, form: Form, payload: Bytes) {
        self.pieces(form, payload.into());
    }

    /// The same for one in pieces, which are cut further where they have to be, and copied only if that made
    /// too many chunks. Pieces of text are text.
    pub fn pieces(&mut self, form: Form, mut payload: Pieces) {
        if self.chunks(&payload) > CHUNKS_MAX as u64 {
            payload = payload.joined();
        }
        self.push(Waiting::Message(form, payload));
    }

    /// Puts an event behind everything before it.
    pub fn event(&mut self, json: Bytes) {
        self.push(Waiting::Event(json));
    }

    /// Ends the direction behind everything before it.
    pub fn end(&mut self, code: CloseCode, reason: &str) {
        let code = if code::may_travel(code) { code } else { CloseCode::BAD_GATEWAY };
        self.push(Waiting::End(end_payload(code, reason).into()));
        self.has_ended = true;
    }

    /// Keeps an item that its sender has numbered already, and that fits the window by its sender's
    /// promise. `kind` is its first letter.
    pub(super) fn pass(&mut self, kind: u8, form: Form, payload: Payload) {
        if is_counted(kind) {
            self.used.bytes += payload.len() as u64;
            self.used.items += 1;
        }
        self.has_ended |= kind == b'x';
        self.hold(kind, form, payload);
    }

    /// Whether more is unacknowledged than a sender may ever have under way. The window does not count
    /// events, but somebody has to.
    pub(super) fn is_beyond(&self, message_bytes_max: usize) -> bool {
        let bytes_max = self.window.bytes.max(message_bytes_max as u64) + EVENTS_BYTES_MAX;
        let items_max = self.window.items + CHUNKS_MAX as u64;
        self.held_bytes as u64 > bytes_max || self.held.len() as u64 > items_max
    }

    /// The last item that was written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// What may be unacknowledged.
    pub(super) fn window(&self) -> Window {
        self.window
    }

    /// Gives numbers to what fits the window. Call before [`Sender::write_next`].
    pub fn number(&mut self) {
        while self.chunk_bytes_max > 0 && self.sent() < SEQ_MAX {
            match self.waiting.front() {
                Some(Waiting::Message(_, payload)) if !self.fits(payload) => return,
                None => return,
                Some(_) => {}
            }
            match self.waiting.pop_front().expect("its front was just looked at") {
                Waiting::Message(form, payload) => {
                    self.waiting_bytes -= payload.len();
                    self.cut(form, payload);
                }
                Waiting::Event(payload) => {
                    self.hold(b'e', Form::Text, payload.into());
                    self.last_event = self.sent();
                }
                Waiting::End(payload) => self.hold(b'x', Form::Text, payload.into()),
            }
        }
    }

    /// The next item for the newest link, once it takes one.
    pub fn write_next(&mut self) -> Option<(Head, Form, Payload)> {
        let at = usize::try_from(self.written - self.acked).ok()?;
        let item = self.held.get(at)?;
        self.written += 1;
        Some((Head::sequenced(item.kind, self.written), item.form, item.payload.clone()))
    }

    /// Whether [`Sender::write_next`] has something.
    pub fn has_next(&self) -> bool {
        self.written < self.sent()
    }

    /// Writes again from behind `recv`, on another link. Never from before what was acknowledged.
    pub fn rewind(&mut self, recv: u64) {
        self.written = recv.clamp(self.acked, self.sent());
    }

    /// Forgets everything up to `seq`. One below an earlier one changes nothing. Says whether it was
    /// news.
    ///
    /// # Errors
    /// 4900 when it was never sent.
    pub fn acknowledge(&mut self, seq: u64) -> Result<bool, CloseCode> {
        if seq > self.sent() {
            return Err(code::FAULT);
        }
        let is_news = seq > self.acked;
        while self.acked < seq {
            let item = self.held.pop_front().expect("acked to sent are held");
            self.held_bytes -= item.payload.len();
            if is_counted(item.kind) {
                self.used.bytes -= item.payload.len() as u64;
                self.used.items -= 1;
            }
            self.acked += 1;
        }
        if self.held.is_empty() {
            // An idle session holds no buffer.
            self.held = VecDeque::new();
        }
        self.written = self.written.max(self.acked);
        Ok(is_news)
    }

    /// The last item the other end answered for.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// The last item that has a number.
    pub fn sent(&self) -> u64 {
        self.acked + self.held.len() as u64
    }

    /// Whether the other end answered for all that was written.
    pub fn is_answered(&self) -> bool {
        self.written == self.acked
    }

    /// Whether something waits for the window.
    pub fn is_full(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the other end has answered for every event.
    pub fn are_events_known(&self) -> bool {
        let waits = self.waiting.iter().any(|waiting| matches!(waiting, Waiting::Event(_)));
        !waits && self.acked >= self.last_event
    }

    /// Whether the direction has ended, and the other end answered for all of it.
    pub fn is_done(&self) -> bool {
        self.has_ended && self.waiting.is_empty() && self.held.is_empty()
    }

    /// Whether [`Sender::end`] was called.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether numbers have run out.
    pub fn is_exhausted(&self) -> bool {
        self.is_full() && self.sent() + CHUNKS_MAX as u64 > SEQ_MAX
    }

    /// Bytes that are kept, with a number or without.
    pub fn bytes(&self) -> usize {
        self.held_bytes + self.waiting_bytes
    }

    /// Bytes of the largest message that has no number yet.
    pub fn waiting_message_bytes_max(&self) -> usize {
        let sizes = self.waiting.iter().map(|waiting| match waiting {
            Waiting::Message(_, payload) => payload.len(),
            Waiting::Event(_) | Waiting::End(_) => 0,
        });
        sizes.max().unwrap_or(0)
    }

    /// Bytes that have no number yet.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    fn push(&mut self, what: Waiting) {
        if self.has_ended {
            return;
        }
        if let Waiting::Message(_, payload) = &what {
            self.waiting_bytes += payload.len();
        }
        self.waiting.push_back(what);
        self.number();
    }

    /// Whether a message may start: all of it fits, or nothing is unacknowledged.
    fn fits(&self, payload: &Pieces) -> bool {
        let (len, items) = (payload.len(), self.chunks(payload));
        if self.sent() + CHUNKS_MAX as u64 > SEQ_MAX {
            return false;
        }
        let fits = self.used.bytes + len as u64 <= self.window.bytes
            && self.used.items + items <= self.window.items;
        fits || self.used == Window::default()
    }

    /// How many chunks a message takes, but for what text wants to be cut elsewhere.
    fn chunks(&self, payload: &Pieces) -> u64 {
        let chunks = |piece: &Payload| piece.len().div_ceil(self.chunk_bytes_max.max(1)) as u64;
        payload.iter().map(chunks).sum::<u64>().max(1)
    }

    fn cut(&mut self, form: Form, payload: Pieces) {
        let bytes_max = self.chunk_bytes_max;
        let (before, last) = payload.into_parts();
        // An empty last piece of several would be an empty chunk.
        let last = (!last.is_empty() || before.is_empty()).then_some(last);
        let pieces = before.into_iter().chain(last);
        let mut chunks =
            pieces.flat_map(|piece| chunk::split(form, piece.into_raw(), bytes_max)).peekable();
        while let Some(payload) = chunks.next() {
            let kind = if chunks.peek().is_some() { b'n' } else { b'm' };
            self.used.bytes += payload.len() as u64;
            self.used.items += 1;
            self.hold(kind, form, payload.into());
        }
    }

    fn hold(&mut self, kind: u8, form: Form, payload: Payload) {
        self.held_bytes += payload.len();
        self.held.push_back(Held { kind, form, payload });
    }
}

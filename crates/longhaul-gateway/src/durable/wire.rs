//! One WebSocket as the ends of a session see it: whole messages in, whole messages out.

mod carried;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
pub(super) use carried::CarriedWire;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use longhaul_proto::durable::{Form, Head, Letter, Payload, Pieces};
use longhaul_proto::websocket::frame::FrameHead;
use longhaul_proto::websocket::messages::{Event, Messages};
use longhaul_proto::websocket::{CloseCode, Opcode, Role, mask};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outq;
use crate::relay::stream::with_scratch;
use crate::transport::Transport;
use crate::upgrade::ClientLeg;

/// Slices of one write: two for each message.
const SLICES_MAX: usize = 128;
/// What is gathered for one write where slices cannot be written.
const GATHERED_BYTES_MAX: usize = 16 << 10;
/// What is read at once of a peer whose words no longer count.
const PARTING_READ_BYTES: usize = 8 << 10;

/// One WebSocket.
#[derive(Debug)]
pub(super) struct Wire {
    io: Io,
    role: Role,
    messages: Messages,
    /// What was read beyond the handshake.
    read_ahead: Bytes,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Headers, before they go into the queue. Payloads go from where they lie.
    small: BytesMut,
    pub(super) bytes_written: u64,
    is_closing: bool,
}

/// What carries it.
#[derive(Debug)]
enum Io {
    Socket(Transport),
    Stream(TokioIo<Upgraded>),
}

/// What a read brought.
#[derive(Debug)]
pub(super) enum Read {
    Message(Form, Letter),
    /// One that came in fragments.
    Pieces(Form, Pieces),
    /// The peer closes; nothing that follows counts.
    Close(Option<CloseCode>, String),
    /// The peer broke RFC 6455 or sent too much; the code says which.
    Fault(CloseCode),
    /// The connection is gone.
    End,
}

impl Wire {
    /// The gateway's end of a link; the peer's frames are a client's.
    pub(super) fn link(leg: ClientLeg, message_bytes_max: usize) -> Self {
        let (io, greeting, read_ahead) = match leg {
            ClientLeg::Socket(leg) => (Io::Socket(leg.io), leg.greeting, leg.read_ahead),
            ClientLeg::Stream(leg) => (Io::Stream(leg.io), leg.greeting, leg.read_ahead),
        };
        let mut wire = Self::new(io, read_ahead, Role::Server, message_bytes_max);
        if !greeting.is_empty() {
            wire.queued_bytes = greeting.len();
            wire.queue.push_back(greeting);
        }
        wire
    }

    /// The gateway's end of a leg; the peer's frames are a server's.
    pub(super) fn leg(io: Transport, read_ahead: Bytes, message_bytes_max: usize) -> Self {
        Self::new(Io::Socket(io), read_ahead, Role::Client, message_bytes_max)
    }

    fn new(io: Io, read_ahead: Bytes, role: Role, message_bytes_max: usize) -> Self {
        let peer = match role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        Self {
            io,
            role,
            messages: Messages::new(peer, message_bytes_max).as_they_come(),
            read_ahead,
            queue: VecDeque::new(),
            queued_bytes: 0,
            small: BytesMut::new(),
            bytes_written: 0,
            is_closing: false,
        }
    }

    /// Takes the next message; pings are answered. What the read brought behind it is kept.
    pub(super) fn poll_one(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Read> {
        let mut one = None;
        loop {
            ready!(self.poll_read(cx, scratch, |read| {
                one = Some(read);
                ControlFlow::Break(())
            }));
            if let Some(one) = one.take() {
                return Poll::Ready(one);
            }
        }
    }

    /// Reads once, answers pings, and gives `take` all else that came, as far as it goes on: messages of one
    /// read are each copied once, straight from where it lies. What `take` leaves is kept for the next time.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        mut take: impl FnMut(Read) -> ControlFlow<()>,
    ) -> Poll<()> {
        let mut ahead = std::mem::take(&mut self.read_ahead);
        if !ahead.is_empty() {
            let used = self.take_events(&ahead, &mut take);
            ahead.advance(used);
            self.read_ahead = ahead;
            return Poll::Ready(());
        }
        let mut buffer = ReadBuf::new(scratch);
        match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => {
                let used = self.take_events(buffer.filled(), &mut take);
                self.read_ahead = Bytes::copy_from_slice(&buffer.filled()[used..]);
            }
            Ok(()) | Err(_) => drop(take(Read::End)),
        }
        Poll::Ready(())
    }

    /// Gives `take` what these bytes say. Returns how many of them are done with.
    fn take_events(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(Read) -> ControlFlow<()>,
    ) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            let flow = match self.messages.feed(&bytes[used..]) {
                Ok((more, event)) => {
                    used += more;
                    match event {
                        Some(Event::Ping(payload)) => {
                            self.frame(Opcode::PONG, &[], payload.into());
                            ControlFlow::Continue(())
                        }
                        Some(Event::Pong) | None => ControlFlow::Continue(()),
                        Some(Event::Text(text)) => take(Read::Message(Form::Text, text.into())),
                        Some(Event::Binary(bytes)) => {
                            take(Read::Message(Form::Binary, bytes.into()))
                        }
                        Some(Event::Masked { is_text, payload, key }) => {
                            let form = if is_text { Form::Text } else { Form::Binary };
                            take(Read::Message(form, Letter::open(payload, key)))
                        }
                        Some(Event::Pieces { is_text, pieces }) => {
                            let form = if is_text { Form::Text } else { Form::Binary };
                            take(Read::Pieces(form, pieces.into()))
                        }
                        Some(Event::Close(code, reason)) => take(Read::Close(code, reason)),
                    }
                }
                Err(fault) => {
                    // Nothing behind it can be read.
                    used = bytes.len();
                    take(Read::Fault(fault))
                }
            };
            if flow.is_break() {
                break;
            }
        }
        used
    }

    /// Puts one message behind everything before it.
    pub(super) fn send(&mut self, form: Form, head: &Head, payload: impl Into<Payload>) {
        self.frame(opcode(form), head.as_bytes(), payload.into());
    }

    /// Puts one message behind everything before it, each piece in a fragment of its own.
    pub(super) fn send_pieces(&mut self, form: Form, pieces: Pieces) {
        let (before, last) = pieces.into_parts();
        let mut opcode = opcode(form);
        for piece in before {
            self.fragment(opcode, false, &[], piece);
            opcode = Opcode::CONTINUATION;
        }
        self.frame(opcode, &[], last);
    }

    pub(super) fn ping(&mut self, payload: Bytes) {
        self.frame(Opcode::PING, &[], payload.into());
    }

    /// Closes behind everything before; nothing is sent after it.
    pub(super) fn close(&mut self, code: Option<CloseCode>, reason: &str) {
        let mut payload = BytesMut::new();
        if let Some(code) = code {
            payload.extend_from_slice(&code.0.to_be_bytes());
            payload.extend_from_slice(reason.as_bytes());
        }
        self.frame(Opcode::CLOSE, &[], payload.freeze().into());
        self.is_closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Writes what waits and reads until the peer has closed too. For a wire that was closed.
    pub(super) fn poll_parting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.flush(cx).is_err() {
            return Poll::Ready(());
        }
        loop {
            let mut is_over = false;
            ready!(with_scratch(PARTING_READ_BYTES, |scratch| {
                self.poll_read(cx, scratch, |read| match read {
                    Read::Message(..) | Read::Pieces(..) => ControlFlow::Continue(()),
                    Read::Close(..) | Read::Fault(_) | Read::End => {
                        is_over = true;
                        ControlFlow::Break(())
                    }
                })
            }));
            if is_over {
                return Poll::Ready(());
            }
        }
    }

    fn frame(&mut self, opcode: Opcode, head: &[u8], payload: Payload) {
        self.fragment(opcode, true, head, payload);
    }

    fn fragment(&mut self, opcode: Opcode, is_final: bool, head: &[u8], payload: Payload) {
        if self.is_closing {
            return;
        }
        let len = head.len() + payload.len();
        // The gateway is a client to its replicas only. What a client has masked stays as it is.
        let own_key = payload.key_behind(head.len());
        let key = (self.role == Role::Client)
            .then(|| own_key.unwrap_or_else(|| fastrand::u32(..).to_be_bytes()));
        let frame_head = FrameHead::new(opcode, len, key);
        let frame_head = if is_final { frame_head } else { frame_head.unfinished() };
        self.queued_bytes += frame_head.as_bytes().len() + len;
        self.small.extend_from_slice(frame_head.as_bytes());
        let at = self.small.len();
        self.small.extend_from_slice(head);
        if let Some(key) = key {
            mask::apply(&mut self.small[at..], key, 0);
        }
        if payload.is_empty() {
            return;
        }
        self.queue.push_back(self.small.split().freeze());
        self.queue.push_back(match key {
            None => payload.to_bytes(),
            Some(_) if own_key.is_some() => payload.into_raw(),
            Some(key) => masked(payload.into_raw(), key, head.len()),
        });
    }

    /// Bytes that wait for the peer.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Writes what waits, as far as the peer takes it.
    ///
    /// # Errors
    /// What the connection said; nothing more can be written to it.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.small.is_empty() {
            self.queue.push_back(self.small.split().freeze());
        }
        while self.queued_bytes > 0 {
            match self.poll_write(cx)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => self.note_written(written),
                Poll::Pending => return Ok(()),
            }
        }
        if self.queue.capacity() > 0 {
            // An idle session holds no buffer.
            (self.queue, self.small) = (VecDeque::new(), BytesMut::new());
        }
        let _ = Pin::new(&mut self.io).poll_flush(cx)?;
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Io::Stream(stream) = &mut self.io
            && !stream.is_write_vectored()
        {
            // A stream of HTTP/2, which makes a frame of each write.
            let mut gathered = Vec::new();
            for bytes in &self.queue {
                let room = GATHERED_BYTES_MAX - gathered.len();
                gathered.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            return Pin::new(stream).poll_write(cx, &gathered);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count])
    }

    fn note_written(&mut self, mut written: usize) {
        self.queued_bytes -= written;
        self.bytes_written += written as u64;
        while let Some(front) = self.queue.front_mut() {
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.queue.pop_front();
        }
    }

    /// Bytes that were written and that the peer's system has confirmed.
    pub(super) fn bytes_confirmed(&self) -> u64 {
        match &self.io {
            Io::Socket(Transport::Plain(socket)) => {
                self.bytes_written.saturating_sub(outq::unconfirmed_bytes(socket) as u64)
            }
            // What TLS adds is not known, so all of it is confirmed, or nothing.
            Io::Socket(Transport::Tls(tls)) => {
                let is_confirmed = outq::unconfirmed_bytes(tls.get_ref().0) == 0;
                if is_confirmed { self.bytes_written } else { 0 }
            }
            Io::Stream(_) => self.bytes_written,
        }
    }
}

fn opcode(form: Form) -> Opcode {
    match form {
        Form::Text => Opcode::TEXT,
        Form::Binary => Opcode::BINARY,
    }
}

/// The payload masked where it lies, or in a copy if somebody else holds it too.
fn masked(payload: Bytes, key: [u8; 4], offset: usize) -> Bytes {
    let mut payload = payload.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    mask::apply(&mut payload, key, offset);
    payload.freeze()
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Stream(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl Io {
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Self::Stream(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(io) => Pin::new(io).poll_flush(cx),
            Self::Stream(io) => Pin::new(io).poll_flush(cx),
        }
    }
}

//! One WebSocket as the ends of a session see it: whole messages in, whole messages out.

mod carried;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
pub(super) use carried::CarriedWire;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use longhaul_proto::durable::{Form, Head};
use longhaul_proto::websocket::frame::FrameHead;
use longhaul_proto::websocket::messages::{Event, Messages};
use longhaul_proto::websocket::{CloseCode, Opcode, Role, mask};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outq;
use crate::relay::stream::with_scratch;
use crate::transport::Transport;
use crate::upgrade::ClientLeg;

/// Payloads up to this size are copied behind their header; larger ones are written from where they
/// lie. About what a second slice of a write costs.
const COPIED_BYTES_MAX: usize = 512;
/// Slices of one write.
const SLICES_MAX: usize = 32;
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
    /// Headers, and payloads small enough to be copied, before they go into the queue.
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
    Event(Event),
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
            messages: Messages::new(peer, message_bytes_max),
            read_ahead,
            queue: VecDeque::new(),
            queued_bytes: 0,
            small: BytesMut::new(),
            bytes_written: 0,
            is_closing: false,
        }
    }

    /// Takes the next event.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Read> {
        loop {
            while !self.read_ahead.is_empty() {
                match self.messages.feed(&self.read_ahead) {
                    Ok((used, event)) => {
                        self.read_ahead.advance(used);
                        if let Some(event) = event {
                            return Poll::Ready(Read::Event(event));
                        }
                    }
                    Err(fault) => return Poll::Ready(Read::Fault(fault)),
                }
            }
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(Read::End),
            }
            match self.messages.feed(buffer.filled()) {
                Ok((used, event)) => {
                    // Several messages of one read are kept once, and taken from there.
                    self.read_ahead = Bytes::copy_from_slice(&buffer.filled()[used..]);
                    if let Some(event) = event {
                        return Poll::Ready(Read::Event(event));
                    }
                }
                Err(fault) => return Poll::Ready(Read::Fault(fault)),
            }
        }
    }

    /// Puts one message behind everything before it.
    pub(super) fn send(&mut self, form: Form, head: &Head, payload: Bytes) {
        let opcode = match form {
            Form::Text => Opcode::TEXT,
            Form::Binary => Opcode::BINARY,
        };
        self.frame(opcode, head.as_bytes(), payload);
    }

    pub(super) fn ping(&mut self, payload: Bytes) {
        self.frame(Opcode::PING, &[], payload);
    }

    pub(super) fn pong(&mut self, payload: Bytes) {
        self.frame(Opcode::PONG, &[], payload);
    }

    /// Closes behind everything before; nothing is sent after it.
    pub(super) fn close(&mut self, code: Option<CloseCode>, reason: &str) {
        let mut payload = BytesMut::new();
        if let Some(code) = code {
            payload.extend_from_slice(&code.0.to_be_bytes());
            payload.extend_from_slice(reason.as_bytes());
        }
        self.frame(Opcode::CLOSE, &[], payload.freeze());
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
            let event = with_scratch(PARTING_READ_BYTES, |scratch| self.poll_event(cx, scratch));
            match ready!(event) {
                Read::Event(Event::Close(..)) | Read::Fault(_) | Read::End => {
                    return Poll::Ready(());
                }
                Read::Event(_) => {}
            }
        }
    }

    fn frame(&mut self, opcode: Opcode, head: &[u8], payload: Bytes) {
        if self.is_closing {
            return;
        }
        let len = head.len() + payload.len();
        // The gateway is a client to its replicas only.
        let key = (self.role == Role::Client).then(|| fastrand::u32(..).to_be_bytes());
        let frame_head = FrameHead::new(opcode, len, key);
        self.queued_bytes += frame_head.as_bytes().len() + len;
        self.small.extend_from_slice(frame_head.as_bytes());
        let at = self.small.len();
        self.small.extend_from_slice(head);
        if payload.len() <= COPIED_BYTES_MAX {
            self.small.extend_from_slice(&payload);
        }
        if let Some(key) = key {
            mask::apply(&mut self.small[at..], key, 0);
        }
        if payload.len() > COPIED_BYTES_MAX {
            self.queue.push_back(self.small.split().freeze());
            self.queue.push_back(match key {
                None => payload,
                Some(key) => masked(payload, key, head.len()),
            });
        }
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
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            match Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count])? {
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

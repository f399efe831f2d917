//! A client's stream that shows the HTTP library clean requests only, in time or not at all.
//!
//! [`Screened`] sits between the socket and hyper. What a client sends passes a
//! [`longhaul_proto::http1::Screen`] first; hyper never sees a byte that two parsers could read
//! in two ways. A refused head must still be answered, and behind the answers to the requests
//! before it, so hyper is given a request in its place that no client can send; the service knows
//! it by [`ScreenHandle::take_refusal`].
//!
//! The stream also keeps the deadlines that only the bytes can tell: head, idle connection,
//! stalled body, stalled response. Start at [`Screened::new`].

mod handle;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use super::alarm::Alarm;
use super::stall::{LINGER, Linger, Stall};
use bytes::{Buf as _, BytesMut};
use handle::Shared;
pub(crate) use handle::{Exchange, Refusal, ScreenHandle, violation_of};
use longhaul_proto::http1::{self, Screen, Step, Violation};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::config::{Limits, Timeouts};

/// Given to hyper in place of a refused head. The screen refuses TRACE from any client, so nobody
/// can send it; `close` makes hyper end the connection behind the answer.
const STAND_IN: &[u8] = b"TRACE / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";

/// Bytes kept of what a client sends behind an upgrade before it is answered; a full socket buffer
/// of a hurried client. Beyond it, plus one read, the client waits.
pub(super) const HELD_BYTES_MAX: usize = 64 * 1024;

/// How much of a client is read and dropped behind the last byte to it.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// A client's stream whose bytes are screened on the way in.
#[derive(Debug)]
pub(crate) struct Screened<S> {
    io: S,
    screen: Screen,
    deadlines: Deadlines,
    shared: Arc<Shared>,
    /// Read by detection before this stream began, not screened yet.
    prefix: BytesMut,
    /// Screened, but not yet taken by hyper: a head that came in pieces, or the stand-in.
    clean: BytesMut,
    /// Behind an upgrade that is not answered yet.
    held: BytesMut,
    end: Option<End>,
    /// The client has ended, and is still owed an answer.
    is_half_closed: bool,
    /// Heads given to hyper.
    requests: usize,
    /// What is waited for, and since when.
    waiting: Option<(Wait, Instant)>,
    write: Stall,
    lingering: Option<Linger>,
    alarm: Alarm,
}

#[derive(Debug, Clone, Copy)]
struct Deadlines {
    head: Duration,
    keep_alive: Duration,
    body_stall: Duration,
}

/// Why there is nothing more to read.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The client ended, or was idle for too long.
    Eof,
    /// The stand-in was the last request.
    Refused,
    /// An upgrade was answered, and not with a tunnel.
    NotUpgraded,
    /// The body that was being read is bad.
    Broken(Violation),
}

/// What the stream waits for while nothing arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    FirstByte,
    NextRequest,
    RestOfHead,
    Body,
    /// The service: nothing of this stream's is late.
    Answer,
    /// The service, while the client has ended.
    LastAnswer,
}

impl<S> Screened<S> {
    /// Screens what `io` brings, behind the bytes that detection took from it.
    pub(crate) fn new(
        io: S,
        prefix: BytesMut,
        limits: &Limits,
        timeouts: &Timeouts,
    ) -> (Self, ScreenHandle) {
        let limits = http1::Limits {
            head_bytes_max: limits.head_bytes_max,
            fields_max: limits.header_fields_max,
        };
        let deadlines = Deadlines {
            head: timeouts.head,
            keep_alive: timeouts.keep_alive,
            body_stall: timeouts.body_stall,
        };
        let shared = Arc::new(Shared::default());
        let stream = Self {
            io,
            screen: Screen::new(limits),
            deadlines,
            shared: Arc::clone(&shared),
            prefix,
            clean: BytesMut::new(),
            held: BytesMut::new(),
            end: None,
            is_half_closed: false,
            requests: 0,
            waiting: Some((Wait::FirstByte, Instant::now())),
            write: Stall::new(timeouts.body_stall),
            lingering: None,
            alarm: Alarm::default(),
        };
        (stream, ScreenHandle { shared })
    }

    /// Gives the socket back after an upgrade, with what was read behind the request. hyper's own
    /// buffer is empty then: it was shown nothing beyond the head.
    pub(crate) fn into_parts(mut self) -> (S, BytesMut) {
        self.held.unsplit(self.prefix);
        (self.io, self.held)
    }

    /// Screens fresh bytes. Those that pass and stay in place are a prefix of them, whose length
    /// this returns; whatever else passes is in `clean`, behind it.
    fn admit(&mut self, fresh: &[u8]) -> usize {
        let mut at = 0;
        let mut in_place = 0;
        if matches!(self.waiting, Some((Wait::Body | Wait::NextRequest, _))) {
            self.waiting = None;
        }
        while at < fresh.len() {
            let rest = &fresh[at..];
            let passed = match self.screen.feed(rest) {
                Step::Kept => break,
                Step::Head { kept, len } => {
                    self.waiting = None;
                    self.requests = self.requests.wrapping_add(1);
                    self.clean.extend_from_slice(&kept);
                    len
                }
                Step::Body { len } => len,
                Step::Held => {
                    self.held.extend_from_slice(rest);
                    break;
                }
                Step::Refused(violation) => {
                    self.refuse(violation);
                    break;
                }
            };
            at += passed;
            if self.clean.is_empty() {
                in_place = at;
            } else {
                self.clean.extend_from_slice(&rest[..passed]);
            }
        }
        in_place
    }

    fn refuse(&mut self, violation: Violation) {
        if self.screen.was_refused_in_body() || self.screen.is_in_body() {
            self.end = Some(End::Broken(violation));
            return;
        }
        let wants_body = !self.screen.is_head_request();
        self.shared.refuse(Refusal { violation, wants_body });
        self.clean.extend_from_slice(STAND_IN);
        self.end = Some(End::Refused);
    }

    /// Whether some answer is not yet given to hyper, or not yet taken by the client.
    fn is_answering(&self, waker: &Waker) -> bool {
        self.requests != self.shared.answered(waker) || self.write.is_on()
    }

    fn wait(&self, waker: &Waker) -> Wait {
        if self.screen.is_in_body() {
            Wait::Body
        } else if !self.screen.is_between_requests() {
            Wait::RestOfHead
        } else if self.is_answering(waker) {
            if self.is_half_closed { Wait::LastAnswer } else { Wait::Answer }
        } else if matches!(self.waiting, Some((Wait::FirstByte, _))) {
            Wait::FirstByte
        } else {
            Wait::NextRequest
        }
    }

    /// Nothing has arrived: ends the stream, or some request of it, when that has lasted too long.
    /// Ready when there is something to tell hyper.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.wait(cx.waker());
        let since = match self.waiting {
            Some((earlier, since)) if earlier == wait => since,
            _ => Instant::now(),
        };
        self.waiting = Some((wait, since));
        let allowed = match wait {
            Wait::FirstByte | Wait::RestOfHead => self.deadlines.head,
            Wait::NextRequest => self.deadlines.keep_alive,
            Wait::Body => self.deadlines.body_stall,
            // It still gets its answer, as long as bytes of it flow: some end as soon as they have
            // asked.
            Wait::LastAnswer => LINGER,
            Wait::Answer => return Poll::Pending,
        };
        ready!(self.alarm.poll_at(cx, since + allowed));
        match wait {
            Wait::RestOfHead => self.refuse(Violation::HeadTimeout),
            Wait::Body => self.refuse(Violation::BodyTimeout),
            Wait::FirstByte | Wait::NextRequest | Wait::Answer | Wait::LastAnswer => {
                self.end = Some(End::Eof);
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> Screened<S> {
    /// Reads on behind an upgrade, to notice a client that leaves before it is answered.
    fn poll_held(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = scratch.filled().len();
        while self.held.len() < HELD_BYTES_MAX {
            ready!(Pin::new(&mut self.io).poll_read(cx, scratch))?;
            let fresh = &scratch.filled()[before..];
            if fresh.is_empty() {
                self.end = Some(End::Eof);
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(fresh);
            scratch.set_filled(before);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Screened<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            if !this.clean.is_empty() {
                let len = this.clean.len().min(buf.remaining());
                buf.put_slice(&this.clean[..len]);
                this.clean.advance(len);
                return Poll::Ready(Ok(()));
            }
            // An idle connection holds no buffer.
            this.clean = BytesMut::new();
            if this.prefix.is_empty() {
                this.prefix = BytesMut::new();
            }
            match this.end {
                Some(End::Eof | End::NotUpgraded) => return Poll::Ready(Ok(())),
                // hyper ends the connection once it has answered; end of file would end it before.
                Some(End::Refused) => return Poll::Pending,
                Some(End::Broken(violation)) => return Poll::Ready(Err(broken(violation))),
                // Answered, and hyper still reads: the upgrade was refused, whether or not the answer
                // said `close`. What was held is nobody's.
                None if this.screen.is_held() && !this.is_answering(cx.waker()) => {
                    this.end = Some(End::NotUpgraded);
                    continue;
                }
                None if this.screen.is_held() => return this.poll_held(cx, buf),
                None if this.is_half_closed && this.is_answering(cx.waker()) => {
                    ready!(this.poll_deadline(cx));
                    continue;
                }
                None if this.is_half_closed => {
                    this.end = Some(End::Eof);
                    continue;
                }
                None => {}
            }
            if this.prefix.is_empty() {
                match Pin::new(&mut this.io).poll_read(cx, buf) {
                    Poll::Ready(Ok(())) if buf.filled().len() == before => {
                        if this.screen.is_between_requests() {
                            this.is_half_closed = true;
                        } else {
                            this.end = Some(End::Eof);
                        }
                        continue;
                    }
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        ready!(this.poll_deadline(cx));
                        continue;
                    }
                }
            } else {
                let len = this.prefix.len().min(buf.remaining());
                buf.put_slice(&this.prefix[..len]);
                this.prefix.advance(len);
            }
            let passed = this.admit(&buf.filled()[before..]);
            buf.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Screened<S> {
    /// Passes on what a write came to, unless the client has refused bytes for too long.
    fn watch_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.write.settle();
            if self.is_half_closed {
                self.waiting = None;
            }
            return written;
        }
        ready!(self.write.poll_over(cx, &mut self.alarm));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Screened<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.watch_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        if !this.is_half_closed && !matches!(this.end, Some(End::Eof)) {
            let linger = this.lingering.get_or_insert_with(|| Linger::new(LINGER_BYTES_MAX));
            ready!(linger.poll_drain(&mut this.io, cx, &mut this.alarm));
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(violation: Violation) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, violation)
}

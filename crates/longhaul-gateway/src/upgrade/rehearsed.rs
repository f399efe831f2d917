//! A connection whose request was sent and whose answer has begun, for a library that expects to
//! send and read them itself: what it writes is dropped, and what was read it reads first.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Transport;

/// See the module. Good for one request without a body.
#[derive(Debug)]
pub(super) struct Rehearsed {
    io: Transport,
    /// What was read of the answer.
    answer: BytesMut,
    /// An answer before its request would count as a fault.
    is_asked: bool,
    reader: Option<Waker>,
}

impl Rehearsed {
    pub(super) fn new(io: Transport, answer: BytesMut) -> Self {
        Self { io, answer, is_asked: false, reader: None }
    }

    /// The connection, and what the library has not read.
    pub(super) fn into_parts(self) -> (Transport, Bytes) {
        (self.io, self.answer.freeze())
    }
}

impl AsyncRead for Rehearsed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_asked {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if this.answer.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let len = this.answer.len().min(buf.remaining());
        buf.put_slice(&this.answer[..len]);
        this.answer.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rehearsed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_asked = true;
        if let Some(reader) = this.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

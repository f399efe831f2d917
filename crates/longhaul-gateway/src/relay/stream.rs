//! One leg's bytes: reads into the worker's scratch buffer, stores only what the peer refuses.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::redial::Lasting;
use crate::transport::Transport;

thread_local! {
    /// Every relay of a worker reads into the same buffer, so an idle connection holds none.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the worker's scratch buffer of at least `len` bytes. Not re-entrant.
pub(crate) fn with_scratch<T>(len: usize, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        use_it(&mut scratch[..len])
    })
}

/// What carries a leg.
pub(crate) trait LegIo: AsyncRead + AsyncWrite + Unpin {
    /// The leg that outlasts its replica, if this is one.
    fn lasting(&mut self) -> Option<&mut Lasting> {
        None
    }
}

impl LegIo for Transport {}

impl LegIo for TokioIo<Upgraded> {}

impl LegIo for Lasting {
    fn lasting(&mut self) -> Option<&mut Lasting> {
        Some(self)
    }
}

/// One leg's connection and what waits to be written to it.
#[derive(Debug)]
pub(crate) struct Stream<S> {
    io: S,
    /// Bytes the peer refused. Bounded by one read, since nothing more is read while it is full,
    /// and freed once drained.
    waiting: Vec<u8>,
    written: usize,
    is_finishing: bool,
    is_finished: bool,
    /// Bytes read from this leg.
    pub(crate) bytes_read: u64,
}

impl<S: LegIo> Stream<S> {
    pub(crate) fn new(io: S) -> Self {
        Self {
            io,
            waiting: Vec::new(),
            written: 0,
            is_finishing: false,
            is_finished: false,
            bytes_read: 0,
        }
    }

    /// What it reads from and writes to, for who goes around it while nothing waits.
    pub(crate) fn io(&self) -> &S {
        &self.io
    }

    /// The leg that outlasts its replica, if this is one.
    pub(crate) fn lasting(&mut self) -> Option<&mut Lasting> {
        self.io.lasting()
    }

    /// Whether bytes wait for the peer.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        self.bytes_read += read as u64;
        Poll::Ready(Ok(read))
    }

    /// Writes what the peer takes and stores the rest.
    ///
    /// # Errors
    /// What the connection said; nothing more can be written to it.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut taken = 0;
        while self.waiting.is_empty() && taken < bytes.len() {
            match Pin::new(&mut self.io).poll_write(cx, &bytes[taken..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => taken += n,
                Poll::Pending => break,
            }
        }
        self.waiting.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Ends the write direction once everything before was written.
    pub(crate) fn finish(&mut self) {
        self.is_finishing = true;
    }

    /// Writes what waits. Says whether some of it went out.
    ///
    /// # Errors
    /// What the connection said; nothing more can be written to it.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let before = self.written;
        while self.written < self.waiting.len() {
            match Pin::new(&mut self.io).poll_write(cx, &self.waiting[self.written..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => self.written += n,
                Poll::Pending => return Ok(self.written > before),
            }
        }
        let has_moved = !self.waiting.is_empty();
        self.waiting = Vec::new();
        self.written = 0;
        // A layer with a buffer of its own (TLS) still has to pass the bytes on.
        let is_flushed = Pin::new(&mut self.io).poll_flush(cx)?.is_ready();
        if self.is_finishing && !self.is_finished && is_flushed {
            self.is_finished = Pin::new(&mut self.io).poll_shutdown(cx)?.is_ready();
        }
        Ok(has_moved)
    }

    /// Drops what waits: the peer will never take it.
    pub(crate) fn give_up(&mut self) {
        self.waiting = Vec::new();
        self.written = 0;
        self.is_finished = true;
    }
}

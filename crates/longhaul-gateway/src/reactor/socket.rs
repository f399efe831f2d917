//! One socket of a task in a reactor.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connected socket that does not block. What it was found ready for is kept until a call finds
/// otherwise; after that its task is polled when the system says that it is ready again.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    is_readable: Cell<bool>,
    is_writable: Cell<bool>,
    /// The peer will send no more than there is: it is read to its end.
    is_ending: Cell<bool>,
    /// The system does not watch it.
    has_failed: Cell<bool>,
}

impl Socket {
    /// The system says at once what can be read; to write may be tried.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            is_readable: Cell::new(false),
            is_writable: Cell::new(true),
            is_ending: Cell::new(false),
            has_failed: Cell::new(false),
        }
    }

    /// Whether a read may bring something, as far as is known.
    pub(crate) fn is_readable(&self) -> bool {
        self.is_readable.get()
    }

    /// Takes the system's word.
    pub(super) fn note(&self, flags: EventFlags) {
        let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        if flags.intersects(ends) {
            self.is_ending.set(true);
        }
        if flags.intersects(EventFlags::IN | ends) {
            self.is_readable.set(true);
        }
        if flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
            self.is_writable.set(true);
        }
    }

    /// Has the next call fail: nobody would say when it is ready.
    pub(super) fn fail(&self) {
        self.has_failed.set(true);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_failed.get() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        if !self.is_readable.get() {
            return Poll::Pending;
        }
        let room = into.initialize_unfilled();
        let asked = room.len();
        loop {
            // Not `read`, which goes through what only files need.
            match rustix::net::recv(&self.fd, &mut *room, RecvFlags::empty()) {
                Ok((len, _)) => {
                    if len < asked && !self.is_ending.get() {
                        // It was emptied: what comes now is told.
                        self.is_readable.set(false);
                    }
                    into.advance(len);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.is_readable.set(false);
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.is_writable.get() {
            return Poll::Pending;
        }
        loop {
            match rustix::net::send(&self.fd, bytes, SendFlags::NOSIGNAL) {
                Ok(len) => return Poll::Ready(Ok(len)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.is_writable.set(false);
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match rustix::net::shutdown(&self.fd, Shutdown::Write) {
            // The peer was faster.
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }
}

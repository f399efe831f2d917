//! One leg's bytes: reads into the worker's scratch buffer, stores only what the peer refuses.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::handoff::state::StreamState;
use crate::reactor::Socket;
use crate::redial::{CarriedLeg, Lasting};
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
    /// Whether it may keep bytes that it has taken, until it is flushed.
    fn may_hold_back(&self) -> bool;

    /// Whether it has been read empty, and its task will be woken when there is more.
    fn is_empty(&self) -> bool {
        false
    }

    /// The leg that outlasts its replica, if this is one.
    fn lasting(&mut self) -> Option<&mut Lasting> {
        None
    }

    /// The same, to look at.
    fn as_lasting(&self) -> Option<&Lasting> {
        None
    }

    /// The socket, where nothing but the socket carries the leg.
    ///
    /// # Errors
    /// What else does.
    fn socket(&self) -> Result<BorrowedFd<'_>, Bound>;

    /// What another process needs to go on with it.
    ///
    /// # Errors
    /// What keeps it here.
    fn put_down(&self) -> Result<PutDown, Bound> {
        let socket = self.socket()?.try_clone_to_owned().map_err(|_| Bound::Descriptors)?;
        Ok(PutDown { socket: Some(socket), leg: None })
    }

    /// Whether nothing but a socket carries it, for good.
    fn is_socket(&self) -> bool {
        false
    }

    /// The socket alone, for a reactor. `None` where it is not all that carries the leg, or not to be
    /// had.
    fn into_socket(self) -> Option<Socket>
    where
        Self: Sized,
    {
        None
    }
}

impl LegIo for Socket {
    fn may_hold_back(&self) -> bool {
        false
    }

    fn is_empty(&self) -> bool {
        !self.is_readable()
    }

    fn is_socket(&self) -> bool {
        true
    }

    fn socket(&self) -> Result<BorrowedFd<'_>, Bound> {
        Ok(self.as_fd())
    }
}

/// Has the peer hear at once that the connection has ended, though another process has a descriptor too.
pub(crate) fn shut_down(socket: BorrowedFd<'_>) {
    // What refuses it has ended already.
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}

/// What carries a leg, on its way to another process.
#[derive(Debug)]
pub(crate) struct PutDown {
    /// A descriptor of its own; none between two replicas.
    pub(crate) socket: Option<OwnedFd>,
    /// Of a leg that outlasts its replica.
    pub(crate) leg: Option<Box<CarriedLeg>>,
}

/// What ties a connection to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Bound {
    /// The state of TLS, which the library does not give away.
    Tls,
    /// A stream of an HTTP/2 connection.
    Http2,
    /// A leg that is just going over from one replica to another.
    Redial,
    /// It has begun to end.
    Ending,
    /// The system has no descriptor left to pass it by.
    Descriptors,
    /// It was busy for too long.
    Busy,
}

impl Bound {
    /// Its name in metrics and answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Redial => "redial",
            Self::Ending => "ending",
            Self::Descriptors => "descriptors",
            Self::Busy => "busy",
        }
    }
}

impl LegIo for Lasting {
    fn socket(&self) -> Result<BorrowedFd<'_>, Bound> {
        self.current().ok_or(Bound::Redial)?.socket()
    }

    fn put_down(&self) -> Result<PutDown, Bound> {
        Self::put_down(self)
    }

    fn may_hold_back(&self) -> bool {
        true
    }

    fn lasting(&mut self) -> Option<&mut Lasting> {
        Some(self)
    }

    fn as_lasting(&self) -> Option<&Lasting> {
        Some(self)
    }
}

impl LegIo for Transport {
    fn socket(&self) -> Result<BorrowedFd<'_>, Bound> {
        match self {
            Self::Plain(stream) => Ok(stream.as_fd()),
            Self::Tls(_) => Err(Bound::Tls),
        }
    }

    fn may_hold_back(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    fn is_socket(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn into_socket(self) -> Option<Socket> {
        match self {
            Self::Plain(stream) => Some(Socket::new(stream.into_std().ok()?.into())),
            Self::Tls(_) => None,
        }
    }
}

impl LegIo for TokioIo<Upgraded> {
    fn socket(&self) -> Result<BorrowedFd<'_>, Bound> {
        Err(Bound::Http2)
    }

    fn may_hold_back(&self) -> bool {
        true
    }
}

/// One leg's connection and what waits to be written to it.
#[derive(Debug)]
pub(crate) struct Stream<S> {
    io: S,
    /// Nothing, mostly: an idle connection has no room for it either.
    waiting: Option<Box<Waiting>>,
    end: End,
    /// Bytes read from this leg.
    pub(crate) bytes_read: u64,
}

/// Bytes the peer refused. Bounded by one read, since nothing more is read while there are some,
/// and freed once they are written.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    written: usize,
}

/// How far the end of the write direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// To come once everything before it was written.
    Due,
    Done,
}

impl<S: LegIo> Stream<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, waiting: None, end: End::Open, bytes_read: 0 }
    }

    /// What another process needs to go on with it, beside its socket.
    pub(crate) fn freeze(&self) -> StreamState {
        let unwritten = |waiting: &Waiting| waiting.bytes[waiting.written..].to_vec();
        StreamState {
            waiting: self.waiting.as_deref().map_or_else(Vec::new, unwritten),
            bytes_read: self.bytes_read,
            is_finishing: self.end == End::Due,
            is_finished: self.end == End::Done,
        }
    }

    /// Goes on from there.
    pub(crate) fn thaw(io: S, frozen: StreamState) -> Self {
        let mut stream = Self::new(io);
        stream.renew(frozen);
        stream
    }

    /// Goes on from there with the connection it has.
    pub(crate) fn renew(&mut self, frozen: StreamState) {
        let StreamState { waiting, bytes_read, is_finishing, is_finished } = frozen;
        self.end = match (is_finished, is_finishing) {
            (true, _) => End::Done,
            (false, true) => End::Due,
            (false, false) => End::Open,
        };
        (self.bytes_read, self.waiting) = (bytes_read, None);
        self.store(&waiting);
    }

    /// The same leg on a reactor's socket, as it stands. `None` where there is no such socket.
    pub(crate) fn into_socket(self) -> Option<Stream<Socket>> {
        let Self { io, waiting, end, bytes_read } = self;
        Some(Stream { io: io.into_socket()?, waiting, end, bytes_read })
    }

    /// A descriptor of its own for the socket.
    ///
    /// # Errors
    /// What keeps it here.
    pub(crate) fn socket(&self) -> Result<OwnedFd, Bound> {
        self.io.socket()?.try_clone_to_owned().map_err(|_| Bound::Descriptors)
    }

    /// What it reads from and writes to, for who goes around it while nothing waits.
    pub(crate) fn io(&self) -> &S {
        &self.io
    }

    /// Whether there is nothing to flush.
    pub(crate) fn is_quiet(&self) -> bool {
        self.waiting.is_none() && self.end != End::Due && !self.io.may_hold_back()
    }

    /// The leg that outlasts its replica, if this is one.
    pub(crate) fn lasting(&mut self) -> Option<&mut Lasting> {
        self.io.lasting()
    }

    /// Whether bytes wait for the peer.
    pub(crate) fn is_blocked(&self) -> bool {
        self.waiting.is_some()
    }

    /// Bytes that wait for the peer.
    pub(crate) fn held(&self) -> u64 {
        self.waiting.as_ref().map_or(0, |waiting| waiting.bytes.len() as u64)
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
        while self.waiting.is_none() && taken < bytes.len() {
            match Pin::new(&mut self.io).poll_write(cx, &bytes[taken..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => taken += n,
                Poll::Pending => break,
            }
        }
        self.store(&bytes[taken..]);
        Ok(())
    }

    /// Has bytes wait behind those that do already.
    pub(crate) fn store(&mut self, bytes: &[u8]) {
        if let Some(waiting) = &mut self.waiting {
            waiting.bytes.extend_from_slice(bytes);
        } else if !bytes.is_empty() {
            self.waiting = Some(Box::new(Waiting { bytes: bytes.to_vec(), written: 0 }));
        }
    }

    /// Ends the write direction once everything before was written.
    pub(crate) fn finish(&mut self) {
        if self.end == End::Open {
            self.end = End::Due;
        }
    }

    /// Whether dropping it could lose what it was told to write.
    pub(crate) fn may_hold_back(&self) -> bool {
        self.io.may_hold_back()
    }

    /// Writes what waits. Says whether some of it went out.
    ///
    /// # Errors
    /// What the connection said; nothing more can be written to it.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let has_moved = self.waiting.is_some();
        if let Some(Waiting { bytes, written }) = self.waiting.as_deref_mut() {
            let before = *written;
            while *written < bytes.len() {
                match Pin::new(&mut self.io).poll_write(cx, &bytes[*written..])? {
                    Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(n) => *written += n,
                    Poll::Pending => return Ok(*written > before),
                }
            }
            self.waiting = None;
        }
        if self.end == End::Due || self.io.may_hold_back() {
            let is_flushed = Pin::new(&mut self.io).poll_flush(cx)?.is_ready();
            if self.end == End::Due
                && is_flushed
                && Pin::new(&mut self.io).poll_shutdown(cx)?.is_ready()
            {
                self.end = End::Done;
            }
        }
        Ok(has_moved)
    }

    /// Drops what waits: the peer will never take it.
    pub(crate) fn give_up(&mut self) {
        self.waiting = None;
        self.end = End::Done;
    }
}

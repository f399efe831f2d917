//! A client's stream of HTTP/2 whose frames are counted on the way in.
//!
//! [`Guarded`] sits between the socket and the library. When a client floods, or owes the end of
//! something for too long, it says GOAWAY itself, behind the frame that is being written, reads on
//! for a moment so that the client sees it, and fails. Nothing of the excess reaches the library.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use longhaul_proto::http2::{self, FrameScan, GOAWAY_BYTES, Guard, Waiting};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::config::Timeouts;
use crate::http::alarm::Alarm;
use crate::http::stall::{Linger, Stall};

/// How much of a client is read and dropped behind GOAWAY.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// A client's stream whose frames are counted.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    io: S,
    guard: Guard,
    /// Where the frames that are written end.
    written: FrameScan,
    /// Read by detection before this stream began.
    prefix: BytesMut,
    head_patience: Duration,
    stall_patience: Duration,
    /// What is owed, and since when.
    waiting: Option<(Waiting, Instant)>,
    write: Stall,
    farewell: Option<Farewell>,
    lingering: Option<Linger>,
    /// Whether the write direction has ended.
    is_shut: bool,
    alarm: Alarm,
}

/// The end of a connection that went wrong.
#[derive(Debug)]
struct Farewell {
    why: String,
    goaway: [u8; GOAWAY_BYTES],
    /// `None` while a frame of the library's is not whole.
    said: Option<usize>,
}

impl<S> Guarded<S> {
    /// Counts what `io` brings, behind the bytes that detection took from it.
    pub(super) fn new(io: S, prefix: BytesMut, timeouts: &Timeouts) -> Self {
        Self {
            io,
            guard: Guard::new(std::time::Instant::now()),
            written: FrameScan::default(),
            prefix,
            head_patience: timeouts.head,
            stall_patience: timeouts.body_stall,
            waiting: None,
            write: Stall::new(timeouts.body_stall),
            farewell: None,
            lingering: None,
            is_shut: false,
            alarm: Alarm::default(),
        }
    }

    /// Begins the end.
    fn dismiss(&mut self, why: String) {
        self.farewell = Some(Farewell {
            why,
            goaway: http2::goaway(self.guard.last_stream(), http2::ENHANCE_YOUR_CALM),
            said: None,
        });
        self.lingering = Some(Linger::new(LINGER_BYTES_MAX));
    }

    /// Nothing has arrived: ready when something that is owed has been owed for too long. `true`
    /// means that the client never began to speak HTTP/2, and needs no farewell.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let waiting = self.guard.waiting();
        let since = match self.waiting {
            Some((earlier, since)) if earlier == waiting => since,
            _ => Instant::now(),
        };
        self.waiting = Some((waiting, since));
        let patience = match waiting {
            Waiting::Preface | Waiting::Block => self.head_patience,
            Waiting::Frame => self.stall_patience,
            Waiting::Nothing => return Poll::Pending,
        };
        ready!(self.alarm.poll_at(cx, since + patience));
        if waiting != Waiting::Preface {
            self.dismiss(format!("the end of a frame is {patience:?} late"));
        }
        Poll::Ready(waiting == Waiting::Preface)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    /// Says farewell and reads on for a moment. Ready with the error that ends the connection.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(farewell) = &mut self.farewell else { return Poll::Pending };
        let error = io::Error::new(io::ErrorKind::InvalidData, farewell.why.clone());
        if farewell.said.is_none() && self.written.is_between_frames() {
            farewell.said = Some(0);
        }
        if let Some(said) = &mut farewell.said {
            while *said < GOAWAY_BYTES {
                match Pin::new(&mut self.io).poll_write(cx, &farewell.goaway[*said..]) {
                    Poll::Ready(Ok(len)) if len > 0 => *said += len,
                    Poll::Ready(_) => return Poll::Ready(error),
                    Poll::Pending => break,
                }
            }
        }
        let is_said = farewell.said == Some(GOAWAY_BYTES);
        self.poll_linger(cx, is_said).map(|()| error)
    }

    /// Ends the write direction once all `is_said`, and reads on until the client ends as well, or
    /// has had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>, is_said: bool) -> Poll<()> {
        let linger = self.lingering.get_or_insert_with(|| Linger::new(LINGER_BYTES_MAX));
        let is_over = linger.poll_over(cx, &mut self.alarm).is_ready();
        if is_over || !is_said {
            return if is_over { Poll::Ready(()) } else { Poll::Pending };
        }
        if !self.is_shut {
            // A client that is gone needs no farewell.
            self.is_shut = ready!(Pin::new(&mut self.io).poll_shutdown(cx)).is_ok();
            if !self.is_shut {
                return Poll::Ready(());
            }
        }
        linger.poll_drain(&mut self.io, cx, &mut self.alarm)
    }

    /// Takes note of what a write came to, unless the client has refused bytes for too long.
    fn watch_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = written {
            self.write.settle();
            self.guard.note_written(*result.as_ref().unwrap_or(&0));
            if self.farewell.is_some() && self.written.is_between_frames() {
                // Now the farewell may be said; reading does it.
                cx.waker().wake_by_ref();
            }
            return Poll::Ready(result);
        }
        ready!(self.write.poll_over(cx, &mut self.alarm));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_some() {
            return this.poll_farewell(cx).map(Err);
        }
        let before = buf.filled().len();
        if this.prefix.is_empty() {
            match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    let never_spoke = ready!(this.poll_deadline(cx));
                    if never_spoke {
                        return Poll::Ready(Ok(()));
                    }
                    return this.poll_farewell(cx).map(Err);
                }
            }
        } else {
            let len = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix[..len]);
            this.prefix.advance(len);
            if this.prefix.is_empty() {
                this.prefix = BytesMut::new();
            }
        }
        let fresh = &buf.filled()[before..];
        // The time for a preface or a header block is a total; other frames may come slowly, as
        // long as they come.
        if this.guard.waiting() == Waiting::Frame {
            this.waiting = None;
        }
        if let Err(excess) = this.guard.feed(fresh, std::time::Instant::now()) {
            this.dismiss(format!("too many frames of the kind {:?}", excess.kind));
            buf.set_filled(before + excess.passed);
            if excess.passed == 0 {
                return this.poll_farewell(cx).map(Err);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut allowed = bytes;
        if this.farewell.is_some() {
            allowed = &bytes[..this.written.rest_of_frame(bytes)];
            if allowed.is_empty() {
                // Behind the farewell nothing follows; the library learns of it when it reads.
                return Poll::Ready(Ok(bytes.len()));
            }
        }
        let written = Pin::new(&mut this.io).poll_write(cx, allowed);
        if let Poll::Ready(Ok(len)) = &written {
            this.written.advance_all(&allowed[..*len]);
        }
        this.watch_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.farewell.is_some() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(cx, first.map_or(&[], |slice| slice));
        }
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(len)) = &written {
            let mut left = *len;
            for slice in slices {
                let len = slice.len().min(left);
                this.written.advance_all(&slice[..len]);
                left -= len;
            }
        }
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
        if this.farewell.is_some() {
            // The library tired of the same client at the same moment; ours is what is said.
            return this.poll_farewell(cx).map(|_| Ok(()));
        }
        this.poll_linger(cx, true).map(Ok)
    }
}

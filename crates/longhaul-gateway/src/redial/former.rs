//! The connection to a replica that was left in good order: read until it has said its last.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use longhaul_proto::websocket::CloseCode;
use longhaul_proto::websocket::frame::OwnFrame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::origin::Wire;
use crate::relay::stream::{LegIo, shut_down};
use crate::transport::Transport;

/// Silence after which a replica that was left is taken to have answered what it was asked, and is
/// told to close. It has no other way to say so.
const ANSWERED: Duration = Duration::from_millis(300);

/// What a replica that is left is told.
pub(super) const FAREWELL: CloseCode = CloseCode::GOING_AWAY;

/// A connection that was left.
#[derive(Debug)]
pub(super) struct Former {
    wire: Wire,
    /// When it is told to close, unless it speaks before; `None` once it was told.
    farewell: Option<(Instant, OwnFrame)>,
    /// When it is cut.
    ends_at: Instant,
    /// The last messages it was sent, by number, as long as nobody knows whether it has read them.
    unread: Option<(u64, u64)>,
}

impl Former {
    pub(super) fn new(
        wire: Wire,
        farewell: OwnFrame,
        unread: Option<(u64, u64)>,
        linger: Duration,
        now: Instant,
    ) -> Self {
        Self { wire, farewell: Some((now + ANSWERED, farewell)), ends_at: now + linger, unread }
    }

    /// It has closed with this code. A replica that answers its farewell has read all that came before.
    pub(super) fn note_closed(&mut self, code: CloseCode) {
        if code == FAREWELL && self.farewell.is_none() {
            self.unread = None;
        }
    }

    /// Which replica it was, and the messages that it may not have read.
    pub(super) fn unread(&self) -> (SocketAddr, Option<(u64, u64)>) {
        (self.wire.held.replica().address(), self.unread)
    }

    /// What carries it.
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// When [`Self::poll_read`] has to be called at the latest.
    pub(super) fn deadline(&self) -> Instant {
        self.farewell.as_ref().map_or(self.ends_at, |(at, _)| self.ends_at.min(*at))
    }

    /// Reads what it still says; 0 at its end, which comes in time.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        now: Instant,
    ) -> Poll<usize> {
        if let Poll::Ready(read) = self.wire.poll_read(cx, buffer) {
            if let Some((at, _)) = &mut self.farewell {
                *at = now + ANSWERED;
            }
            // Whatever it died of, it has nothing more to say.
            return Poll::Ready(read.unwrap_or(0));
        }
        if let Some((_, frame)) = self.farewell.take_if(|(at, _)| *at <= now) {
            // Some bytes always fit: everything before was taken. If not, the cut says it all.
            let _ = Pin::new(&mut self.wire.io).poll_write(cx, frame.as_bytes());
            let _ = Pin::new(&mut self.wire.io).poll_flush(cx);
        }
        if self.ends_at <= now { Poll::Ready(0) } else { Poll::Pending }
    }
}

impl Wire {
    /// Has the replica hear at once that it has ended, whoever else has a descriptor of it.
    pub(super) fn hang_up(&self) {
        self.io.socket().into_iter().for_each(shut_down);
    }

    /// Reads what was read ahead, then from the connection.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.ahead.is_empty() {
            let count = buffer.len().min(self.ahead.len());
            self.ahead.copy_to_slice(&mut buffer[..count]);
            if self.ahead.is_empty() {
                self.ahead = Bytes::new();
            }
            return Poll::Ready(Ok(count));
        }
        let mut buffer = ReadBuf::new(buffer);
        let io: &mut Transport = &mut self.io;
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

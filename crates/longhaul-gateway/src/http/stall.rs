//! The deadlines that a client's stream keeps whatever version of HTTP it carries: how long nothing
//! may move, and how long the client is still read behind the last byte to it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::alarm::Alarm;

/// How long a client is read behind the last byte to it. Closed at once, the kernel would answer its
/// next bytes with a reset, which can overtake that byte and destroy it (RFC 9112 §9.6).
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Something that may stand still only for so long.
#[derive(Debug)]
pub(super) struct Stall {
    patience: Duration,
    since: Option<Instant>,
}

impl Stall {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, since: None }
    }

    /// It moved.
    pub(super) fn settle(&mut self) {
        self.since = None;
    }

    /// Whether it was last seen to stand still.
    pub(super) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// It stands still: ready once it has for too long.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>, alarm: &mut Alarm) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        alarm.poll_at(cx, since + self.patience)
    }
}

/// What of a client is read and dropped behind the last byte to it.
#[derive(Debug)]
pub(super) struct Linger {
    until: Instant,
    bytes_left: usize,
}

impl Linger {
    /// Begins now, and drops so many bytes at most.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { until: Instant::now() + LINGER, bytes_left: bytes_max }
    }

    /// Ready when its time is over.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>, alarm: &mut Alarm) -> Poll<()> {
        alarm.poll_at(cx, self.until)
    }

    /// Ready when the client has ended as well, or has had its time or its bytes.
    pub(super) fn poll_drain(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        alarm: &mut Alarm,
    ) -> Poll<()> {
        let mut scratch = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            let Poll::Ready(read) = Pin::new(&mut *io).poll_read(cx, &mut buf) else {
                return self.poll_over(cx, alarm);
            };
            let len = buf.filled().len();
            if read.is_err() || len == 0 || len > self.bytes_left {
                return Poll::Ready(());
            }
            self.bytes_left -= len;
        }
    }
}

//! Bytes of the leg, whichever replica carries it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use longhaul_proto::redial::{Alarm, News, Sending};
use longhaul_proto::session::{Cause, Side};
use tokio::io::AsyncWrite;

use super::Inner;
use crate::redial::origin::Reason;

impl Inner {
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let count = self.redial.take_for_client(buffer);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            let now = Instant::now();
            let is_former = self.former.is_some();
            let read = match (&mut self.former, &mut self.current) {
                (Some(former), _) => former.poll_read(cx, buffer, now).map(Ok),
                (None, Some(wire)) => wire.poll_read(cx, buffer),
                (None, None) if self.is_over || self.redial.is_closed_alone() => {
                    return Poll::Ready(Ok(0));
                }
                (None, None) => return Poll::Pending,
            };
            match read {
                Poll::Pending if is_former => return Poll::Pending,
                Poll::Pending => {
                    if self.redial.check(true, now) != Alarm::Silent {
                        return Poll::Pending;
                    }
                    self.lose(Reason::Crash, true, Some(Cause::Silent(Side::Backend)));
                }
                Poll::Ready(Ok(0) | Err(_)) if is_former => self.end_former(),
                Poll::Ready(Ok(0) | Err(_)) => self.lose(Reason::Crash, true, None),
                Poll::Ready(Ok(count)) => {
                    let received = self.redial.receive(&buffer[..count], is_former, now);
                    match received.news {
                        News::Goes(code) if is_former => {
                            self.former.iter_mut().for_each(|former| former.note_closed(code));
                            self.end_former();
                        }
                        News::Goes(code) => self.take_leave(cx, code),
                        News::Refuses => self.give_up(),
                        News::None | News::Garbled => {}
                    }
                    if received.pass > 0 {
                        return Poll::Ready(Ok(received.pass));
                    }
                }
            }
            self.progress(cx);
        }
    }

    pub(super) fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let now = Instant::now();
        let sending = self.redial.send(bytes, now).map_err(io::Error::other)?;
        if self.redial.wants_polled() {
            self.redial.note_polled(self.origin.polled());
        }
        match (sending, &mut self.current) {
            (Sending::Owed(0), _) => Poll::Pending,
            (Sending::Owed(count), _) => {
                self.flush(cx, now);
                Poll::Ready(Ok(count))
            }
            (Sending::Direct(count), Some(wire)) => {
                let written = match Pin::new(&mut wire.io).poll_write(cx, &bytes[..count]) {
                    _ if self.is_deaf => 0,
                    Poll::Ready(Ok(written)) => written,
                    // What it failed with is found again by whoever writes the rest.
                    Poll::Ready(Err(_)) | Poll::Pending => 0,
                };
                self.redial.wrote_directly(&bytes[..count], written, now);
                if written < count {
                    self.flush(cx, now);
                }
                Poll::Ready(Ok(count))
            }
            (Sending::Direct(_), None) => unreachable!("only while the leg is up"),
        }
    }

    /// Writes what is owed, and ends the direction behind it when that is due.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(wire) = &mut self.current
            && !self.is_deaf
            && !self.redial.owed().is_empty()
        {
            match Pin::new(&mut wire.io).poll_write(cx, self.redial.owed()) {
                Poll::Ready(Ok(count)) if count > 0 => self.redial.wrote(count, now),
                Poll::Pending => return self.redial.wrote(0, now),
                Poll::Ready(Ok(_) | Err(_)) => {
                    self.is_deaf = true;
                    return self.redial.wrote(0, now);
                }
            }
        }
        let Some(wire) = &mut self.current else { return };
        // A layer with a buffer of its own (TLS) still has to pass the bytes on.
        let is_flushed = Pin::new(&mut wire.io).poll_flush(cx).is_ready();
        if self.is_finishing && is_flushed {
            let _ = Pin::new(&mut wire.io).poll_shutdown(cx);
        }
    }
}

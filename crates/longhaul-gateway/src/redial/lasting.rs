//! The leg itself: one connection to a replica after the other, behind one face.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use longhaul_proto::redial::{Alarm, Loss, News, Redial, Sending};
use longhaul_proto::session::{Cause, Side};
use longhaul_proto::websocket::CloseCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use super::RedialTerms;
use super::former::Former;
use super::origin::{Errand, Origin, Reason, Search, Wire};
use crate::config::Cutover;
use crate::relay::control::Control;

/// After a search for a replica to move to came to nothing, while the old one still serves.
const MOVE_AGAIN: Duration = Duration::from_secs(5);

/// A backend leg that outlasts its replica. Boxed, so that it costs nothing where it is not used.
#[derive(Debug)]
pub(crate) struct Lasting(Box<Inner>);

struct Inner {
    redial: Redial,
    terms: RedialTerms,
    origin: Arc<Origin>,
    control: Arc<Control>,
    current: Option<Wire>,
    /// Dialled, and waits for the end of a message of the client's.
    next: Option<Wire>,
    former: Option<Former>,
    search: Option<Search>,
    leaving: Option<Leaving>,
    /// Counts the connections, from 1.
    leg: u32,
    /// The write direction ends once everything owed was written.
    is_finishing: bool,
    /// The connection takes nothing more. What it still says is read first; then its end is found.
    is_deaf: bool,
    /// No connection comes any more.
    is_over: bool,
    /// Why, when it is not simply that the last connection ended.
    cause: Option<Cause>,
    timer: Pin<Box<Sleep>>,
}

/// A replica that drains is to be left.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    /// Not before the replica closes by itself, unless that is over.
    waits_for_close: bool,
    /// Not before it was quiet for so long.
    quiet: Duration,
    /// Not before this moment, after a search that came to nothing.
    not_before: Instant,
}

impl Lasting {
    pub(crate) fn new(
        redial: Redial,
        terms: RedialTerms,
        origin: Arc<Origin>,
        control: Arc<Control>,
        first: Wire,
    ) -> Self {
        Self(Box::new(Inner {
            redial,
            terms,
            origin,
            control,
            current: Some(first),
            next: None,
            former: None,
            search: None,
            leaving: None,
            leg: 1,
            is_finishing: false,
            is_deaf: false,
            is_over: false,
            cause: None,
            timer: Box::pin(sleep_until(tokio::time::Instant::now())),
        }))
    }

    /// Why no connection comes any more, when that is not simply that the last one ended.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.0.cause
    }

    /// The replica may have been found dead.
    pub(crate) fn note_replica_lost(&mut self) {
        self.0.note_replica_lost();
    }

    /// The replica may drain; `is_urgent` when the time for it is over.
    pub(crate) fn note_replica_leaves(&mut self, is_urgent: bool) {
        self.0.note_replica_leaves(is_urgent);
    }
}

impl AsyncRead for Lasting {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.get_mut().0;
        let count = std::task::ready!(inner.poll_read(cx, buffer.initialize_unfilled()))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lasting {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.get_mut().0;
        inner.progress(cx);
        let wrote = inner.write(cx, bytes);
        inner.arm(cx);
        inner.wake_reader(cx);
        wrote
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.get_mut().0;
        inner.progress(cx);
        inner.arm(cx);
        inner.wake_reader(cx);
        if inner.redial.owed().is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.get_mut().0;
        inner.is_finishing = true;
        inner.redial.finish();
        inner.progress(cx);
        inner.arm(cx);
        Poll::Ready(Ok(()))
    }
}

impl Inner {
    fn note_replica_lost(&mut self) {
        // Looked up, since the word may be about a replica that was left meanwhile.
        if self.current.as_ref().is_some_and(|wire| wire.held.is_lost()) {
            self.lose(Reason::Crash, true, Some(Cause::ReplicaLost));
        }
    }

    fn note_replica_leaves(&mut self, is_urgent: bool) {
        if !self.current.as_ref().is_some_and(|wire| wire.held.replica().is_draining()) {
            return;
        }
        let (waits_for_close, quiet) = match self.terms.cutover {
            _ if is_urgent => (false, Duration::ZERO),
            Cutover::OnClose => (true, Duration::ZERO),
            Cutover::Quiet(quiet) => (false, quiet),
            Cutover::Now => (false, Duration::ZERO),
        };
        self.leaving = Some(Leaving { waits_for_close, quiet, not_before: Instant::now() });
    }

    /// Does whatever needs no reading: dials on, moves, writes what is owed, asks replicas whether
    /// they are there.
    fn progress(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        self.poll_search(cx, now);
        match self.redial.check(false, now) {
            Alarm::Stalled => {
                self.lose(Reason::Crash, true, Some(Cause::Stalled(Side::Backend)));
            }
            Alarm::Unsettled => self.give_up(),
            Alarm::None | Alarm::Silent => {}
        }
        self.flush(cx, now);
        self.consider_leaving(cx, now);
    }

    fn poll_search(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Some(search) = &mut self.search else { return };
        let Poll::Ready(found) = search.poll(cx) else { return };
        self.search = None;
        match found {
            Ok(wire) => self.next = Some(wire),
            // The old one still serves; perhaps a better moment comes.
            Err(_) if self.current.is_some() => {
                if let Some(leaving) = &mut self.leaving {
                    leaving.not_before = now + MOVE_AGAIN;
                }
            }
            Err(cause) => self.end(Some(cause)),
        }
        if self.current.is_none()
            && let Some(wire) = self.next.take()
        {
            self.redial.connect(now);
            self.adopt(wire);
        }
    }

    /// Has `wire` carry the leg from now on.
    fn adopt(&mut self, wire: Wire) {
        self.control.set_replica(wire.held.replica().address());
        self.leaving = None;
        self.is_deaf = false;
        self.current = Some(wire);
        // What was said about it before the control named it has reached nobody.
        self.note_replica_leaves(false);
        self.note_replica_lost();
    }

    /// Leaves a replica that drains when the moment has come.
    fn consider_leaving(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Some(leaving) = self.leaving else { return };
        let Some(before) = self.current.as_ref().map(address) else { return };
        let is_time = !leaving.waits_for_close && leaving.not_before <= now && self.is_quiet(now);
        if self.redial.is_closing() {
            return;
        }
        if self.next.is_none() && self.search.is_none() && is_time && self.former.is_none() {
            self.start_search(Reason::Drain, None, Some(before));
            self.poll_search(cx, now);
        }
        if self.redial.may_move()
            && let Some(wire) = self.next.take()
        {
            let farewell = self.redial.farewell(CloseCode::GOING_AWAY);
            self.redial.switch(now);
            let left = self.current.take();
            self.former = left.map(|wire| Former::new(wire, farewell, self.terms.linger, now));
            self.adopt(wire);
            self.flush(cx, now);
        }
    }

    fn is_quiet(&self, now: Instant) -> bool {
        match self.leaving {
            Some(Leaving { quiet, .. }) if !quiet.is_zero() => {
                self.redial.quiet_since().is_some_and(|since| since + quiet <= now)
            }
            _ => true,
        }
    }

    fn start_search(
        &mut self,
        reason: Reason,
        uncertain: Option<(u64, u64)>,
        before: Option<SocketAddr>,
    ) {
        self.leg += 1;
        let errand = Errand { leg: self.leg, reason, uncertain, before };
        self.search = Some(self.origin.search(errand));
    }

    /// The connection to the replica is gone or given up. `cause` is what the end is called if it
    /// cannot be hidden from the client.
    fn lose(&mut self, reason: Reason, is_abrupt: bool, cause: Option<Cause>) {
        let Some(wire) = self.current.take() else { return };
        let is_draining = self.leaving.is_some() || wire.held.replica().is_draining();
        let reason = if is_draining { Reason::Drain } else { reason };
        match self.redial.lose(is_abrupt, Instant::now()) {
            Loss::Fatal => self.end(cause),
            Loss::Hidden { uncertain } => {
                let before = address(&wire);
                self.origin.log_loss(before, reason, uncertain);
                if let Some(next) = self.next.take() {
                    self.redial.connect(Instant::now());
                    self.adopt(next);
                } else if self.search.is_none() {
                    // One that was begun while the replica still served goes on.
                    self.start_search(reason, uncertain, Some(before));
                }
            }
        }
    }

    /// The replica does not go through with the opening of the client's protocol.
    fn give_up(&mut self) {
        self.current = None;
        self.end(Some(Cause::RedialUnsettled));
    }

    fn end(&mut self, cause: Option<Cause>) {
        self.is_over = true;
        self.cause = cause;
        self.search = None;
        self.next = None;
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.progress(cx);
        let read = self.read(cx, buffer);
        self.arm(cx);
        read
    }

    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
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
                        News::Goes(_) if is_former => self.end_former(),
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

    fn end_former(&mut self) {
        self.former = None;
        if !self.redial.end_former() {
            self.current = None;
            self.end(None);
        }
    }

    /// The replica says that it goes: its close frame is answered and its connection dropped.
    fn take_leave(&mut self, cx: &mut Context<'_>, code: CloseCode) {
        if self.redial.may_move()
            && let Some(wire) = &mut self.current
        {
            let answer = self.redial.farewell(code);
            // If it does not fit, the end of the connection says the same.
            let _ = Pin::new(&mut wire.io).poll_write(cx, answer.as_bytes());
            let _ = Pin::new(&mut wire.io).poll_flush(cx);
        }
        let reason = if code == CloseCode(1013) { Reason::Crash } else { Reason::Drain };
        self.lose(reason, false, None);
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) {
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

    /// What was said to the client while nobody was reading waits for the next read.
    fn wake_reader(&self, cx: &mut Context<'_>) {
        if self.redial.has_for_client() {
            cx.waker().wake_by_ref();
        }
    }

    /// Has the task woken in time for the next thing to do.
    fn arm(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        let leaving = self.leaving.filter(|leaving| !leaving.waits_for_close);
        let leave = leaving.map(|leaving| {
            let quiet_at = self.redial.quiet_since().map(|since| since + leaving.quiet);
            quiet_at.unwrap_or(now + leaving.quiet).max(leaving.not_before)
        });
        let former = self.former.as_ref().map(Former::deadline);
        let next = [self.redial.deadline(), leave, former];
        // What is past waits for a read or a write, whose moment wakes the task by itself.
        let next = next.into_iter().flatten().filter(|at| *at > now).min();
        let Some(deadline) = next.map(tokio::time::Instant::from_std) else { return };
        if self.timer.deadline() > deadline || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

fn address(wire: &Wire) -> SocketAddr {
    wire.held.replica().address()
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("leg", &self.leg)
            .field("current", &self.current.as_ref().map(address))
            .field("is_searching", &self.search.is_some())
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

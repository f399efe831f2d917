//! The leg itself: one connection to a replica after the other, behind one face.

mod legs;
mod traffic;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use longhaul_proto::redial::{Alarm, Redial};
use longhaul_proto::session::{Cause, Side};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use super::former::Former;
use super::origin::{Origin, Reason, Search, Wire};
use super::{LegState, RedialTerms};
use crate::relay::control::Control;
use crate::relay::stream::{Bound, PutDown};
use crate::transport::Transport;

/// After a search for a replica to move to came to nothing, while the old one still serves.
const MOVE_AGAIN: Duration = Duration::from_secs(5);

/// A backend leg that outlasts its replica. Boxed, so that it costs nothing where it is not used.
#[derive(Debug)]
pub(crate) struct Lasting(pub(super) Box<Inner>);

pub(super) struct Inner {
    pub(super) redial: Redial,
    pub(super) terms: RedialTerms,
    pub(super) origin: Arc<Origin>,
    control: Arc<Control>,
    pub(super) current: Option<Wire>,
    /// Dialled, and waits for the end of a message of the client's.
    next: Option<Wire>,
    pub(super) former: Option<Former>,
    pub(super) search: Option<Search>,
    leaving: Option<Leaving>,
    /// Counts the connections, from 1.
    pub(super) leg: u32,
    /// The one that was copied for another process while it went on, if one was.
    copied: Option<u32>,
    /// The write direction ends once everything owed was written.
    pub(super) is_finishing: bool,
    /// The connection takes nothing more. What it still says is read first; then its end is found.
    pub(super) is_deaf: bool,
    /// No connection comes any more.
    pub(super) is_over: bool,
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
        Self::with(redial, terms, origin, control, Some(first))
    }

    pub(super) fn with(
        redial: Redial,
        terms: RedialTerms,
        origin: Arc<Origin>,
        control: Arc<Control>,
        current: Option<Wire>,
    ) -> Self {
        Self(Box::new(Inner {
            redial,
            terms,
            origin,
            control,
            current,
            next: None,
            former: None,
            search: None,
            leaving: None,
            leg: 1,
            copied: None,
            is_finishing: false,
            is_deaf: false,
            is_over: false,
            cause: None,
            timer: Box::pin(sleep_until(tokio::time::Instant::now())),
        }))
    }

    /// What carries it, unless it is between two replicas.
    pub(crate) fn current(&self) -> Option<&Transport> {
        self.0.current.as_ref().map(|wire| &wire.io)
    }

    /// What another process needs to go on with it.
    ///
    /// # Errors
    /// What keeps it here.
    pub(crate) fn put_down(&self) -> Result<PutDown, Bound> {
        self.0.put_down()
    }

    /// Whether it can be copied while it goes on: it is at one replica, and nothing is begun elsewhere.
    pub(crate) fn may_go_ahead(&self) -> bool {
        let Inner { current, next, former, search, is_finishing, is_over, .. } = &*self.0;
        let is_elsewhere = next.is_some() || former.is_some() || search.is_some();
        current.is_some() && !is_elsewhere && !is_finishing && !is_over
    }

    /// It was copied, and goes on.
    pub(crate) fn note_copied(&mut self) {
        self.0.copied = Some(self.0.leg);
    }

    /// Whether that copy needs no more than [`Self::state`] to be up to date. Otherwise a replica was
    /// lost or is left since.
    pub(crate) fn is_as_copied(&self) -> bool {
        self.0.copied == Some(self.0.leg)
    }

    /// What changes while its replica stays the same.
    ///
    /// # Errors
    /// What keeps it here.
    pub(crate) fn state(&self) -> Result<LegState, Bound> {
        self.0.state()
    }

    /// Has its replicas hear at once that it has ended, though another process has descriptors too.
    pub(crate) fn hang_up(&self) {
        let former = self.0.former.as_ref().map(Former::wire);
        self.0.current.iter().chain(former).for_each(Wire::hang_up);
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

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.progress(cx);
        let read = self.read(cx, buffer);
        self.arm(cx);
        read
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

//! Moves the bytes of one WebSocket: owns both streams and the [`Session`] that decides.
//!
//! One task per session. It reads a leg into the worker's scratch buffer, lets the session say what
//! passes, and writes on at once. Nothing is allocated per message, and no lock is taken.

pub(crate) mod control;
mod moving;
pub(crate) mod stream;

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use control::{Control, Order};
use longhaul_proto::session::{Cause, Output, Session, Side};
use stream::{LegIo, Stream, with_scratch};
use tokio::time::{Sleep, sleep_until};

use crate::redial::RedialTerms;
use crate::telemetry::tally::Tally;

/// Reads in a row before other tasks of the worker get their turn.
const TURNS_MAX: usize = 32;

/// How many times the bound of what is stored may be read at once while little is stored. With the
/// default of 64 KiB a message of that size and its header come in one read, and 256 KiB in four
/// segments of the loopback's.
const READ_FACTOR: usize = 4;
/// What the relays of one route on one worker may have stored before each keeps to its bound again.
const STORED_BYTES_ROOMY: u64 = 4 << 20;

/// How one WebSocket went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) cause: Cause,
    /// From the client to the replica.
    pub(crate) up: Volume,
    /// From the replica to the client.
    pub(crate) down: Volume,
}

/// What passed in one direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Volume {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// A leg as the upgrade hands it over.
#[derive(Debug)]
pub(crate) struct Leg<S> {
    pub(crate) io: S,
    /// What is still to be written of the handshake; it goes first.
    pub(crate) greeting: Bytes,
    /// What was read beyond the handshake; it comes first.
    pub(crate) read_ahead: Bytes,
}

impl<S> Leg<S> {
    /// A leg that stands behind its handshake.
    pub(crate) fn behind(io: S, read_ahead: Bytes) -> Self {
        Self { io, greeting: Bytes::new(), read_ahead }
    }
}

/// One WebSocket at work: done when the session is. Dropping it ends both connections at once.
///
/// To be spawned as a task of its own, since it counts on being polled by the same one for good:
/// the timer and the control are told once whom to wake. That is also what keeps an idle WebSocket
/// small: whatever opened it is gone.
#[derive(Debug)]
pub(crate) struct Relay<C, B> {
    client: Stream<C>,
    backend: Stream<B>,
    session: Session,
    control: Arc<Control>,
    tally: Arc<Tally>,
    /// Made when there is a deadline. A deadline that moves later leaves it alone: it fires early
    /// once, and only then is it set anew. So nothing is re-armed per message.
    timer: Option<Pin<Box<Sleep>>>,
    /// What is left of the handshakes, until the first turn.
    leftovers: Option<Box<Leftovers>>,
    buffer_bytes_max: usize,
}

#[derive(Debug)]
struct Leftovers {
    to_client: Bytes,
    from_client: Bytes,
    from_backend: Bytes,
}

/// What came of looking at a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Some,
    /// Some, and behind it nothing: as below.
    Last,
    /// The task is woken when there is something: no need to ask again in this turn.
    Nothing,
    /// It was not asked.
    Unwanted,
}

impl Read {
    /// Whether there is no need to ask again in this turn.
    fn is_dry(self) -> bool {
        matches!(self, Self::Last | Self::Nothing)
    }

    /// Whether something came by this look, which is not the one before.
    fn is_news(self, before: Self) -> bool {
        self == Self::Some || self == Self::Last && before != Self::Last
    }
}

impl<C: LegIo, B: LegIo> Relay<C, B> {
    pub(crate) fn new(
        client: Leg<C>,
        backend: Leg<B>,
        session: Session,
        control: Arc<Control>,
        tally: Arc<Tally>,
        buffer_bytes_max: usize,
    ) -> Self {
        let leftovers = Leftovers {
            to_client: client.greeting,
            from_client: client.read_ahead,
            from_backend: backend.read_ahead,
        };
        Self {
            client: Stream::new(client.io),
            backend: Stream::new(backend.io),
            session,
            control,
            tally,
            timer: None,
            leftovers: Some(Box::new(leftovers)),
            buffer_bytes_max,
        }
    }
}

impl<C: LegIo, B: LegIo> Relay<C, B> {
    /// Whether it has not begun yet: what is left of the handshakes is not passed on.
    pub(crate) fn is_new(&self) -> bool {
        self.leftovers.is_some()
    }

    /// Where it counts what it moves.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Messages that have passed so far, both ways.
    pub(crate) fn messages(&self) -> u64 {
        self.session.messages(Side::Client) + self.session.messages(Side::Backend)
    }

    /// By what the rest of the gateway reaches it.
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// What carries its legs.
    pub(crate) fn ios(&self) -> (&C, &B) {
        (self.client.io(), self.backend.io())
    }

    /// Bytes that wait for both legs.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held().iter().sum()
    }
}

impl<C: LegIo, B: LegIo> Future for Relay<C, B> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let relay = self.get_mut();
        let before = relay.held();
        let turn = relay.turn(cx);
        // What still waits at the end goes with the relay.
        let now = if turn.is_ready() { [0; 2] } else { relay.held() };
        relay.count_held(before, now);
        turn
    }
}

impl<C: LegIo, B: LegIo> Relay<C, B> {
    /// Does what there is to do now.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut now = Instant::now();
        if let Some(order) = self.control.take_order(cx) {
            self.obey(order, now);
        }
        if let Some(leftovers) = self.leftovers.take() {
            self.begin(cx, &leftovers, now);
        }
        self.flush(cx, Side::Client, now);
        self.flush(cx, Side::Backend, now);
        self.read(cx, now);
        loop {
            let deadline = match self.settle(cx, now) {
                ControlFlow::Break(cause) => return Poll::Ready(self.ended(cause)),
                ControlFlow::Continue(deadline) => deadline,
            };
            let Some(deadline) = deadline else { return Poll::Pending };
            ready!(self.poll_timer(cx, deadline.into()));
            now = Instant::now();
            self.session.deadline_reached(now);
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>, leftovers: &Leftovers, now: Instant) {
        let Leftovers { to_client, from_client, from_backend } = leftovers;
        let wrote = self.client.write(cx, to_client);
        self.note_write(Side::Client, wrote.map(|()| true), now);
        self.client.bytes_read += from_client.len() as u64;
        self.backend.bytes_read += from_backend.len() as u64;
        self.pass(cx, Side::Backend, from_backend, now);
        self.pass(cx, Side::Client, from_client, now);
    }

    /// Ready at `deadline` or before.
    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: tokio::time::Instant) -> Poll<()> {
        let Some(timer) = &mut self.timer else {
            let timer = self.timer.insert(Box::pin(sleep_until(deadline)));
            return timer.as_mut().poll(cx);
        };
        if timer.deadline() > deadline || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
            return timer.as_mut().poll(cx);
        }
        // It has been asked, and wakes this task when it fires.
        Poll::Pending
    }

    fn obey(&mut self, order: Order, now: Instant) {
        match (order, self.backend.lasting()) {
            (Order::Drain, _) => self.session.end(Cause::Drained, now),
            (Order::Close, _) => self.session.end(Cause::Ordered, now),
            (Order::Expired, _) => self.session.end(Cause::Expired, now),
            (Order::Revoked, _) => self.session.end(Cause::Revoked, now),
            (Order::ReplicaLost, None) => self.session.end(Cause::ReplicaLost, now),
            (Order::ReplicaLost, Some(leg)) => leg.note_replica_lost(),
            // A leg that cannot be replaced stays as long as it may.
            (Order::ReplicaLeaves | Order::ReplicaLeft, None) => {}
            (Order::ReplicaDrained, None) => self.session.end(Cause::ReplicaDrained, now),
            (Order::ReplicaLeaves, Some(leg)) => leg.note_replica_leaves(false),
            (Order::ReplicaLeft | Order::ReplicaDrained, Some(leg)) => {
                leg.note_replica_leaves(true)
            }
        }
    }

    /// The end of what a leg sends: its own, or the word of whoever looked for the next replica.
    fn note_end(&mut self, from: Side, is_reset: bool, now: Instant) {
        let leg = if from == Side::Backend { self.backend.lasting() } else { None };
        match leg.and_then(|leg| leg.cause()) {
            Some(cause) => self.session.lose_backend(cause, now),
            None => self.session.receive_end(from, is_reset, now),
        }
    }

    /// Reads both legs in turn until neither has anything, or the task's turn is over.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) {
        let unread = |is_empty| if is_empty { Read::Nothing } else { Read::Some };
        with_scratch(self.read_bytes_max(), |scratch| {
            let mut client = unread(self.client.io().is_empty());
            let mut backend = unread(self.backend.io().is_empty());
            for turn in 0..TURNS_MAX {
                if turn > 0 {
                    // Frames of the gateway's own go between what was read and what comes next.
                    let _ = self.settle(cx, now);
                }
                // The replica first: if it has gone, nothing more should be written to it.
                let was = (client, backend);
                if !backend.is_dry() {
                    backend = self.read_leg(cx, Side::Backend, scratch, now);
                }
                if !client.is_dry() {
                    client = self.read_leg(cx, Side::Client, scratch, now);
                }
                // What one leg brought may be why the other one is wanted now.
                let is_news = client.is_news(was.0) || backend.is_news(was.1);
                if client.is_dry() && backend.is_dry() || !is_news {
                    return;
                }
            }
            cx.waker().wake_by_ref();
        });
    }

    /// How much is read at once, which is also the most that a leg may refuse and is then stored. A
    /// larger read spares calls for large messages, so it is larger while little is stored.
    fn read_bytes_max(&self) -> usize {
        let is_roomy = self.tally.buffered.get() < STORED_BYTES_ROOMY;
        if is_roomy { self.buffer_bytes_max * READ_FACTOR } else { self.buffer_bytes_max }
    }

    /// Reads one leg once.
    fn read_leg(
        &mut self,
        cx: &mut Context<'_>,
        from: Side,
        scratch: &mut [u8],
        now: Instant,
    ) -> Read {
        if !self.session.wants(from) {
            return Read::Unwanted;
        }
        let (read, is_empty) = match from {
            Side::Client => (self.client.poll_read(cx, scratch), self.client.io().is_empty()),
            Side::Backend => (self.backend.poll_read(cx, scratch), self.backend.io().is_empty()),
        };
        match read {
            Poll::Pending => return Read::Nothing,
            Poll::Ready(Ok(0)) => self.note_end(from, false, now),
            Poll::Ready(Ok(len)) => self.pass(cx, from, &scratch[..len], now),
            Poll::Ready(Err(_)) => self.note_end(from, true, now),
        }
        if is_empty { Read::Last } else { Read::Some }
    }

    /// Lets the session say what of `bytes` goes on, and writes it.
    fn pass(&mut self, cx: &mut Context<'_>, from: Side, mut bytes: &[u8], now: Instant) {
        let to = from.other();
        let messages = self.session.messages(from);
        let len = bytes.len() as u64;
        while !bytes.is_empty() {
            let step = self.session.receive(from, bytes, now);
            bytes = &bytes[step.consumed..];
            let wrote = match to {
                Side::Client => self.client.write(cx, step.forward),
                Side::Backend => self.backend.write(cx, step.forward),
            };
            self.note_write(to, wrote.map(|()| true), now);
            if !bytes.is_empty() {
                let _ = self.settle(cx, now);
            }
        }
        let messages = self.session.messages(from) - messages;
        self.count(from, messages, len);
    }

    /// Counts what came from a leg: for its route, and for itself.
    fn count(&self, from: Side, messages: u64, bytes: u64) {
        let (flow, card) = (self.tally.from(from), &self.control.card);
        let at = usize::from(from == Side::Backend);
        flow.bytes.add(bytes);
        card.bytes[at].add(bytes);
        if messages > 0 {
            flow.messages.add(messages);
            card.messages[at].add(messages);
        }
    }

    /// Bytes that wait for the replica, for the client.
    fn held(&self) -> [u64; 2] {
        [self.backend.held(), self.client.held()]
    }

    /// Counts what is held now instead of `before`, and who has just stopped taking bytes.
    fn count_held(&self, before: [u64; 2], now: [u64; 2]) {
        let flows = [&self.tally.up, &self.tally.down];
        for (flow, (before, now)) in flows.into_iter().zip(before.into_iter().zip(now)) {
            if before == now {
                continue;
            }
            self.tally.buffered.add(now);
            self.tally.buffered.sub(before);
            if before == 0 {
                flow.stalls.add(1);
            }
        }
    }

    #[inline]
    fn flush(&mut self, cx: &mut Context<'_>, to: Side, now: Instant) {
        let is_quiet = match to {
            Side::Client => self.client.is_quiet(),
            Side::Backend => self.backend.is_quiet(),
        };
        if !is_quiet {
            self.flush_waiting(cx, to, now);
        }
    }

    fn flush_waiting(&mut self, cx: &mut Context<'_>, to: Side, now: Instant) {
        let flushed = match to {
            Side::Client => self.client.flush(cx),
            Side::Backend => self.backend.flush(cx),
        };
        self.note_write(to, flushed, now);
    }

    fn note_write(&mut self, to: Side, wrote: std::io::Result<bool>, now: Instant) {
        match wrote {
            Ok(has_moved) => {
                let is_blocked = match to {
                    Side::Client => self.client.is_blocked(),
                    Side::Backend => self.backend.is_blocked(),
                };
                self.session.note_pressure(to, is_blocked, has_moved, now);
            }
            Err(_) => {
                match to {
                    Side::Client => self.client.give_up(),
                    Side::Backend => self.backend.give_up(),
                }
                self.note_end(to, true, now);
            }
        }
    }

    /// Does what the session wants done, until it is done or waits for this moment.
    fn settle(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> ControlFlow<Cause, Option<Instant>> {
        let mut is_finishing = false;
        loop {
            match self.session.poll() {
                Output::Send { to, frame } => {
                    let wrote = match to {
                        Side::Client => self.client.write(cx, frame.as_bytes()),
                        Side::Backend => self.backend.write(cx, frame.as_bytes()),
                    };
                    self.note_write(to, wrote.map(|()| true), now);
                }
                Output::Finish(to) => {
                    match to {
                        Side::Client => self.client.finish(),
                        Side::Backend => self.backend.finish(),
                    }
                    is_finishing = true;
                }
                Output::Wait(_) if std::mem::take(&mut is_finishing) => {
                    self.flush(cx, Side::Client, now);
                    self.flush(cx, Side::Backend, now);
                }
                Output::Done(cause) => {
                    // A bare socket ends with being dropped.
                    if is_finishing && self.client.may_hold_back() {
                        self.flush(cx, Side::Client, now);
                    }
                    if is_finishing && self.backend.may_hold_back() {
                        self.flush(cx, Side::Backend, now);
                    }
                    return ControlFlow::Break(cause);
                }
                Output::Wait(deadline) => return ControlFlow::Continue(deadline),
            }
        }
    }

    fn ended(&self, cause: Cause) -> Ended {
        let volume = |from, bytes| Volume { messages: self.session.messages(from), bytes };
        Ended {
            cause,
            up: volume(Side::Client, self.client.bytes_read),
            down: volume(Side::Backend, self.backend.bytes_read),
        }
    }
}

/// What relays of one route share.
#[derive(Debug, Clone)]
pub(crate) struct RelayPolicy {
    /// Its name, for the log.
    pub(crate) route: Arc<str>,
    pub(crate) session: Arc<longhaul_proto::session::SessionPolicy>,
    pub(crate) lifetime: Option<std::time::Duration>,
    /// How lost replicas are replaced, where they are.
    pub(crate) redial: Option<RedialTerms>,
    /// The same for sessions that outlast their replica whatever the route does with others.
    pub(crate) replacing: RedialTerms,
    pub(crate) buffer_bytes_max: usize,
}

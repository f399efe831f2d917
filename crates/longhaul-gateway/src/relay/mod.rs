//! Moves the bytes of one WebSocket: owns both streams and the [`Session`] that decides.
//!
//! One task per session. It reads a leg into the worker's scratch buffer, lets the session say what
//! passes, and writes on at once. Nothing is allocated per message, and no lock is taken.

pub(crate) mod control;
pub(crate) mod stream;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::redial::RedialTerms;
use bytes::Bytes;
use control::{Control, Order};
use longhaul_proto::session::{Cause, Output, Session, Side};
use stream::{LegIo, Stream, with_scratch};
use tokio::time::{Sleep, sleep_until};

/// Reads in a row before other tasks of the worker get their turn.
const TURNS_MAX: usize = 32;

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
    /// What was read beyond the handshake; it comes first.
    pub(crate) read_ahead: Bytes,
}

/// Relays until the session is done. Dropping the future ends both connections at once.
pub(crate) async fn run<C, B>(
    client: Leg<C>,
    backend: Leg<B>,
    session: Session,
    control: &Control,
    buffer_bytes_max: usize,
) -> Ended
where
    C: LegIo,
    B: LegIo,
{
    let mut relay = Relay {
        client: Stream::new(client.io),
        backend: Stream::new(backend.io),
        session,
        buffer_bytes_max,
    };
    let mut timer = pin!(sleep_until(tokio::time::Instant::now()));
    let mut read_ahead = Some((client.read_ahead, backend.read_ahead));
    poll_fn(|cx| {
        if let Some((from_client, from_backend)) = read_ahead.take() {
            relay.client.bytes_read += from_client.len() as u64;
            relay.backend.bytes_read += from_backend.len() as u64;
            relay.pass(cx, Side::Backend, &from_backend);
            relay.pass(cx, Side::Client, &from_client);
        }
        relay.poll(cx, timer.as_mut(), control)
    })
    .await
}

struct Relay<C, B> {
    client: Stream<C>,
    backend: Stream<B>,
    session: Session,
    buffer_bytes_max: usize,
}

impl<C, B> Relay<C, B>
where
    C: LegIo,
    B: LegIo,
{
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        control: &Control,
    ) -> Poll<Ended> {
        if let Some(order) = control.poll_order(cx) {
            self.obey(order);
        }
        self.flush(cx, Side::Client);
        self.flush(cx, Side::Backend);
        self.read(cx);
        loop {
            if let Some(cause) = self.settle(cx) {
                return Poll::Ready(self.ended(cause));
            }
            let Output::Wait(deadline) = self.session.poll() else { continue };
            let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
                return Poll::Pending;
            };
            // A deadline that moved later is left alone: the timer fires early once, and only then
            // is it set anew. So nothing is re-armed per message.
            if timer.deadline() > deadline || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.session.deadline_reached(Instant::now());
        }
    }

    fn obey(&mut self, order: Order) {
        let now = Instant::now();
        match (order, self.backend.lasting()) {
            (Order::Drain, _) => self.session.end(Cause::Drained, now),
            (Order::ReplicaLost, None) => self.session.end(Cause::ReplicaLost, now),
            (Order::ReplicaLost, Some(leg)) => leg.note_replica_lost(),
            // Without another leg to go to, the client has to come again; at the last moment, since
            // the replica may well finish what it does.
            (Order::ReplicaLeaves, None) => {}
            (Order::ReplicaLeavesNow, None) => self.session.end(Cause::ReplicaDrained, now),
            (Order::ReplicaLeaves, Some(leg)) => leg.note_replica_leaves(false),
            (Order::ReplicaLeavesNow, Some(leg)) => leg.note_replica_leaves(true),
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
    fn read(&mut self, cx: &mut Context<'_>) {
        with_scratch(self.buffer_bytes_max, |scratch| {
            for _ in 0..TURNS_MAX {
                // The replica first: if it has gone, nothing more should be written to it.
                let backend = self.read_leg(cx, Side::Backend, scratch);
                let client = self.read_leg(cx, Side::Client, scratch);
                if !client && !backend {
                    return;
                }
            }
            cx.waker().wake_by_ref();
        });
    }

    /// Reads one leg once. Says whether it had something.
    fn read_leg(&mut self, cx: &mut Context<'_>, from: Side, scratch: &mut [u8]) -> bool {
        if !self.session.wants(from) {
            return false;
        }
        let read = match from {
            Side::Client => self.client.poll_read(cx, scratch),
            Side::Backend => self.backend.poll_read(cx, scratch),
        };
        match read {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => self.note_end(from, false, Instant::now()),
            Poll::Ready(Ok(len)) => self.pass(cx, from, &scratch[..len]),
            Poll::Ready(Err(_)) => self.note_end(from, true, Instant::now()),
        }
        true
    }

    /// Lets the session say what of `bytes` goes on, and writes it.
    fn pass(&mut self, cx: &mut Context<'_>, from: Side, mut bytes: &[u8]) {
        let now = Instant::now();
        let to = from.other();
        while !bytes.is_empty() {
            let step = self.session.receive(from, bytes, now);
            bytes = &bytes[step.consumed..];
            let wrote = match to {
                Side::Client => self.client.write(cx, step.forward),
                Side::Backend => self.backend.write(cx, step.forward),
            };
            self.note_write(to, wrote.map(|()| true), now);
            self.settle(cx);
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>, to: Side) {
        let flushed = match to {
            Side::Client => self.client.flush(cx),
            Side::Backend => self.backend.flush(cx),
        };
        self.note_write(to, flushed, Instant::now());
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

    /// Does what the session wants done. Returns the cause when it is done.
    fn settle(&mut self, cx: &mut Context<'_>) -> Option<Cause> {
        loop {
            match self.session.poll() {
                Output::Send { to, frame } => {
                    let wrote = match to {
                        Side::Client => self.client.write(cx, frame.as_bytes()),
                        Side::Backend => self.backend.write(cx, frame.as_bytes()),
                    };
                    self.note_write(to, wrote.map(|()| true), Instant::now());
                }
                Output::Finish(to) => {
                    match to {
                        Side::Client => self.client.finish(),
                        Side::Backend => self.backend.finish(),
                    }
                    self.flush(cx, to);
                }
                Output::Done(cause) => return Some(cause),
                Output::Wait(_) => return None,
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
    pub(crate) session: Arc<longhaul_proto::session::SessionPolicy>,
    pub(crate) lifetime: Option<std::time::Duration>,
    /// How lost replicas are replaced, where they are.
    pub(crate) redial: Option<RedialTerms>,
    pub(crate) buffer_bytes_max: usize,
}

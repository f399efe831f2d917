//! The two directions of a raw TCP connection, moved by one task.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{Sleep, sleep_until};

use super::splice::{Bulk, Moved};
use super::{Books, Parties};
use crate::config::TcpRoute;
use crate::handoff::state::PipeState;
use crate::relay::control::{Control, Hold, Order};
use crate::relay::stream::{LegIo, Stream, shut_down, with_scratch};
use crate::transport::Transport;

/// Bytes moved at once, and the most that waits for a slow peer.
const BUFFER_BYTES: usize = 64 * 1024;
/// Reads in a row before other tasks of the worker get their turn.
const TURNS_MAX: usize = 32;

/// Both directions of one raw TCP connection.
pub(super) struct Pipe {
    pub(super) client: Stream<Transport>,
    pub(super) backend: Stream<Transport>,
    /// Whether the client, the backend, sends no more.
    has_ended: [bool; 2],
    /// From the client, from the backend.
    bulk: [Bulk; 2],
    moved_at: Instant,
    /// What was read before it was known whose it is, until the first turn.
    prefix: Option<Bytes>,
}

impl Pipe {
    pub(super) fn new(
        client: Stream<Transport>,
        backend: Stream<Transport>,
        prefix: Bytes,
        now: Instant,
    ) -> Self {
        Self {
            client,
            backend,
            has_ended: [false; 2],
            bulk: [Bulk::default(), Bulk::default()],
            moved_at: now,
            prefix: Some(prefix),
        }
    }

    /// What another process needs to go on with it. What lies in pipes comes out of them.
    pub(super) fn freeze(&mut self) -> PipeState {
        let [up, down] = &mut self.bulk;
        self.backend.store(&up.spill());
        self.client.store(&down.spill());
        let micros = self.moved_at.elapsed().as_micros();
        PipeState {
            client: self.client.freeze(),
            backend: self.backend.freeze(),
            has_ended: self.has_ended,
            moved_us: u64::try_from(micros).unwrap_or(u64::MAX),
        }
    }

    /// Goes on from there.
    pub(super) fn thaw(client: Transport, backend: Transport, state: PipeState) -> Self {
        let now = Instant::now();
        let mut pipe = Self::new(Stream::new(client), Stream::new(backend), Bytes::new(), now);
        pipe.prefix = None;
        pipe.renew(state);
        pipe
    }

    /// Goes on from there instead, over the connections it has, before it has begun.
    pub(super) fn renew(&mut self, state: PipeState) {
        let PipeState { client, backend, has_ended, moved_us } = state;
        self.client.renew(client);
        self.backend.renew(backend);
        self.has_ended = has_ended;
        let now = Instant::now();
        self.moved_at = now.checked_sub(Duration::from_micros(moved_us)).unwrap_or(now);
    }

    /// Has both peers hear at once that it has ended, though another process has descriptors too.
    pub(super) fn hang_up(&self) {
        let sockets = [self.client.io().socket(), self.backend.io().socket()];
        sockets.into_iter().flatten().for_each(shut_down);
    }

    /// Moves bytes until the end, and names what brought it; `None` when another process goes on.
    pub(super) async fn run(&mut self, books: &Books) -> Option<&'static str> {
        let Parties { route, control, .. } = &books.parties;
        let mut timer = pin!(sleep_until(tokio::time::Instant::now()));
        poll_fn(|cx| {
            let mut is_asked_ahead = false;
            match control.look(cx) {
                Hold::Free => {}
                Hold::Ahead => is_asked_ahead = true,
                // The prefix goes first; the wish is heard at the next look.
                Hold::Wanted(_) if self.prefix.is_some() => {
                    control.hold();
                    cx.waker().wake_by_ref();
                }
                Hold::Wanted(since) => {
                    books.put_down(self, since);
                    return Poll::Pending;
                }
                Hold::Still => return Poll::Pending,
                Hold::Gone => {
                    books.movers.forward(control, cx);
                    return Poll::Ready(None);
                }
            }
            let turn = self.turn(cx, control, route, &mut timer.as_mut());
            // Behind this turn: what happens from here on has it polled, and that is seen.
            if is_asked_ahead && turn.is_pending() {
                books.copy_ahead(self);
            }
            turn.map(Some)
        })
        .await
    }

    /// Does what there is to do now.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        control: &Control,
        route: &TcpRoute,
        timer: &mut Pin<&mut Sleep>,
    ) -> Poll<&'static str> {
        if let Some(prefix) = self.prefix.take() {
            self.client.bytes_read += prefix.len() as u64;
            if self.backend.write(cx, &prefix).is_err() {
                return Poll::Ready("replica_gone");
            }
        }
        match control.take_order(cx) {
            Some(Order::ReplicaLost) => return Poll::Ready("replica_lost"),
            Some(Order::Close) => return Poll::Ready("ordered"),
            // What is open may go on until the drain is over: no close frame could announce it.
            // Bytes alone cannot be moved to another replica.
            Some(Order::ReplicaLeaves | Order::ReplicaLeft | Order::ReplicaDrained) => {}
            // Rights are granted to WebSockets alone.
            Some(Order::Drain | Order::Expired | Order::Revoked) | None => {}
        }
        if let Err(cause) = self.pump(cx) {
            return Poll::Ready(cause);
        }
        let [client_ended, backend_ended] = self.has_ended;
        let is_flushed = !self.client.is_blocked() && !self.backend.is_blocked();
        if client_ended && backend_ended && is_flushed {
            return Poll::Ready("ended");
        }
        // After one end the other direction may go on only while bytes move.
        let is_half = client_ended || backend_ended;
        let Some(limit) = (if is_half { Some(route.linger) } else { route.idle }) else {
            return Poll::Pending;
        };
        loop {
            let deadline = tokio::time::Instant::from_std(self.moved_at + limit);
            if timer.is_elapsed() || timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.moved_at + limit <= Instant::now() {
                return Poll::Ready(if is_half { "half_closed" } else { "idle_limit" });
            }
        }
    }

    fn pump(&mut self, cx: &mut Context<'_>) -> Result<(), &'static str> {
        let client_moved = self.client.flush(cx).map_err(|_| "client_gone")?;
        let backend_moved = self.backend.flush(cx).map_err(|_| "replica_gone")?;
        if client_moved || backend_moved {
            self.moved_at = Instant::now();
        }
        let [client_ended, backend_ended] = &mut self.has_ended;
        let [up, down] = &mut self.bulk;
        with_scratch(BUFFER_BYTES, |scratch| {
            for _ in 0..TURNS_MAX {
                let mut one_way = Way { has_ended: client_ended, bulk: up };
                let up = one_way
                    .step(&mut self.client, &mut self.backend, cx, scratch)
                    .map_err(|is_reader| if is_reader { "client_gone" } else { "replica_gone" })?;
                let mut other_way = Way { has_ended: backend_ended, bulk: down };
                let down = other_way
                    .step(&mut self.backend, &mut self.client, cx, scratch)
                    .map_err(|is_reader| if is_reader { "replica_gone" } else { "client_gone" })?;
                if !up && !down {
                    return Ok(());
                }
                self.moved_at = Instant::now();
            }
            cx.waker().wake_by_ref();
            Ok(())
        })
    }
}

/// One direction of a connection.
struct Way<'a> {
    has_ended: &'a mut bool,
    bulk: &'a mut Bulk,
}

impl Way<'_> {
    /// Moves what `from` has to `to`. Says whether something moved.
    ///
    /// # Errors
    /// True when reading failed, false when writing did.
    fn step(
        &mut self,
        from: &mut Stream<Transport>,
        to: &mut Stream<Transport>,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Result<bool, bool> {
        if *self.has_ended || to.is_blocked() {
            return Ok(false);
        }
        if self.bulk.is_on()
            && let (Transport::Plain(source), Transport::Plain(sink)) = (from.io(), to.io())
        {
            match self.bulk.step(source, sink, cx)? {
                Moved::Some(len) => {
                    from.bytes_read += len as u64;
                    return Ok(true);
                }
                Moved::Nothing => return Ok(false),
                Moved::End => return self.end(to, cx),
                Moved::Refused => {}
            }
        }
        match from.poll_read(cx, scratch) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => self.end(to, cx),
            Poll::Ready(Ok(len)) => {
                self.bulk.note_read(len == scratch.len());
                to.write(cx, &scratch[..len]).map(|()| true).map_err(|_| false)
            }
            Poll::Ready(Err(_)) => Err(true),
        }
    }

    fn end(&mut self, to: &mut Stream<Transport>, cx: &mut Context<'_>) -> Result<bool, bool> {
        *self.has_ended = true;
        to.finish();
        to.flush(cx).map_err(|_| false)
    }
}

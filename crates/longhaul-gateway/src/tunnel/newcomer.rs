//! A WebSocket that has just begun: it stays with the worker that opened it until it is known to talk.
//!
//! In a reactor a message costs half as much, and going there costs what some dozens of messages
//! save. Many WebSockets never bring that many: they are opened, say hello and wait, or leave.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::Open;
use crate::reactor::Fate;
use crate::relay::stream::LegIo;

/// How many messages, both ways, are worth the change of threads: 15 to 20 µs of it against about 1 µs
/// saved by each (decision 0019).
const MESSAGES_WORTH_MOVING: u64 = 16;

/// The task in the worker. `None` once it has gone to the reactor.
pub(super) struct Newcomer<C, B>(Option<Open<C, B>>);

impl<C: LegIo, B: LegIo> Newcomer<C, B> {
    /// Both legs must be sockets.
    pub(super) fn new(open: Open<C, B>) -> Self {
        Self(Some(open))
    }
}

impl<C: LegIo, B: LegIo> Future for Newcomer<C, B> {
    type Output = Fate;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fate> {
        let this = self.get_mut();
        if let Some(open) = &mut this.0 {
            if let Poll::Ready(fate) = Pin::new(&mut *open).poll(cx) {
                return Poll::Ready(fate);
            }
            if open.relay.messages() < MESSAGES_WORTH_MOVING {
                return Poll::Pending;
            }
        }
        if let Some(open) = this.0.take() {
            open.move_to_reactor();
        }
        Poll::Ready(Fate::Shared)
    }
}

impl<C: LegIo, B: LegIo> Open<C, B> {
    /// Goes on in the reactor of its worker. It stays in the registry meanwhile: what it is told on the
    /// way, it hears there.
    fn move_to_reactor(mut self) {
        let Some((tunnel, slot)) = self.tunnel.take() else { return };
        tunnel.control.change_hands();
        let tally = self.relay.tally();
        tally.open.sub(1);
        tally.buffered.sub(self.relay.held_bytes());
        let worker = tunnel.worker.clone();
        let tallies = &worker.current.load_full().telemetry.tallies;
        let tally = tallies.of_reactor(worker.index, &tunnel.control.card.route);
        let Some(relay) = self.relay.into_sockets(tally) else {
            worker.current.load().registry.remove(slot);
            return tunnel.fail(&"the runtime did not let go of the socket");
        };
        worker.reactor.run(move |reactor| {
            // By the reactor's thread, whose tally it is.
            relay.tally().open.add(1);
            relay.tally().buffered.add(relay.held_bytes());
            Open { relay, tunnel: Some((tunnel, slot)) }.enter(reactor);
        });
    }
}

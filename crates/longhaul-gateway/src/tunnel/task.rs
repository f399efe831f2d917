//! The task of one open WebSocket: has it relayed, copied while that goes on, put down, or ended.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::Tunnel;
use crate::reactor::{self, Fate, Hub, Socket};
use crate::registry::Slot;
use crate::relay::Relay;
use crate::relay::control::Hold;
use crate::relay::stream::LegIo;

/// One open WebSocket. Not an `async fn`, whose state would hold the legs twice.
pub(super) struct Open<C, B> {
    pub(super) relay: Relay<C, B>,
    /// `None` once it has gone elsewhere.
    pub(super) tunnel: Option<(Tunnel, Slot)>,
}

impl<C: LegIo, B: LegIo> Open<C, B> {
    /// The other process has it: this one's descriptors are closed, the connections are not.
    fn leave(&mut self, cx: &Context<'_>) -> Poll<Fate> {
        if let Some((tunnel, slot)) = self.tunnel.take() {
            let (control, worker) = (tunnel.control.clone(), tunnel.worker.clone());
            let tally = self.relay.tally();
            tally.buffered.sub(self.relay.held_bytes());
            tunnel.leave(slot, tally);
            worker.current.load().movers.forward(&control, cx);
        }
        Poll::Ready(Fate::Shared)
    }
}

impl Open<Socket, Socket> {
    pub(super) fn enter(self, reactor: &mut Hub) {
        reactor.add(Box::new(self));
    }
}

impl reactor::Task for Open<Socket, Socket> {
    fn sockets(&self) -> [&Socket; 2] {
        self.relay.ios().into()
    }

    fn prefetch(&self) {
        reactor::prefetch(self.relay.control());
    }
}

impl<C: LegIo, B: LegIo> Future for Open<C, B> {
    type Output = Fate;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fate> {
        let this = self.get_mut();
        let mut is_asked_ahead = false;
        if let Some((tunnel, _)) = &this.tunnel {
            match tunnel.control.look(cx) {
                Hold::Free => {}
                // What is left of the handshakes goes first; the wish is heard at the next look.
                Hold::Wanted(_) if this.relay.is_new() => {
                    tunnel.control.hold();
                    cx.waker().wake_by_ref();
                }
                Hold::Wanted(since) => {
                    tunnel.put_down(&this.relay, since);
                    return Poll::Pending;
                }
                Hold::Ahead => is_asked_ahead = true,
                Hold::Still => return Poll::Pending,
                Hold::Gone => return this.leave(cx),
            }
        }
        let Poll::Ready(ended) = Pin::new(&mut this.relay).poll(cx) else {
            // Behind this turn: what happens from here on has it polled, and that is seen.
            if let Some((tunnel, _)) = this.tunnel.as_ref().filter(|_| is_asked_ahead) {
                tunnel.copy_ahead(&mut this.relay);
            }
            return Poll::Pending;
        };
        if let Some((tunnel, slot)) = this.tunnel.take() {
            if tunnel.control.is_ahead() {
                this.relay.hang_up();
            }
            tunnel.end(slot, this.relay.tally(), &ended);
        }
        Poll::Ready(Fate::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two thirds of what an idle WebSocket costs are bookkeeping of the runtime's. The rest is
    /// this, and whoever adds a field for some routes only should box it.
    #[test]
    fn an_idle_websocket_is_small() {
        let size = size_of::<Open<Socket, Socket>>();
        assert!(size <= 704, "{size} bytes");
    }
}

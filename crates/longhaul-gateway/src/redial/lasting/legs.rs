//! From one replica to the next: lost, left, searched for, found.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use longhaul_proto::redial::Loss;
use longhaul_proto::session::Cause;
use longhaul_proto::websocket::CloseCode;
use tokio::io::AsyncWrite;

use super::{Inner, Leaving, MOVE_AGAIN, address};
use crate::config::Cutover;
use crate::redial::former::{FAREWELL, Former};
use crate::redial::origin::{Errand, Reason, Wire};

impl Inner {
    pub(in crate::redial) fn note_replica_lost(&mut self) {
        // Looked up, since the word may be about a replica that was left meanwhile.
        if self.current.as_ref().is_some_and(|wire| wire.held.is_lost()) {
            self.lose(Reason::Crash, true, Some(Cause::ReplicaLost));
        }
    }

    pub(in crate::redial) fn note_replica_leaves(&mut self, is_urgent: bool) {
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

    pub(super) fn poll_search(&mut self, cx: &mut Context<'_>, now: Instant) {
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
    pub(super) fn adopt(&mut self, wire: Wire) {
        self.control.set_replica(wire.held.replica().address());
        self.leaving = None;
        self.is_deaf = false;
        self.current = Some(wire);
        // What was said about it before the control named it has reached nobody.
        self.note_replica_leaves(false);
        self.note_replica_lost();
    }

    /// Leaves a replica that drains when the moment has come.
    pub(super) fn consider_leaving(&mut self, cx: &mut Context<'_>, now: Instant) {
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
            let farewell = self.redial.farewell(FAREWELL);
            let unread = self.redial.switch(now);
            let linger = self.terms.linger;
            let left = self.current.take();
            self.former = left.map(|wire| Former::new(wire, farewell, unread, linger, now));
            self.adopt(wire);
            self.flush(cx, now);
        }
    }

    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        match self.leaving {
            Some(Leaving { quiet, .. }) if !quiet.is_zero() => {
                self.redial.quiet_since().is_some_and(|since| since + quiet <= now)
            }
            _ => true,
        }
    }

    pub(super) fn start_search(
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
    pub(super) fn lose(&mut self, reason: Reason, is_abrupt: bool, cause: Option<Cause>) {
        let Some(wire) = self.current.take() else { return };
        self.hang_up_if_copied(&wire);
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
    pub(super) fn give_up(&mut self) {
        self.drop_current();
        self.end(Some(Cause::RedialUnsettled));
    }

    fn drop_current(&mut self) {
        if let Some(left) = self.current.take() {
            self.hang_up_if_copied(&left);
        }
    }

    /// A replica that is left is to hear of it now, though another process may have a copy of the socket.
    fn hang_up_if_copied(&self, left: &Wire) {
        if self.control.is_ahead() {
            left.hang_up();
        }
    }

    pub(super) fn end(&mut self, cause: Option<Cause>) {
        self.is_over = true;
        self.cause = cause;
        self.search = None;
        self.next = None;
    }

    pub(super) fn end_former(&mut self) {
        if let Some(former) = self.former.take() {
            self.hang_up_if_copied(former.wire());
            if let (replica, Some(unread)) = former.unread() {
                self.origin.log_silent_leave(replica, unread);
            }
        }
        if !self.redial.end_former() {
            self.drop_current();
            self.end(None);
        }
    }

    /// The replica says that it goes: its close frame is answered and its connection dropped.
    pub(super) fn take_leave(&mut self, cx: &mut Context<'_>, code: CloseCode) {
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
}

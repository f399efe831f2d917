//! What the rest of the gateway tells a session.

use std::task::{Context, Poll};
use std::time::Instant;

use longhaul_proto::websocket::CloseCode;

use super::Session;
use crate::durable::sessions::Mail;
use crate::relay::control::Order;

/// What clients are told whose right has ended.
const TOKEN_OVER: CloseCode = CloseCode(4401);

impl Session {
    pub(super) fn take_orders(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        match self.control.take_order(cx) {
            Some(Order::Drain) if self.owner.is_attached() => {
                self.owner.finish(CloseCode::SERVICE_RESTART, "draining", now);
            }
            Some(Order::Drain) => self.owner.expire(now),
            // Looked up, since the word may be about a replica that was left meanwhile.
            Some(Order::ReplicaLost) if self.leg.as_ref().is_some_and(|leg| leg.held.is_lost()) => {
                self.lose_leg(now);
            }
            Some(Order::ReplicaLost) => {}
            Some(Order::ReplicaLeaves) => self.note_replica_leaves(false, now),
            Some(Order::ReplicaLeft) => self.note_replica_leaves(true, now),
            Some(Order::ReplicaDrained) if self.owner.may_replace_leg() => {
                self.note_replica_leaves(true, now);
            }
            Some(Order::ReplicaDrained) => {
                let reason = "the replica was drained";
                self.owner.finish(CloseCode::SERVICE_RESTART, reason, now);
            }
            // As a plain WebSocket is told; whoever comes back needs another token.
            Some(Order::Expired) => self.owner.finish(TOKEN_OVER, "the token has expired", now),
            Some(Order::Revoked) => self.owner.finish(TOKEN_OVER, "the token was revoked", now),
            Some(Order::Close) => self.owner.finish(CloseCode::GOING_AWAY, "", now),
            None => {}
        }
        while let Poll::Ready(Some(mail)) = self.mail.poll_recv(cx) {
            match mail {
                Mail::Link(arrival) => self.attach(*arrival, now),
                Mail::Migrate(delay) => self.owner.migrate(delay, now),
                Mail::Judged(verdict) => self.note_verdict(verdict, now),
                Mail::Expire if !self.owner.is_attached() => self.owner.expire(now),
                Mail::Expire => {}
            }
        }
    }
}

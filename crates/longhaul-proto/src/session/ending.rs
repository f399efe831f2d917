//! How a session ends: who is told what, in which order, and by when.

use std::time::Instant;

use super::{Cause, Excess, Session, Side, State};
use crate::websocket::CloseCode;

impl Session {
    /// Takes the end of what `from` sends: end of file, or a connection error when `is_reset`.
    pub fn receive_end(&mut self, from: Side, is_reset: bool, now: Instant) {
        self.now = now;
        self.rest = None;
        self.leg_mut(from).has_ended = true;
        if is_reset {
            self.leg_mut(from).kill();
        }
        self.begin_closing(Cause::Gone(from), true);
        if self.is_dismissed(from) && from == Side::Client {
            // The client left without answering the gateway's close; the replica is still told.
            self.dismiss(Side::Backend, CloseCode::GOING_AWAY, "client left");
        }
        if from == Side::Client && self.client.has_closed && self.backend.has_closed {
            // Both have said goodbye, and nobody is left to hear more. (A replica that ended first may
            // still have words on their way to the client: that one is waited for.)
            self.client.finish.order();
            self.backend.has_ended = true;
        }
        self.end_across(from);
    }

    /// Ends the session for a reason of the gateway's own, or because its replica is lost. The
    /// client gets a close frame at the next frame boundary and may still say what it had begun.
    pub fn end(&mut self, cause: Cause, now: Instant) {
        self.now = now;
        if matches!(self.state, State::Closing { .. }) {
            return;
        }
        self.begin_closing(cause, false);
        if cause == Cause::ReplicaLost {
            self.backend.kill();
            self.end_across(Side::Backend);
        } else {
            self.dismiss(Side::Client, cause.client_code(), reason(cause));
        }
    }

    /// Takes the end of the backend leg, whatever brought it. A cause that is known stays.
    pub fn lose_backend(&mut self, cause: Cause, now: Instant) {
        self.now = now;
        self.lose(Side::Backend, cause);
    }

    /// A leg is found dead: it gets nothing more, and the other is told.
    pub(super) fn lose(&mut self, side: Side, cause: Cause) {
        self.begin_closing(cause, false);
        self.leg_mut(side).kill();
        self.end_across(side);
    }

    /// A leg sends what cannot be followed: both are told, as far as frame boundaries allow.
    pub(super) fn fail(&mut self, side: Side, cause: Cause) {
        self.begin_closing(cause, false);
        let reason = reason(cause);
        match side {
            Side::Client => {
                self.dismiss(Side::Client, cause.client_code(), reason);
                let words = match cause {
                    Cause::Excess(_) => "client sent too much",
                    _ => "client broke the protocol",
                };
                self.dismiss(Side::Backend, CloseCode::GOING_AWAY, words);
                self.client.finish.order();
                self.end_across(Side::Client);
            }
            Side::Backend => {
                // Whoever looks for the fault there finds the code that says whose it is.
                let words = "frames cannot be followed";
                self.dismiss(Side::Backend, CloseCode::PROTOCOL_ERROR, words);
                self.backend.finish.order();
                self.end_across(Side::Backend);
            }
        }
    }

    /// Ends what the other leg is sent, since nothing more comes from `from`.
    pub(super) fn end_across(&mut self, from: Side) {
        let State::Closing { cause, .. } = self.state else { return };
        let is_at_boundary = self.leg(from).scanner.is_at_boundary();
        let is_closed_by_peer = matches!(cause, Cause::Closed { .. });
        let to = from.other();
        if !is_at_boundary {
            // Half a frame was passed on; a close frame behind it would be read as its payload.
            self.leg_mut(to).farewell = None;
        } else if from == Side::Backend && !is_closed_by_peer && !self.client.is_dismissed {
            self.dismiss(Side::Client, cause.client_code(), reason(cause));
        }
        self.leg_mut(to).finish.order();
    }

    fn dismiss(&mut self, to: Side, code: CloseCode, reason: &str) {
        let mask = self.mask_for(to);
        self.leg_mut(to).dismiss(code, reason, mask);
    }

    fn begin_closing(&mut self, cause: Cause, is_renewed: bool) {
        self.rest = None;
        begin_closing(&mut self.state, cause, self.now + self.policy.linger, is_renewed);
    }

    fn is_dismissed(&self, side: Side) -> bool {
        self.leg(side).is_dismissed
    }
}

/// The first cause stays: a session has exactly one.
pub(super) fn begin_closing(state: &mut State, cause: Cause, until: Instant, is_renewed: bool) {
    if matches!(state, State::Open) {
        *state = State::Closing { cause, until, is_renewed };
    }
}

/// The reason sent in a close frame: short, and nothing a stranger should not read.
fn reason(cause: Cause) -> &'static str {
    match cause {
        Cause::Gone(_) | Cause::ReplicaLost => "replica went away",
        Cause::RedialGaveUp(_) => "no replica could be reached",
        Cause::RedialRefused(_) => "refused by the next replica",
        Cause::RedialUnsettled => "not taken by the next replica",
        Cause::Silent(_) => "replica stopped answering",
        Cause::Stalled(_) => "replica stopped reading",
        Cause::Fault(Side::Client, _) => "frames cannot be followed",
        Cause::Fault(Side::Backend, _) => "replica broke the protocol",
        Cause::Excess(Excess::Message) => "message too large",
        Cause::Excess(Excess::Messages) => "too many messages",
        Cause::Excess(Excess::Bytes) => "too many bytes",
        Cause::Idle => "idle for too long",
        Cause::Lifetime => "lifetime reached",
        Cause::Expired => "token expired",
        Cause::Revoked => "revoked",
        Cause::Drained => "gateway drains",
        Cause::ReplicaDrained => "replica drains",
        Cause::Ordered => "ended by an operator",
        Cause::Closed { .. } => "",
    }
}

//! What an owner does when nothing happens.

use std::time::{Duration, Instant};

use super::super::{Control, code};
use super::{Leg, Output, Owner};
use crate::websocket::CloseCode;

/// Pings without an answer after which a link is dead.
const SILENT_HEARTBEATS: u32 = 3;

impl Owner {
    /// Looks at every deadline; safe to call early.
    pub fn deadline_reached(&mut self, now: Instant) {
        self.now = now;
        if self.ended.is_some() {
            return;
        }
        if let Some(key) =
            self.newest.as_ref().filter(|_| self.dead_at() <= Some(now)).map(|l| l.key)
        {
            self.outbox.push_back(Output::Abort(key));
            self.detach();
        }
        if self.older_until().is_some_and(|until| until <= now) {
            self.drop_older();
        }
        if let Leg::Closing(until) = self.leg
            && until <= now
        {
            match self.aware {
                // What the replica did not commit is not acknowledged for it.
                Some(_) => return self.over(code::LOST),
                None => self.lose_leg(),
            }
        }
        self.look_at_attaching();
        if self.token_due_at().is_some_and(|at| at <= now) {
            self.renew_token();
        }
        if let Some((key, until)) = self.migrating
            && until <= now
        {
            self.say(key, &Control::Goaway { retry: 0 });
            self.outbox.push_back(Output::Close { link: key, code: CloseCode::SERVICE_RESTART });
            self.detach();
        }
        if self.stalled_at.is_some_and(|at| at + self.policy.stall <= now) {
            self.over(code::OVERFLOW);
        } else if self.gone_at().is_some_and(|at| at <= now) {
            self.over(code::UNKNOWN);
        }
    }

    /// When the session is over, if no link comes.
    fn gone_at(&self) -> Option<Instant> {
        let grace =
            if self.was_confirmed { self.policy.grace } else { self.policy.grace_unconfirmed };
        self.detached_at.map(|at| at + grace)
    }

    fn dead_at(&self) -> Option<Instant> {
        let silence: Duration = self.policy.heartbeat * SILENT_HEARTBEATS;
        self.newest.as_ref().map(|link| link.received_at + silence)
    }

    fn older_until(&self) -> Option<Instant> {
        self.older.as_ref().map(|link| link.opened_at + self.policy.older_link)
    }

    fn token_due_at(&self) -> Option<Instant> {
        self.newest.as_ref().filter(|link| link.is_confirmed).map(|_| self.token_at)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let policy = &self.policy;
        let speaks = self.newest.as_ref().filter(|link| !link.is_blocked);
        let ack = speaks.and_then(|link| link.acker.due_at(policy.window, policy.pace));
        let ping = speaks.map(|link| link.ping_at(policy.heartbeat));
        let leg = match self.leg {
            Leg::Closing(until) => Some(until),
            Leg::Up | Leg::Gone => None,
        };
        let stall = self.stalled_at.map(|at| at + policy.stall);
        let migrate = self.migrating.map(|(_, until)| until);
        let attach = self.aware.as_ref().and_then(|aware| aware.attaches_until());
        [
            ack,
            attach,
            ping,
            leg,
            stall,
            migrate,
            self.dead_at(),
            self.older_until(),
            self.token_due_at(),
            self.gone_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

//! Whether the replica is still there, and what it has read: pings, and when to give it up.

use std::time::{Duration, Instant};

use super::gather::Gather;
use super::{Alarm, Redial, owed};
use crate::websocket::frame::OwnFrame;

/// How soon after a message a ping asks whether it was read.
const QUESTION: Duration = Duration::from_secs(1);

impl Redial {
    /// Looks at the clock. `was_read` says that the replica had nothing to read just now: without that
    /// nobody knows whether it is silent.
    pub fn check(&mut self, was_read: bool, now: Instant) -> Alarm {
        self.check_ritual(now);
        if !self.is_up {
            return Alarm::None;
        }
        if self.settle_deadline().is_some_and(|at| at <= now) {
            return Alarm::Unsettled;
        }
        if self.blocked_since.is_some_and(|since| since + self.policy.write_stall <= now) {
            return Alarm::Stalled;
        }
        if self.pulse.dead_at(&self.policy).is_some_and(|at| at <= now) {
            return if was_read { Alarm::Silent } else { Alarm::None };
        }
        if self.ping_at().is_some_and(|at| at <= now) && self.may_ping() {
            let payload = self.pulse.ping(self.sent, now);
            let mask = self.mask_key();
            self.owed.push(owed::Kind::Own, OwnFrame::ping(&payload, Some(mask)).as_bytes());
        }
        Alarm::None
    }

    /// When [`Self::check`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let ritual = self.ritual.as_ref().filter(|_| self.may_interrupt());
        let ritual = ritual.and_then(|ritual| ritual.deadline(self.is_up));
        if !self.is_up {
            return ritual;
        }
        let ping = self.ping_at().filter(|_| self.may_ping());
        let stall = self.blocked_since.map(|since| since + self.policy.write_stall);
        [ping, self.pulse.dead_at(&self.policy), stall, ritual, self.settle_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn check_ritual(&mut self, now: Instant) {
        let (is_up, may_interrupt) = (self.is_up, self.may_interrupt());
        if let Some(ritual) = self.ritual.as_mut().filter(|_| may_interrupt) {
            ritual.check(is_up, now);
            self.heed_ritual(now);
        }
    }

    /// Whether the client may be sent a message that no replica has sent.
    fn may_interrupt(&self) -> bool {
        let is_cut = |down: &Gather| down.is_streaming();
        !is_cut(&self.down) && !self.former_down.as_ref().is_some_and(is_cut) && !self.is_closing
    }

    fn settle_deadline(&self) -> Option<Instant> {
        self.unsettled_since.map(|since| since + self.policy.settle)
    }

    fn ping_at(&self) -> Option<Instant> {
        // What is kept to be sent again is let go by answers, too.
        let question = match self.read < self.sent || self.kept() > 0 {
            false => None,
            // Before the client has to wait because so much is kept for it.
            true if self.kept() > self.policy.wait_bytes_max / 2 => Some(Duration::ZERO),
            true => Some(QUESTION),
        };
        self.pulse.ping_at(&self.policy, question)
    }

    /// Bytes kept to be sent again.
    pub(super) fn kept(&self) -> usize {
        self.recent.older.len() + self.recent.newer.len()
    }

    /// Whether a ping may stand behind what was written.
    pub(super) fn may_ping(&self) -> bool {
        self.owed.is_empty()
            && !self.is_settling()
            && self.up.is_at_frame_boundary()
            && !self.is_closing
    }
}

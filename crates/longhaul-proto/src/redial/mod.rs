//! A backend leg that outlasts its replica: what was half sent when one is lost, what waits for the
//! next, and what the next is told.
//!
//! It stands between a [`Session`](crate::session::Session), which sees one backend that never goes,
//! and the legs to one replica after the other. Both directions pass in whole messages, so a leg can
//! break anywhere and leave no half of one on either side. The price is a copy of what a read has
//! cut, up to a bound; a message beyond the bound passes as it comes, and a break inside of it
//! cannot be hidden.
//!
//! Owns no socket, clock or task. Bytes of the session go through [`Redial::send`], bytes of the
//! replica through [`Redial::receive`]; dialling is the caller's work.

mod clock;
mod down;
mod frozen;
mod gather;
mod outcome;
mod owed;
mod policy;
mod pulse;
mod ritual;
mod settle;
#[cfg(test)]
mod tests;
mod up;

use std::sync::Arc;
use std::time::Instant;

pub use frozen::FrozenRedial;
use gather::Gather;
use owed::{Owed, Rest};
use pulse::Pulse;
use ritual::Ritual;
use serde::{Deserialize, Serialize};

pub use outcome::{Alarm, Loss, News, Received, Sending};
pub use policy::{Prelude, RedialPolicy, Uncertain};
pub use ritual::{Polled, Profile};

use crate::websocket::frame::OwnFrame;
use crate::websocket::{CloseCode, Role};

/// A backend leg that outlasts its replica.
#[derive(Debug)]
pub struct Redial {
    policy: Arc<RedialPolicy>,
    /// Cuts what the client sends.
    up: Gather,
    /// Cuts what the replica sends.
    down: Gather,
    /// The same for a replica that was left in good order and still has something to say.
    former_down: Option<Gather>,
    owed: Owed,
    /// What passes to the client and did not lie whole in the caller's buffer.
    to_client: Vec<u8>,
    pulse: Pulse,
    is_up: bool,
    /// A close frame passed that ends the session: no leg is replaced any more.
    is_closing: bool,
    /// The rest of a message whose start is lost is dropped.
    is_skipping: bool,
    blocked_since: Option<Instant>,
    /// Since when no message passed in either direction.
    data_at: Instant,
    /// Client messages that were written whole, and those of them that a replica has read.
    sent: u64,
    read: u64,
    recent: Recent,
    prelude: Vec<u8>,
    prelude_count: u64,
    /// Messages of this replica that are still to be swallowed.
    suppress: u64,
    /// The protocol, where it has an opening of its own.
    ritual: Option<Box<Ritual>>,
    /// What the ritual says to the replica.
    talk: Vec<u8>,
    /// Since when the replica has been told the opening, until it has heard it all.
    unsettled_since: Option<Instant>,
    random: u64,
}

/// Messages kept to be sent again: those before the last answered ping, and those after it. So each
/// is kept until it was read, and for at least as long as one question takes after that.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Recent {
    #[serde(with = "crate::frozen::bytes")]
    older: Vec<u8>,
    #[serde(with = "crate::frozen::bytes")]
    newer: Vec<u8>,
}

impl Redial {
    /// Begins with a leg that stands at a frame boundary. `random` seeds mask keys.
    pub fn new(policy: Arc<RedialPolicy>, profile: Profile, random: u64, now: Instant) -> Self {
        let repeats = policy.uncertain == Uncertain::AtLeastOnce;
        let bounds = (policy.keep_bytes_max, policy.hold_bytes_max);
        Self {
            ritual: Ritual::new(profile, bounds.0, bounds.1, repeats, now),
            talk: Vec::new(),
            unsettled_since: None,
            up: Gather::new(Role::Client, policy.hold_bytes_max),
            down: Gather::new(Role::Server, policy.hold_bytes_max),
            former_down: None,
            owed: Owed::default(),
            to_client: Vec::new(),
            pulse: Pulse::new(now),
            is_up: true,
            is_closing: false,
            is_skipping: false,
            blocked_since: None,
            data_at: now,
            sent: 0,
            read: 0,
            recent: Recent::default(),
            prelude: Vec::new(),
            prelude_count: 0,
            suppress: 0,
            random: random | 1,
            policy,
        }
    }

    /// The leg is gone. `is_abrupt` when no close frame came before.
    pub fn lose(&mut self, is_abrupt: bool, now: Instant) -> Loss {
        let is_meant = !is_abrupt || self.policy.codes.contains(&ABNORMAL);
        self.is_up = false;
        self.blocked_since = None;
        self.talk = Vec::new();
        if self.is_closing || !is_meant || self.down.is_streaming() {
            return Loss::Fatal;
        }
        let rest = self.owed.rewind();
        if rest != Rest::None && self.ritual.as_ref().is_some_and(|ritual| ritual.is_inside()) {
            // Half an attachment: the packet is lost to any replica.
            return Loss::Fatal;
        }
        match rest {
            Rest::None => {}
            Rest::Dropped => self.sent += 1,
            Rest::ToCome => {
                self.is_skipping = true;
                self.sent += 1;
            }
        }
        if let Some(ritual) = &mut self.ritual {
            let Some(unfinished) = ritual.lose(now) else { return Loss::Fatal };
            self.owed.push_front(owed::Kind::Again, &unfinished);
            self.heed_ritual(now);
        }
        Loss::Hidden { uncertain: self.unread() }
    }

    /// A new leg is up: it hears the prelude, then what is to be sent again, then what waited.
    pub fn connect(&mut self, now: Instant) {
        self.down = Gather::new(Role::Server, self.policy.hold_bytes_max);
        let recent = std::mem::take(&mut self.recent);
        if self.policy.uncertain == Uncertain::AtLeastOnce {
            // Those behind the prelude: the first ones are in both when they are still recent.
            let again = [recent.older, recent.newer].concat();
            self.owed.push_front(owed::Kind::Again, &again);
            self.recent.newer = again;
        } else {
            self.read = self.sent;
        }
        self.begin_leg(now);
    }

    /// Goes over to a leg that is up while the one before still is; what that one still says is
    /// received as the former's. Only while [`Self::may_move`]. Returns the messages that the former
    /// has not said to have read, first and last.
    pub fn switch(&mut self, now: Instant) -> Option<(u64, u64)> {
        let unread = self.unread();
        let fresh = Gather::new(Role::Server, self.policy.hold_bytes_max);
        self.former_down = Some(std::mem::replace(&mut self.down, fresh));
        self.recent = Recent::default();
        self.read = self.sent;
        self.begin_leg(now);
        unread
    }

    fn unread(&self) -> Option<(u64, u64)> {
        (self.read < self.sent).then_some((self.read + 1, self.sent))
    }

    /// The former leg has said its last. False when half a message of it has passed to the client.
    pub fn end_former(&mut self) -> bool {
        let is_whole = self.former_down.take().is_none_or(|down| !down.is_streaming());
        is_whole & self.ritual.as_mut().is_none_or(|ritual| ritual.end_former())
    }

    /// Whether the leg may be left now without cutting a message of the client's in two.
    pub fn may_move(&self) -> bool {
        self.is_up
            && !self.is_closing
            && !self.is_settling()
            && self.owed.is_empty()
            && !self.up.is_streaming()
            && !self.ritual.as_ref().is_some_and(|ritual| ritual.is_inside())
    }

    /// Since when no message passed, if none is under way in either direction.
    pub fn quiet_since(&self) -> Option<Instant> {
        let is_idle = self.up.is_idle() && self.down.is_idle() && self.owed.is_empty();
        (is_idle && !self.is_settling()).then_some(self.data_at)
    }

    /// Whether the session ends: a close frame has passed, or its side was finished.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// The client's side is finished: no leg is replaced any more.
    pub fn finish(&mut self) {
        self.is_closing = true;
    }

    /// Whether a client that closes while no replica is there must be answered here: nothing of its
    /// own waits to be delivered first.
    pub fn is_closed_alone(&self) -> bool {
        !self.is_up && self.is_closing && self.owed.is_empty()
    }

    /// The close frame with which a leg is left.
    pub fn farewell(&mut self, code: CloseCode) -> OwnFrame {
        let mask = self.mask_key();
        OwnFrame::close(code, "moved", Some(mask))
    }

    fn begin_leg(&mut self, now: Instant) {
        self.pulse = Pulse::new(now);
        self.is_up = true;
        if self.prelude_count > 0 {
            let prelude = self.prelude.clone();
            self.owed.push_front(owed::Kind::Again, &prelude);
            self.suppress = self.policy.prelude.suppress;
        }
        if let Some(ritual) = &mut self.ritual {
            ritual.begin();
            self.unsettled_since = None;
            self.heed_ritual(now);
        }
    }

    /// xorshift64, as the session does it: see RFC 6455 §10.3.
    fn mask_key(&mut self) -> [u8; 4] {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 32) as u32).to_be_bytes()
    }
}

/// Stands for an end without a close frame (RFC 6455 §7.1.5); never on the wire.
const ABNORMAL: CloseCode = CloseCode(1006);

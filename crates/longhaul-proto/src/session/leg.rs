//! One leg of a session: what it sends, how alive it is, and how far its end has come.

use std::time::Instant;

use super::keepalive::Keepalive;
use crate::websocket::frame::OwnFrame;
use crate::websocket::{CloseCode, FrameFault, Role, Scanner};

#[derive(Debug)]
pub(super) struct Leg {
    /// Follows the frames this leg sends.
    pub(super) scanner: Scanner,
    pub(super) keepalive: Keepalive,
    /// Since when this leg refuses bytes that wait for it.
    pub(super) blocked_since: Option<Instant>,
    /// The close frame of this leg has passed.
    pub(super) has_closed: bool,
    /// Nothing more comes from this leg.
    pub(super) has_ended: bool,
    /// What this leg sends can no longer be followed; it is read to its end and dropped.
    pub(super) is_garbled: bool,
    /// Why, until the session has dealt with it.
    pub(super) fault: Option<FrameFault>,
    /// Nothing more can be written to this leg: it was reset, or is silent or stalled.
    pub(super) is_dead: bool,
    /// The gateway's own close frame, waiting for a boundary in what this leg is sent. Boxed: it is
    /// there for a moment at most, and the session for hours.
    pub(super) farewell: Option<Box<OwnFrame>>,
    /// The gateway's own close frame went out: what the other leg still sends is dropped.
    pub(super) is_dismissed: bool,
    pub(super) finish: Finish,
}

/// How far the gateway has come in ending its side of a leg's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Open,
    /// To be ended once everything before it was written.
    Due,
    Ordered,
}

impl Leg {
    pub(super) fn new(role: Role, now: Instant) -> Self {
        Self {
            scanner: Scanner::new(role),
            keepalive: Keepalive::new(now),
            blocked_since: None,
            has_closed: false,
            has_ended: false,
            is_garbled: false,
            fault: None,
            is_dead: false,
            farewell: None,
            is_dismissed: false,
            finish: Finish::Open,
        }
    }

    /// Whether bytes for this leg still have somewhere to go.
    pub(super) fn takes_bytes(&self) -> bool {
        !self.is_dead && !self.is_dismissed && self.finish != Finish::Ordered
    }

    /// Has the gateway's own close frame sent at the next boundary, unless the leg already ends.
    pub(super) fn dismiss(&mut self, code: CloseCode, reason: &str, mask: Option<[u8; 4]>) {
        if self.takes_bytes() && self.finish == Finish::Open && self.farewell.is_none() {
            self.farewell = Some(Box::new(OwnFrame::close(code, reason, mask)));
        }
    }

    pub(super) fn kill(&mut self) {
        self.has_ended = true;
        self.is_dead = true;
        self.farewell = None;
        self.blocked_since = None;
    }
}

impl Finish {
    /// Has the write direction ended, unless that was said before.
    pub(super) fn order(&mut self) {
        if *self == Self::Open {
            *self = Self::Due;
        }
    }
}

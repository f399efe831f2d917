//! What both machines keep about one link.

use std::time::{Duration, Instant};

use super::acker::Acker;
use super::item::Nonce;

/// A link, as whoever drives a machine names it. Never used twice for one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkKey(pub u64);

/// One link.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) key: LinkKey,
    /// Its number in the session.
    pub(super) number: u64,
    pub(super) acker: Acker,
    pub(super) opened_at: Instant,
    pub(super) received_at: Instant,
    pub(super) sent_at: Instant,
    pub(super) pinged_at: Option<Instant>,
    /// A ping of the other end to answer; a later one replaces it.
    pub(super) pong_due: Option<Nonce>,
    /// Whether what was written last still waits for the other end.
    pub(super) is_blocked: bool,
    /// Whether the other end has answered for the first time.
    pub(super) is_confirmed: bool,
}

impl Link {
    pub(super) fn new(key: LinkKey, number: u64, now: Instant) -> Self {
        Self {
            key,
            number,
            acker: Acker::default(),
            opened_at: now,
            received_at: now,
            sent_at: now,
            pinged_at: None,
            pong_due: None,
            is_blocked: false,
            is_confirmed: false,
        }
    }

    /// When a ping is due: nothing was heard, or nothing said, for so long. Traffic of one direction
    /// would hide that the other is dead.
    pub(super) fn ping_at(&self, interval: Duration) -> Instant {
        let at = self.received_at.min(self.sent_at) + interval;
        self.pinged_at.map_or(at, |pinged_at| at.max(pinged_at + interval))
    }
}

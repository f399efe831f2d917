//! What both machines keep about one link.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::acker::{Acker, FrozenAcker};
use super::item::Nonce;
use crate::frozen::{age, ago};

/// A link, as whoever drives a machine names it. Never used twice for one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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

/// The same as another process can take it up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FrozenLink {
    key: LinkKey,
    number: u64,
    acker: FrozenAcker,
    opened_us: u64,
    received_us: u64,
    sent_us: u64,
    pinged_us: Option<u64>,
    pong_due: Option<String>,
    is_blocked: bool,
    is_confirmed: bool,
}

impl Link {
    pub(super) fn freeze(&self, now: Instant) -> FrozenLink {
        let nonce = |nonce: &Nonce| String::from_utf8_lossy(nonce.as_bytes()).into_owned();
        FrozenLink {
            key: self.key,
            number: self.number,
            acker: self.acker.freeze(now),
            opened_us: age(self.opened_at, now),
            received_us: age(self.received_at, now),
            sent_us: age(self.sent_at, now),
            pinged_us: self.pinged_at.map(|at| age(at, now)),
            pong_due: self.pong_due.as_ref().map(nonce),
            is_blocked: self.is_blocked,
            is_confirmed: self.is_confirmed,
        }
    }

    pub(super) fn thaw(frozen: &FrozenLink, now: Instant) -> Self {
        Self {
            key: frozen.key,
            number: frozen.number,
            acker: Acker::thaw(&frozen.acker, now),
            opened_at: ago(frozen.opened_us, now),
            received_at: ago(frozen.received_us, now),
            sent_at: ago(frozen.sent_us, now),
            pinged_at: frozen.pinged_us.map(|us| ago(us, now)),
            pong_due: frozen.pong_due.as_ref().and_then(|nonce| Nonce::parse(nonce.as_bytes())),
            is_blocked: frozen.is_blocked,
            is_confirmed: frozen.is_confirmed,
        }
    }

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

//! A leg that outlasts its replica, as another process can take it up: with everything that is owed,
//! held and kept for the next replica.
//!
//! Moments become ages, and the policy stays behind, as with [`crate::session::FrozenSession`].

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::gather::{FrozenGather, Gather};
use super::owed::Owed;
use super::pulse::{FrozenPulse, Pulse};
use super::ritual::{FrozenRitual, Ritual};
use super::{Recent, Redial, RedialPolicy};
use crate::frozen::{age, ago};
use crate::websocket::Role;

/// Such a leg, put down in the middle of whatever it did.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct FrozenRedial {
    up: FrozenGather,
    down: FrozenGather,
    owed: Owed,
    #[serde(with = "crate::frozen::bytes")]
    to_client: Vec<u8>,
    pulse: FrozenPulse,
    is_up: bool,
    is_skipping: bool,
    blocked_us: Option<u64>,
    data_us: u64,
    sent: u64,
    read: u64,
    recent: Recent,
    #[serde(with = "crate::frozen::bytes")]
    prelude: Vec<u8>,
    prelude_count: u64,
    suppress: u64,
    ritual: Option<FrozenRitual>,
    #[serde(with = "crate::frozen::bytes")]
    talk: Vec<u8>,
    unsettled_us: Option<u64>,
    random: u64,
}

impl FrozenRedial {
    /// Whether it stands between two replicas.
    pub fn is_between_replicas(&self) -> bool {
        !self.is_up
    }
}

/// Without what was said: there are credentials in openings.
impl std::fmt::Debug for FrozenRedial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrozenRedial").field("is_up", &self.is_up).finish_non_exhaustive()
    }
}

impl Redial {
    /// What another process needs to go on with it. `None` once it ends, and while a replica that was
    /// left still has something to say: both are over soon.
    pub fn freeze(&self, now: Instant) -> Option<FrozenRedial> {
        let is_at_rest = !self.is_closing && self.former_down.is_none();
        is_at_rest.then(|| FrozenRedial {
            up: self.up.freeze(),
            down: self.down.freeze(),
            owed: self.owed.clone(),
            to_client: self.to_client.clone(),
            pulse: self.pulse.freeze(now),
            is_up: self.is_up,
            is_skipping: self.is_skipping,
            blocked_us: self.blocked_since.map(|since| age(since, now)),
            data_us: age(self.data_at, now),
            sent: self.sent,
            read: self.read,
            recent: self.recent.clone(),
            prelude: self.prelude.clone(),
            prelude_count: self.prelude_count,
            suppress: self.suppress,
            ritual: self.ritual.as_ref().map(|ritual| ritual.freeze(now)),
            talk: self.talk.clone(),
            unsettled_us: self.unsettled_since.map(|since| age(since, now)),
            random: self.random,
        })
    }

    /// Goes on with it. `None` for a state in which no leg can be.
    pub fn thaw(policy: Arc<RedialPolicy>, frozen: FrozenRedial, now: Instant) -> Option<Self> {
        let held_max = policy.hold_bytes_max;
        Some(Self {
            up: Gather::thaw(Role::Client, held_max, &frozen.up)?,
            down: Gather::thaw(Role::Server, held_max, &frozen.down)?,
            former_down: None,
            owed: frozen.owed.checked()?,
            to_client: frozen.to_client,
            pulse: Pulse::thaw(&frozen.pulse, now),
            is_up: frozen.is_up,
            is_closing: false,
            is_skipping: frozen.is_skipping,
            blocked_since: frozen.blocked_us.map(|us| ago(us, now)),
            data_at: ago(frozen.data_us, now),
            sent: frozen.sent,
            read: frozen.read,
            recent: frozen.recent,
            prelude: frozen.prelude,
            prelude_count: frozen.prelude_count,
            suppress: frozen.suppress,
            ritual: frozen.ritual.map(|ritual| Box::new(Ritual::thaw(ritual, &policy, now))),
            talk: frozen.talk,
            unsettled_since: frozen.unsettled_us.map(|us| ago(us, now)),
            // Zero is the one state that this generator never leaves.
            random: if frozen.random == 0 { 1 } else { frozen.random },
            policy,
        })
    }
}

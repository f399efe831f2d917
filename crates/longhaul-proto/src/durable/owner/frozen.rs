//! An owner as another process can take it up: a binary upgrade moves the session with whatever of its
//! links can move. A link that cannot is lost for it, and its client comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::LinkKey;
use super::super::intake::Intake;
use super::super::link::{FrozenLink, Link};
use super::aware::{Aware, FrozenAware};
use super::replace::Legs;
use super::tokens::Tokens;
use super::{Leg, Owner, OwnerPolicy, Replacement, Seal, Sender};
use crate::frozen::{age, ago, micros};

/// No wait of a session is longer: a clock can be counted on to have so much left.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A session, put down in the middle of whatever it did.
#[derive(Clone, Serialize, Deserialize)]
pub struct FrozenOwner {
    sid: String,
    tokens: Tokens,
    newest: Option<FrozenLink>,
    newest_number: u64,
    older: Option<FrozenLink>,
    up: Intake,
    down: Sender,
    leg: FrozenLeg,
    legs: Option<Box<Legs>>,
    aware: Option<FrozenAware>,
    was_confirmed: bool,
    detached_us: Option<u64>,
    stalled_us: Option<u64>,
    token_left_us: u64,
    migrating: Option<(LinkKey, u64)>,
}

/// Without what was said.
impl std::fmt::Debug for FrozenOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrozenOwner").field("sid", &self.sid).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FrozenLeg {
    Up,
    Closing { left_us: u64 },
    Gone,
}

impl FrozenOwner {
    /// Its name.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// Whether its replica acknowledges messages itself. Its leg does not move: another one is to be
    /// sought, by [`Owner::next_leg`], which says what was committed.
    pub fn is_aware(&self) -> bool {
        self.aware.is_some()
    }

    /// Whether its legs are replaced.
    pub fn has_replacement(&self) -> bool {
        self.legs.is_some()
    }
}

impl Owner {
    /// What another process needs to go on with it. `None` once it is over, and while [`Owner::poll`] has
    /// more to give.
    pub fn freeze(&self, now: Instant) -> Option<FrozenOwner> {
        let left = |until: Instant| micros(until.saturating_duration_since(now));
        let is_at_rest = self.ended.is_none() && self.outbox.is_empty();
        is_at_rest.then(|| FrozenOwner {
            sid: self.sid.clone(),
            tokens: self.tokens.clone(),
            newest: self.newest.as_ref().map(|link| link.freeze(now)),
            newest_number: self.newest_number,
            older: self.older.as_ref().map(|link| link.freeze(now)),
            up: self.up.clone(),
            down: self.down.clone(),
            leg: match self.leg {
                Leg::Up => FrozenLeg::Up,
                Leg::Closing(until) => FrozenLeg::Closing { left_us: left(until) },
                Leg::Gone => FrozenLeg::Gone,
            },
            legs: self.legs.clone(),
            aware: self.aware.as_deref().map(Aware::freeze),
            was_confirmed: self.was_confirmed,
            detached_us: self.detached_at.map(|at| age(at, now)),
            stalled_us: self.stalled_at.map(|at| age(at, now)),
            token_left_us: left(self.token_at),
            migrating: self.migrating.map(|(key, until)| (key, left(until))),
        })
    }

    /// Goes on with it. `replacement` is how legs are replaced here, if they are. `None` for a state in
    /// which no session can be.
    pub fn thaw(
        policy: Arc<OwnerPolicy>,
        seal: Arc<dyn Seal>,
        replacement: Option<Replacement>,
        frozen: FrozenOwner,
        now: Instant,
    ) -> Option<Self> {
        let until = |left_us| now + Duration::from_micros(left_us).min(DAY);
        let legs = match (frozen.legs, replacement) {
            (Some(mut legs), Some(how)) => {
                legs.how = how;
                Some(legs)
            }
            (None, _) => None,
            (Some(_), None) => return None,
        };
        Some(Self {
            policy,
            seal,
            sid: frozen.sid,
            tokens: frozen.tokens,
            newest: frozen.newest.map(|link| Link::thaw(&link, now)),
            newest_number: frozen.newest_number,
            older: frozen.older.map(|link| Link::thaw(&link, now)),
            up: frozen.up.checked()?,
            down: frozen.down.checked()?,
            leg: match frozen.leg {
                FrozenLeg::Up => Leg::Up,
                FrozenLeg::Closing { left_us } => Leg::Closing(until(left_us)),
                FrozenLeg::Gone => Leg::Gone,
            },
            legs,
            aware: match frozen.aware {
                Some(aware) => Some(Box::new(Aware::thaw(aware)?)),
                None => None,
            },
            was_confirmed: frozen.was_confirmed,
            detached_at: frozen.detached_us.map(|us| ago(us, now)),
            stalled_at: frozen.stalled_us.map(|us| ago(us, now)),
            token_at: until(frozen.token_left_us),
            migrating: frozen.migrating.map(|(key, left)| (key, until(left))),
            outbox: std::collections::VecDeque::new(),
            ended: None,
            now,
        })
    }
}

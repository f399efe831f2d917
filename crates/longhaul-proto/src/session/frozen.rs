//! A session as another process can take it up: a binary upgrade moves it with its connections.
//!
//! Moments become ages, since each process has a clock of its own, and the policy stays behind: the
//! other process has that of its own configuration. A session that has begun to end is not moved; it
//! has seconds left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::keepalive::{FrozenKeepalive, Keepalive};
use super::leg::{Finish, Leg};
use super::meter::{FrozenMeter, Meter};
use super::{PING_PAYLOAD_BYTES, Session, SessionPolicy, State};
use crate::frozen::{age, ago, micros};
use crate::websocket::scanner::FrozenScanner;
use crate::websocket::{Role, Scanner};

/// An open session, put down in the middle of whatever it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrozenSession {
    client: FrozenLeg,
    backend: FrozenLeg,
    /// Until the end of its lifetime.
    left_us: Option<u64>,
    meter: Option<FrozenMeter>,
    data_us: u64,
    random: u64,
    ping_payload: [u8; PING_PAYLOAD_BYTES],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FrozenLeg {
    scanner: FrozenScanner,
    keepalive: FrozenKeepalive,
    blocked_us: Option<u64>,
}

impl Session {
    /// What another process needs to go on with it. `None` once it has begun to end. To be asked
    /// when it is at rest.
    pub fn freeze(&self, now: Instant) -> Option<FrozenSession> {
        let is_open = matches!(self.state, State::Open)
            && self.meter.as_ref().is_none_or(|meter| meter.excess.is_none());
        Some(FrozenSession {
            client: self.client.freeze(now).filter(|_| is_open)?,
            backend: self.backend.freeze(now)?,
            left_us: self.ends_at.map(|at| micros(at.saturating_duration_since(now))),
            meter: self.meter.as_ref().map(|meter| meter.freeze(now)),
            data_us: age(self.data_at, now),
            random: self.random,
            ping_payload: self.ping_payload,
        })
    }

    /// Goes on with it. `None` for a state in which no session can be.
    pub fn thaw(policy: Arc<SessionPolicy>, frozen: &FrozenSession, now: Instant) -> Option<Self> {
        let mut session = Self::new(policy, None, frozen.random, now);
        session.client = Leg::thaw(Role::Client, &frozen.client, now)?;
        session.backend = Leg::thaw(Role::Server, &frozen.backend, now)?;
        session.ends_at = frozen.left_us.map(|left| now + Duration::from_micros(left));
        session.data_at = ago(frozen.data_us, now);
        session.ping_payload = frozen.ping_payload;
        // Bounds that came with another configuration hold for those who come by it.
        session.meter = match &frozen.meter {
            Some(meter) => Some(Box::new(Meter::thaw(session.policy.bounds, meter, now)?)),
            None => None,
        };
        Some(session)
    }
}

impl Leg {
    fn freeze(&self, now: Instant) -> Option<FrozenLeg> {
        let is_open = !self.has_ended
            && !self.is_garbled
            && self.fault.is_none()
            && !self.is_dead
            && self.farewell.is_none()
            && !self.is_dismissed
            && self.finish == Finish::Open;
        is_open.then(|| FrozenLeg {
            scanner: self.scanner.freeze(),
            keepalive: self.keepalive.freeze(now),
            blocked_us: self.blocked_since.map(|since| age(since, now)),
        })
    }

    fn thaw(role: Role, frozen: &FrozenLeg, now: Instant) -> Option<Self> {
        let mut leg = Self::new(role, now);
        leg.scanner = Scanner::thaw(role, &frozen.scanner)?;
        leg.keepalive = Keepalive::thaw(&frozen.keepalive, now);
        leg.blocked_since = frozen.blocked_us.map(|us| ago(us, now));
        Some(leg)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{Pair, SECOND, close, frame, policy};
    use super::super::{Bounds, Cause, Side};
    use super::*;

    /// Puts the session down and takes it up, by way of what travels between processes.
    fn move_over(pair: &mut Pair) {
        let frozen = pair.session.freeze(pair.now).expect("it is open");
        let text = serde_json::to_string(&frozen).unwrap();
        let frozen: FrozenSession = serde_json::from_str(&text).unwrap();
        let policy = pair.session.policy.clone();
        pair.session = Session::thaw(policy, &frozen, pair.now).expect("it is a session's state");
    }

    #[test]
    fn keepalive_lifetime_and_own_pings_go_on_where_they_were() {
        let mut pair = Pair::with(policy(), Some(70 * SECOND));
        pair.advance(25 * SECOND);
        move_over(&mut pair);
        let to_backend = pair.to_backend.clone();
        pair.pong(Side::Client);
        pair.pong(Side::Backend);
        assert_eq!(pair.to_backend, to_backend, "pongs for the process before are swallowed too");
        pair.advance(25 * SECOND);
        move_over(&mut pair);
        pair.advance(20 * SECOND);
        let told = pair.to_client.ends_with(b"lifetime reached");
        assert!(told, "{:?}", pair.to_client);
    }

    #[test]
    fn what_has_begun_to_end_is_not_moved() {
        let mut pair = Pair::relaying();
        pair.sends(Side::Client, &close(Side::Client, 1000));
        assert_eq!(pair.session.freeze(pair.now), None);
        let mut pair = Pair::relaying();
        pair.session.end(Cause::Drained, pair.now);
        assert_eq!(pair.session.freeze(pair.now), None);
    }

    #[test]
    fn a_state_that_cannot_be_is_refused() {
        let mut pair = Pair::relaying();
        pair.sends(Side::Client, &frame(Side::Client, 0x81, b"x")[..1]);
        let frozen = pair.session.freeze(pair.now).unwrap();
        let text = serde_json::to_string(&frozen).unwrap();
        let long = text.replacen("\"header\":[129]", &format!("\"header\":{:?}", [1; 14]), 1);
        assert_ne!(text, long);
        let frozen: FrozenSession = serde_json::from_str(&long).unwrap();
        let policy = pair.session.policy.clone();
        assert!(Session::thaw(policy, &frozen, pair.now).is_none());
    }

    fn stream(side: Side, sizes: &[(bool, usize)]) -> Vec<u8> {
        let one = |&(is_ping, size): &(bool, usize)| match is_ping {
            true => frame(side, 0x89, &vec![7; size % 126]),
            false => frame(side, 0x82, &vec![size as u8; size]),
        };
        sizes.iter().flat_map(one).collect()
    }

    proptest! {
        #[test]
        fn moving_at_any_byte_changes_nothing(
            up in prop::collection::vec((any::<bool>(), 0usize..400), 1..6),
            down in prop::collection::vec((any::<bool>(), 0usize..400), 1..6),
            cut in 1usize..50,
            is_bounded in any::<bool>(),
        ) {
            let bounds = Bounds {
                message_bytes_max: is_bounded.then_some(300),
                ..Bounds::default()
            };
            let policy = SessionPolicy { bounds, ..policy() };
            let mut stays = Pair::with(policy.clone(), None);
            let mut moves = Pair::with(policy, None);
            let streams = [(Side::Client, stream(Side::Client, &up)), (Side::Backend, stream(Side::Backend, &down))];
            for (side, bytes) in &streams {
                for piece in bytes.chunks(cut) {
                    stays.sends(*side, piece);
                    moves.sends(*side, piece);
                    if moves.session.freeze(moves.now).is_some() {
                        move_over(&mut moves);
                    }
                }
            }
            prop_assert_eq!(&stays.to_client, &moves.to_client);
            prop_assert_eq!(&stays.to_backend, &moves.to_backend);
            for side in [Side::Client, Side::Backend] {
                prop_assert_eq!(stays.session.messages(side), moves.session.messages(side));
            }
        }
    }
}

//! A client leg joined to a backend leg. Owns no socket, clock or task: `relay` does.
//!
//! Give it what a leg sent with [`Session::receive`], write on what it says, then call
//! [`Session::poll`] until it returns [`Output::Wait`]; only then is the session at rest.

mod cause;
mod ending;
mod frozen;
mod keepalive;
mod leg;
mod meter;
mod receive;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use cause::Cause;
pub use frozen::FrozenSession;
use keepalive::Verdict;
use leg::{Finish, Leg};
use meter::Meter;
pub use meter::{Bounds, Excess};

use crate::websocket::Role;
use crate::websocket::frame::OwnFrame;

/// One of the two legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The leg to the client.
    Client,
    /// The leg to the replica.
    Backend,
}

impl Side {
    /// The leg across.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "replica",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How sessions of one route are kept. Shared by all of them.
#[derive(Debug, Clone)]
pub struct SessionPolicy {
    /// A leg that sent or received nothing for so long gets a ping; `None`: no pings.
    pub ping: Option<Duration>,
    /// Pings in a row that may stay unanswered before the leg is dead.
    pub pings_missed_max: u32,
    /// Ends a session over which no data passed for so long.
    pub idle: Option<Duration>,
    /// How long the end of a session may take once it has begun.
    pub linger: Duration,
    /// How long a leg may refuse bytes that wait for it.
    pub write_stall: Duration,
    /// Whether a replica that is silent or takes nothing ends the session. Not where
    /// [`redial`](crate::redial) looks after it.
    pub minds_backend: bool,
    /// What a client may send.
    pub bounds: Bounds,
}

impl SessionPolicy {
    /// The legs whose silence and whose refusal to read end the session.
    fn minded(&self) -> &'static [Side] {
        if self.minds_backend { &[Side::Client, Side::Backend] } else { &[Side::Client] }
    }
}

/// What to do with bytes that a leg sent.
#[derive(Debug)]
pub struct Step<'a> {
    /// Bytes of the input that are dealt with.
    pub consumed: usize,
    /// Bytes to write to the other leg, now and in this order.
    pub forward: &'a [u8],
}

/// What the session wants done.
#[derive(Debug)]
pub enum Output {
    /// Write the gateway's own frame, behind everything already written to this leg.
    Send {
        /// The leg to write to.
        to: Side,
        /// The frame.
        frame: OwnFrame,
    },
    /// End the write direction of this leg once everything before it was written.
    Finish(Side),
    /// The session is over: drop both legs.
    Done(Cause),
    /// Nothing to do before this moment, unless a leg sends.
    Wait(Option<Instant>),
}

/// A client leg joined to a backend leg.
#[derive(Debug)]
pub struct Session {
    policy: Arc<SessionPolicy>,
    client: Leg,
    backend: Leg,
    state: State,
    rest: Option<Rest>,
    ends_at: Option<Instant>,
    /// Only where the policy has bounds.
    meter: Option<Box<Meter>>,
    data_at: Instant,
    /// The latest `now`; `poll` has no clock of its own.
    now: Instant,
    /// Source of mask keys; they need not be secret, only unlike what a page could choose.
    random: u64,
    /// Payload of the gateway's pings; a pong that carries it is the gateway's and goes no further.
    ping_payload: [u8; PING_PAYLOAD_BYTES],
}

const PING_PAYLOAD_BYTES: usize = 12;

/// There was nothing to do, and nothing but data has come since. Data moves deadlines later only, so
/// the one found then is still early enough, and most calls of [`Session::poll`] need not look again.
#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Open,
    Closing {
        cause: Cause,
        until: Instant,
        /// Bytes that still pass move `until`: only when a peer began the end, and not with a close
        /// frame, after which nothing may come.
        is_renewed: bool,
    },
}

impl Session {
    /// Joins two legs that stand at a frame boundary. `ends_at` is the end of its lifetime;
    /// `random` seeds mask keys and marks the gateway's own pings.
    pub fn new(
        policy: Arc<SessionPolicy>,
        ends_at: Option<Instant>,
        random: u64,
        now: Instant,
    ) -> Self {
        let mut ping_payload = *b"lh\0\0\0\0\0\0\0\0\0\0";
        for (at, byte) in ping_payload[2..].iter_mut().enumerate() {
            // Hex digits, so that the payload is readable in a capture.
            *byte = b"0123456789abcdef"[(random >> (4 * at) & 0xf) as usize];
        }
        let bounds = policy.bounds;
        Self {
            meter: (!bounds.is_unlimited()).then(|| Box::new(Meter::new(bounds, now))),
            policy,
            client: Leg::new(Role::Client, now),
            backend: Leg::new(Role::Server, now),
            state: State::Open,
            rest: None,
            ends_at,
            data_at: now,
            now,
            random: random | 1,
            ping_payload,
        }
    }

    /// Says whether bytes wait for `to` after a write; `has_moved` when some were taken.
    pub fn note_pressure(&mut self, to: Side, is_blocked: bool, has_moved: bool, now: Instant) {
        self.now = now;
        let leg = self.leg_mut(to);
        match (is_blocked, leg.blocked_since) {
            (false, None) => return,
            (true, Some(_)) if !has_moved => return,
            (false, Some(_)) => leg.blocked_since = None,
            (true, _) => leg.blocked_since = Some(now),
        }
        self.rest = None;
    }

    /// Looks at every deadline; safe to call early.
    pub fn deadline_reached(&mut self, now: Instant) {
        self.now = now;
        self.rest = None;
        let minded = self.policy.minded();
        for &side in minded {
            let stall = self.policy.write_stall;
            if self.leg(side).blocked_since.is_some_and(|since| since + stall <= now) {
                self.lose(side, Cause::Stalled(side));
            }
        }
        if !matches!(self.state, State::Open) {
            return;
        }
        if let Some(interval) = self.policy.ping {
            let missed_max = self.policy.pings_missed_max;
            for &side in minded {
                let verdict = self.leg_mut(side).keepalive.check(interval, missed_max, now);
                if verdict == Verdict::Dead {
                    self.lose(side, Cause::Silent(side));
                }
            }
        }
        if self.ends_at.is_some_and(|ends_at| ends_at <= now) {
            self.end(Cause::Lifetime, now);
        } else if self.policy.idle.is_some_and(|idle| self.data_at + idle <= now) {
            self.end(Cause::Idle, now);
        }
    }

    /// Returns the next thing to do; `Wait` names the next deadline, if there is one.
    pub fn poll(&mut self) -> Output {
        if let Some(Rest { until }) = self.rest
            && until.is_none_or(|until| until > self.now)
        {
            debug_assert!(matches!(self.state, State::Open) && !self.is_ping_due());
            debug_assert!(
                self.deadline().map_or(until.is_none(), |at| until.is_some_and(|it| it <= at))
            );
            return Output::Wait(until);
        }
        for side in [Side::Client, Side::Backend] {
            if let Some(fault) = self.leg_mut(side).fault.take() {
                self.fail(side, Cause::Fault(side, fault));
            }
        }
        if let Some(excess) = self.meter.as_mut().and_then(|meter| meter.excess.take()) {
            self.fail(Side::Client, Cause::Excess(excess));
        }
        for to in [Side::Client, Side::Backend] {
            if let Some(output) = self.poll_leg(to) {
                return output;
            }
        }
        if let State::Closing { cause, until, .. } = self.state {
            let is_flushed = |leg: &Leg| leg.has_ended && leg.blocked_since.is_none();
            if until <= self.now || is_flushed(&self.client) && is_flushed(&self.backend) {
                return Output::Done(cause);
            }
        }
        let deadline = self.deadline();
        // A ping that is due waits for the end of a frame, which data may bring.
        let is_at_rest = matches!(self.state, State::Open) && !self.is_ping_due();
        self.rest = is_at_rest.then_some(Rest { until: deadline });
        Output::Wait(deadline)
    }

    fn is_ping_due(&self) -> bool {
        self.client.keepalive.is_ping_due() || self.backend.keepalive.is_ping_due()
    }

    /// Whether the session wants to hear from this leg now.
    pub fn wants(&self, from: Side) -> bool {
        let to = self.leg(from.other());
        !self.leg(from).has_ended && (to.blocked_since.is_none() || !to.takes_bytes())
    }

    /// Messages of this leg whose last frame has begun.
    pub fn messages(&self, from: Side) -> u64 {
        self.leg(from).scanner.messages()
    }

    fn poll_leg(&mut self, to: Side) -> Option<Output> {
        let is_at_boundary = self.leg(to.other()).scanner.is_at_boundary();
        let now = self.now;
        let is_open = matches!(self.state, State::Open);
        if is_at_boundary && self.leg(to).takes_bytes() {
            if let Some(frame) = self.leg_mut(to).farewell.take() {
                self.leg_mut(to).is_dismissed = true;
                return Some(Output::Send { to, frame: *frame });
            }
            if is_open && self.leg(to).keepalive.is_ping_due() {
                let frame = self.ping(to);
                self.leg_mut(to).keepalive.note_pinged(now);
                return Some(Output::Send { to, frame });
            }
        }
        let leg = self.leg_mut(to);
        if leg.finish == Finish::Due && leg.farewell.is_none() {
            leg.finish = Finish::Ordered;
            return Some(Output::Finish(to));
        }
        None
    }

    fn ping(&mut self, to: Side) -> OwnFrame {
        let mask = self.mask_for(to);
        OwnFrame::ping(&self.ping_payload, mask)
    }

    /// The gateway speaks as a server to the client and as a client, masked, to the replica.
    fn mask_for(&mut self, to: Side) -> Option<[u8; 4]> {
        match to {
            Side::Client => None,
            Side::Backend => Some(mask_key(&mut self.random)),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let minded = self.policy.minded().iter().map(|&side| self.leg(side));
        let stalls = minded
            .clone()
            .filter_map(|leg| leg.blocked_since.map(|since| since + self.policy.write_stall));
        if let State::Closing { until, .. } = self.state {
            return stalls.chain([until]).min();
        }
        let pings = minded.filter_map(|leg| leg.keepalive.deadline(self.policy.ping?));
        let idle = self.policy.idle.map(|idle| self.data_at + idle);
        stalls.chain(pings).chain(idle).chain(self.ends_at).min()
    }

    fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Client => &self.client,
            Side::Backend => &self.backend,
        }
    }

    fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }
}

/// xorshift64: enough for what RFC 6455 §10.3 guards against, since the gateway chooses the payload
/// of every frame it masks.
fn mask_key(random: &mut u64) -> [u8; 4] {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    ((*random >> 32) as u32).to_be_bytes()
}

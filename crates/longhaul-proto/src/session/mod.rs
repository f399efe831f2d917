//! A client leg joined to a backend leg. Owns no socket, clock or task: `relay` does.
//!
//! Give it what a leg sent with [`Session::receive`], write on what it says, then call
//! [`Session::poll`] until it returns [`Output::Wait`]; only then is the session at rest.

mod cause;
mod keepalive;
mod leg;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use cause::Cause;
use keepalive::Verdict;
use leg::{Finish, Leg};

use crate::websocket::frame::{CONTROL_PAYLOAD_BYTES_MAX, OwnFrame};
use crate::websocket::{CloseCode, ControlFrame, Found, Opcode, Role};

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
    ends_at: Option<Instant>,
    data_at: Instant,
    /// The latest `now`; `poll` has no clock of its own.
    now: Instant,
    /// Source of mask keys; they need not be secret, only unlike what a page could choose.
    random: u64,
    /// Payload of the gateway's pings; a pong that carries it is the gateway's and goes no further.
    ping_payload: [u8; PING_PAYLOAD_BYTES],
}

const PING_PAYLOAD_BYTES: usize = 12;

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
        Self {
            policy,
            client: Leg::new(Role::Client, now),
            backend: Leg::new(Role::Server, now),
            state: State::Open,
            ends_at,
            data_at: now,
            now,
            random: random | 1,
            ping_payload,
        }
    }

    /// Takes bytes that `from` sent; call again with what was not consumed. Never called with no
    /// bytes; `now` never goes back.
    pub fn receive<'a>(&'a mut self, from: Side, bytes: &'a [u8], now: Instant) -> Step<'a> {
        self.now = now;
        self.leg_mut(from).keepalive.note_heard(now);
        if self.leg(from).is_dead || self.leg(from).is_garbled {
            return Step { consumed: bytes.len(), forward: &[] };
        }
        if !self.leg(from.other()).takes_bytes() {
            return self.receive_unforwarded(from, bytes);
        }
        // A farewell goes out at the first boundary, so no frame behind it may be begun.
        let bytes = match self.leg(from.other()).farewell {
            Some(_) => &bytes[..self.leg(from).scanner.bytes_to_boundary().min(bytes.len())],
            None => bytes,
        };
        if bytes.is_empty() {
            // At the boundary with a farewell due: `poll` sends it, then the rest is dropped.
            return Step { consumed: 0, forward: &[] };
        }
        self.receive_forwarded(from, bytes)
    }

    /// Takes the end of what `from` sends: end of file, or a connection error when `is_reset`.
    pub fn receive_end(&mut self, from: Side, is_reset: bool, now: Instant) {
        self.now = now;
        self.leg_mut(from).has_ended = true;
        if is_reset {
            self.leg_mut(from).kill();
        }
        self.begin_closing(Cause::Gone(from), true);
        if self.is_dismissed(from) && from == Side::Client {
            // The client left without answering the gateway's close; the replica is still told.
            self.dismiss(Side::Backend, CloseCode::GOING_AWAY, "client left");
        }
        self.end_across(from);
    }

    /// Says whether bytes wait for `to` after a write; `has_moved` when some were taken.
    pub fn note_pressure(&mut self, to: Side, is_blocked: bool, has_moved: bool, now: Instant) {
        self.now = now;
        let leg = self.leg_mut(to);
        match (is_blocked, leg.blocked_since) {
            (false, _) => leg.blocked_since = None,
            (true, Some(_)) if !has_moved => {}
            (true, _) => leg.blocked_since = Some(now),
        }
    }

    /// Ends the session for a reason of the gateway's own, or because its replica is lost. The
    /// client gets a close frame at the next frame boundary and may still say what it had begun.
    pub fn end(&mut self, cause: Cause, now: Instant) {
        self.now = now;
        if matches!(self.state, State::Closing { .. }) {
            return;
        }
        self.begin_closing(cause, false);
        if cause == Cause::ReplicaLost {
            self.backend.kill();
            self.end_across(Side::Backend);
        } else {
            self.dismiss(Side::Client, cause.client_code(), reason(cause));
        }
    }

    /// Looks at every deadline; safe to call early.
    pub fn deadline_reached(&mut self, now: Instant) {
        self.now = now;
        for side in [Side::Client, Side::Backend] {
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
            for side in [Side::Client, Side::Backend] {
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
        for side in [Side::Client, Side::Backend] {
            if let Some(fault) = self.leg_mut(side).fault.take() {
                self.fail(side, Cause::Fault(side, fault));
            }
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
        Output::Wait(self.deadline())
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

    fn receive_forwarded<'a>(&'a mut self, from: Side, bytes: &'a [u8]) -> Step<'a> {
        let (now, linger, ping_payload) = (self.now, self.policy.linger, self.ping_payload);
        let (leg, to) = match from {
            Side::Client => (&mut self.client, &mut self.backend),
            Side::Backend => (&mut self.backend, &mut self.client),
        };
        match leg.scanner.next(bytes) {
            Ok(Found::Data(len)) => {
                to.keepalive.note_spoken(now);
                self.data_at = now;
                renew(&mut self.state, now + linger);
                Step { consumed: len, forward: &bytes[..len] }
            }
            Ok(Found::Held) => Step { consumed: bytes.len(), forward: &[] },
            Ok(Found::Control { frame, consumed }) => {
                let opcode = frame.header.opcode;
                let is_own_pong = opcode == Opcode::PONG && carries(&frame, &ping_payload);
                // A leg that answers the gateway's own close: only the client is still listened to
                // after it, for what it had begun to say.
                let is_answer = opcode == Opcode::CLOSE && leg.is_dismissed;
                if is_answer {
                    leg.finish.order();
                    to.dismiss(
                        CloseCode::GOING_AWAY,
                        "client left",
                        Some(mask_key(&mut self.random)),
                    );
                }
                if is_own_pong || is_answer {
                    return Step { consumed, forward: &[] };
                }
                to.keepalive.note_spoken(now);
                if opcode == Opcode::CLOSE {
                    let cause = Cause::Closed { by: from, code: frame.close_code() };
                    begin_closing(&mut self.state, cause, now + linger, false);
                }
                Step { consumed, forward: frame.wire }
            }
            Err(fault) => {
                // `poll` ends the session over it: here the leg is still lent out.
                leg.is_garbled = true;
                leg.fault = Some(fault);
                Step { consumed: bytes.len(), forward: &[] }
            }
        }
    }

    /// Reads on without passing anything: only a close frame still means something.
    fn receive_unforwarded(&mut self, from: Side, bytes: &[u8]) -> Step<'static> {
        let leg = self.leg_mut(from);
        let consumed = match leg.scanner.next(bytes) {
            Ok(Found::Data(len)) => len,
            Ok(Found::Held) => bytes.len(),
            Ok(Found::Control { frame, consumed }) => {
                // The answer to the gateway's own close: this connection ends now.
                if frame.header.opcode == Opcode::CLOSE && leg.is_dismissed {
                    leg.finish.order();
                }
                consumed
            }
            Err(_) => {
                leg.is_garbled = true;
                bytes.len()
            }
        };
        Step { consumed, forward: &[] }
    }

    /// A leg is found dead: it gets nothing more, and the other is told.
    fn lose(&mut self, side: Side, cause: Cause) {
        self.begin_closing(cause, false);
        self.leg_mut(side).kill();
        self.end_across(side);
    }

    /// A leg sends what cannot be followed: both are told, as far as frame boundaries allow.
    fn fail(&mut self, side: Side, cause: Cause) {
        self.begin_closing(cause, false);
        let reason = reason(cause);
        match side {
            Side::Client => {
                self.dismiss(Side::Client, CloseCode::PROTOCOL_ERROR, reason);
                self.client.finish.order();
                self.end_across(Side::Client);
            }
            Side::Backend => {
                self.backend.kill();
                self.end_across(Side::Backend);
            }
        }
    }

    /// Ends what the other leg is sent, since nothing more comes from `from`.
    fn end_across(&mut self, from: Side) {
        let State::Closing { cause, .. } = self.state else { return };
        let is_at_boundary = self.leg(from).scanner.is_at_boundary();
        let is_closed_by_peer = matches!(cause, Cause::Closed { .. });
        let to = from.other();
        if !is_at_boundary {
            // Half a frame was passed on; a close frame behind it would be read as its payload.
            self.leg_mut(to).farewell = None;
        } else if from == Side::Backend && !is_closed_by_peer && !self.client.is_dismissed {
            self.dismiss(Side::Client, cause.client_code(), reason(cause));
        }
        self.leg_mut(to).finish.order();
    }

    fn dismiss(&mut self, to: Side, code: CloseCode, reason: &str) {
        let mask = self.mask_for(to);
        self.leg_mut(to).dismiss(code, reason, mask);
    }

    fn poll_leg(&mut self, to: Side) -> Option<Output> {
        let is_at_boundary = self.leg(to.other()).scanner.is_at_boundary();
        let now = self.now;
        let is_open = matches!(self.state, State::Open);
        if is_at_boundary && self.leg(to).takes_bytes() {
            if let Some(frame) = self.leg_mut(to).farewell.take() {
                self.leg_mut(to).is_dismissed = true;
                return Some(Output::Send { to, frame });
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
        let stalls = [&self.client, &self.backend]
            .into_iter()
            .filter_map(|leg| leg.blocked_since.map(|since| since + self.policy.write_stall));
        if let State::Closing { until, .. } = self.state {
            return stalls.chain([until]).min();
        }
        let pings = [&self.client, &self.backend]
            .into_iter()
            .filter_map(|leg| leg.keepalive.deadline(self.policy.ping?));
        let idle = self.policy.idle.map(|idle| self.data_at + idle);
        stalls.chain(pings).chain(idle).chain(self.ends_at).min()
    }

    fn begin_closing(&mut self, cause: Cause, is_renewed: bool) {
        begin_closing(&mut self.state, cause, self.now + self.policy.linger, is_renewed);
    }

    fn is_dismissed(&self, side: Side) -> bool {
        self.leg(side).is_dismissed
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

/// The first cause stays: a session has exactly one.
fn begin_closing(state: &mut State, cause: Cause, until: Instant, is_renewed: bool) {
    if matches!(state, State::Open) {
        *state = State::Closing { cause, until, is_renewed };
    }
}

fn renew(state: &mut State, later: Instant) {
    if let State::Closing { until, is_renewed: true, .. } = state {
        *until = later;
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

fn carries(frame: &ControlFrame<'_>, payload: &[u8]) -> bool {
    frame.payload(&mut [0; CONTROL_PAYLOAD_BYTES_MAX]) == payload
}

/// The reason sent in a close frame: short, and nothing a stranger should not read.
fn reason(cause: Cause) -> &'static str {
    match cause {
        Cause::Gone(_) | Cause::ReplicaLost => "replica went away",
        Cause::Silent(_) => "replica stopped answering",
        Cause::Stalled(_) => "replica stopped reading",
        Cause::Fault(Side::Client, _) => "frames cannot be followed",
        Cause::Fault(Side::Backend, _) => "replica broke the protocol",
        Cause::Idle => "idle for too long",
        Cause::Lifetime => "lifetime reached",
        Cause::Drained => "gateway drains",
        Cause::Closed { .. } => "",
    }
}

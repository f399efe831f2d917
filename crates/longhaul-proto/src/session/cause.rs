//! Why a session ended. Each session ends with exactly one cause: it gives the close code, the log
//! line and the counter.

use std::fmt;
use std::time::Duration;

use super::{Excess, Side};
use crate::websocket::{CloseCode, FrameFault};

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A peer sent a close frame first. `code` is `None` when the frame carried none (1005).
    Closed {
        /// Who sent it.
        by: Side,
        /// The code it carried.
        code: Option<CloseCode>,
    },
    /// A leg's connection ended without a close frame (1006 to the application).
    Gone(Side),
    /// A leg answered no ping.
    Silent(Side),
    /// A leg took no byte for longer than the write stall.
    Stalled(Side),
    /// A leg sent what cannot be followed as frames.
    Fault(Side, FrameFault),
    /// The client sent more than the route allows.
    Excess(Excess),
    /// The replica was found dead by its probes.
    ReplicaLost,
    /// The replica was lost, and no other could be reached for so long.
    RedialGaveUp(Duration),
    /// The replica was lost, and the next refused the client with this status.
    RedialRefused(u16),
    /// The replica was lost, and the next did not go through with the opening of the client's
    /// protocol.
    RedialUnsettled,
    /// No message passed for longer than the route allows.
    Idle,
    /// The session reached the age the route allows.
    Lifetime,
    /// The client's right to be here ended.
    Expired,
    /// The client's right to be here was taken back.
    Revoked,
    /// The gateway goes away.
    Drained,
    /// The replica goes away, and its route does not replace it.
    ReplicaDrained,
    /// An operator ended it.
    Ordered,
}

impl Cause {
    /// The close code the gateway sends to the client, when it is the gateway that closes.
    pub fn client_code(self) -> CloseCode {
        match self {
            Self::Closed { code, .. } => code.unwrap_or(CloseCode::NORMAL),
            Self::Gone(_) | Self::Silent(_) | Self::Stalled(_) => CloseCode::SERVICE_RESTART,
            Self::ReplicaLost | Self::Drained | Self::ReplicaDrained => CloseCode::SERVICE_RESTART,
            Self::RedialGaveUp(_) => CloseCode::TRY_AGAIN_LATER,
            Self::RedialUnsettled => CloseCode::SERVICE_RESTART,
            // Of the range for private use; others use them in the same sense.
            Self::RedialRefused(status) => CloseCode(4000 + status),
            Self::Fault(Side::Client, _) => CloseCode::PROTOCOL_ERROR,
            Self::Fault(Side::Backend, _) => CloseCode::BAD_GATEWAY,
            Self::Excess(Excess::Message) => CloseCode::TOO_BIG,
            Self::Excess(Excess::Messages | Excess::Bytes) => CloseCode::POLICY_VIOLATION,
            Self::Idle | Self::Lifetime | Self::Ordered => CloseCode::GOING_AWAY,
            Self::Expired | Self::Revoked => CloseCode::UNAUTHORIZED,
        }
    }

    /// A name from a closed set, for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed { by: Side::Client, .. } => "client_closed",
            Self::Closed { by: Side::Backend, .. } => "replica_closed",
            Self::Gone(Side::Client) => "client_gone",
            Self::Gone(Side::Backend) => "replica_gone",
            Self::Silent(Side::Client) => "client_silent",
            Self::Silent(Side::Backend) => "replica_silent",
            Self::Stalled(Side::Client) => "client_stalled",
            Self::Stalled(Side::Backend) => "replica_stalled",
            Self::Fault(Side::Client, _) => "client_fault",
            Self::Fault(Side::Backend, _) => "replica_fault",
            Self::Excess(Excess::Message) => "message_too_large",
            Self::Excess(Excess::Messages) => "message_rate",
            Self::Excess(Excess::Bytes) => "byte_rate",
            Self::ReplicaLost => "replica_lost",
            Self::RedialGaveUp(_) => "redial_gave_up",
            Self::RedialRefused(_) => "redial_refused",
            Self::RedialUnsettled => "redial_unsettled",
            Self::Idle => "idle_limit",
            Self::Lifetime => "lifetime_limit",
            Self::Expired => "token_expired",
            Self::Revoked => "revoked",
            Self::Drained => "drained",
            Self::ReplicaDrained => "replica_drained",
            Self::Ordered => "ordered",
        }
    }

    /// Who ended it: `client`, `replica` or `gateway`.
    pub fn closer(self) -> &'static str {
        match self {
            Self::Closed { by: side, .. }
            | Self::Gone(side)
            | Self::Silent(side)
            | Self::Stalled(side)
            | Self::Fault(side, _) => side.name(),
            Self::ReplicaLost
            | Self::RedialGaveUp(_)
            | Self::RedialRefused(_)
            | Self::RedialUnsettled => Side::Backend.name(),
            Self::Excess(_)
            | Self::Idle
            | Self::Lifetime
            | Self::Expired
            | Self::Revoked
            | Self::Drained
            | Self::ReplicaDrained
            | Self::Ordered => "gateway",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { by, code: Some(code) } => write!(f, "{by} closed {code}"),
            Self::Closed { by, code: None } => write!(f, "{by} closed without a code"),
            Self::Gone(side) => write!(f, "{side} ended its connection without a close frame"),
            Self::Silent(side) => write!(f, "{side} answered no ping"),
            Self::Stalled(side) => write!(f, "{side} stopped reading"),
            Self::Fault(side, fault) => write!(f, "{side} broke the protocol: {fault}"),
            Self::Excess(Excess::Message) => f.write_str("client sent too large a message"),
            Self::Excess(Excess::Messages) => f.write_str("client sent too many messages a second"),
            Self::Excess(Excess::Bytes) => f.write_str("client sent too many bytes a second"),
            Self::ReplicaLost => f.write_str("replica failed its probes"),
            Self::RedialGaveUp(after) => {
                write!(f, "replica was lost, re-dial gave up after {} s", after.as_secs_f64())
            }
            Self::RedialRefused(status) => {
                write!(f, "replica was lost, the next refused with {status}")
            }
            Self::RedialUnsettled => f.write_str(
                "replica was lost, the next did not take the opening of the client's protocol",
            ),
            Self::Idle => f.write_str("idle limit of the route"),
            Self::Lifetime => f.write_str("lifetime limit of the route"),
            Self::Expired => f.write_str("the client's token expired"),
            Self::Revoked => f.write_str("the client's right was revoked"),
            Self::Drained => f.write_str("gateway drains"),
            Self::ReplicaDrained => f.write_str("replica drains"),
            Self::Ordered => f.write_str("ended by an operator"),
        }
    }
}

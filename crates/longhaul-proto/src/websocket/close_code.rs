//! Close codes (RFC 6455 §7.4 and the IANA registry).

use std::fmt;

/// A close code as it stands on the wire.
#[derive(
    serde::Serialize, serde::Deserialize, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose was fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away: a limit was reached or a page was left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer did what it may not.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message is too large.
    pub const TOO_BIG: Self = Self(1009);
    /// The service restarts; clients come back after a random delay.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The service has no room; clients come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// The client is not, or no longer, known: what 401 is over HTTP.
    pub const UNAUTHORIZED: Self = Self(4401);
    /// The client is known and may not: what 403 is over HTTP.
    pub const FORBIDDEN: Self = Self(4403);
    /// Who should know the client cannot be asked: what 503 is over HTTP.
    pub const AUTH_UNAVAILABLE: Self = Self(4503);
    /// The server behind the gateway misbehaved.
    pub const BAD_GATEWAY: Self = Self(1014);
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! The codes a link is closed with. Those of an application travel in an end item instead.

use crate::websocket::CloseCode;

/// The peer broke the protocol.
pub const FAULT: CloseCode = CloseCode(4900);
/// Another link of the session took over.
pub const SUPERSEDED: CloseCode = CloseCode(4901);
/// An item is missing.
pub const GAP: CloseCode = CloseCode(4902);
/// The login was refused.
pub const LOGIN_REFUSED: CloseCode = CloseCode(4903);
/// The login ran out.
pub const LOGIN_EXPIRED: CloseCode = CloseCode(4904);
/// The session is unknown or its time is over.
pub const UNKNOWN: CloseCode = CloseCode(4905);
/// The session's state is lost.
pub const LOST: CloseCode = CloseCode(4906);
/// More was waiting than may wait.
pub const OVERFLOW: CloseCode = CloseCode(4907);
/// No first message in time.
pub const LATE_HELLO: CloseCode = CloseCode(4908);
/// No capacity: come back.
pub const BUSY: CloseCode = CloseCode(4909);
/// The owner cannot be reached: come back.
pub const UNREACHABLE: CloseCode = CloseCode(4910);
/// An item or a message is too big.
pub const TOO_BIG: CloseCode = CloseCode(4911);
/// The replica refused.
pub const REFUSED: CloseCode = CloseCode(4912);
/// Another link takes its place, as its client wants it. Not 1000, which behind an end that was answered
/// says that the answer arrived.
pub const GIVEN_UP: CloseCode = CloseCode(4000);
/// The peer of an application closed without a status (RFC 6455 §7.1.5); never in a close frame.
pub const NO_STATUS: CloseCode = CloseCode(1005);
/// The connection was lost (RFC 6455 §7.1.5); never in a close frame.
pub const ABNORMAL: CloseCode = CloseCode(1006);

/// Whether an end item may carry this code.
pub fn may_travel(code: CloseCode) -> bool {
    matches!(code.0, 1000..=1003 | 1005 | 1007..=1014 | 3000..=4999)
}

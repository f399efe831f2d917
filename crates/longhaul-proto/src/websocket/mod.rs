//! WebSocket on the wire (RFC 6455): frames are followed, never held.

pub mod close_code;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod messages;
pub mod scanner;

pub use close_code::CloseCode;
pub use frame::{ControlFrame, FrameFault, Header, Opcode};
pub use scanner::{Found, Role, Scanner};

//! Longhaul calls: a WebSocket to a Longhaul gateway that outlives its connections.
//!
//! [`connect`] opens a session and keeps it: it reconnects, resumes, sends again what was lost on the
//! way, and closes when both ends agree. The [`Session`] is a stream of [`Event`]s; [`Session::send`]
//! waits while the other end is behind.
//!
//! Without the feature `tokio` only the machine is here ([`machine`]): no socket, no task, no clock.

/// The machine behind a session, for those who bring their own sockets.
pub use longhaul_proto::durable::client as machine;

#[cfg(feature = "tokio")]
mod drive;
#[cfg(feature = "tokio")]
mod link;
mod options;
#[cfg(feature = "tokio")]
mod session;

pub use options::{Options, OptionsError};
#[cfg(feature = "tokio")]
pub use session::{Event, Message, SendError, Session, connect};

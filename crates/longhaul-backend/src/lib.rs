//! Longhaul answers: a backend whose sessions outlive its process, with every message dealt with once.
//!
//! Behind a plain backend the gateway can only say what a replica's system had taken when it died. A backend
//! with this crate says itself what it has dealt with, in the transaction in which it did so; the next replica
//! goes on from there. Clients that are not durable, and gateways that do not ask, get a plain WebSocket.
//!
//! ```no_run
//! use longhaul_backend::{Memory, Received, Session, Upgrade};
//!
//! async fn chat(upgrade: Upgrade) -> axum::response::Response {
//!     upgrade.on_session(Memory::shared(), async |mut session: Session| {
//!         while let Some(Received::Message { seq, message }) = session.receive().await {
//!             // The answer leaves once it is stored that the message is dealt with.
//!             if session.commit(seq, [message]).await.is_err() {
//!                 return;
//!             }
//!         }
//!     })
//! }
//! ```
//!
//! [`Memory`] forgets with its process. For what shall be exact through a crash, store the [`Change`] in the same
//! transaction as its effect: [`Speaker::prepare`], and a [`Store`] on the same database.
//!
//! Without the feature `axum` only the machine is here ([`machine`]) and the [`Store`].

#[cfg(feature = "axum")]
mod drive;
#[cfg(feature = "axum")]
mod plain;
#[cfg(feature = "axum")]
mod session;
mod store;
#[cfg(feature = "axum")]
mod upgrade;

/// The machine behind a session, for those who bring their own sockets.
pub use longhaul_proto::durable::backend as machine;
pub use longhaul_proto::durable::backend::{Change, Kind, Numbered, Saved};
pub use longhaul_proto::durable::{Form, Window};

#[cfg(feature = "axum")]
pub use session::{Message, Prepared, Received, Session, SessionError, Speaker};
pub use store::{Answer, Memory, Store, StoreError};
#[cfg(feature = "axum")]
pub use upgrade::{NoUpgrade, Options, Upgrade};

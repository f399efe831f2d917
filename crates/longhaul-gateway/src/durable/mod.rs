//! Durable sessions: a client may lose its link and come back, while its replica notices nothing.
//!
//! [`offer`] answers a client that asks for one; the lobby reads its first message; a
//! [`session`] owns the leg to the replica, the links, and the machine of `longhaul-proto` that decides.
//! A link that resumes is handed to the task of its session, whichever worker took it.

mod leg;
mod lobby;
mod open;
mod outq;
mod pace;
mod session;
mod sessions;
mod token;
mod wire;

pub(crate) use lobby::Reception;
pub(crate) use open::{is_asked, offer, refuse};
pub(crate) use session::{CarriedSession, Resumed};
pub use sessions::Counts;
pub(crate) use sessions::Sessions;
pub(crate) use token::Keys;

//! Decides which clients go back to the replica they had.
//!
//! Three ways lead back: a signed [`cookie`], the `sid` of an Engine.IO session (read by
//! [`engine_io`], remembered in a [`sessions`] table), and a hash of something the client always
//! sends, which is [`crate::balance::consistent_hash`]. Which of them apply is configuration.

pub mod cookie;
pub mod engine_io;
pub mod sessions;

//! Longhaul does: the only sockets and tasks of the data plane.
//!
//! Start at [`Gateway::start`]. A [`Handle`] shows it and commands it from outside.

pub mod config;
mod gateway;
pub mod handle;
pub mod readiness;
pub mod upstream;

pub use config::Config;
pub use gateway::{Gateway, StartError};
pub use handle::Handle;

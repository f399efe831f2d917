//! Longhaul shows: what a running gateway looks like, as JSON over HTTP.
//!
//! This is the only crate that knows the API's JSON. It reads a [`Handle`] and commands by it; it
//! never touches the data plane, and the gateway does not know that it exists.
//!
//! Start at [`bind`]; `api.rs` lists the endpoints.
//!
//! [`Handle`]: longhaul_gateway::Handle

mod access;
mod admission;
mod api;
mod connections;
mod dashboard;
mod desk;
mod guard;
mod health;
mod metrics;
pub mod openapi;
mod server;
mod sessions;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod upgrade;
mod upstreams;

pub use access::Token;
pub use desk::{House, Terms, UpgradeWish, Upgraded, Upgrading};
pub use server::{Address, AdminServer, adopt, bind};

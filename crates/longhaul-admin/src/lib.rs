//! Longhaul shows: what a running gateway looks like, as JSON over HTTP.
//!
//! This is the only crate that knows the API's JSON. It reads a [`Handle`] and never touches the
//! data plane; the gateway does not know that it exists.
//!
//! Start at [`bind`]; `api.rs` lists the endpoints.
//!
//! [`Handle`]: longhaul_gateway::Handle

mod api;
mod guard;
mod health;
mod server;
mod status;
#[cfg(test)]
mod tests;

pub use server::{AdminServer, bind};

//! Longhaul decides: who goes where, who is well, who the client is, what may be passed on.
//!
//! Nothing here owns a socket, a task, a clock or randomness: `now` and random numbers are
//! arguments. Sending a probe or opening a connection is the gateway's work.
//!
//! A request meets [`hop_by_hop`] and [`forwarded`] first, then [`route`], then [`origin`],
//! [`cors`], [`admission`] and [`token`], then [`affinity`] or [`balance`] among the replicas that [`health`] lets through.

pub mod address;
pub mod admission;
pub mod affinity;
pub mod backoff;
pub mod balance;
pub mod cors;
pub mod diagnosis;
pub mod forwarded;
pub mod health;
pub mod hop_by_hop;
pub mod origin;
pub mod overload;
pub mod query;
pub mod readiness;
pub mod redact;
pub mod redial;
pub mod route;
pub mod token;

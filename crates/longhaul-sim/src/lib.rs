//! Longhaul tries: a client and a gateway's owner of a durable session, on links that are cut, delay,
//! stall and overtake each other, in virtual time and by seed. Never ships.
//!
//! A run either finishes with every message delivered once, in order and both ways, or says what went
//! wrong; the same seed goes the same way again. Start at [`run`].

mod audit;
mod aware;
mod node;
mod scenario;
mod wire;
mod world;

pub use scenario::Scenario;
pub use world::{Failure, Report, run};

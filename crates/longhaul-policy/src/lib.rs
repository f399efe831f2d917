//! Longhaul decides: who goes where, and who is well. `now` and randomness are arguments.

pub mod balance;
pub mod health;
pub mod route;

//! How much may come in, and how long the question may take.
//!
//! Rates and counts are in [`limits`], what was taken back in
//! [`revocation`], whether a service is worth asking in [`breaker`], what it has said in [`verdicts`]. Nothing here waits: a refusal says when to come again.

pub mod breaker;
pub mod limits;
pub mod revocation;
pub mod verdicts;

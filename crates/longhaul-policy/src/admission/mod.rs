//! How much may come in, and how long the question may take.
//!
//! Rates and counts are in [`limits`], what was taken back in [`revocation`]. Nothing here waits: a refusal says when to come again.

pub mod limits;
pub mod revocation;

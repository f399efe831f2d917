//! Longhaul starts.
fn main() {}

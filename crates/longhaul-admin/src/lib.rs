//! Longhaul shows.

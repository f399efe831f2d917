//! Longhaul speaks.

//! Decides when a replica is up, down or ejected.

use std::time::Duration;

/// When a replica counts as up, down or ejected.
#[derive(Debug, Clone)]
pub struct HealthPolicy {
    /// Probes in a row that must pass before a replica that was down is up. Default: 2.
    pub rise: u32,
    /// Probes in a row that must fail before a replica is down. Default: 3.
    pub fall: u32,
    /// Connects or handshakes in a row that must fail before a replica is ejected. Default: 3.
    pub eject_after: u32,
    /// First ejection; doubles with each one in a row up to `eject_max`. Default: 10 s.
    pub eject: Duration,
    /// Longest ejection. Default: 60 s.
    pub eject_max: Duration,
    /// How long a returning replica takes to reach its full share. Zero: at once. Default: 0 s.
    pub slow_start: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            rise: 2,
            fall: 3,
            eject_after: 3,
            eject: Duration::from_secs(10),
            eject_max: Duration::from_secs(60),
            slow_start: Duration::ZERO,
        }
    }
}

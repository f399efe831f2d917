//! The descriptor limit: raised to what is allowed, and what can be served with it.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A client connection and the one to its replica.
const PER_CONNECTION: usize = 2;

/// Listeners, runtimes, logs, admin, probes, name look-ups.
const RESERVE: usize = 256;

static AT_START: OnceLock<Option<u64>> = OnceLock::new();

/// Raises the soft limit to the hard one. Returns how many client connections it can carry.
pub(crate) fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    AT_START.get_or_init(|| limit.current);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the descriptor limit cannot be raised");
    }
    connections_carried(getrlimit(Resource::Nofile).current)
}

/// Puts the soft limit back to what it was before it was raised.
pub(crate) fn lower() {
    if let Some(Some(soft)) = AT_START.get() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(*soft), maximum });
    }
}

/// How many connections the limit would carry once raised, without raising it.
pub(crate) fn connections_possible() -> usize {
    connections_carried(getrlimit(Resource::Nofile).maximum)
}

/// The soft limit before it was raised: what a program that we start should have.
pub(crate) fn at_start() -> Option<u64> {
    AT_START.get().copied().flatten()
}

fn connections_carried(limit: Option<u64>) -> usize {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    // Nor more than what the overload guard takes for calm (92 %), so that connections alone never
    // trouble it.
    let budget = limit.saturating_sub(RESERVE).min(limit / 100 * 91);
    (budget / PER_CONNECTION).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_takes_two_descriptors_beside_a_reserve() {
        assert_eq!(connections_carried(Some(1024)), 384);
        assert_eq!(connections_carried(Some(10)), 1);
        assert_eq!(connections_carried(Some(20_000)), 9_100);
        assert!(connections_carried(None) > 1_000_000);
    }
}

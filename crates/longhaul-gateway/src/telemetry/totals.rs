//! The counters of all routes together, and what they say is wrong: for people who look.

use std::time::{Duration, SystemTime};

use longhaul_policy::diagnosis::{Finding, Trouble, diagnose};

use super::Telemetry;
use super::families::LIFE_S;

/// What ended or was refused longer ago says nothing about now.
const LATELY: Duration = Duration::from_secs(600);

/// Counters of all routes since the start.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Handshakes that made a WebSocket.
    pub upgrades_accepted: u64,
    /// Those that did not.
    pub upgrades_failed: u64,
    /// WebSockets that ended.
    pub ends: u64,
    /// Those that nobody meant to end.
    pub drops: u64,
    /// Clients that came back within a minute.
    pub reconnects: u64,
    /// Messages to replicas, to clients.
    pub messages: [u64; 2],
    /// Bytes to replicas, to clients.
    pub bytes: [u64; 2],
    /// Bytes held now for peers that do not take them.
    pub buffered: u64,
    /// Upper bounds of the ages in `lives`, in seconds.
    pub lives_bounds: &'static [f64],
    /// WebSockets that ended at an age up to each bound, and beyond all.
    pub lives: Vec<u64>,
}

impl Totals {
    pub(crate) fn of(telemetry: &Telemetry) -> Self {
        let accepted = telemetry.upgrades.sum_where(1, "accepted");
        let sums = telemetry.tallies.sums();
        let both_ways = |numbers: fn(&super::tally::Sum) -> [u64; 2]| {
            sums.iter().fold([0; 2], |total, (_, sum)| {
                let more = numbers(sum);
                [total[0] + more[0], total[1] + more[1]]
            })
        };
        Self {
            upgrades_accepted: accepted,
            upgrades_failed: telemetry.upgrades.sum() - accepted,
            ends: telemetry.websocket_ends.sum(),
            drops: telemetry.websocket_drops.sum(),
            reconnects: telemetry.reconnects.sum(),
            messages: both_ways(|sum| sum.messages),
            bytes: both_ways(|sum| sum.bytes),
            buffered: sums.iter().map(|(_, sum)| sum.buffered).sum(),
            lives_bounds: LIFE_S,
            lives: telemetry.websocket_seconds.merged(),
        }
    }
}

/// Which hop ends connections lately, and why; the most frequent first.
pub(crate) fn findings(telemetry: &Telemetry) -> Vec<Finding> {
    let since = SystemTime::now() - LATELY;
    let ends = telemetry.ends.all();
    let ended = ends.iter().filter(|end| end.at >= since).map(|end| Trouble {
        cause: end.cause,
        replica: Some(end.replica),
        lived: Some(end.duration),
    });
    let refused = telemetry.refused.all();
    let refused = refused.iter().filter(|refused| refused.at >= since).map(|refused| Trouble {
        cause: refused.reason,
        replica: None,
        lived: None,
    });
    diagnose(&ended.chain(refused).collect::<Vec<_>>())
}

//! Counts what happened, and writes the log lines of a WebSocket's life.
//!
//! `families` lists every metric. What happens once per connection or request is counted in
//! `series`, what happens per message in `tally`, and `gather` puts both on a page together with
//! what is looked up at that moment.

pub(crate) mod ends;
pub(crate) mod families;
pub(crate) mod gather;
pub(crate) mod lag;
pub(crate) mod page;
pub(crate) mod process;
pub(crate) mod push;
pub(crate) mod returns;
pub(crate) mod series;
pub(crate) mod tally;
pub(crate) mod totals;
mod websocket;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ends::{Ends, RefusedLately};
use http::StatusCode;
use lag::Loops;
use returns::{Returns, Who};
use series::{Counters, Histograms};
use tally::Tallies;
pub(crate) use websocket::Card;

/// Everything one gateway has counted since its start.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) websockets_total: AtomicU64,
    /// WebSockets and raw TCP: where ids come from.
    pub(crate) connections_total: AtomicU64,
    /// Connections that came from the process before.
    pub(crate) connections_moved: AtomicU64,
    pub(crate) binary_upgrades: Counters,
    pub(crate) uncertain_messages: Counters,
    pub(crate) upgrade_pause_seconds: Histograms,
    pub(crate) handshakes: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) upgrades: Counters,
    pub(crate) upgrade_seconds: Histograms,
    pub(crate) websocket_seconds: Histograms,
    pub(crate) websocket_ends: Counters,
    pub(crate) websocket_drops: Counters,
    pub(crate) close_codes: Counters,
    pub(crate) reconnects: Counters,
    pub(crate) requests: Counters,
    pub(crate) request_seconds: Histograms,
    pub(crate) refusals: Counters,
    pub(crate) pushes: Counters,
    pub(crate) tcp_ends: Counters,
    pub(crate) tcp_seconds: Histograms,
    pub(crate) tcp_bytes: Counters,
    pub(crate) tallies: Tallies,
    pub(crate) ends: Ends,
    pub(crate) refused: RefusedLately,
    pub(crate) returns: Arc<Returns>,
    pub(crate) loops: Loops,
    refused_peers: Mutex<Thinned>,
}

/// Lines of one kind within the current minute.
#[derive(Debug, Default)]
struct Thinned {
    minute_began: Option<Instant>,
    lines: u32,
}

/// One request or handshake, answered.
#[derive(Debug)]
pub(crate) struct Answered<'a> {
    /// `None`: no route took it.
    pub(crate) route: Option<&'a str>,
    pub(crate) is_upgrade: bool,
    pub(crate) status: StatusCode,
    /// Why this gateway answered in its own name, if it did.
    pub(crate) refusal: Option<&'static str>,
    pub(crate) took: Duration,
}

impl Telemetry {
    pub(crate) fn new(workers: usize) -> Self {
        use families as f;
        Self {
            websockets_total: AtomicU64::new(0),
            connections_total: AtomicU64::new(0),
            connections_moved: AtomicU64::new(0),
            binary_upgrades: Counters::new(&f::BINARY_UPGRADES),
            uncertain_messages: Counters::new(&f::UNCERTAIN_MESSAGES),
            upgrade_pause_seconds: Histograms::new(&f::UPGRADE_PAUSE_SECONDS),
            handshakes: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            upgrades: Counters::new(&f::UPGRADES),
            upgrade_seconds: Histograms::new(&f::UPGRADE_SECONDS),
            websocket_seconds: Histograms::new(&f::WEBSOCKET_SECONDS),
            websocket_ends: Counters::new(&f::WEBSOCKET_ENDS),
            websocket_drops: Counters::new(&f::WEBSOCKET_DROPS),
            close_codes: Counters::new(&f::CLOSE_CODES),
            reconnects: Counters::new(&f::RECONNECTS),
            requests: Counters::new(&f::REQUESTS),
            request_seconds: Histograms::new(&f::REQUEST_SECONDS),
            refusals: Counters::new(&f::REFUSALS),
            pushes: Counters::new(&f::METRIC_PUSHES),
            tcp_ends: Counters::new(&f::TCP_ENDS),
            tcp_seconds: Histograms::new(&f::TCP_SECONDS),
            tcp_bytes: Counters::new(&f::TCP_BYTES),
            tallies: Tallies::new(workers),
            ends: Ends::default(),
            refused: RefusedLately::default(),
            returns: Arc::default(),
            loops: Loops::new(workers),
            refused_peers: Mutex::default(),
        }
    }

    /// Counts a TLS handshake of a client's.
    pub(crate) fn note_handshake(&self, is_done: bool) {
        let counter = if is_done { &self.handshakes } else { &self.handshakes_failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer to a client.
    pub(crate) fn note_answer(&self, answered: &Answered<'_>) {
        let &Answered { route, is_upgrade, status, refusal, took } = answered;
        let route = route.unwrap_or("");
        if let Some(cause) = refusal {
            self.refusals.count(&[cause]);
            self.refused.push(cause);
        }
        if !is_upgrade {
            self.requests.count(&[route, class(status)]);
            return self.request_seconds.observe(&[route], took);
        }
        let (outcome, reason) = match refusal {
            _ if status == StatusCode::SWITCHING_PROTOCOLS => ("accepted", ""),
            Some(cause) => ("refused", cause),
            None => {
                self.refused.push(class(status));
                ("answered", class(status))
            }
        };
        self.upgrades.count(&[route, outcome, reason]);
        self.upgrade_seconds.observe(&[route], took);
    }

    /// Counts a raw TCP connection that ended. `bytes` went to the replica, to the client.
    pub(crate) fn note_tcp_end(
        &self,
        route: &str,
        cause: &str,
        duration: Duration,
        bytes: [u64; 2],
    ) {
        self.tcp_ends.count(&[route, cause]);
        self.tcp_seconds.observe(&[route], duration);
        self.tcp_bytes.add(&[route, "up"], bytes[0]);
        self.tcp_bytes.add(&[route, "down"], bytes[1]);
    }

    /// Counts an opening of somebody who comes back from one that ended a moment ago.
    pub(crate) fn note_opening(&self, route: &str, who: Who<'_>) {
        if self.returns.is_return(route, who, Instant::now()) {
            self.reconnects.count(&[route]);
        }
    }

    /// Whether one more line about a peer that was refused unseen is fine. A stranger can cause
    /// them as fast as it connects; what the first ones of a minute say holds for the rest.
    pub(crate) fn may_log_refused_peer(&self) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        const LINES_MAX: u32 = 20;
        let mut thinned = self.refused_peers.lock().unwrap_or_else(PoisonError::into_inner);
        if thinned.minute_began.is_none_or(|began| began.elapsed() >= MINUTE) {
            *thinned = Thinned { minute_began: Some(Instant::now()), lines: 0 };
        }
        thinned.lines = thinned.lines.saturating_add(1);
        thinned.lines <= LINES_MAX
    }
}

/// The class of a status: a replica could answer with any number.
fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    }
}

//! Counts what happened and writes the log lines of a WebSocket's life.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longhaul_proto::session::Cause;
use tracing::{info, warn};

use crate::relay::Ended;

/// Counters of one gateway since its start.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    pub(crate) websockets_total: AtomicU64,
    pub(crate) handshakes: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    refused_peers: Mutex<Thinned>,
}

/// Lines of one kind within the current minute.
#[derive(Debug, Default)]
struct Thinned {
    minute_began: Option<Instant>,
    lines: u32,
}

impl Telemetry {
    /// Counts a TLS handshake of a client's.
    pub(crate) fn note_handshake(&self, is_done: bool) {
        let counter = if is_done { &self.handshakes } else { &self.handshakes_failed };
        counter.fetch_add(1, Ordering::Relaxed);
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

/// What both log lines of one WebSocket say about it.
#[derive(Debug)]
pub(crate) struct WebSocketLog {
    /// Joins the two lines; unique within the process.
    pub(crate) id: u64,
    pub(crate) route: Arc<str>,
    pub(crate) replica: SocketAddr,
    pub(crate) client: IpAddr,
    opened_at: Instant,
}

impl WebSocketLog {
    /// Counts and logs the opening. `path` (with its query) must be redacted.
    pub(crate) fn open(
        telemetry: &Telemetry,
        route: Arc<str>,
        replica: SocketAddr,
        client: IpAddr,
        path: &str,
        subprotocol: Option<&str>,
    ) -> Self {
        let id = telemetry.websockets_total.fetch_add(1, Ordering::Relaxed) + 1;
        info!(id, route = &*route, %replica, %client, path, subprotocol, "websocket opened");
        Self { id, route, replica, client, opened_at: Instant::now() }
    }

    /// Logs the end: who closed, why, after how long, and what passed.
    /// `replica` is the last one it had.
    pub(crate) fn close(self, replica: SocketAddr, ended: &Ended) {
        let Self { id, route, client, opened_at, .. } = self;
        let Ended { cause, up, down } = *ended;
        let code = match cause {
            // 1005 is never sent; it is the standard's name for "closed without a code".
            Cause::Closed { code, .. } => code.map_or(1005, |code| code.0),
            _ => cause.client_code().0,
        };
        info!(
            id, route = &*route, %replica, %client,
            closed_by = cause.closer(), cause = cause.name(), reason = %cause, code,
            duration_s = (opened_at.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            messages_up = up.messages, bytes_up = up.bytes,
            messages_down = down.messages, bytes_down = down.bytes,
            "websocket closed"
        );
    }

    /// Logs that a WebSocket that was answered 101 never came to life.
    pub(crate) fn fail(self, error: &dyn std::fmt::Display) {
        let Self { id, route, replica, client, .. } = self;
        warn!(
            id, route = &*route, %replica, %client, closed_by = "client", cause = "upgrade_aborted", %error,
            "websocket closed"
        );
    }
}

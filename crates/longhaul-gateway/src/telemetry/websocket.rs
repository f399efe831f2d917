//! The two log lines of a WebSocket's life, and what is counted with them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use longhaul_proto::session::Cause;
use tracing::{info, warn};

use super::Telemetry;
use super::ends::{End, code_label, is_drop};
use crate::relay::Ended;

/// What both log lines of one WebSocket say about it.
#[derive(Debug)]
pub(crate) struct WebSocketLog {
    /// Joins the two lines; unique within the process.
    pub(crate) id: u64,
    pub(crate) route: String,
    pub(crate) replica: SocketAddr,
    pub(crate) client: IpAddr,
    opened_at: Instant,
}

impl WebSocketLog {
    /// Counts and logs the opening. `path` (with its query) must be redacted.
    pub(crate) fn open(
        telemetry: &Telemetry,
        route: &str,
        replica: SocketAddr,
        client: IpAddr,
        path: &str,
        subprotocol: Option<&str>,
    ) -> Self {
        let id = telemetry.websockets_total.fetch_add(1, Ordering::Relaxed) + 1;
        telemetry.note_opening(route, client);
        info!(id, route, %replica, %client, path, subprotocol, "websocket opened");
        Self { id, route: route.to_owned(), replica, client, opened_at: Instant::now() }
    }

    /// Counts and logs the end: who closed, why, after how long, and what passed.
    pub(crate) fn close(self, telemetry: &Telemetry, ended: &Ended) {
        let Self { id, route, replica, client, opened_at } = self;
        let Ended { cause, up, down } = *ended;
        let code = match cause {
            // 1005 is never sent; it is the standard's name for "closed without a code".
            Cause::Closed { code, .. } => code.map_or(1005, |code| code.0),
            _ => cause.client_code().0,
        };
        let (duration, closed_by) = (opened_at.elapsed(), cause.closer());
        info!(
            id, route, %replica, %client, closed_by, cause = cause.name(), reason = %cause, code,
            duration_s = (duration.as_secs_f64() * 1000.0).round() / 1000.0,
            messages_up = up.messages, bytes_up = up.bytes,
            messages_down = down.messages, bytes_down = down.bytes,
            "websocket closed"
        );
        let is_drop = is_drop(cause);
        telemetry.websocket_ends.count(&[&route, closed_by, cause.name()]);
        telemetry.close_codes.count(&[&route, closed_by, code_label(code)]);
        telemetry.websocket_seconds.observe(&[&route], duration);
        if is_drop {
            telemetry.websocket_drops.count(&[&route, cause.name()]);
        }
        telemetry.returns.note_end(&route, client, Instant::now());
        telemetry.ends.push(End {
            id,
            at: SystemTime::now(),
            route,
            client,
            replica,
            closed_by,
            cause: cause.name(),
            reason: cause.to_string(),
            code,
            is_drop,
            duration,
            messages: [up.messages, down.messages],
        });
    }

    /// Logs that a WebSocket that was answered 101 never came to life.
    pub(crate) fn fail(self, error: &dyn std::fmt::Display) {
        let Self { id, route, replica, client, .. } = self;
        warn!(
            id, route, %replica, %client, closed_by = "client", cause = "upgrade_aborted", %error,
            "websocket closed"
        );
    }
}

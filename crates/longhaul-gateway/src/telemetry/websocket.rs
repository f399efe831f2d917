//! The two log lines of a WebSocket's life, and what is counted with them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use longhaul_policy::address::Shown;
use longhaul_proto::session::Cause;
use tracing::{info, warn};

use super::Telemetry;
use super::ends::{End, code_label, is_drop};
use super::returns::Who;
use super::tally::Number;
use crate::relay::Ended;

/// What lists and log lines say about one connection. It stays readable from outside while its task
/// alone writes the numbers.
#[derive(Debug)]
pub(crate) struct Card {
    /// Joins lines and lists; unique within the process.
    pub(crate) id: u64,
    pub(crate) route: Arc<str>,
    pub(crate) client: IpAddr,
    pub(crate) opened_at: Instant,
    /// Messages and bytes to the replica, to the client.
    pub(crate) messages: [Number; 2],
    pub(crate) bytes: [Number; 2],
}

impl Card {
    /// Of a connection that opens now.
    pub(crate) fn new(telemetry: &Telemetry, route: Arc<str>, client: IpAddr) -> Self {
        Self {
            id: telemetry.connections_total.fetch_add(1, Ordering::Relaxed) + 1,
            route,
            client,
            opened_at: Instant::now(),
            messages: Default::default(),
            bytes: Default::default(),
        }
    }

    /// Counts and logs the opening of a WebSocket. `path` (with its query) must be redacted.
    pub(crate) fn open(
        telemetry: &Telemetry,
        route: Arc<str>,
        replica: SocketAddr,
        client: IpAddr,
        path: &str,
        subprotocol: Option<&str>,
    ) -> Self {
        telemetry.websockets_total.fetch_add(1, Ordering::Relaxed);
        let card = Self::new(telemetry, route, client);
        let Self { id, route, .. } = &card;
        let (replica, client) = (Shown(replica), Shown(client));
        info!(id, route = &**route, %replica, %client, path, subprotocol, "websocket opened");
        card
    }

    /// Counts and logs the end: who closed, why, after how long, and what passed.
    pub(crate) fn close(&self, telemetry: &Telemetry, replica: SocketAddr, ended: &Ended) {
        let &Self { id, ref route, client, opened_at, .. } = self;
        let Ended { cause, up, down } = *ended;
        let code = match cause {
            // 1005 is never sent; it is the standard's name for "closed without a code".
            Cause::Closed { code, .. } => code.map_or(1005, |code| code.0),
            _ => cause.client_code().0,
        };
        let now = Instant::now();
        let (duration, closed_by) = (now.duration_since(opened_at), cause.closer());
        let reason = cause.to_string();
        info!(
            id, route = &**route, replica = %Shown(replica), client = %Shown(client),
            closed_by, cause = cause.name(), reason, code,
            duration_s = (duration.as_secs_f64() * 1000.0).round() / 1000.0,
            messages_up = up.messages, bytes_up = up.bytes,
            messages_down = down.messages, bytes_down = down.bytes,
            "websocket closed"
        );
        let is_drop = is_drop(cause);
        telemetry.websocket_ends.count(&[route, closed_by, cause.name()]);
        telemetry.close_codes.count(&[route, closed_by, code_label(code)]);
        telemetry.websocket_seconds.observe(&[route], duration);
        if is_drop {
            telemetry.websocket_drops.count(&[route, cause.name()]);
        }
        telemetry.returns.note_end(route, Who::Address(client), now);
        telemetry.ends.push(End {
            id,
            at: SystemTime::now(),
            route: route.clone(),
            client,
            replica,
            closed_by,
            cause: cause.name(),
            reason,
            code,
            is_drop,
            duration,
            messages: [up.messages, down.messages],
        });
    }

    /// Logs that a WebSocket that was answered 101 never came to life.
    pub(crate) fn fail(&self, replica: SocketAddr, error: &dyn std::fmt::Display) {
        let Self { id, route, client, .. } = self;
        warn!(
            id, route = &**route, %replica, %client, closed_by = "client", cause = "upgrade_aborted", %error,
            "websocket closed"
        );
    }
}

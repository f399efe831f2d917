//! Durable sessions: how many there are, and moving their clients to other links.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::problem;
use crate::desk::Desk;

/// An hour: who wants it slower asks again.
const SPREAD_S_MAX: f64 = 3_600.0;

/// Durable sessions now, and since the start.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sessions {
    /// Sessions now.
    open: usize,
    /// Of them, those that wait for their client.
    detached: usize,
    /// Bytes of messages that they hold.
    held_bytes: usize,
    opened_total: u64,
    /// Links that resumed a session.
    resumed_total: u64,
    /// Links that were told that their session is over.
    resets_total: u64,
    /// Links that were asked to come back later.
    deferred_total: u64,
    /// Sessions that ended since nobody came back, or for want of room.
    expired_total: u64,
}

/// How clients are to move.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Migrate {
    /// Seconds over which they are spread.
    spread_s: f64,
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Migrating {
    /// Sessions whose client was asked.
    asked: usize,
}

/// Durable sessions now, and since the start.
#[utoipa::path(get, path = "/api/v1/sessions", responses((status = 200, body = Sessions)))]
pub(crate) async fn show(State(desk): State<Desk>) -> Response {
    let counts = desk.handle.snapshot().sessions;
    Json(Sessions {
        open: counts.open,
        detached: counts.detached,
        held_bytes: counts.bytes,
        opened_total: counts.opened_total,
        resumed_total: counts.resumed_total,
        resets_total: counts.resets_total,
        deferred_total: counts.deferred_total,
        expired_total: counts.expired_total,
    })
    .into_response()
}

/// Asks the client of every durable session for another link, which takes over before the old one goes:
/// before something on the path is restarted.
#[utoipa::path(post, path = "/api/v1/sessions/migrate", request_body = Migrate, responses((status = 202, body = Migrating), (status = 400, description = "No such time")), security(("token" = [])))]
pub(crate) async fn migrate(
    State(desk): State<Desk>,
    Json(Migrate { spread_s }): Json<Migrate>,
) -> Response {
    if !(0.0..=SPREAD_S_MAX).contains(&spread_s) {
        return problem(StatusCode::BAD_REQUEST, "spread_s must be from 0 to 3600");
    }
    let asked = desk.handle.migrate_sessions(Duration::from_secs_f64(spread_s));
    (StatusCode::ACCEPTED, Json(Migrating { asked })).into_response()
}

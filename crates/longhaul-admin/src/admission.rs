//! Who came in by a token, and taking that back.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use longhaul_gateway::handle::{Revocation, ServiceSnapshot};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::problem;
use crate::desk::Desk;

/// The longest that a revocation is remembered, and the longest that a right is prolonged at once.
const DAYS_30_S: u64 = 30 * 24 * 3_600;

/// What became of those who asked to come in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Admission {
    /// How often each verdict was given since the start.
    outcomes: Vec<Outcome>,
    /// Open WebSockets that came by a token and end with it.
    granted_open: usize,
    /// Services that judge tokens.
    services: Vec<Service>,
}

/// One verdict.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Outcome {
    outcome: &'static str,
    count: u64,
}

/// A service that judges tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Service {
    name: String,
    /// `closed` (it is asked), `open`, `half_open` or `sick`.
    breaker: &'static str,
    opened: u64,
    asked: u64,
    failed: u64,
    cache_hits: u64,
    cache_stale: u64,
    prevented: u64,
    waiting: usize,
}

/// What to take back: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    /// Everything that was granted to this subject until now.
    subject: Option<String>,
    /// One token, by its `jti`.
    token_id: Option<String>,
    /// How long to refuse such tokens, in seconds: the longest life of a token. A day when not said.
    keep_s: Option<u64>,
}

/// Whose WebSockets may go on, and for how long from now.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    subject: String,
    /// In seconds, 30 days at the most.
    expires_in_s: u64,
}

/// How many were told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Told {
    websockets: usize,
}

/// What became of those who asked to come in, since the start.
#[utoipa::path(get, path = "/api/v1/admission", responses((status = 200, body = Admission)))]
pub(crate) async fn show(State(desk): State<Desk>) -> Response {
    let admission = desk.handle.admission();
    let outcomes = admission.outcomes.into_iter();
    Json(Admission {
        outcomes: outcomes.map(|(outcome, count)| Outcome { outcome, count }).collect(),
        granted_open: admission.granted_open,
        services: admission.services.into_iter().map(Service::from).collect(),
    })
    .into_response()
}

/// Takes back what a subject or a token was granted: its WebSockets end with 4401 and such tokens are
/// refused. Holds on this node, until its restart.
#[utoipa::path(post, path = "/api/v1/admission/revoke", request_body = Revoke, responses((status = 200, body = Told), (status = 400, description = "Neither a subject nor a token, or both")), security(("token" = [])))]
pub(crate) async fn revoke(State(desk): State<Desk>, Json(revoke): Json<Revoke>) -> Response {
    const DAY_S: u64 = 24 * 3_600;
    let revocation = match (revoke.subject, revoke.token_id) {
        (Some(subject), None) => Revocation::Subject(subject),
        (None, Some(token_id)) => Revocation::Token(token_id),
        _ => return problem(StatusCode::BAD_REQUEST, "say either subject or token_id"),
    };
    let keep = Duration::from_secs(revoke.keep_s.unwrap_or(DAY_S).min(DAYS_30_S));
    Json(Told { websockets: desk.handle.revoke(revocation, keep) }).into_response()
}

/// Lets the open WebSockets of a subject go on, whatever their tokens say.
#[utoipa::path(post, path = "/api/v1/admission/refresh", request_body = Refresh, responses((status = 200, body = Told)), security(("token" = [])))]
pub(crate) async fn refresh(State(desk): State<Desk>, Json(refresh): Json<Refresh>) -> Response {
    let left = Duration::from_secs(refresh.expires_in_s.min(DAYS_30_S));
    let expires = SystemTime::now() + left;
    Json(Told { websockets: desk.handle.refresh(&refresh.subject, expires) }).into_response()
}

impl From<ServiceSnapshot> for Service {
    fn from(service: ServiceSnapshot) -> Self {
        Self {
            name: service.name,
            breaker: service.breaker,
            opened: service.opened,
            asked: service.asked,
            failed: service.failed,
            cache_hits: service.cache_hits,
            cache_stale: service.cache_stale,
            prevented: service.prevented,
            waiting: service.waiting,
        }
    }
}

//! What the process was told, and what of it can be told anew.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use longhaul_gateway::reload::Reloaded;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::problem;
use crate::desk::Desk;

/// What is logged.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogLevel {
    /// A level, or levels by target: `info,longhaul_gateway=debug`.
    level: String,
}

/// The configuration in force: each key with its value and who said it, secrets masked.
#[utoipa::path(get, path = "/api/v1/config", responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn config(State(desk): State<Desk>) -> Response {
    Json(desk.house.config()).into_response()
}

/// What a reload has changed, each key in words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reload {
    /// In effect now.
    changes: Vec<String>,
    /// Waiting for a restart.
    after_restart: Vec<String>,
}

/// Has the configuration read again and put into effect. With an error in it nothing changes.
#[utoipa::path(post, path = "/api/v1/reload", responses((status = 200, body = Reload), (status = 409, description = "Refused; nothing has changed")), security(("token" = [])))]
pub(crate) async fn reload(State(desk): State<Desk>) -> Response {
    match desk.handle.reload().await {
        Ok(Reloaded { changes, after_restart }) => {
            Json(Reload { changes, after_restart }).into_response()
        }
        Err(refused) => problem(StatusCode::CONFLICT, &refused.to_string()),
    }
}

/// What is logged.
#[utoipa::path(get, path = "/api/v1/log-level", responses((status = 200, body = LogLevel)))]
pub(crate) async fn log_level(State(desk): State<Desk>) -> Response {
    Json(LogLevel { level: desk.house.log_level() }).into_response()
}

/// Changes what is logged, until the next change or restart.
#[utoipa::path(put, path = "/api/v1/log-level", request_body = LogLevel, responses((status = 200, body = LogLevel), (status = 400, description = "No such level")), security(("token" = [])))]
pub(crate) async fn set_log_level(
    State(desk): State<Desk>,
    Json(LogLevel { level }): Json<LogLevel>,
) -> Response {
    match desk.house.set_log_level(&level) {
        Ok(()) => Json(LogLevel { level }).into_response(),
        Err(reason) => problem(StatusCode::BAD_REQUEST, &reason),
    }
}

//! What the process was told, and what of it can be told anew.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
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

/// What a reload has changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reloaded {
    /// One line for each key that is another one now.
    changes: Vec<String>,
    /// Keys that were changed and hold after a restart only.
    after_restart: Vec<String>,
}

/// Reads the configuration again and puts it into effect. A bad one changes nothing.
#[utoipa::path(post, path = "/api/v1/reload", responses((status = 200, body = Reloaded), (status = 409, description = "It was refused; the reason says why")), security(("token" = [])))]
pub(crate) async fn reload(State(desk): State<Desk>) -> Response {
    match desk.handle.reload().await {
        Ok(done) => {
            let longhaul_gateway::reload::Reloaded { changes, after_restart } = done;
            Json(Reloaded { changes, after_restart }).into_response()
        }
        Err(refused) => problem(StatusCode::CONFLICT, &refused.to_string()),
    }
}

//! The endpoints of the admin API. Each reads; none changes anything, so only GET and HEAD exist.
//!
//! | Path | Says |
//! |---|---|
//! | `/health`, `/health/live` | 200 while the process turns |
//! | `/health/ready` | 200 while new work is welcome, else 503 with the reasons |
//! | `/health/startup` | 200 once every start-up step is done, else 503 with the reasons |
//! | `/status` | listeners, upstreams, replicas and counts at this moment |

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use http::{HeaderValue, StatusCode, header};
use longhaul_gateway::Handle;

use crate::{guard, health, status};

/// Everything the API answers, behind the guard that refuses foreign names.
pub(crate) fn router(handle: Handle) -> Router {
    Router::new()
        .route("/health", get(live))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/startup", get(startup))
        .route("/status", get(show_status))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(guard::refuse_foreign_hosts))
        .layer(middleware::map_response(harden))
        .with_state(handle)
}

async fn live(State(handle): State<Handle>) -> Response {
    health::answer(health::Question::Live, handle.readiness())
}

async fn ready(State(handle): State<Handle>) -> Response {
    health::answer(health::Question::Ready, handle.readiness())
}

async fn startup(State(handle): State<Handle>) -> Response {
    health::answer(health::Question::Startup, handle.readiness())
}

async fn show_status(State(handle): State<Handle>) -> Response {
    Json(status::Status::of(&handle)).into_response()
}

async fn unknown_path() -> Response {
    problem(
        StatusCode::NOT_FOUND,
        "no such endpoint; there are /health, /health/live, /health/ready, /health/startup and /status",
    )
}

async fn wrong_method() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "this endpoint only reads; use GET or HEAD")
}

/// An error in the one shape all of them have: `{"error": "…"}`.
pub(crate) fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(serde_json::json!({ "error": error }))).into_response()
}

/// Answers are of this moment and are never to be taken for a page.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

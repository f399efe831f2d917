//! The endpoints of the admin API. `access` says who may use which.
//!
//! | Path | Says or does |
//! |---|---|
//! | `/health`, `/health/live` | 200 while the process turns |
//! | `/health/ready` | 200 while new work is welcome, else 503 with the reasons |
//! | `/health/startup` | 200 once every start-up step is done, else 503 with the reasons |
//! | `/` | the dashboard |
//! | `/metrics` | everything that is counted, for scrapers |
//! | `/openapi.json` | this API |
//! | `/status` | listeners, upstreams, replicas and counts at this moment |
//! | `/api/v1/…` | the parts of it, and commands |

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};
use http::{HeaderValue, StatusCode, header};

use crate::desk::Desk;
use crate::{
    access, admission, connections, dashboard, guard, health, metrics, openapi, sessions, settings,
    status, upgrade, upstreams,
};

/// Everything the API answers, behind the guards that refuse foreign names and foreign hands.
pub(crate) fn router(desk: Desk) -> Router {
    Router::new()
        .route("/health", get(live))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/startup", get(startup))
        .route("/", get(dashboard::page))
        .route("/dashboard.css", get(dashboard::style))
        .route("/dashboard.js", get(dashboard::script))
        .route("/metrics", get(metrics::show))
        .route("/openapi.json", get(openapi::show))
        .route("/status", get(status::show))
        .route("/api/v1/overview", get(dashboard::overview))
        .route("/api/v1/routes", get(upstreams::routes))
        .route("/api/v1/upstreams", get(upstreams::upstreams))
        .route(
            "/api/v1/upstreams/{upstream}/replicas/{replica}/drain",
            post(upstreams::drain).delete(upstreams::undrain),
        )
        .route("/api/v1/connections", get(connections::list))
        .route("/api/v1/connections/{id}", get(connections::one).delete(connections::close))
        .route("/api/v1/ends", get(connections::ends))
        .route("/api/v1/sessions", get(sessions::show))
        .route("/api/v1/sessions/migrate", post(sessions::migrate))
        .route("/api/v1/admission", get(admission::show))
        .route("/api/v1/admission/revoke", post(admission::revoke))
        .route("/api/v1/admission/refresh", post(admission::refresh))
        .route("/api/v1/config", get(settings::config))
        .route("/api/v1/reload", post(settings::reload))
        .route("/api/v1/upgrade", post(upgrade::upgrade))
        .route("/api/v1/log-level", put(settings::set_log_level).get(settings::log_level))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(desk.clone(), access::admit))
        .layer(middleware::from_fn_with_state(desk.clone(), guard::refuse_foreign_hosts))
        .layer(middleware::map_response(harden))
        .with_state(desk)
}

/// Whether the process turns.
#[utoipa::path(get, path = "/health/live", responses((status = 200, body = health::Health)))]
pub(crate) async fn live(State(desk): State<Desk>) -> Response {
    health::answer(health::Question::Live, &desk.handle)
}

/// Whether new work is welcome, and if not, why.
#[utoipa::path(get, path = "/health/ready", responses((status = 200, body = health::Health), (status = 503, body = health::Health)))]
pub(crate) async fn ready(State(desk): State<Desk>) -> Response {
    health::answer(health::Question::Ready, &desk.handle)
}

/// Whether every start-up step is done, and if not, which is waited for.
#[utoipa::path(get, path = "/health/startup", responses((status = 200, body = health::Health), (status = 503, body = health::Health)))]
pub(crate) async fn startup(State(desk): State<Desk>) -> Response {
    health::answer(health::Question::Startup, &desk.handle)
}

async fn unknown_path() -> Response {
    problem(StatusCode::NOT_FOUND, "no such endpoint; /openapi.json lists those there are")
}

async fn wrong_method() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "not with this method; /openapi.json says which")
}

/// An error in the one shape all of them have: `{"error": "…"}`.
pub(crate) fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(serde_json::json!({ "error": error }))).into_response()
}

/// Answers are of this moment and are never to be taken for a page, or shown inside one.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

//! Routes, and the upstreams behind them.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::desk::Desk;
use crate::status::Upstream;

/// One route of the configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Route {
    name: String,
    /// `http` or `tcp`.
    kind: &'static str,
    /// What it takes, in words.
    takes: String,
    /// The upstream it leads to.
    upstream: String,
}

/// Every route, in the order of the configuration.
#[utoipa::path(get, path = "/api/v1/routes", responses((status = 200, body = Vec<Route>)))]
pub(crate) async fn routes(State(desk): State<Desk>) -> Response {
    let route = |route: longhaul_gateway::handle::RouteSnapshot| Route {
        name: route.name,
        kind: if route.is_tcp { "tcp" } else { "http" },
        takes: route.takes,
        upstream: route.upstream,
    };
    Json(desk.handle.routes().into_iter().map(route).collect::<Vec<_>>()).into_response()
}

/// Every upstream with its replicas as they are now.
#[utoipa::path(get, path = "/api/v1/upstreams", responses((status = 200, body = Vec<Upstream>)))]
pub(crate) async fn upstreams(State(desk): State<Desk>) -> Response {
    let upstreams = desk.handle.snapshot().upstreams;
    Json(upstreams.into_iter().map(Upstream::from).collect::<Vec<_>>()).into_response()
}

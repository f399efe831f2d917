//! Routes, and the upstreams behind them; drains of their replicas.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use longhaul_gateway::handle::CommandError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::problem;
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

/// Drains a replica: nothing new goes there, and its WebSockets leave. `/status` says who is left.
#[utoipa::path(post, path = "/api/v1/upstreams/{upstream}/replicas/{replica}/drain", params(("upstream" = String, Path), ("replica" = String, Path, description = "HOST:PORT")), responses((status = 202, description = "It drains"), (status = 404, description = "There is no such replica")), security(("token" = [])))]
pub(crate) async fn drain(
    State(desk): State<Desk>,
    Path((upstream, replica)): Path<(String, SocketAddr)>,
) -> Response {
    done(StatusCode::ACCEPTED, desk.handle.drain_replica(&upstream, replica))
}

/// Lets a replica have new work again.
#[utoipa::path(delete, path = "/api/v1/upstreams/{upstream}/replicas/{replica}/drain", params(("upstream" = String, Path), ("replica" = String, Path, description = "HOST:PORT")), responses((status = 204, description = "It drains no more"), (status = 404, description = "There is no such replica")), security(("token" = [])))]
pub(crate) async fn undrain(
    State(desk): State<Desk>,
    Path((upstream, replica)): Path<(String, SocketAddr)>,
) -> Response {
    done(StatusCode::NO_CONTENT, desk.handle.undrain_replica(&upstream, replica))
}

fn done(status: StatusCode, outcome: Result<(), CommandError>) -> Response {
    match outcome {
        Ok(()) => status.into_response(),
        Err(error) => problem(StatusCode::NOT_FOUND, &error.to_string()),
    }
}

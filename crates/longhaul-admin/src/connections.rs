//! Open connections, and how the last ones ended.

use std::net::{IpAddr, SocketAddr};
use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use longhaul_gateway::handle::{ConnectionSnapshot, End, Wanted};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::problem;
use crate::desk::Desk;
use crate::health::seconds;

/// Connections on one page at most: what a person can look at, and a quick answer.
const PAGE_MAX: usize = 1000;
const PAGE: usize = 100;

/// Which connections to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// On this route.
    route: Option<String>,
    /// At this replica.
    #[param(value_type = Option<String>)]
    replica: Option<SocketAddr>,
    /// Of this client.
    #[param(value_type = Option<String>)]
    client: Option<IpAddr>,
    /// With a larger id: `next` of the page before.
    after: Option<u64>,
    /// At most so many, 1000 at the most; 100 when not said.
    limit: Option<usize>,
}

/// Open connections, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page {
    connections: Vec<Connection>,
    /// How many match, from this page on.
    total: usize,
    /// What to ask the next page with; null when this is the last.
    next: Option<u64>,
}

/// One open connection.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connection {
    /// As in the log.
    id: u64,
    /// `websocket` or `tcp`.
    kind: &'static str,
    route: String,
    /// Behind trusted proxies, the forwarded address.
    client: String,
    replica: String,
    /// How long it has been open, in seconds.
    open_s: f64,
    /// To the replica; null for raw TCP, as are the next three.
    messages_up: Option<u64>,
    messages_down: Option<u64>,
    bytes_up: Option<u64>,
    bytes_down: Option<u64>,
}

/// How one WebSocket ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ended {
    /// As in the log.
    id: u64,
    /// When, in seconds since 1970.
    at_s: f64,
    route: String,
    client: String,
    replica: String,
    /// `client`, `replica` or `gateway`.
    closed_by: &'static str,
    /// From the list in the reference of errors.
    cause: &'static str,
    /// The cause in words.
    reason: String,
    code: u16,
    /// Whether nobody meant it to end.
    drop: bool,
    duration_s: f64,
    messages_up: u64,
    messages_down: u64,
}

/// Open connections, a page at a time.
#[utoipa::path(get, path = "/api/v1/connections", params(Filter), responses((status = 200, body = Page)))]
pub(crate) async fn list(State(desk): State<Desk>, Query(filter): Query<Filter>) -> Response {
    let limit = filter.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let Filter { route, replica, client, after, .. } = filter;
    let wanted = Wanted { route, replica, client, after: after.unwrap_or(0), limit };
    let (found, total) = desk.handle.connections(&wanted);
    let next = (total > found.len()).then(|| found.last().map(|last| last.id)).flatten();
    let connections = found.into_iter().map(Connection::from).collect();
    Json(Page { connections, total, next }).into_response()
}

/// One open connection.
#[utoipa::path(get, path = "/api/v1/connections/{id}", params(("id" = u64, Path)), responses((status = 200, body = Connection), (status = 404, description = "It is not open")))]
pub(crate) async fn one(State(desk): State<Desk>, Path(id): Path<u64>) -> Response {
    match desk.handle.connection(id) {
        Some(connection) => Json(Connection::from(connection)).into_response(),
        None => not_open(),
    }
}

/// Ends one connection; a WebSocket gets 1001.
#[utoipa::path(delete, path = "/api/v1/connections/{id}", params(("id" = u64, Path)), responses((status = 204, description = "It was told to end"), (status = 404, description = "It is not open")), security(("token" = [])))]
pub(crate) async fn close(State(desk): State<Desk>, Path(id): Path<u64>) -> Response {
    if desk.handle.close(id) { StatusCode::NO_CONTENT.into_response() } else { not_open() }
}

/// How the last WebSockets ended, oldest first: 256 of them at most.
#[utoipa::path(get, path = "/api/v1/ends", responses((status = 200, body = Vec<Ended>)))]
pub(crate) async fn ends(State(desk): State<Desk>) -> Response {
    Json(desk.handle.ends().into_iter().map(Ended::from).collect::<Vec<_>>()).into_response()
}

fn not_open() -> Response {
    problem(StatusCode::NOT_FOUND, "no open connection has this id")
}

impl From<ConnectionSnapshot> for Connection {
    fn from(connection: ConnectionSnapshot) -> Self {
        let ConnectionSnapshot { id, is_tcp, route, client, replica, open_for, messages, bytes } =
            connection;
        let of_websocket = |number: u64| (!is_tcp).then_some(number);
        Self {
            id,
            kind: if is_tcp { "tcp" } else { "websocket" },
            route: route.to_string(),
            client: client.to_string(),
            replica: replica.to_string(),
            open_s: seconds(open_for),
            messages_up: of_websocket(messages[0]),
            messages_down: of_websocket(messages[1]),
            bytes_up: of_websocket(bytes[0]),
            bytes_down: of_websocket(bytes[1]),
        }
    }
}

impl From<End> for Ended {
    fn from(end: End) -> Self {
        Self {
            id: end.id,
            at_s: seconds(end.at.duration_since(UNIX_EPOCH).unwrap_or_default()),
            route: end.route.to_string(),
            client: end.client.to_string(),
            replica: end.replica.to_string(),
            closed_by: end.closed_by,
            cause: end.cause,
            reason: end.reason,
            code: end.code,
            drop: end.is_drop,
            duration_s: seconds(end.duration),
            messages_up: end.messages[0],
            messages_down: end.messages[1],
        }
    }
}

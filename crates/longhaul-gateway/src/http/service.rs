//! Decides who answers a request: a rule, a health endpoint, a replica, or nobody.

use std::convert::Infallible;
use std::time::Instant;

use http::header::{CONNECTION, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use longhaul_policy::redact;
use tracing::{debug, info, warn};

use super::answer::Refusal;
use super::body::Body;
use super::failure::Failure;
use super::screened::{self, ScreenHandle};
use super::visit::{self, Visit};
use super::{forward, health};
use crate::admission::{self, Entry};
use crate::connection::{Connection, Security};
use crate::shared::{OpenWork, Shared};
use crate::telemetry::Answered;
use crate::upgrade;

/// Answers one request. The answer is always one: what fails becomes an answer of the gateway's own.
pub(crate) async fn answer(
    connection: &Connection,
    screen: &ScreenHandle,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let shared = &connection.worker.shared;
    let work = OpenWork::new(shared);
    let exchange = screen.begin_exchange();
    let mut answer = match screen.take_refusal(&request) {
        Some(refused) => refuse(connection, refused),
        None => dispatch(connection, request).await,
    };
    answer.body_mut().hold(exchange, work);
    Ok(answer)
}

/// Answers what the screen let nobody else see.
fn refuse(connection: &Connection, refused: screened::Refusal) -> Response<Body> {
    let violation = refused.violation;
    debug!(peer = %connection.peer, reason = %violation, "request refused");
    connection.worker.shared.telemetry.refusals.count(&[Refusal::Violation(violation).cause()]);
    let mut answer = Refusal::Violation(violation).answer(&HeaderMap::new());
    if !refused.wants_body {
        *answer.body_mut() = Body::empty();
    }
    answer
}

/// Answers one request that broke no rule. What a connection shall do behind it is said by its
/// `Connection` field.
pub(super) async fn dispatch(
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<Body> {
    let shared = &connection.worker.shared;
    let config = &shared.config;
    if connection.security == Security::Missing {
        debug!(peer = %connection.peer, "request refused: it came without TLS");
        return Refusal::TlsRequired.answer(request.headers());
    }
    let (method, path) = (request.method(), request.uri().path());
    if let Some(answer) = health::answer(&config.health_paths, &shared.readiness, method, path) {
        return answer;
    }
    let is_upgrade = is_websocket_upgrade(&request);
    let accept = request.headers().get(http::header::ACCEPT).cloned();
    let uri = request.uri().clone();
    let (began, mut taken, mut refusal) = (Instant::now(), None, None);
    let mut answer = match route(connection, request, is_upgrade, &mut taken).await {
        Ok(answer) => answer,
        Err(failure) => {
            log(connection, &failure, &uri);
            refusal = Some(failure.refusal.cause());
            let mut headers = HeaderMap::new();
            headers.extend(accept.map(|accept| (http::header::ACCEPT, accept)));
            failure.answer(&headers)
        }
    };
    shared.telemetry.note_answer(&Answered {
        route: taken.map(|route| config.routes[route].name.as_str()),
        is_upgrade,
        status: answer.status(),
        refusal,
        took: began.elapsed(),
    });
    // Bytes behind a refused upgrade were meant for a WebSocket, and must not be read as a request.
    // While draining, no connection is kept for another request.
    let is_switching = answer.status() == http::StatusCode::SWITCHING_PROTOCOLS;
    if !is_switching && (is_upgrade || shared.readiness.is_draining()) {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Passes a request to the route that takes it. `taken` names it, also when that fails.
async fn route(
    connection: &Connection,
    request: Request<Incoming>,
    is_upgrade: bool,
    taken: &mut Option<usize>,
) -> Result<Response<Body>, Failure> {
    let shared = &connection.worker.shared;
    welcome(shared, is_upgrade)?;
    let (mut head, body) = request.into_parts();
    let client = visit::prepare(&mut head, connection, is_upgrade);
    let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let route = shared
        .route(connection.listener, host, head.uri.path(), &head.headers)
        .ok_or(Refusal::NoRoute)?;
    *taken = Some(route);
    let visit = Visit::new(connection, route, client);
    let sharing = admission::Sharing::new(&visit, &head);
    let answer = match admission::admit(&visit, connection, &mut head, is_upgrade) {
        Ok(Entry::Answered(answer)) => return Ok(answer),
        Ok(Entry::Admitted(pass)) if is_upgrade => {
            upgrade::offer(&visit, connection, head, pass).await
        }
        Ok(Entry::Admitted(_)) => forward::forward(&visit, &head, body).await,
        Err(failure) => Err(failure),
    };
    sharing.apply(answer)
}

/// Whether new work is welcome at all.
fn welcome(shared: &Shared, is_upgrade: bool) -> Result<(), Refusal> {
    if shared.readiness.is_ready() {
        return Ok(());
    }
    if let Some(gate) = shared.readiness.gates().into_iter().next() {
        return Err(Refusal::NotReady(gate.name));
    }
    // Ordinary requests are still answered while draining: whoever routes here may not know yet.
    if shared.readiness.is_draining() && is_upgrade {
        return Err(Refusal::Draining);
    }
    Ok(())
}

/// Whether the head asks for a WebSocket. The screen has refused whatever asks for one wrongly;
/// in HTTP/1.0 there are no upgrades to ask for (RFC 9110 §7.8).
fn is_websocket_upgrade(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_11
        && request
            .headers()
            .get_all(UPGRADE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("websocket"))
}

fn log(connection: &Connection, failure: &Failure, uri: &Uri) {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let path = &*redact::target(path);
    let Failure { refusal, replica, detail, .. } = failure;
    let (peer, status, cause) = (connection.peer, refusal.status().as_u16(), refusal.cause());
    let replica = replica.map(tracing::field::display);
    match refusal {
        // The client's doing: of interest only to who debugs it.
        Refusal::Violation(_)
        | Refusal::NoRoute
        | Refusal::BodyAborted
        | Refusal::TooFast { .. }
        | Refusal::TooMany { .. } => {
            debug!(%peer, status, cause, path, "request refused");
        }
        // The client's doing as well, but often the sign of a setting that does not fit.
        Refusal::OriginForbidden => {
            info!(%peer, status, cause, path, reason = detail, "request refused");
        }
        _ => {
            warn!(%peer, status, cause, path, replica, error = detail, "no answer from a replica")
        }
    }
}

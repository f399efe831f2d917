//! Decides who answers a request: a rule, a health endpoint, a replica, or nobody.

use std::convert::Infallible;
use std::time::Instant;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use longhaul_policy::redact;
use longhaul_proto::durable::code;
use tracing::{debug, info, warn};

use super::answer::Refusal;
use super::body::Body;
use super::failure::Failure;
use super::screened::{self, ScreenHandle};
use super::visit::{self, Visit};
use super::{forward, health, inject};
use crate::admission::{self, Entry};
use crate::connection::{Connection, Security};
use crate::durable;
use crate::shared::{OpenWork, Shared};
use crate::telemetry::Answered;
use crate::trace::{Child, Outcome, Trace};
use crate::upgrade::{self, Offered};

/// Answers one request. The answer is always one: what fails becomes an answer of the gateway's own.
/// `known` is the answer, where there is one before the library has read the request.
pub(crate) async fn answer(
    connection: &Connection,
    screen: &ScreenHandle,
    request: Request<Incoming>,
    known: Option<Response<Body>>,
) -> Result<Response<Body>, Infallible> {
    let connection = connection.refreshed();
    let work = OpenWork::new(&connection.shared);
    let exchange = screen.begin_exchange();
    let mut answer = match screen.take_refusal(&request) {
        Some(refused) => refuse(&connection, refused),
        None => match known {
            Some(answer) => answer,
            None => dispatch(&connection, request).await,
        },
    };
    answer.body_mut().hold(exchange, work);
    Ok(answer)
}

/// Answers what the screen let nobody else see.
fn refuse(connection: &Connection, refused: screened::Refusal) -> Response<Body> {
    let violation = refused.violation;
    debug!(peer = %connection.peer, reason = %violation, "request refused");
    connection.shared.telemetry.refusals.count(&[Refusal::Violation(violation).cause()]);
    let mut answer = Refusal::Violation(violation).answer(&HeaderMap::new());
    if !refused.wants_body {
        *answer.body_mut() = Body::empty();
    }
    answer
}

/// Answers one request that the library has read, and that broke no rule.
pub(super) async fn dispatch(
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    // Taken out before the head is copied for a replica: the client's connection is not its affair.
    let upgrade = head.extensions.remove::<OnUpgrade>();
    match (decide(connection, head, Some(body)).await, upgrade) {
        (Offered::Answer(answer), _) => answer,
        (Offered::Switch(switch), Some(upgrade)) => switch.by_library(upgrade),
        // The library lets every request be an upgrade that may be one.
        (Offered::Switch(_), None) => Refusal::HandshakeInvalid.answer(&HeaderMap::new()),
    }
}

/// Answers one request that broke no rule. What a connection shall do behind it is said by its
/// `Connection` field.
pub(super) async fn decide(
    connection: &Connection,
    mut head: Parts,
    body: Option<Incoming>,
) -> Offered {
    let shared = &connection.shared;
    let config = &shared.config;
    if connection.security == Security::Missing {
        debug!(peer = %connection.peer, "request refused: it came without TLS");
        return Offered::Answer(Refusal::TlsRequired.answer(&head.headers));
    }
    let (method, path) = (&head.method, head.uri.path());
    if let Some(answer) = health::answer(shared, method, path) {
        return Offered::Answer(answer);
    }
    let is_upgrade = is_websocket_upgrade(&head);
    let accept = head.headers.get(http::header::ACCEPT).cloned();
    let uri = head.uri.clone();
    let trace = shared.tracer.as_ref().and_then(|tracer| Trace::begin(tracer, &mut head));
    let method = trace.is_some().then(|| head.method.clone());
    let (began, mut taken, mut refusal) = (Instant::now(), None, None);
    let mut offered = match route(connection, head, body, is_upgrade, &mut taken).await {
        Ok(offered) => offered,
        Err(failure) => {
            log(connection, &failure, &uri);
            refusal = Some(failure.refusal.cause());
            let mut headers = HeaderMap::new();
            headers.extend(accept.map(|accept| (http::header::ACCEPT, accept)));
            Offered::Answer(failure.answer(&headers))
        }
    };
    let (route, status) = (taken.map(|route| config.routes[route].name.as_str()), offered.status());
    if let Some((trace, method)) = trace.zip(method) {
        let status = status.as_u16();
        trace.end(&Outcome { method: &method, is_upgrade, route, status, refusal });
    }
    shared.telemetry.note_answer(&Answered {
        route,
        is_upgrade,
        status,
        refusal,
        took: began.elapsed(),
    });
    // Bytes behind a refused upgrade were meant for a WebSocket, and must not be read as a request.
    // While draining, and where the listener is gone, no connection is kept for another request.
    let leaves = shared.readiness.is_draining()
        || shared.readiness.is_leaving()
        || connection.is_left_behind();
    if let Offered::Answer(answer) = &mut offered
        && (is_upgrade || leaves)
    {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    offered
}

/// Passes a request to the route that takes it. `taken` names it, also when that fails.
async fn route(
    connection: &Connection,
    mut head: Parts,
    body: Option<Incoming>,
    is_upgrade: bool,
    taken: &mut Option<usize>,
) -> Result<Offered, Failure> {
    let shared = &connection.shared;
    welcome(shared, is_upgrade)?;
    let client = visit::prepare(&mut head, connection, is_upgrade);
    if let Some(trace) = Trace::of(&head) {
        trace.note("client.address", client.address.to_string());
    }
    if let Some(answer) = admission::answer_own(connection, &mut head).await {
        return Ok(Offered::Answer(answer));
    }
    let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let route = shared
        .route(connection.listener, host, head.uri.path(), &head.headers)
        .ok_or(Refusal::NoRoute)?;
    *taken = Some(route);
    // A session that comes back brings its memory with it, and may free some.
    if is_upgrade
        && shared.overload.refuses(&shared.config.routes[route].name)
        && !durable::is_asked(connection, &head.headers)
    {
        return Err(Refusal::Overloaded.into());
    }
    let visit = Visit::new(connection, route, client);
    let sharing = admission::Sharing::new(&visit, &head);
    let mut admitting = Child::begin(&head, "admission");
    let admitted = admission::admit(&visit, connection, &mut head, is_upgrade).await;
    if let Err(failure) = &admitted {
        admitting.fail(failure.refusal.cause());
    }
    drop(admitting);
    let offered = match admitted {
        Ok(Entry::Answered(offered)) => return Ok(offered),
        Ok(Entry::Admitted(pass)) if is_upgrade => {
            if durable::is_asked(connection, &head.headers) {
                durable::offer(&visit, connection, head, pass)
                    .ok_or(Refusal::HandshakeInvalid.into())
            } else {
                upgrade::offer(&visit, connection, head, pass).await
            }
        }
        Ok(Entry::Admitted(_)) => match inject::script(visit.route(), &head) {
            Some(script) => Ok(Offered::Answer(script)),
            // Boxed, so that a handshake does not carry the room for it.
            None => Box::pin(forward::forward(&visit, &head, body)).await.map(Offered::Answer),
        },
        Err(failure) => match refuse_session(connection, &mut head, &failure, is_upgrade) {
            Some(offered) => Ok(offered),
            None => Err(failure),
        },
    };
    sharing.apply(offered)
}

/// Refuses a durable session in words that its client understands. Pages of foreign origins get no
/// such courtesy.
fn refuse_session(
    connection: &Connection,
    head: &mut Parts,
    failure: &Failure,
    is_upgrade: bool,
) -> Option<Offered> {
    let is_foreign = matches!(failure.refusal, Refusal::OriginForbidden);
    if !is_upgrade || is_foreign || !durable::is_asked(connection, &head.headers) {
        return None;
    }
    let code = match failure.refusal.status().as_u16() {
        401 | 403 => code::LOGIN_REFUSED,
        _ => code::BUSY,
    };
    durable::refuse(connection, head, code)
}

/// Whether new work is welcome at all.
fn welcome(shared: &Shared, is_upgrade: bool) -> Result<(), Refusal> {
    if shared.readiness.is_ready() {
        return Ok(());
    }
    if shared.overload.is_full() {
        return Err(Refusal::Overloaded);
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
fn is_websocket_upgrade(head: &Parts) -> bool {
    head.version == Version::HTTP_11
        && head
            .headers
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
        | Refusal::TooMany { .. }
        | Refusal::Overloaded => {
            debug!(%peer, status, cause, path, "request refused");
        }
        // The client's doing as well, but often the sign of a setting that does not fit.
        Refusal::OriginForbidden
        | Refusal::Unauthenticated { .. }
        | Refusal::Forbidden
        | Refusal::AuthUnavailable { .. } => {
            info!(%peer, status, cause, path, reason = detail, "request refused");
        }
        _ => {
            warn!(%peer, status, cause, path, replica, error = detail, "no answer from a replica")
        }
    }
}

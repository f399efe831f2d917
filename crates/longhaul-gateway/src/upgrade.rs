//! The WebSocket handshake: offered to a replica first, answered to the client only with what the
//! replica said (RFC 6455 §4).
//!
//! A tunnel begins only behind a validated 101. Every other answer is an ordinary response.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use longhaul_policy::{hop_by_hop, redact};
use longhaul_proto::websocket::handshake::{self, HandshakeFault};

use crate::admission::Pass;
use crate::connection::Connection;
use crate::dial::Dial;
use crate::http::answer::Refusal;
use crate::http::body::{Body, Forwarded, Learner};
use crate::http::exchange::{self, ExchangeError, exchange};
use crate::http::failure::Failure;
use crate::http::http2::OpenStream;
use crate::http::pool::Lease;
use crate::http::screened::Screened;
use crate::http::upload::{Progress, Upload};
use crate::http::visit::Visit;
use crate::redial::{self, Origin};
use crate::relay::Leg;
use crate::telemetry::Card;
use crate::transport::Transport;
use crate::tunnel::Tunnel;
use crate::upstream::{Held, Replica, Work};

/// Offers the handshake to a replica, and answers as it answers.
///
/// # Errors
/// The gateway's own answer, when no replica gave a valid one.
pub(crate) async fn offer(
    visit: &Visit<'_>,
    connection: &Connection,
    mut head: Parts,
    pass: Option<Box<Pass>>,
) -> Result<Response<Body>, Failure> {
    // Taken out before the head is copied for a replica: the client's connection is not its affair.
    let client_upgrade = head.extensions.remove::<OnUpgrade>();
    let stream = head.extensions.remove::<OpenStream>();
    let redial = visit.worker.shared.relay_policy(visit.route).redial.as_ref();
    if redial.is_some() {
        redial::prepare(&mut head.headers);
    }
    let mut dial = Dial::new(visit.upstream(), Some(&head), visit.client.address, visit.ends);
    let (replica, held, lease, mut answer) = ask(visit, &head, &mut dial).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(pass_on(visit, &head, &replica, held, lease, answer));
    }
    if let Err(fault) = validate(&head, &answer) {
        replica.note_failure(Instant::now());
        return Err(Refusal::HandshakeInvalid.of(replica.address(), fault));
    }
    replica.note_success(Instant::now());
    let Some(client_upgrade) = client_upgrade else { return Err(Refusal::HandshakeInvalid.into()) };

    let backend_upgrade = hyper::upgrade::on(&mut answer);
    let (mut parts, _) = answer.into_parts();
    let card = card_of(visit, &head, &replica, parts.headers.get(SEC_WEBSOCKET_PROTOCOL));
    let origin = redial.map(|terms| {
        let (give_up, id) = (terms.give_up, card.id);
        Arc::new(Origin::new(visit, connection, head.clone(), &parts.headers, give_up, id))
    });
    if origin.is_some() {
        redial::impose_forgetting(&mut parts.headers);
    }
    hop_by_hop::strip_response(&mut parts.headers);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(cookie) = visit.cookie_for(&head, &replica) {
        parts.headers.append(SET_COOKIE, cookie);
    }
    let tunnel = Tunnel::new(visit, connection, stream, held, card, pass);
    tokio::spawn(join(tunnel, client_upgrade, backend_upgrade, origin));
    Ok(Response::from_parts(parts, Body::empty()))
}

pub(crate) type Answered = (Arc<Replica>, Held, Lease, Response<Incoming>);

/// Asks replicas in turn until one took the handshake; from then on it is this one or none.
pub(crate) async fn ask(
    visit: &Visit<'_>,
    head: &Parts,
    dial: &mut Dial<'_>,
) -> Result<Answered, Failure> {
    loop {
        let replica = dial.pick()?;
        let held = replica.hold(Work::WebSocket);
        let Some(stream) = dial.connect(&replica).await else { continue };
        let Ok(sender) = exchange::open(stream).await else { continue };
        let mut lease = visit.worker.pool.lease(replica.address(), sender, 0);
        let request = visit.outbound(head, &replica, Upload::empty());
        let patience = visit.upstream().config().upgrade_answer;
        let sent = exchange(&mut lease.sender, request, &Progress::default(), None, patience).await;
        match sent {
            Ok(answer) => return Ok((replica, held, lease, answer)),
            Err(ExchangeError::Unsent(_)) => replica.note_failure(Instant::now()),
            Err(error) => return Err(error.blame(&replica)),
        }
    }
}

/// Passes on an answer that is not a 101: a refusal of the application's, with its body.
fn pass_on(
    visit: &Visit<'_>,
    head: &Parts,
    replica: &Arc<Replica>,
    held: Held,
    lease: Lease,
    answer: Response<Incoming>,
) -> Response<Body> {
    let learner = visit
        .upstream()
        .learns_from(head)
        .then(|| Learner { upstream: visit.upstream().clone(), replica: replica.clone() });
    let mut answer = answer.map(|body| Forwarded::new(body, lease, held, learner).into());
    hop_by_hop::strip_response(answer.headers_mut());
    *answer.version_mut() = http::Version::HTTP_11;
    answer
}

pub(crate) fn validate(head: &Parts, answer: &Response<Incoming>) -> Result<(), HandshakeFault> {
    let (asked, answered) = (fields(&head.headers), fields(answer.headers()));
    let method = head.method.as_str().as_bytes();
    let offer = handshake::validate_request(method, asked.iter().copied())?;
    let status = answer.status().as_u16();
    handshake::validate_response(status, answered.iter().copied(), &offer).map(drop)
}

fn fields(headers: &HeaderMap) -> Vec<(&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
}

fn card_of(
    visit: &Visit<'_>,
    head: &Parts,
    replica: &Replica,
    subprotocol: Option<&HeaderValue>,
) -> Card {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    Card::open(
        &visit.worker.shared.telemetry,
        visit.worker.shared.relay_policy(visit.route).route.clone(),
        replica.address(),
        visit.client.address,
        &redact::target(target),
        subprotocol.and_then(|value| value.to_str().ok()),
    )
}

/// Waits until both legs are free of HTTP, and joins them.
async fn join(tunnel: Tunnel, client: OnUpgrade, backend: OnUpgrade, origin: Option<Arc<Origin>>) {
    let backend = match backend.await {
        Ok(backend) => backend,
        Err(error) => return tunnel.fail(&error),
    };
    let client = match client.await {
        Ok(client) => client,
        Err(error) => return tunnel.fail(&error),
    };
    let Some(backend) = backend_leg(backend) else {
        return tunnel.fail(&"the connection is of an unknown kind");
    };
    match client_leg(client) {
        ClientLeg::Socket(client) => tunnel.start(client, backend, origin),
        ClientLeg::Stream(client) => tunnel.start(client, backend, origin),
    }
}

/// How the client is reached once its handshake was answered.
pub(crate) enum ClientLeg {
    /// HTTP/1.1: the connection is the WebSocket's from now on.
    Socket(Leg<Transport>),
    /// HTTP/2: one stream of a connection that the library keeps.
    Stream(Leg<TokioIo<Upgraded>>),
}

/// Takes the client's socket back from the library, with what was read ahead. A stream stays where
/// it is.
pub(crate) fn client_leg(upgraded: Upgraded) -> ClientLeg {
    match upgraded.downcast::<TokioIo<Screened<Transport>>>() {
        Ok(parts) => {
            let (io, held_back) = parts.io.into_inner().into_parts();
            let mut read_ahead = BytesMut::from(&parts.read_buf[..]);
            read_ahead.extend_from_slice(&held_back);
            ClientLeg::Socket(Leg { io, read_ahead: read_ahead.freeze() })
        }
        Err(stream) => {
            ClientLeg::Stream(Leg { io: TokioIo::new(stream), read_ahead: Bytes::new() })
        }
    }
}

pub(crate) fn backend_leg(upgraded: Upgraded) -> Option<Leg<Transport>> {
    let parts = upgraded.downcast::<TokioIo<Transport>>().ok()?;
    Some(Leg { io: parts.io.into_inner(), read_ahead: parts.read_buf })
}

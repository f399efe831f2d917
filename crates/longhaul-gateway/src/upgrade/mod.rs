//! The WebSocket handshake: offered to a replica first, answered to the client only with what the
//! replica said (RFC 6455 §4).
//!
//! A tunnel begins only behind a validated 101. Every other answer is an ordinary response.
//!
//! Start at [`offer`]. Most handshakes pass without the HTTP library, on either side: [`ask`] and
//! [`crate::http::direct`] leave to it whatever is not as plain as it could be.

mod again;
mod ask;
mod carried;
mod rehearsed;
pub(crate) mod spelling;

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE, UPGRADE};
use http::request::Parts;
use http::response;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use longhaul_policy::{hop_by_hop, redact};
use longhaul_proto::otlp::Value;
use longhaul_proto::websocket::handshake::{self, HandshakeFault, Offer};

use crate::admission::{Farewell, Pass};
use crate::connection::Connection;
use crate::dial::Dial;
use crate::durable::Reception;
use crate::http::answer::Refusal;
use crate::http::body::{Body, Forwarded, Learner};
use crate::http::failure::Failure;
use crate::http::http2::OpenStream;
use crate::http::pool::Lease;
use crate::http::screened::Screened;
use crate::http::visit::Visit;
use crate::redial::{self, Origin};
use crate::relay::Leg;
use crate::retire;
use crate::telemetry::Card;
use crate::trace::Trace;
use crate::transport::Transport;
use crate::tunnel::{Extras, Tunnel};
use crate::upstream::{Held, Replica};
pub(crate) use again::{NoLeg, another_leg};
use ask::Answered;
pub(crate) use carried::CarriedHead;
use rehearsed::Rehearsed;
use spelling::Spelling;

const SWITCHING_PROTOCOLS: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

/// What came of an offer.
pub(crate) enum Offered {
    /// A response like any other; there is no tunnel.
    Answer(Response<Body>),
    /// A tunnel, as soon as the client has its answer.
    Switch(Box<Switch>),
}

impl Offered {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Answer(answer) => answer.status(),
            Self::Switch(_) => SWITCHING_PROTOCOLS,
        }
    }
}

/// Offers the handshake to a replica, and answers as it answers.
///
/// # Errors
/// The gateway's own answer, when no replica gave a valid one.
pub(crate) async fn offer(
    visit: &Visit<'_>,
    connection: &Connection,
    mut head: Parts,
    pass: Option<Box<Pass>>,
) -> Result<Offered, Failure> {
    let stream = head.extensions.remove::<OpenStream>();
    let redial = visit.shared.relay_policy(visit.route).redial.as_ref();
    if let Some(terms) = redial {
        redial::prepare(&mut head, terms);
    }
    let mut dial = Dial::new(visit.upstream(), Some(&head), visit.client.address, visit.ends);
    let (replica, held, answered) = ask::ask(visit, &head, &mut dial).await?;
    let (mut answer, spelling, backend) = match answered {
        Answered::Directly(answer, spelling, leg) => (answer, Some(spelling), Backend::Leg(leg)),
        Answered::ByLibrary(lease, answer) if answer.status() != SWITCHING_PROTOCOLS => {
            return Ok(Offered::Answer(pass_on(visit, &head, &replica, held, lease, answer)));
        }
        Answered::ByLibrary(_, mut answer) => {
            let upgrade = hyper::upgrade::on(&mut answer);
            (answer.into_parts().0, None, Backend::Library(upgrade))
        }
    };
    if let Err(fault) = validate(&head, &answer) {
        replica.note_failure(Instant::now());
        return Err(Refusal::HandshakeInvalid.of(replica.address(), fault));
    }
    replica.note_success();
    retire::heed(visit.shared, visit.upstream(), &replica, &mut answer.headers);
    let card = card_of(visit, &head, &replica, answer.headers.get(SEC_WEBSOCKET_PROTOCOL));
    // Taken out before the head is kept for other replicas: its part of the work is over.
    let sequel = head.extensions.remove::<Trace>().map(|trace| {
        trace.note("longhaul.id", Value::Number(card.id.cast_signed()));
        trace.note("longhaul.replica", replica.address().to_string());
        Box::new(trace.sequel())
    });
    let origin = redial.map(|terms| {
        let origin = Origin::new(visit, &head, &answer.headers, terms, card.id);
        redial::impose_forgetting(&mut answer.headers);
        Arc::new(origin)
    });
    hop_by_hop::strip_response(&mut answer.headers);
    answer.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(cookie) = visit.cookie_for(&head, &replica) {
        answer.headers.append(SET_COOKIE, cookie);
    }
    if !answer.headers.contains_key(SEC_WEBSOCKET_PROTOCOL)
        && let Some(chosen) = pass.as_ref().and_then(|pass| pass.subprotocol.clone())
    {
        // Offered to carry a token, which neither the replica nor the log was shown.
        answer.headers.insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    let extras = Extras { stream, pass, origin, sequel };
    let tunnel = Tunnel::new(visit, connection, extras, held, card);
    let next = Next::Relay(tunnel, backend);
    Ok(Offered::Switch(Box::new(Switch { answer, spelling, next })))
}

/// What came of asking for a leg alone.
pub(crate) enum Opened {
    /// A replica agreed.
    Leg(Box<(response::Parts, Leg<Transport>, Held)>),
    /// It did not; its answer had this status.
    Refused(StatusCode),
}

/// Opens a leg for a session, whose client has its own handshake behind it.
///
/// # Errors
/// What a client would be told, when no replica gave a valid answer.
pub(crate) async fn open_leg(
    visit: &Visit<'_>,
    head: &Parts,
    dial: &mut Dial<'_>,
) -> Result<Opened, Failure> {
    let (replica, held, answered) = ask::ask(visit, head, dial).await?;
    let (answer, backend) = match answered {
        Answered::Directly(answer, _, leg) => (answer, Backend::Leg(leg)),
        Answered::ByLibrary(_, answer) if answer.status() != SWITCHING_PROTOCOLS => {
            return Ok(Opened::Refused(answer.status()));
        }
        Answered::ByLibrary(_, mut answer) => {
            let upgrade = hyper::upgrade::on(&mut answer);
            (answer.into_parts().0, Backend::Library(upgrade))
        }
    };
    if let Err(fault) = validate(head, &answer) {
        replica.note_failure(Instant::now());
        return Err(Refusal::HandshakeInvalid.of(replica.address(), fault));
    }
    replica.note_success();
    match backend.leg().await {
        Ok(leg) => Ok(Opened::Leg(Box::new((answer, leg, held)))),
        Err(error) => Err(Refusal::HandshakeInvalid.of(replica.address(), error)),
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
    let learner = Learner::of(visit, head, replica);
    let mut answer: Response<Body> =
        answer.map(|body| Forwarded::new(body, lease, held, learner).into());
    retire::heed(visit.shared, visit.upstream(), replica, answer.headers_mut());
    hop_by_hop::strip_response(answer.headers_mut());
    *answer.version_mut() = http::Version::HTTP_11;
    answer
}

fn validate(head: &Parts, answer: &response::Parts) -> Result<(), HandshakeFault> {
    let (asked, answered) = (fields(&head.headers), fields(&answer.headers));
    // What was asked was judged before it was offered.
    let offer = Offer::of(asked.iter().copied()).ok_or(HandshakeFault::Key)?;
    let status = answer.status.as_u16();
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
        &visit.shared.telemetry,
        visit.shared.relay_policy(visit.route).route.clone(),
        replica.address(),
        visit.client.address,
        &redact::target(target),
        subprotocol.and_then(|value| value.to_str().ok()),
    )
}

/// A 101 for a client, and what comes behind it.
pub(crate) struct Switch {
    answer: response::Parts,
    /// How a replica spelled it, where no library has read it.
    spelling: Option<Spelling>,
    next: Next,
}

enum Next {
    /// A replica agreed.
    Relay(Tunnel, Backend),
    /// It is opened to be closed.
    Farewell(Farewell),
    /// Its first message says what it is for.
    Session(Box<Reception>),
}

/// The replica, once it has answered 101.
enum Backend {
    Leg(Leg<Transport>),
    /// In the hands of the library, for the moment.
    Library(OnUpgrade),
}

impl Switch {
    /// A WebSocket that is opened to tell why it is closed.
    pub(crate) fn farewell(answer: response::Parts, farewell: Farewell) -> Self {
        Self { answer, spelling: None, next: Next::Farewell(farewell) }
    }

    /// A link of a durable session.
    pub(crate) fn session(answer: response::Parts, reception: Reception) -> Self {
        Self { answer, spelling: None, next: Next::Session(Box::new(reception)) }
    }

    /// The answer, for the library that has the client. What comes behind it begins by itself.
    pub(crate) fn by_library(self, client: OnUpgrade) -> Response<Body> {
        let Self { answer, next, .. } = self;
        tokio::spawn(async move {
            match next {
                Next::Relay(tunnel, backend) => join(tunnel, client, backend).await,
                Next::Farewell(farewell) => farewell.say_behind(client).await,
                Next::Session(reception) => reception.receive_behind(client).await,
            }
        });
        Response::from_parts(answer, Body::empty())
    }

    /// Answers on the client's socket; `read_ahead` came from it behind the request.
    pub(crate) fn by_socket(self, io: Transport, read_ahead: Bytes) {
        let greeting = spelling::write_switching(&self.answer, self.spelling.as_ref());
        let greeting = Bytes::from(greeting);
        match self.next {
            Next::Relay(tunnel, Backend::Leg(backend)) => {
                tunnel.start(Leg { io, greeting, read_ahead }, backend);
            }
            Next::Relay(tunnel, backend) => drop(tokio::spawn(async move {
                match backend.leg().await {
                    Ok(backend) => tunnel.start(Leg { io, greeting, read_ahead }, backend),
                    Err(error) => tunnel.fail(&error),
                }
            })),
            Next::Farewell(farewell) => drop(tokio::spawn(farewell.say(io, greeting))),
            Next::Session(reception) => {
                let leg = ClientLeg::Socket(Leg { io, greeting, read_ahead });
                drop(tokio::spawn(reception.receive(leg)));
            }
        }
    }
}

/// Waits until both legs are free of HTTP, and joins them.
async fn join(tunnel: Tunnel, client: OnUpgrade, backend: Backend) {
    let backend = match backend.leg().await {
        Ok(backend) => backend,
        Err(error) => return tunnel.fail(&error),
    };
    match client.await.map(client_leg) {
        Ok(ClientLeg::Socket(client)) => tunnel.start(client, backend),
        Ok(ClientLeg::Stream(client)) => tunnel.start(client, backend),
        Err(error) => tunnel.fail(&error),
    }
}

impl Backend {
    async fn leg(self) -> Result<Leg<Transport>, Unfreed> {
        let upgraded = match self {
            Self::Leg(leg) => return Ok(leg),
            Self::Library(upgrade) => upgrade.await?,
        };
        match upgraded.downcast::<TokioIo<Transport>>() {
            Ok(parts) => Ok(Leg::behind(parts.io.into_inner(), parts.read_buf)),
            Err(upgraded) => {
                let parts = upgraded.downcast::<TokioIo<Rehearsed>>().map_err(|_| Unfreed::Kind)?;
                let (io, unread) = parts.io.into_inner().into_parts();
                Ok(Leg::behind(io, [parts.read_buf, unread].concat().into()))
            }
        }
    }
}

/// Why the library did not give a replica's connection back.
#[derive(Debug, thiserror::Error)]
enum Unfreed {
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    #[error("the connection is of an unknown kind")]
    Kind,
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
            ClientLeg::Socket(Leg::behind(io, read_ahead.freeze()))
        }
        Err(stream) => ClientLeg::Stream(Leg::behind(TokioIo::new(stream), Bytes::new())),
    }
}

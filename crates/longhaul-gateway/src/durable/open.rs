//! Answers clients that ask for a durable session.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use longhaul_proto::durable::SUBPROTOCOL;
use longhaul_proto::websocket::{CloseCode, handshake};

use super::lobby::{self, Caller, Door};
use crate::admission::Pass;
use crate::connection::Connection;
use crate::http::answer::Refusal;
use crate::http::body::Body;
use crate::http::http2::OpenStream;
use crate::http::visit::Visit;

/// Whether a handshake offers the subprotocol, and this gateway serves durable sessions.
pub(crate) fn is_asked(connection: &Connection, headers: &HeaderMap) -> bool {
    connection.worker.shared.sessions.config.is_enabled
        && offered(headers).any(|name| name == SUBPROTOCOL)
}

/// Answers 101, and lets the lobby find out what the client wants. The replica is dialled only then.
pub(crate) fn offer(
    visit: &Visit<'_>,
    connection: &Connection,
    mut head: Parts,
    pass: Option<Box<Pass>>,
) -> Result<Response<Body>, Refusal> {
    let Some((answer, upgrade)) = accept(&mut head) else { return Err(Refusal::HandshakeInvalid) };
    let door = Door { upgrade, stream: head.extensions.remove::<OpenStream>(), pass };
    strip(&mut head.headers);
    let subject = connection.worker.shared.sessions.subject(&head.headers);
    let (route, client) = (visit.route, visit.client);
    let caller = Caller { connection: connection.clone(), head, route, client, subject };
    // Ends by its deadlines, or with the session.
    tokio::spawn(lobby::enter(door, Box::new(caller)));
    Ok(answer)
}

/// Refuses in a way that a browser can read: opened, and closed with this code. `None` when the
/// client's connection cannot be taken.
pub(crate) fn refuse(
    connection: &Connection,
    head: &mut Parts,
    code: CloseCode,
) -> Option<Response<Body>> {
    let (answer, upgrade) = accept(head)?;
    let door = Door { upgrade, stream: head.extensions.remove::<OpenStream>(), pass: None };
    tokio::spawn(lobby::turn_away(door, connection.clone(), code));
    Some(answer)
}

fn accept(head: &mut Parts) -> Option<(Response<Body>, OnUpgrade)> {
    let accept = handshake::accept_key(head.headers.get(SEC_WEBSOCKET_KEY)?.as_bytes());
    let upgrade = head.extensions.remove::<OnUpgrade>()?;
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).ok()?);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Some((answer, upgrade))
}

/// Makes the client's head the leg's: the subprotocol is ours, and so are the messages, which no
/// extension may touch.
fn strip(headers: &mut HeaderMap) {
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    let rest: Vec<String> =
        offered(headers).filter(|name| *name != SUBPROTOCOL).map(str::to_owned).collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if !rest.is_empty()
        && let Ok(rest) = HeaderValue::from_str(&rest.join(", "))
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, rest);
    }
    let ours: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("longhaul-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let lists = values.filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

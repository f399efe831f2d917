//! Answers clients that ask for a durable session.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, response};
use longhaul_proto::durable::SUBPROTOCOL;
use longhaul_proto::websocket::{CloseCode, handshake};

use super::lobby::{Caller, Reception};
use crate::admission::Pass;
use crate::connection::Connection;
use crate::http::http2::OpenStream;
use crate::http::visit::Visit;
use crate::upgrade::{Offered, Switch};

/// Whether a handshake offers the subprotocol, and this gateway serves durable sessions.
pub(crate) fn is_asked(connection: &Connection, headers: &HeaderMap) -> bool {
    connection.shared.sessions.config.is_enabled && names(headers).any(|name| name == SUBPROTOCOL)
}

/// Answers 101, and lets the lobby find out what the client wants. The replica is dialled only then.
/// `None` when the request is no handshake.
pub(crate) fn offer(
    visit: &Visit<'_>,
    connection: &Connection,
    mut head: Parts,
    pass: Option<Box<Pass>>,
) -> Option<Offered> {
    let answer = accept(&head)?;
    let stream = head.extensions.remove::<OpenStream>();
    strip(&mut head.headers);
    let subject = connection.shared.sessions.subject(&head.headers, pass.as_deref());
    let (route, client) = (visit.route, visit.client);
    let caller = Caller { connection: connection.clone(), head, route, client, subject };
    Some(offered(answer, Reception::of(Box::new(caller), stream, pass)))
}

/// Refuses in a way that a browser can read: opened, and closed with this code. `None` when the
/// request is no handshake.
pub(crate) fn refuse(
    connection: &Connection,
    head: &mut Parts,
    code: CloseCode,
) -> Option<Offered> {
    let answer = accept(head)?;
    let stream = head.extensions.remove::<OpenStream>();
    Some(offered(answer, Reception::turning_away(connection.clone(), stream, code)))
}

fn offered(answer: response::Parts, reception: Reception) -> Offered {
    Offered::Switch(Box::new(Switch::session(answer, reception)))
}

fn accept(head: &Parts) -> Option<response::Parts> {
    let accept = handshake::accept_key(head.headers.get(SEC_WEBSOCKET_KEY)?.as_bytes());
    let (mut answer, ()) = Response::new(()).into_parts();
    answer.status = StatusCode::SWITCHING_PROTOCOLS;
    let headers = &mut answer.headers;
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).ok()?);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Some(answer)
}

/// Makes the client's head the leg's: the subprotocol is ours, and so are the messages, which no
/// extension may touch.
fn strip(headers: &mut HeaderMap) {
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    let rest: Vec<String> =
        names(headers).filter(|name| *name != SUBPROTOCOL).map(str::to_owned).collect();
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

fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let lists = values.filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

//! Which protocol a WebSocket speaks, as far as its opening has to be said again to each new replica.

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use longhaul_policy::affinity::engine_io::{self, Request};
use longhaul_policy::query;
use longhaul_proto::redial::Profile;

use crate::config;

const GRAPHQL: &str = "graphql-transport-ws";

/// Whether the handshake may begin a protocol whose messages have to be read.
pub(super) fn may_have_opening(wanted: config::Profile, head: &Parts) -> bool {
    match wanted {
        config::Profile::Auto => is_engine_io(head) || names_graphql(&head.headers),
        config::Profile::Plain => false,
        config::Profile::SocketIo | config::Profile::GraphQl => true,
    }
}

/// What is spoken, once a replica has agreed.
pub(super) fn of(wanted: config::Profile, head: &Parts, answer: &HeaderMap) -> Profile {
    let socket_io = Profile::SocketIo { was_polling: session(head).is_some() };
    match wanted {
        config::Profile::Auto if is_engine_io(head) => socket_io,
        config::Profile::Auto if names_graphql(answer) => Profile::GraphQl,
        config::Profile::Auto | config::Profile::Plain => Profile::Plain,
        config::Profile::SocketIo => socket_io,
        config::Profile::GraphQl => Profile::GraphQl,
    }
}

/// Whether requests of a client may be the start of such a session over long-polling.
pub(super) fn is_polling(wanted: config::Profile, head: &Parts) -> bool {
    let is_wanted = matches!(wanted, config::Profile::Auto | config::Profile::SocketIo);
    is_wanted && is_version_4(head) && parameter(head, "transport").as_deref() == Some("polling")
}

/// The id of the Engine.IO session that a request belongs to.
pub(super) fn session(head: &Parts) -> Option<String> {
    match Request::read(head.uri.query()?)? {
        Request::Session(sid) => Some(sid.into_owned()),
        Request::Handshake => None,
    }
}

/// Takes the id of a session out of a handshake, for a replica that does not know it.
pub(super) fn forget_session(head: &mut Parts) -> Option<String> {
    let sid = session(head)?;
    let query = head.uri.query()?;
    let kept = query.split('&').filter(|pair| pair.split('=').next() != Some("sid"));
    let target = format!("{}?{}", head.uri.path(), kept.collect::<Vec<_>>().join("&"));
    let mut parts = head.uri.clone().into_parts();
    // Less of what was a target before is one, too.
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    head.uri = Uri::from_parts(parts).ok()?;
    Some(sid)
}

fn is_engine_io(head: &Parts) -> bool {
    is_version_4(head) && parameter(head, "transport").as_deref() == Some("websocket")
}

/// Version 3 opens otherwise.
fn is_version_4(head: &Parts) -> bool {
    head.uri.query().is_some_and(|query| engine_io::Request::read(query).is_some())
        && parameter(head, "EIO").as_deref() == Some("4")
}

fn parameter(head: &Parts, name: &str) -> Option<String> {
    Some(query::parameter(head.uri.query()?, name)?.into_owned())
}

fn names_graphql(headers: &HeaderMap) -> bool {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let names = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.into_iter().any(|name| name.trim() == GRAPHQL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str) -> Parts {
        http::Request::get(target).body(()).unwrap().into_parts().0
    }

    #[test]
    fn protocols_are_recognised() {
        let of = |target: &str, chosen: Option<&'static str>| {
            let mut answer = HeaderMap::new();
            if let Some(chosen) = chosen {
                answer.insert(SEC_WEBSOCKET_PROTOCOL, chosen.parse().unwrap());
            }
            super::of(config::Profile::Auto, &head(target), &answer)
        };
        let socket_io = |was_polling| Profile::SocketIo { was_polling };
        assert_eq!(of("/socket.io/?EIO=4&transport=websocket", None), socket_io(false));
        assert_eq!(of("/x?EIO=4&transport=websocket&sid=a", None), socket_io(true));
        assert_eq!(of("/socket.io/?EIO=3&transport=websocket", None), Profile::Plain);
        assert_eq!(of("/graphql", Some("graphql-transport-ws")), Profile::GraphQl);
        assert_eq!(of("/graphql", Some("graphql-ws")), Profile::Plain);
        assert_eq!(of("/", None), Profile::Plain);
    }

    #[test]
    fn the_next_replica_is_not_asked_for_the_session_of_another() {
        let mut head = head("/ws/socket.io/?EIO=4&transport=websocket&sid=Ab-9&token=x");
        assert_eq!(forget_session(&mut head).as_deref(), Some("Ab-9"));
        assert_eq!(head.uri.to_string(), "/ws/socket.io/?EIO=4&transport=websocket&token=x");
        assert_eq!(forget_session(&mut head), None);
    }
}

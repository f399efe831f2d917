//! What a replica answers over HTTP: the web chat, its health, and the way into a WebSocket.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hall::Hall;
use crate::{rooms, visitor};

/// The web chat. Whoever embeds this service may serve a page with more in it.
pub const PAGE: &str = include_str!("../assets/page.html");
const STYLE: &str = include_str!("../assets/chat.css");
const SCRIPT: &str = include_str!("../assets/chat.js");
/// The client for browsers, as `npm run build` in `sdk/typescript` makes it: one script.
const CLIENT: &str = include_str!("../../../crates/longhaul-gateway/assets/longhaul.js");

/// The page loads from and talks to nobody but the address it came from.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// WebSockets open at once.
const CONVERSATIONS_MAX: usize = 2_000;

/// What is added to a key before it is hashed (RFC 6455 §1.3).
const HANDSHAKE_ID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub(crate) type Answer = Response<Full<Bytes>>;

/// What answers need.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) hall: Arc<Hall>,
    pub(crate) page: &'static str,
    /// Conversations, whose end is waited for.
    pub(crate) conversations: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Site {
    pub(crate) fn answer(&self, request: Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                "this service is read, and talked to at /ws",
            );
        }
        match request.uri().path() {
            "/" => asset("text/html; charset=utf-8", self.page),
            "/chat.css" => asset("text/css; charset=utf-8", STYLE),
            "/chat.js" => asset("text/javascript; charset=utf-8", SCRIPT),
            "/longhaul.js" => asset("text/javascript; charset=utf-8", CLIENT),
            "/health" if self.stop.is_cancelled() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "about to end")
            }
            "/health" => text(StatusCode::OK, "well"),
            "/ws" => self.join(request),
            _ => text(StatusCode::NOT_FOUND, "there is nothing here; the chat is at /"),
        }
    }

    fn join(&self, mut request: Request<Incoming>) -> Answer {
        if !is_same_origin(request.headers()) {
            return text(StatusCode::FORBIDDEN, "the page that asks is not this chat's own");
        }
        let room = room_in(request.uri().query()).to_owned();
        if !rooms::is_room_name(&room) {
            return text(
                StatusCode::BAD_REQUEST,
                "rooms are called by up to 40 of a to z, 0 to 9 and -",
            );
        }
        let Some(accept) = accept(&request) else {
            return text(StatusCode::UPGRADE_REQUIRED, "this is for WebSockets, version 13");
        };
        if self.conversations.len() >= CONVERSATIONS_MAX {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many are here already");
        }
        let upgraded = hyper::upgrade::on(&mut request);
        let (hall, stop) = (Arc::clone(&self.hall), self.stop.clone());
        // Ends with the client, or with `stop`.
        self.conversations.spawn(async move {
            if let Ok(socket) = upgraded.await {
                visitor::talk(TokioIo::new(socket), hall, room, stop).await;
            }
        });
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        answer
    }
}

/// The room that `?room=NAME` names.
fn room_in(query: Option<&str>) -> &str {
    let mut pairs = query.into_iter().flat_map(|query| query.split('&'));
    pairs.find_map(|pair| pair.strip_prefix("room=")).unwrap_or("lobby")
}

/// The `Sec-WebSocket-Accept` for a sound handshake.
fn accept(request: &Request<Incoming>) -> Option<HeaderValue> {
    let field = |name| request.headers().get(name)?.to_str().ok();
    let is_asked = request.method() == Method::GET
        && field(header::UPGRADE)?.eq_ignore_ascii_case("websocket")
        && field(header::SEC_WEBSOCKET_VERSION)? == "13";
    let key = field(header::SEC_WEBSOCKET_KEY).filter(|_| is_asked)?;
    let hash = Sha1::new().chain_update(key).chain_update(HANDSHAKE_ID).finalize();
    HeaderValue::try_from(STANDARD.encode(hash)).ok()
}

/// Whether a page of this very host asks, or no page at all: browsers name the origin of a page with each
/// WebSocket, and any page may open one to here.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => {
            let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
            let origin = origin.as_bytes();
            let origin_host =
                origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
            host.is_some() && origin_host == host
        }
        _ => false,
    }
}

fn asset(kind: &'static str, content: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(content.as_bytes())));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

fn text(status: StatusCode, reason: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(reason.as_bytes())));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, origins: &[&str], expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for origin in origins {
            headers.append(header::ORIGIN, origin.parse().unwrap());
        }
        assert_eq!(is_same_origin(&headers), expected, "{host} {origins:?}");
    }

    #[test]
    fn only_pages_of_the_same_host_may_join() {
        check("127.0.0.1:8080", &[], true);
        check("127.0.0.1:8080", &["http://127.0.0.1:8080"], true);
        check("chat.example", &["https://chat.example"], true);
        check("127.0.0.1:8080", &["http://127.0.0.1:9999"], false);
        check("127.0.0.1:8080", &["http://evil.example"], false);
        check("127.0.0.1:8080", &["null"], false);
        check("127.0.0.1:8080", &["http://127.0.0.1:8080", "http://127.0.0.1:8080"], false);
    }

    #[test]
    fn the_query_names_the_room() {
        assert_eq!(room_in(None), "lobby");
        assert_eq!(room_in(Some("tab=1")), "lobby");
        assert_eq!(room_in(Some("tab=1&room=a-1")), "a-1");
        assert_eq!(room_in(Some("room=")), "");
    }
}

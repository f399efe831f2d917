//! Puts the client for browsers into pages, so that their WebSockets survive lost links without a change
//! to the application: one tag behind `<head>`, and the script it names.
//!
//! Only whole pages in plain text are changed (`200`, `text/html`, no encoding, which such requests do
//! not ask for). Nothing is held back: the tag goes out between two pieces of the page.

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use longhaul_proto::html::HeadFinder;

use super::body::Body;
use crate::config::Route;

/// What `sdk/typescript` builds, checked in so that the gateway needs no Node; a test there compares.
static SCRIPT: &[u8] = include_bytes!("../../assets/longhaul.js");
/// Where it is found, below the path of the route: what is in front of us passes that on.
const SCRIPT_PATH: &str = ".longhaul/client.js";

/// Answers when the request asks for the script of a route that injects it.
pub(super) fn script(route: &Route, head: &Parts) -> Option<Response<Body>> {
    let is_asked = route.websocket.injects_client
        && matches!(head.method, Method::GET | Method::HEAD)
        && head.uri.path() == script_path(route);
    is_asked.then(|| {
        let mut answer = Response::new(Body::bytes(Bytes::from_static(SCRIPT)));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
        // It changes with the gateway, under the same name.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
        answer
    })
}

/// Whether the answer to this request may be a page to put the script into.
pub(super) fn is_wanted(route: &Route, head: &Parts) -> bool {
    let accepts_pages = |accept: &HeaderValue| {
        accept.as_bytes().windows(9).any(|part| part.eq_ignore_ascii_case(b"text/html"))
    };
    route.websocket.injects_client
        && matches!(head.method, Method::GET | Method::HEAD)
        && head.headers.get_all(ACCEPT).iter().any(accepts_pages)
}

/// Asks for a page that can be read: whole, and not compressed.
pub(super) fn ask_plainly(headers: &mut HeaderMap) {
    for field in [ACCEPT_ENCODING, RANGE, IF_RANGE] {
        headers.remove(field);
    }
}

/// Takes a page's head as it goes to the client: what says how long it is, or which it is to the byte,
/// is true no longer. `None`: this is no page.
pub(super) fn into(
    route: &Route,
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Option<Injection> {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_page = kind.len() >= 9 && kind[..9].eq_ignore_ascii_case(b"text/html");
    if status != StatusCode::OK || !is_page || headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    for field in [CONTENT_LENGTH, ACCEPT_RANGES, ETAG] {
        headers.remove(field);
    }
    Some(Injection { finder: HeadFinder::default(), path: script_path(route) })
}

/// A page on its way, until the tag is in it.
#[derive(Debug)]
pub(super) struct Injection {
    finder: HeadFinder,
    path: String,
}

impl Injection {
    /// The next piece of the page as it goes on.
    pub(super) fn pass(&mut self, piece: Bytes) -> Bytes {
        let Some(at) = self.finder.feed(&piece) else { return piece };
        let mut changed = BytesMut::with_capacity(piece.len() + self.path.len() + 40);
        changed.extend_from_slice(&piece[..at]);
        changed.extend_from_slice(b"<script src=\"");
        changed.extend_from_slice(self.path.as_bytes());
        changed.extend_from_slice(b"\" data-install></script>");
        changed.extend_from_slice(&piece[at..]);
        changed.freeze()
    }
}

fn script_path(route: &Route) -> String {
    let prefix = route.pattern.path_prefix.trim_end_matches('/');
    format!("{prefix}/{SCRIPT_PATH}")
}

//! Heads of handshakes, read from bytes that were judged and written out again, without a library.
//!
//! Names go on in the letters they came in: some applications were written for one spelling.

use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request;
use http::response;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use longhaul_proto::http1::switching;

/// Fields of most requests and of most answers, room for which is made at once.
const FIELDS_ASKED: usize = 16;
const FIELDS_ANSWERED: usize = 6;

/// How the field names of a head were spelled. Kept in the extensions of requests that no library has
/// read.
#[derive(Debug, Clone)]
pub(crate) struct Spelling {
    head: Bytes,
    /// Where in it they stand.
    places: Vec<Range<usize>>,
}

/// Reads the head of a request that passed the screen, with its [`Spelling`]. `None` where a library
/// might read it otherwise.
pub(crate) fn read_request(head: Bytes) -> Option<request::Parts> {
    // One empty line may stand in front.
    let start = if head.starts_with(b"\r\n") { 2 } else { 0 };
    let line_len = head[start..].iter().position(|&byte| byte == b'\r')?;
    let mut words = head[start..start + line_len].split(|&byte| byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if version != b"HTTP/1.1" {
        return None;
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method).ok()?;
    parts.uri = Uri::from_maybe_shared(head.slice_ref(target)).ok()?;
    parts.version = Version::HTTP_11;
    let spelling = read_fields(head, FIELDS_ASKED, &mut parts.headers)?;
    parts.extensions.insert(spelling);
    Some(parts)
}

/// Reads the head of an answer that was judged a clean 101.
pub(super) fn read_switching(head: Bytes) -> Option<(response::Parts, Spelling)> {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::SWITCHING_PROTOCOLS;
    let spelling = read_fields(head, FIELDS_ANSWERED, &mut parts.headers)?;
    Some((parts, spelling))
}

fn read_fields(head: Bytes, usual: usize, headers: &mut HeaderMap) -> Option<Spelling> {
    let mut places = Vec::with_capacity(usual);
    headers.reserve(usual);
    for (spelled, value) in switching::fields(&head) {
        let name = HeaderName::from_bytes(spelled).ok()?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()?;
        headers.append(name, value);
        let start = spelled.as_ptr().addr() - head.as_ptr().addr();
        places.push(start..start + spelled.len());
    }
    Some(Spelling { head, places })
}

/// Writes the head of a request in origin form; `instead` stands for the fields of its names.
pub(super) fn write_request(
    head: &request::Parts,
    instead: &[(HeaderName, HeaderValue)],
    spelling: Option<&Spelling>,
) -> Vec<u8> {
    let mut words = Vec::with_capacity(1024);
    words.extend_from_slice(head.method.as_str().as_bytes());
    words.push(b' ');
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    words.extend_from_slice(target.as_bytes());
    words.extend_from_slice(b" HTTP/1.1\r\n");
    let stays = |field: &(&HeaderName, _)| instead.iter().all(|(name, _)| name != field.0);
    let fields = head.headers.iter().filter(stays);
    // In front, where servers look for the host.
    let fields = instead.iter().map(|(name, value)| (name, value)).chain(fields);
    write_fields(&mut words, fields, spelling);
    words
}

/// Writes the head of a 101.
pub(super) fn write_switching(answer: &response::Parts, spelling: Option<&Spelling>) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    write_fields(&mut head, &answer.headers, spelling);
    head
}

fn write_fields<'a>(
    head: &mut Vec<u8>,
    fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    spelling: Option<&Spelling>,
) {
    // Most fields follow each other as they came.
    let mut next = 0;
    for (name, value) in fields {
        let name = name.as_str();
        let spelled = spelling.and_then(|spelling| spelling.of(name, &mut next));
        head.extend_from_slice(spelled.unwrap_or(name.as_bytes()));
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
}

impl Spelling {
    /// How `name` was spelled, looked for from `next` on and then from the start; moves `next` behind it.
    fn of(&self, name: &str, next: &mut usize) -> Option<&[u8]> {
        let Self { head, places } = self;
        let is_it =
            |place: &&Range<usize>| head[(*place).clone()].eq_ignore_ascii_case(name.as_bytes());
        let (before, from) = places.split_at(*next);
        let found = from.iter().chain(before).position(|place| is_it(&place))?;
        let found = (*next + found) % places.len();
        *next = found + 1;
        Some(&head[places[found].clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /chat?a=b HTTP/1.1\r\nhOST: a.example\r\nUpgrade: websocket\r\n\
        X-Two: 1\r\nSec-WebSocket-Key:  dGhlIHNhbXBsZSBub25jZQ== \r\nx-two: 2\r\n\r\n";

    #[test]
    fn a_head_comes_out_as_it_went_in_but_for_what_was_changed() {
        let mut head = read_request(Bytes::from(format!("\r\n{HEAD}"))).unwrap();
        assert_eq!((head.method.as_str(), head.uri.path()), ("GET", "/chat"));
        assert_eq!(head.headers["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
        head.headers.insert("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
        head.headers.insert("upgrade", HeaderValue::from_static("other"));
        let spelling = head.extensions.get::<Spelling>();
        let host = ("host".parse().unwrap(), HeaderValue::from_static("b.example"));
        let own = ("traceparent".parse().unwrap(), HeaderValue::from_static("00"));
        let written = write_request(&head, &[host, own], spelling);
        let written = String::from_utf8(written).unwrap();
        let mut lines: Vec<&str> = written.split("\r\n").collect();
        assert_eq!(lines.remove(0), "GET /chat?a=b HTTP/1.1");
        assert_eq!(lines.split_off(lines.len() - 2), ["", ""]);
        lines.sort_unstable();
        let expected = [
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Upgrade: other",
            "X-Two: 1",
            "hOST: b.example",
            "traceparent: 00",
            "x-forwarded-for: 10.0.0.1",
            "x-two: 2",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_a_library_might_read_otherwise_is_left_to_it() {
        assert!(read_request(Bytes::from("GET / HTTP/1.0\r\n\r\n")).is_none());
        assert!(read_request(Bytes::from("GET htt p HTTP/1.1\r\n\r\n")).is_none());
    }
}

//! What the judge of HTTP/2 heads lets pass goes on as HTTP/1.1, and every reader of that must see
//! the same request: the screen of our own, and the parsers of hyper.
//!
//! The input is text: method, authority, path and protocol on a line each (an empty line: without),
//! then fields.
#![no_main]

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use longhaul_proto::http1::{Limits, Screen, Step};
use longhaul_proto::http2::head::{Ask, Head, judge};

const FIELDS_MAX: usize = 8;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, authority, path, protocol) = (line(), line(), line(), line());
    // The library has read all of these; what it refuses never gets to the judge.
    let Ok(method) = Method::from_bytes(method) else { return };
    let Ok(path) = PathAndQuery::try_from(path) else { return };
    let Ok(authority) = said(authority).map(Authority::try_from).transpose() else { return };
    let Some(fields) = lines.map(field).collect::<Option<Vec<_>>>() else { return };
    let head = Head {
        method: method.as_str().as_bytes(),
        authority: authority.as_ref().map(|authority| authority.as_str().as_bytes()),
        path: path.as_str().as_bytes(),
        protocol: said(protocol),
    };
    let pairs = || fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let Ok(ask) = judge(&head, pairs(), FIELDS_MAX) else { return };
    // The screen is kind to people who point ssh at it; as a method it is one like any other.
    if head.method.starts_with(b"SSH-") {
        return;
    }
    assert_eq!(ask == Ask::WebSocket, head.method == b"CONNECT");
    let method = if ask == Ask::WebSocket { "GET" } else { method.as_str() };
    let mut text = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    let host = pairs().find(|(name, _)| *name == "host").map(|(_, value)| value);
    let host = head.authority.or(host).expect("the judge insists on one");
    let others = pairs().filter(|(name, _)| *name != "host");
    for (name, value) in [("host", host)].into_iter().chain(others) {
        text.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    text.extend(b"\r\n");
    let length = pairs().find(|(name, _)| *name == "content-length").map(|(_, value)| value);
    read_by_screen(&text, length);
    read_by_parser(&text, method, path.as_str(), host);
});

fn said(line: &[u8]) -> Option<&[u8]> {
    (!line.is_empty()).then_some(line)
}

/// A field as the library lets it through; it refuses what belongs to a connection of HTTP/1.1.
fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    const REFUSED: [&str; 6] =
        ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection", "te"];
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let value = HeaderValue::from_bytes(&line[colon + 1..]).ok()?;
    (!REFUSED.contains(&name.as_str())).then_some((name, value))
}

fn read_by_screen(text: &[u8], length: Option<&[u8]>) {
    let mut screen = Screen::new(Limits { head_bytes_max: 1 << 20, fields_max: FIELDS_MAX + 1 });
    let whole = Step::Head { kept: Vec::new(), len: text.len() };
    assert_eq!(screen.feed(text), whole, "{}", text.escape_ascii());
    let length = length.map_or("0", |length| str::from_utf8(length).expect("digits"));
    let length: u64 = length.parse().expect("digits that fit");
    assert_eq!(screen.is_in_body(), length > 0);
    assert_eq!(screen.is_between_requests(), length == 0);
}

fn read_by_parser(text: &[u8], method: &str, path: &str, host: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX + 1];
    let mut request = httparse::Request::new(&mut fields);
    let status = request.parse(text).expect("the parser of HTTP/1.1 refuses this head");
    assert_eq!(status, httparse::Status::Complete(text.len()));
    assert_eq!((request.method, request.path), (Some(method), Some(path)));
    let hosts: Vec<_> = request.headers.iter().filter(|field| field.name == "host").collect();
    assert!(hosts.len() == 1 && hosts[0].value == host);
}

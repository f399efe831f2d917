//! Judges a request's head before it goes on as HTTP/1.1 (RFC 9113 §8, RFC 8441).
//!
//! The library has refused what HTTP/2 itself forbids: connection-specific fields, pseudo-fields
//! that are repeated, misplaced or missing, names and values that are none. Left are the rules
//! that keep two readers of one request from seeing two.

use crate::http1::{Violation, content_length, is_host, judge_target};

/// A request's head, as the library decoded it.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:authority`, if there was one.
    pub authority: Option<&'a [u8]>,
    /// `:path`; CONNECT may come without.
    pub path: &'a [u8],
    /// `:protocol` (RFC 8441 §4).
    pub protocol: Option<&'a [u8]>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// An answer.
    Answer,
    /// A WebSocket in its stream.
    WebSocket,
}

/// Judges a head. `fields_max` bounds its fields, all of one name counted.
///
/// # Errors
/// The first rule that it breaks.
pub fn judge<'a>(
    head: &Head<'_>,
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    fields_max: usize,
) -> Result<Ask, Violation> {
    let ask = match (head.method, head.protocol) {
        (b"CONNECT", None) => return Err(Violation::Connect),
        (b"CONNECT", Some(b"websocket")) => Ask::WebSocket,
        (b"CONNECT", Some(_)) => return Err(Violation::ConnectProtocol),
        (b"TRACE", _) => return Err(Violation::Trace),
        _ => Ask::Answer,
    };
    // In HTTP/2 the scheme and the authority have fields of their own.
    if !matches!(head.path, [b'/', ..] | b"*") {
        return Err(Violation::Target);
    }
    judge_target(head.method, head.path)?;
    let mut host = None;
    let mut length = None;
    for (index, (name, value)) in fields.enumerate() {
        if index >= fields_max {
            return Err(Violation::TooManyFields);
        }
        if value.trim_ascii() != value {
            return Err(Violation::PaddedValue);
        }
        match name {
            "host" if host.replace(value).is_some() => return Err(Violation::HostRepeated),
            "content-length" if length.replace(content_length(value)?).is_some() => {
                return Err(Violation::ContentLength);
            }
            _ => {}
        }
    }
    judge_host(head.authority, host)?;
    Ok(ask)
}

fn judge_host(authority: Option<&[u8]>, host: Option<&[u8]>) -> Result<(), Violation> {
    let (Some(asked), same) = (authority.or(host), host.or(authority)) else {
        return Err(Violation::HostMissing);
    };
    if !is_host(asked) {
        return Err(Violation::HostMalformed);
    }
    if same.is_some_and(|same| !same.eq_ignore_ascii_case(asked)) {
        return Err(Violation::HostDisagrees);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Head<'_> =
        Head { method: b"GET", authority: Some(b"a.example"), path: b"/a?b", protocol: None };

    #[track_caller]
    fn check(head: Head<'_>, fields: &[(&str, &str)], expected: Result<Ask, Violation>) {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        assert_eq!(judge(&head, fields, 3), expected);
    }

    #[test]
    fn a_request_asks_for_an_answer_or_a_websocket() {
        check(GET, &[("accept", "*/*"), ("content-length", "3")], Ok(Ask::Answer));
        check(Head { method: b"OPTIONS", path: b"*", ..GET }, &[], Ok(Ask::Answer));
        let connect = Head { method: b"CONNECT", protocol: Some(b"websocket"), ..GET };
        check(connect, &[], Ok(Ask::WebSocket));
        check(Head { protocol: None, ..connect }, &[], Err(Violation::Connect));
        let other = Head { protocol: Some(b"connect-udp"), ..connect };
        check(other, &[], Err(Violation::ConnectProtocol));
        check(Head { method: b"TRACE", ..GET }, &[], Err(Violation::Trace));
    }

    #[test]
    fn the_path_is_a_path() {
        for path in ["*", "a", "http://a.example/", ""] {
            check(Head { path: path.as_bytes(), ..GET }, &[], Err(Violation::Target));
        }
        check(Head { path: b"/a\\b", ..GET }, &[], Err(Violation::Target));
    }

    #[test]
    fn there_is_one_host_however_often_it_is_said() {
        let without = Head { authority: None, ..GET };
        check(without, &[], Err(Violation::HostMissing));
        check(without, &[("host", "a.example")], Ok(Ask::Answer));
        check(GET, &[("host", "A.example")], Ok(Ask::Answer));
        check(GET, &[("host", "b.example")], Err(Violation::HostDisagrees));
        check(GET, &[("host", "a.example:80")], Err(Violation::HostDisagrees));
        check(GET, &[("host", "a.example"); 2], Err(Violation::HostRepeated));
        check(Head { authority: Some(b"u@a"), ..GET }, &[], Err(Violation::HostMalformed));
        check(without, &[("host", "a,b")], Err(Violation::HostMalformed));
    }

    #[test]
    fn fields_are_bounded_unpadded_and_agree_on_the_length() {
        check(GET, &[("a", "b"); 4], Err(Violation::TooManyFields));
        check(GET, &[("a", " b")], Err(Violation::PaddedValue));
        check(GET, &[("a", "b\t")], Err(Violation::PaddedValue));
        check(GET, &[("content-length", "3"); 2], Err(Violation::ContentLength));
        check(GET, &[("content-length", "+3")], Err(Violation::ContentLength));
    }
}

//! Recognises Engine.IO (the transport under Socket.IO) in a request and reads the session id out
//! of its handshake answer.
//!
//! An Engine.IO session lives in one replica's memory, and every later poll and the upgrade to
//! WebSocket carry its `sid` in the query. Whoever knows which replica issued a `sid` can balance
//! Socket.IO for clients that keep no cookies.

use std::borrow::Cow;

use crate::query;

/// Longest session id that is believed; real ones have 20 characters.
const SID_BYTES_MAX: usize = 128;

/// How much of a handshake answer is looked at: the `sid` comes first, within some 100 bytes.
pub const ANSWER_BYTES_MAX: usize = 1024;

/// What a request says about its Engine.IO session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// Opens a session; the answer will name it.
    Handshake,
    /// Belongs to the session of this id.
    Session(Cow<'a, str>),
}

impl<'a> Request<'a> {
    /// Reads a query string. `None` is not Engine.IO, or a version that is neither 3 nor 4.
    pub fn read(query: &'a str) -> Option<Self> {
        let version = query::parameter(query, "EIO")?;
        if version != "3" && version != "4" {
            return None;
        }
        query::parameter(query, "transport")?;
        Some(match query::parameter(query, "sid") {
            Some(sid) if !sid.is_empty() => Self::Session(sid),
            _ => Self::Handshake,
        })
    }
}

/// Reads the session id from the start of a handshake answer.
///
/// The open packet is `0{"sid":"…",…}` in version 4 and over WebSocket; version 3 puts its length
/// before it, as digits and a colon or in binary; JSONP wraps it in a script and escapes its quotes.
/// A compressed answer is none of these.
pub fn sid_of_answer(body_start: &[u8]) -> Option<String> {
    let body = &body_start[..body_start.len().min(ANSWER_BYTES_MAX)];
    let packet = open_packet(body)?;
    let text: Cow<'_, str> = String::from_utf8_lossy(packet);
    let text = if is_script(body) { Cow::Owned(text.replace("\\\"", "\"")) } else { text };
    let (_, after_name) = text.split_once("\"sid\"")?;
    let value = after_name.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (sid, _) = value.split_once('"')?;
    is_plausible(sid).then(|| sid.to_owned())
}

/// Finds the `{` of the open packet: right after a `0`, and after nothing but a frame around it.
fn open_packet(body: &[u8]) -> Option<&[u8]> {
    let at = body.windows(2).position(|pair| pair == b"0{")?;
    let (frame, packet) = body.split_at(at);
    let is_frame = match frame {
        [] => true,
        _ if is_script(body) => true,
        // Version 3, text: the length in characters, then a colon.
        [length @ .., b':'] => length.iter().all(u8::is_ascii_digit),
        // Version 3, binary: 0 for text, the length as one byte per digit, 255.
        [0, length @ .., 255] => length.iter().all(|digit| *digit <= 9),
        _ => false,
    };
    is_frame.then_some(packet)
}

/// A JSONP answer calls a function: `___eio[0]("…");`.
fn is_script(body: &[u8]) -> bool {
    body.starts_with(b"___eio[") || body.starts_with(b"/**/___eio[")
}

/// A `sid` that could be anything but an id is not remembered: the bytes come from a replica, but
/// they become keys of a table.
fn is_plausible(sid: &str) -> bool {
    (1..=SID_BYTES_MAX).contains(&sid.len())
        && sid.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_request(query: &str, expected: Option<Request<'_>>) {
        assert_eq!(Request::read(query), expected, "{query}");
    }

    #[test]
    fn a_handshake_has_no_sid_and_a_session_has_one() {
        let session = |sid| Some(Request::Session(Cow::Borrowed(sid)));
        check_request("EIO=4&transport=polling&t=P1x", Some(Request::Handshake));
        check_request("EIO=3&transport=websocket", Some(Request::Handshake));
        check_request("EIO=4&transport=polling&sid=", Some(Request::Handshake));
        check_request("EIO=4&transport=polling&sid=Ab-9", session("Ab-9"));
        check_request("t=1&sid=Ab%2D9&transport=websocket&EIO=4", session("Ab-9"));
        check_request("EIO=5&transport=polling", None);
        check_request("EIO=4", None);
        check_request("sid=abc&transport=polling", None);
    }

    #[track_caller]
    fn check_answer(answer: &[u8], expected: Option<&str>) {
        let text = String::from_utf8_lossy(answer);
        assert_eq!(sid_of_answer(answer).as_deref(), expected, "{text}");
    }

    #[test]
    fn the_sid_is_read_from_every_form_of_answer() {
        let sid = Some("lv_VI97HAXpY6yYWAAAC");
        let open =
            r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000}"#;
        check_answer(open.as_bytes(), sid);
        check_answer(format!("85:{open}2:40").as_bytes(), sid);
        check_answer(&[b"\x00\x08\x05\xff", open.as_bytes()].concat(), sid);
        let escaped = open.replace('"', "\\\"");
        check_answer(format!("___eio[0](\"85:{escaped}\");").as_bytes(), sid);
        check_answer(format!("___eio[12](\"{escaped}\");").as_bytes(), sid);
        check_answer(br#"0{ "upgrades": [], "sid": "lv_VI97HAXpY6yYWAAAC" }"#, sid);
    }

    #[test]
    fn anything_else_has_no_sid() {
        for answer in [
            &b""[..],
            b"{\"sid\":\"abc\"}",
            b"<html>0{\"sid\":\"abc\"}",
            b"0{\"sid\":\"\"}",
            b"0{\"sid\":\"abc",
            b"0{\"sid\":7}",
            b"0{\"sid\":\"a b\"}",
            b"\x1f\x8b\x08\x00\x00",
            b"12a:0{\"sid\":\"abc\"}",
        ] {
            check_answer(answer, None);
        }
        check_answer(format!("0{{\"sid\":\"{}\"}}", "a".repeat(129)).as_bytes(), None);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = sid_of_answer(&answer);
        }

        #[test]
        fn every_plausible_sid_is_read_back(sid in "[A-Za-z0-9_-]{1,128}", eio3 in any::<bool>()) {
            let open = format!("0{{\"sid\":\"{sid}\",\"upgrades\":[]}}");
            let answer = if eio3 { format!("{}:{open}", open.len()) } else { open };
            prop_assert_eq!(sid_of_answer(answer.as_bytes()), Some(sid));
        }
    }
}

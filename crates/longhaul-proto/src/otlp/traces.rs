//! Spans: the message `ExportTraceServiceRequest`.
//!
//! Start at [`request`].

use std::borrow::Cow;

use super::wire::{bytes, fixed, message, number, text};
use super::{Resource, Value, attributes, envelope};
use crate::trace::{SpanId, TraceId};

/// One piece of work, done.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The request it was done for.
    pub trace: TraceId,
    /// Itself.
    pub id: SpanId,
    /// The work it was a part of.
    pub parent: Option<SpanId>,
    /// What was done, with few values.
    pub name: Cow<'static, str>,
    /// On whose behalf.
    pub kind: Kind,
    /// In nanoseconds since 1970.
    pub began_ns: u64,
    /// In nanoseconds since 1970.
    pub ended_ns: u64,
    /// What there is to know about it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// On whose behalf work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Our own.
    Internal = 1,
    /// A client's.
    Server = 2,
    /// Ours, by somebody else.
    Client = 3,
}

/// Spells spans of one program.
pub fn request(resource: Resource<'_>, version: &str, spans: &[Span]) -> Vec<u8> {
    envelope(resource, version, |out| {
        for one in spans {
            out.extend(message(2, |out| span(out, one)));
        }
    })
}

fn span(out: &mut Vec<u8>, span: &Span) {
    bytes(out, 1, &span.trace.0.to_be_bytes());
    bytes(out, 2, &span.id.0.to_be_bytes());
    if let Some(parent) = span.parent {
        bytes(out, 4, &parent.0.to_be_bytes());
    }
    text(out, 5, &span.name);
    number(out, 6, span.kind as u64);
    fixed(out, 7, span.began_ns);
    fixed(out, 8, span.ended_ns);
    attributes(out, 9, &span.attributes);
    if let Some(error) = &span.error {
        out.extend(message(15, |out| {
            text(out, 2, error);
            number(out, 3, 2);
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A collector made of the official library reads more of it in a story.
    #[test]
    fn a_span_is_spelled_byte_for_byte() {
        let span = Span {
            trace: TraceId::of(1),
            id: SpanId::of(2),
            parent: Some(SpanId::of(3)),
            name: "dial".into(),
            kind: Kind::Client,
            began_ns: 5,
            ended_ns: 6,
            attributes: vec![("n", Value::Number(300)), ("w", "x".into())],
            error: Some("gone".into()),
        };
        let spelled = request(&[("s", "g".into())], "1", &[span]);
        let expected = [
            &b"\x0a\x7d"[..],
            b"\x0a\x0a\x0a\x08\x0a\x01s\x12\x03\x0a\x01g",
            b"\x12\x6f\x0a\x0d\x0a\x08longhaul\x12\x011",
            b"\x12\x5e",
            b"\x0a\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
            b"\x12\x08\0\0\0\0\0\0\0\x02\x22\x08\0\0\0\0\0\0\0\x03",
            b"\x2a\x04dial\x30\x03",
            b"\x39\x05\0\0\0\0\0\0\0\x41\x06\0\0\0\0\0\0\0",
            b"\x4a\x08\x0a\x01n\x12\x03\x18\xac\x02",
            b"\x4a\x08\x0a\x01w\x12\x03\x0a\x01x",
            b"\x7a\x08\x12\x04gone\x18\x02",
        ];
        assert_eq!(spelled, expected.concat());
    }

    #[test]
    fn nothing_to_tell_is_still_a_message() {
        assert_eq!(request(&[], "", &[])[0], 0x0a);
    }
}

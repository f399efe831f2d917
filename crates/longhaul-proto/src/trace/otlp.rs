//! Spells spans the way collectors read them: OTLP 1, the message `ExportTraceServiceRequest` in
//! protobuf (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! Of the whole schema this writes the dozen fields that a gateway has something to say in. The
//! numbers are the schema's field numbers.
//!
//! Start at [`request`].

use std::borrow::Cow;

use super::{SpanId, TraceId};

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

/// What an attribute says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Words.
    Text(Cow<'static, str>),
    /// A whole number.
    Number(i64),
    /// Any other number.
    Real(f64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// Spells spans of one program, which says who it is by `resource`.
pub fn request(resource: &[(&'static str, Value)], version: &str, spans: &[Span]) -> Vec<u8> {
    message(1, |out| {
        out.extend(message(1, |out| attributes(out, 1, resource)));
        out.extend(message(2, |out| {
            out.extend(message(1, |out| {
                text(out, 1, "longhaul");
                text(out, 2, version);
            }));
            for one in spans {
                out.extend(message(2, |out| span(out, one)));
            }
        }));
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

fn attributes(out: &mut Vec<u8>, field: u64, attributes: &[(&'static str, Value)]) {
    for (name, value) in attributes {
        out.extend(message(field, |out| {
            text(out, 1, name);
            out.extend(message(2, |out| match value {
                Value::Text(words) => text(out, 1, words),
                // Two's complement, as the schema has it.
                Value::Number(count) => number(out, 3, count.cast_unsigned()),
                Value::Real(real) => fixed(out, 4, real.to_bits()),
            }));
        }));
    }
}

/// Kinds of fields on the wire.
const VARINT: u64 = 0;
const FIXED: u64 = 1;
const BYTES: u64 = 2;

fn message(field: u64, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut inside = Vec::new();
    fill(&mut inside);
    let mut out = Vec::with_capacity(inside.len() + 6);
    bytes(&mut out, field, &inside);
    out
}

fn text(out: &mut Vec<u8>, field: u64, text: &str) {
    bytes(out, field, text.as_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn number(out: &mut Vec<u8>, field: u64, number: u64) {
    varint(out, field << 3 | VARINT);
    varint(out, number);
}

fn fixed(out: &mut Vec<u8>, field: u64, number: u64) {
    varint(out, field << 3 | FIXED);
    out.extend_from_slice(&number.to_le_bytes());
}

/// Seven bits at a time, the lowest first.
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
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

//! What collectors read: OTLP 1, in protobuf (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! Of the whole schema this writes the fields that a gateway has something to say in. The numbers are
//! the schema's field numbers.
//!
//! Start at [`traces::request`] or [`metrics::request`].

pub mod metrics;
pub mod traces;
mod wire;

use std::borrow::Cow;

use self::wire::{fixed, message, number, text};

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

/// Who tells, as attributes.
pub type Resource<'a> = &'a [(&'static str, Value)];

/// A message of what one program tells: it says who it is by `resource`, and `fill` writes what.
fn envelope(resource: Resource<'_>, version: &str, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    message(1, |out| {
        out.extend(message(1, |out| attributes(out, 1, resource)));
        out.extend(message(2, |out| {
            out.extend(message(1, |out| {
                text(out, 1, "longhaul");
                text(out, 2, version);
            }));
            fill(out);
        }));
    })
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

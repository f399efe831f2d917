//! The thread by which several programs know that they work on one request: W3C Trace Context, level
//! 1 (<https://www.w3.org/TR/trace-context-1/>).
//!
//! What is traced is told in [`crate::otlp`]. Random numbers are the caller's.

use std::fmt;

/// Names one request in all programs that it passes. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub(crate) u128);

/// Names one piece of work on it. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub(crate) u64);

/// What a caller says about its work in `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The request.
    pub trace: TraceId,
    /// The caller's piece of work.
    pub span: SpanId,
    /// Whether the caller tells of it.
    pub is_sampled: bool,
}

impl TraceId {
    /// Of a random number; zero, which is no name, becomes one.
    pub fn of(random: u128) -> Self {
        Self(random.max(1))
    }
}

impl SpanId {
    /// Of a random number; zero, which is no name, becomes one.
    pub fn of(random: u64) -> Self {
        Self(random.max(1))
    }
}

impl Context {
    /// Reads `traceparent`. `None`: it is malformed, and the trace begins anew (§3.2.2.3).
    pub fn parse(text: &[u8]) -> Option<Self> {
        // version 2, trace 32, span 16 and flags 2 digits, with a dash between each.
        let (known, rest) = text.split_at_checked(55)?;
        let version = digits(&known[..2])?;
        let is_whole = rest.is_empty() || (version > 0 && rest[0] == b'-');
        if version == 0xff || !is_whole || [2, 35, 52].iter().any(|&at| known[at] != b'-') {
            return None;
        }
        let trace = digits(&known[3..35]).filter(|&id| id != 0)?;
        let span = digits(&known[36..52]).filter(|&id| id != 0)?;
        let flags = digits(&known[53..])?;
        let span = u64::try_from(span).ok()?;
        Some(Self { trace: TraceId(trace), span: SpanId(span), is_sampled: flags & 1 == 1 })
    }
}

/// As in `traceparent`.
impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, is_sampled } = self;
        write!(f, "00-{:032x}-{:016x}-{:02x}", trace.0, span.0, u8::from(*is_sampled))
    }
}

/// Reads hexadecimal digits, which must be lower case.
fn digits(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0_u128, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_the_standard_shows_is_read_and_written() {
        let context = Context::parse(PARENT.as_bytes()).unwrap();
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), PARENT);
        let later = PARENT.replace("00-4b", "cc-4b") + "-what-the-future-holds";
        assert_eq!(Context::parse(later.as_bytes()), Some(context));
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        for text in [
            "",
            "00",
            &PARENT[..54],
            &PARENT.to_uppercase(),
            &PARENT.replace("00-4b", "ff-4b"),
            &PARENT.replace("00-4b", "0x-4b"),
            &PARENT.replace('-', "_"),
            &format!("{PARENT}-more"),
            &format!("{PARENT}0"),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &PARENT.replace("4bf9", "4bé"),
        ] {
            assert_eq!(Context::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn ids_are_never_zero() {
        let context = Context { trace: TraceId::of(0), span: SpanId::of(0), is_sampled: false };
        assert_eq!(Context::parse(context.to_string().as_bytes()), Some(context));
    }
}

//! HTTP/1.1 requests, judged before a parser sees them (RFC 9112).
//!
//! The gateway leaves HTTP to a library whose parser forgives what a gateway must not: where two
//! parsers disagree about the end of a request, one client's bytes become another's request.
//! [`Screen`] follows heads and bodies byte by byte and lets only that pass which every parser
//! reads alike. It rewrites nothing.
//!
//! Start at [`Screen::feed`].

mod chunked;
mod field;
mod head;
mod screen;
pub mod switching;
mod target;
mod violation;

pub(crate) use field::{content_length, is_token_byte};
pub use screen::{Limits, Screen, Step};
pub(crate) use target::{host as is_host, judge as judge_target};
pub use violation::Violation;

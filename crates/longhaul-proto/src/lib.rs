//! Longhaul speaks: bytes and sessions as state machines. No socket, task, clock, file or
//! randomness of its own; whoever drives a machine brings those.
//!
//! [`websocket`] follows frames, [`session`] joins two legs, [`redial`] lets one of them outlast its
//! replica, [`http1`] screens requests before a
//! parser sees them, [`http2`] counts what floods one, [`detect`] names a protocol by its first bytes,
//! [`durable`] keeps a session while its links come and go, [`html`] finds where a page's head begins,
//! [`proxy_protocol`] says for whom a proxy made a connection, [`trace`] by which thread programs know
//! that they work on one request, [`otlp`] spells what collectors are told of both requests and numbers.
//! What another process is to go on with is written as [`frozen`] says.

pub mod client_hello;
pub mod detect;
pub mod durable;
pub mod frozen;
pub mod html;
pub mod http1;
pub mod http2;
pub mod otlp;
pub mod proxy_protocol;
pub mod redial;
pub mod session;
pub mod trace;
pub mod websocket;

//! Stories about the whole process: the real binary between real backends and real clients.
//!
//! A new story goes where its subject is listed below; a new subject gets a file and a line. What
//! two stories share belongs to `support`. Programs that are not Rust live in `tests/e2e`.
//!
//! `cargo xtask setup` installs what they start; `cargo xtask test --only NAME` runs some of them.
// A story may fail wherever it likes, and says its seeds and figures.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod support;

// Applications, as their users meet them.
mod chainlit;
mod demo;
mod echo;
mod inject;
mod messaging;
mod socketio;

// The two protocols, to the byte.
mod attack;
mod bodies;
mod handshake;
mod http;
mod http2;
mod http2_upstream;
mod relay;

// Sessions that outlive their links.
mod durable;
mod sdk;

// Who may come in.
mod admission;

// Layer 4, and who connects through it.
mod passthrough;
mod profiles;
mod proxy_protocol;
mod tcp;

// What lies around them.
mod tls;

// Replicas and discovery.
mod balancing;
mod discovery;
mod leaving;
mod redial;
mod replicas;

// What operators see and tell.
mod admin;
mod alerts;
mod causes;
mod push;
mod store;
mod traces;

// The life of the process.
mod cli;
mod cost;
mod drain;
mod health;
mod leak;
mod limits;
mod logs;
mod overload;
mod parent;
mod reload;
mod soak;
mod succession;
mod systemd;

//! Longhaul does: the only sockets and tasks of the data plane.
//!
//! Start at [`Gateway::start`]. A [`Handle`] shows it and commands it from outside.

pub mod config;
pub mod handle;
mod reactor;
pub mod readiness;
pub mod reload;
pub mod supervise;
pub mod tls;
pub mod upstream;

mod admission;
mod arrival;
mod background;
mod connection;
mod dial;
mod discover;
mod drain;
mod durable;
mod faults;
mod fetch;
mod front;
mod gateway;
pub mod handoff;
mod heap;
mod http;
mod keys;
mod lane;
mod listen;
mod overload;
mod passthrough;
mod places;
mod probe;
mod proxy_protocol;
mod redial;
mod registry;
mod relay;
mod retire;
mod running;
mod shared;
mod spares;
mod store;
mod telemetry;
mod trace;
mod transport;
mod tunnel;
mod upgrade;
mod validate;
mod worker;

pub use config::Config;
pub use gateway::{Gateway, StartError};
pub use handle::Handle;
pub use listen::BACKLOG;

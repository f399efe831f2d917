//! Which upstream gets what.

use std::time::Duration;

pub use longhaul_policy::route::{HostPattern, RoutePattern};

use super::{AdmissionPolicy, WebSocketPolicy};

/// One HTTP and WebSocket route. The most specific pattern wins.
#[derive(Debug, Clone)]
pub struct Route {
    /// Unique name, for logs and metrics.
    pub name: String,
    /// Which requests it takes.
    pub pattern: RoutePattern,
    /// Listeners it serves, by index; empty means all.
    pub listeners: Vec<usize>,
    /// Index into [`Config::upstreams`](super::Config::upstreams).
    pub upstream: usize,
    /// Whether the client's `Host` is passed on (the default) or replaced by the replica's address.
    pub preserve_host: bool,
    /// How its WebSockets are kept.
    pub websocket: WebSocketPolicy,
    /// Who may use it.
    pub admission: AdmissionPolicy,
}

/// One raw TCP route. A listener may have many: one for each set of names, and one for the rest.
#[derive(Debug, Clone)]
pub struct TcpRoute {
    /// Unique name, for logs and metrics.
    pub name: String,
    /// The listener it serves, by index.
    pub listener: usize,
    /// Index into [`Config::upstreams`](super::Config::upstreams).
    pub upstream: usize,
    /// Takes TLS connections whose ClientHello asks for one of these names, as they are; the most
    /// specific of the listener wins. `None` takes what nothing else on the listener does.
    pub server_names: Option<Vec<HostPattern>>,
    /// The server speaks first: a client silent for `timeouts.detect` is connected without a byte.
    pub server_first: bool,
    /// Ends a connection without a byte either way for so long. Default: none.
    pub idle: Option<Duration>,
    /// How long the second direction may go on after the first ended. Default: 10 s without a byte.
    pub linger: Duration,
}

impl TcpRoute {
    /// A route of this listener to this upstream, with the default of everything else.
    pub fn new(name: impl Into<String>, listener: usize, upstream: usize) -> Self {
        Self {
            name: name.into(),
            listener,
            upstream,
            server_names: None,
            server_first: false,
            idle: None,
            linger: Duration::from_secs(10),
        }
    }
}

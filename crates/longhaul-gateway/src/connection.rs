//! One client connection: names what arrives and gives it to who speaks it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::BytesMut;
use longhaul_proto::detect::{self, Protocol};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::config::TcpRoute;
use crate::shared::Shared;
use crate::worker::Worker;
use crate::{http, passthrough};

/// Bytes looked at before an undecided protocol counts as raw: more than any of the known ones needs.
const DETECT_BYTES_MAX: usize = 1024;

/// One client connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) worker: Arc<Worker>,
    /// Index into the config's listeners.
    pub(crate) listener: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Counts the connection until its last holder is gone; a WebSocket holds it past the upgrade.
    pub(crate) _presence: Arc<Presence>,
}

/// One client connection in the gateway's books.
#[derive(Debug)]
pub(crate) struct Presence {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Presence {
    pub(crate) fn new(shared: Arc<Shared>, permit: OwnedSemaphorePermit) -> Self {
        shared.connections_open.fetch_add(1, Ordering::Relaxed);
        Self { shared, _permit: permit }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.shared.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    fn tcp_route(&self) -> Option<&TcpRoute> {
        let routes = &self.worker.shared.config.tcp_routes;
        routes.iter().find(|route| route.listener == self.listener)
    }

    fn serves_http(&self) -> bool {
        let routes = &self.worker.shared.config.routes;
        routes
            .iter()
            .any(|route| route.listeners.is_empty() || route.listeners.contains(&self.listener))
    }
}

/// Serves one client until it or its WebSocket ends.
pub(crate) async fn serve(mut stream: TcpStream, connection: Connection) {
    let mut prefix = BytesMut::new();
    let Some(route) = connection.tcp_route() else {
        return http::serve(stream.into(), prefix, connection).await;
    };
    if !connection.serves_http() || is_raw(&mut stream, &mut prefix, &connection, route).await {
        passthrough::serve(stream.into(), prefix.freeze(), &connection, route).await;
    } else {
        http::serve(stream.into(), prefix, connection).await;
    }
}

/// Reads until the first bytes say whether this is HTTP; what was read stays in `prefix`.
async fn is_raw(
    stream: &mut TcpStream,
    prefix: &mut BytesMut,
    connection: &Connection,
    route: &TcpRoute,
) -> bool {
    let config = &connection.worker.shared.config;
    let patience = if route.server_first { config.timeouts.detect } else { config.timeouts.head };
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match timeout(left, stream.read_buf(prefix)).await {
            // A client that says nothing waits for the server of a raw route.
            Err(_) => return route.server_first && prefix.is_empty(),
            // Whoever serves it will see the same end.
            Ok(Err(_) | Ok(0)) => return true,
            Ok(Ok(_)) => {}
        }
        match detect::classify(prefix) {
            Protocol::NeedMore if prefix.len() < DETECT_BYTES_MAX => {}
            Protocol::Http1 => return false,
            _ => return true,
        }
    }
}

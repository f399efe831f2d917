//! One client connection: names what arrives and gives it to who speaks it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::front::Kind;
use crate::shared::Shared;
use crate::worker::Worker;
use crate::{arrival, http, passthrough, proxy_protocol};

/// One client connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) worker: Arc<Worker>,
    /// Index into the config's listeners.
    pub(crate) listener: usize,
    /// Who connected, and where to: the connection's own ends, or what a PROXY protocol header
    /// announced.
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

/// Serves one client until it or its WebSocket ends.
pub(crate) async fn serve(mut stream: TcpStream, mut connection: Connection) {
    let mut prefix = BytesMut::new();
    if let Err(refused) = proxy_protocol::receive(&mut stream, &mut prefix, &mut connection).await {
        return refused.log(&connection);
    }
    match arrival::name(&mut stream, &mut prefix, &connection).await {
        Kind::Http => http::serve(stream.into(), prefix, connection).await,
        Kind::Tcp(route) => {
            let route = &connection.worker.shared.config.tcp_routes[route];
            passthrough::serve(stream.into(), prefix.freeze(), &connection, route).await;
        }
        Kind::UnknownName(name) => arrival::refuse_name(stream, &connection, name).await,
        Kind::Unknown => arrival::refuse(&connection),
    }
}

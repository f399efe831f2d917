//! One client connection: names what arrives and gives it to who speaks it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::front::Kind;
use crate::places::Place;
use crate::shared::Shared;
use crate::transport::Transport;
use crate::worker::Worker;
use crate::{arrival, http, passthrough, proxy_protocol, tls};

/// One client connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) worker: Arc<Worker>,
    /// What held when it came, or when its last request did.
    pub(crate) shared: Arc<Shared>,
    /// Index into the config's listeners.
    pub(crate) listener: usize,
    /// Who connected, and where to: the connection's own ends, or what a PROXY protocol header
    /// announced.
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) security: Security,
    /// Counts the connection until its last holder is gone; a WebSocket holds it past the upgrade.
    pub(crate) place: Arc<Place>,
}

impl Connection {
    /// The connection under what holds now: for the next request of one that stays. Where its
    /// listener has left the config, everything holds as before.
    pub(crate) fn refreshed(&self) -> Cow<'_, Self> {
        let current = self.worker.current.load();
        if Arc::ptr_eq(&current, &self.shared) {
            return Cow::Borrowed(self);
        }
        let id = self.shared.doors()[self.listener].id;
        let Some(listener) = current.listener_of(id) else { return Cow::Borrowed(self) };
        Cow::Owned(Self { shared: Arc::clone(&current), listener, ..self.clone() })
    }

    /// Whether its listener has left the config.
    pub(crate) fn is_left_behind(&self) -> bool {
        let id = self.shared.doors()[self.listener].id;
        self.worker.current.load().listener_of(id).is_none()
    }
}

/// Whether strangers can read along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// They can, as far as this gateway knows.
    Plain,
    /// They can, and must not: no request may go on.
    Missing,
    /// TLS ends at this gateway.
    Tls,
}

/// Serves one client until it or its WebSocket ends.
pub(crate) async fn serve(mut stream: TcpStream, mut connection: Connection) {
    let arrived_at = Instant::now();
    let mut prefix = BytesMut::new();
    if let Err(refused) = proxy_protocol::receive(&mut stream, &mut prefix, &mut connection).await {
        return refused.log(&connection);
    }
    let (shared, listener) = (connection.shared.clone(), connection.listener);
    let front = shared.front(listener);
    let kind = arrival::name(&mut stream, &mut prefix, front, &connection).await;
    // What is served may last; an old configuration shall not because of it.
    drop(shared);
    match kind {
        // Boxed: plain WebSockets, the many, do not carry the room for it.
        Kind::Tls => Box::pin(serve_tls(stream, prefix, connection, arrived_at)).await,
        Kind::UnknownName(name) => arrival::refuse_name(stream, &connection, name).await,
        kind => speak(kind, stream.into(), prefix, connection).await,
    }
}

/// Ends TLS, and serves what is in it.
async fn serve_tls(
    stream: TcpStream,
    mut prefix: BytesMut,
    mut connection: Connection,
    arrived_at: Instant,
) {
    let (shared, listener) = (connection.shared.clone(), connection.listener);
    let Some(termination) = shared.termination(listener) else {
        return arrival::refuse(&connection);
    };
    let hello = prefix.split().freeze();
    let secured = tls::secure(stream, &hello, termination, &connection, arrived_at).await;
    let Some(mut stream) = secured else { return };
    connection.security = Security::Tls;
    let front = shared.front_behind_tls(listener);
    let kind = arrival::name(&mut stream, &mut prefix, front, &connection).await;
    drop(shared);
    speak(kind, stream, prefix, connection).await;
}

/// Gives a client to who speaks its protocol.
async fn speak(kind: Kind, stream: Transport, prefix: BytesMut, mut connection: Connection) {
    match kind {
        Kind::Http => http::serve(stream, prefix, connection).await,
        Kind::Http2 => Box::pin(http::http2::serve(stream, prefix, connection)).await,
        Kind::HttpWithoutTls => {
            connection.security = Security::Missing;
            http::serve(stream, prefix, connection).await;
        }
        Kind::Tcp(route) => {
            Box::pin(passthrough::serve(stream, prefix.freeze(), connection, route)).await;
        }
        Kind::Tls | Kind::UnknownName(_) | Kind::Unknown => arrival::refuse(&connection),
    }
}

//! Reads the first bytes of a connection until they say what it is; [`crate::front`] judges them.

use std::time::Instant;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::connection::Connection;
use crate::front::{Front, Kind};

/// Bytes asked for at once: a ClientHello with post-quantum keys fits.
const READ_BYTES: usize = 4096;
/// A fatal `unrecognized_name` in a record of its own (RFC 8446 §5.1 and §6, RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 112];

/// Names what arrives. What was read stays in `prefix`, for whoever serves it.
pub(crate) async fn name(
    stream: &mut (impl AsyncRead + Unpin),
    prefix: &mut BytesMut,
    front: &Front,
    connection: &Connection,
) -> Kind {
    let shared = &connection.shared;
    if let Some(kind) = front.only_kind() {
        return kind;
    }
    let config = &shared.config;
    let server_first = front.rest().filter(|&route| config.tcp_routes[route].server_first);
    let arrived_at = Instant::now();
    loop {
        if let Some(kind) = front.judge(prefix) {
            return kind;
        }
        let silent_server = server_first.filter(|_| prefix.is_empty());
        let patience = match silent_server {
            Some(_) => config.timeouts.detect,
            None => shared
                .termination(connection.listener)
                .map_or(config.timeouts.head, |tls| tls.handshake()),
        };
        prefix.reserve(READ_BYTES);
        let left = patience.saturating_sub(arrived_at.elapsed());
        match timeout(left, stream.read_buf(prefix)).await {
            Err(_) => return silent_server.map_or_else(|| front.silent(), Kind::Tcp),
            Ok(Err(_) | Ok(0)) => return front.other(),
            Ok(Ok(_)) => {}
        }
    }
}

/// Tells a TLS client that its name is not served here, in the one way it understands.
pub(crate) async fn refuse_name(
    mut stream: TcpStream,
    connection: &Connection,
    name: Option<String>,
) {
    let shared = &connection.shared;
    let listener = &shared.config.listeners[connection.listener].name;
    if shared.telemetry.may_log_refused_peer() {
        let peer = connection.peer;
        let name = name.as_deref().unwrap_or("(none)");
        warn!(listener, %peer, name, "TLS connection refused: no [[tcp]] route has this name in `sni`");
    }
    // Seven bytes fit into any socket's buffer; a client that is gone needs no answer.
    let _ = stream.write_all(&UNRECOGNIZED_NAME).await;
    let _ = stream.shutdown().await;
}

/// Closes what nothing here serves.
pub(crate) fn refuse(connection: &Connection) {
    let listener = &connection.shared.config.listeners[connection.listener].name;
    debug!(listener, peer = %connection.peer, "connection refused: nothing here speaks its protocol");
}

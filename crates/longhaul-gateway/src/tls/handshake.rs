//! The handshake of a client, in time or not at all.

use std::time::Instant;

use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsStream;
use tracing::debug;

use super::server::Termination;
use crate::connection::Connection;
use crate::transport::Transport;

/// Does the handshake with a client that came at `arrived_at` and has said `hello` so far. `None`:
/// it failed, and the connection is closed.
///
/// What fails here is mostly somebody who looks for something else, so it is counted, and told at
/// the level of debug.
pub(crate) async fn secure(
    stream: TcpStream,
    hello: &[u8],
    termination: &Termination,
    connection: &Connection,
    arrived_at: Instant,
) -> Option<Transport> {
    let deadline = tokio::time::Instant::from_std(arrived_at + termination.handshake());
    let telemetry = &connection.shared.telemetry;
    let peer = connection.peer;
    match timeout_at(deadline, termination.accept(stream, hello)).await {
        Ok(Ok(stream)) => {
            telemetry.note_handshake(true);
            return Some(Transport::Tls(Box::new(TlsStream::Server(stream))));
        }
        Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => {
            debug!(%peer, deadline = ?termination.handshake(), "TLS handshake took too long");
        }
    }
    telemetry.note_handshake(false);
    None
}

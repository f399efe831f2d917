//! Refuses a WebSocket in words that a browser can read: it is opened, and closed at once.
//!
//! Browsers show pages neither the status nor the body of a refused handshake, only 1006. A close
//! code and its reason they do show.

use std::time::Duration;

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use longhaul_proto::websocket::frame::OwnFrame;
use longhaul_proto::websocket::handshake;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::connection::Connection;
use crate::http::answer::{CAUSE, Refusal};
use crate::http::body::Body;
use crate::http::http2::OpenStream;
use crate::upgrade::{ClientLeg, client_leg};

/// How long a client may take to read a close frame and answer it.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a client may send meanwhile; then it is cut off.
const BYTES_MAX: u64 = 64 * 1024;

/// Answers an upgrade with 101 and a close frame that says why. `None`: this refusal is not put so,
/// or the client's connection cannot be taken.
pub(super) fn close_instead(
    head: &mut Parts,
    connection: &Connection,
    refusal: &Refusal,
) -> Option<Response<Body>> {
    let code = refusal.close_code()?;
    let accept = handshake::accept_key(head.headers.get(SEC_WEBSOCKET_KEY)?.as_bytes());
    let upgrade = head.extensions.remove::<OnUpgrade>()?;
    let stream = head.extensions.remove::<OpenStream>();
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).ok()?);
    headers.insert(CAUSE, HeaderValue::from_static(refusal.cause()));
    // A browser that offers subprotocols fails a handshake that chooses none.
    let offered = head.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    let first = offered.and_then(|offered| offered.split(',').next()).map(str::trim);
    if let Some(first) = first.and_then(|first| HeaderValue::from_str(first).ok()) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, first);
    }
    let frame = OwnFrame::close(code, &refusal.close_reason(), None);
    let connection = connection.clone();
    // Ends by its deadlines; the connection counts until then.
    tokio::spawn(async move {
        let (_connection, _stream) = (connection, stream);
        let Ok(Ok(client)) = timeout(PATIENCE, upgrade).await else { return };
        let said = match client_leg(client) {
            ClientLeg::Socket(leg) => timeout(PATIENCE, say(leg.io, frame)).await,
            ClientLeg::Stream(leg) => timeout(PATIENCE, say(leg.io, frame)).await,
        };
        // A client that does not listen to its refusal is refused all the same.
        let _ = said;
    });
    Some(answer)
}

/// Writes the frame and waits until the client has closed: a reset before it has read everything
/// could take the reason away from it.
async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: S,
    frame: OwnFrame,
) -> std::io::Result<()> {
    client.write_all(frame.as_bytes()).await?;
    client.flush().await?;
    client.shutdown().await?;
    tokio::io::copy(&mut client.take(BYTES_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}

//! Refuses a WebSocket in words that a browser can read: it is opened, and closed at once.
//!
//! Browsers show pages neither the status nor the body of a refused handshake, only 1006. A close
//! code and its reason they do show.

use std::time::Duration;

use bytes::Bytes;
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
use crate::http::http2::OpenStream;
use crate::upgrade::{ClientLeg, Offered, Switch, client_leg};

/// How long a client may take to read a close frame and answer it.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a client may send meanwhile; then it is cut off.
const BYTES_MAX: u64 = 64 * 1024;

/// Answers an upgrade with 101 and a close frame that says why. `None`: this refusal is not put so,
/// or the request is no handshake.
pub(super) fn close_instead(
    head: &mut Parts,
    connection: &Connection,
    refusal: &Refusal,
) -> Option<Offered> {
    let code = refusal.close_code()?;
    let accept = handshake::accept_key(head.headers.get(SEC_WEBSOCKET_KEY)?.as_bytes());
    let stream = head.extensions.remove::<OpenStream>();
    let (mut answer, ()) = Response::new(()).into_parts();
    answer.status = StatusCode::SWITCHING_PROTOCOLS;
    let headers = &mut answer.headers;
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
    let farewell = Farewell { frame, _connection: connection.clone(), _stream: stream };
    Some(Offered::Switch(Box::new(Switch::farewell(answer, farewell))))
}

/// A close frame for a client, behind its 101. The connection counts until the client has it.
pub(crate) struct Farewell {
    frame: OwnFrame,
    _connection: Connection,
    _stream: Option<OpenStream>,
}

impl Farewell {
    /// Says it once the library has answered the client.
    pub(crate) async fn say_behind(self, client: OnUpgrade) {
        let Ok(Ok(client)) = timeout(PATIENCE, client).await else { return };
        match client_leg(client) {
            ClientLeg::Socket(leg) => self.say(leg.io, leg.greeting).await,
            ClientLeg::Stream(leg) => self.say(leg.io, leg.greeting).await,
        }
    }

    /// Says it behind `greeting`. A client that does not listen is refused all the same.
    pub(crate) async fn say(self, client: impl AsyncRead + AsyncWrite + Unpin, greeting: Bytes) {
        let words = [&greeting[..], self.frame.as_bytes()].concat();
        let _ = timeout(PATIENCE, say(client, &words)).await;
    }
}

/// Writes it and waits until the client has closed: a reset before it has read everything
/// could take the reason away from it.
async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: S,
    words: &[u8],
) -> std::io::Result<()> {
    client.write_all(words).await?;
    client.flush().await?;
    client.shutdown().await?;
    tokio::io::copy(&mut client.take(BYTES_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}

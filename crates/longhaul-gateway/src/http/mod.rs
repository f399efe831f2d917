//! HTTP toward clients: a strict screen in front of the library, and the service behind it. What
//! HTTP/2 has instead of the screen is in [`http2`].

mod alarm;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod exchange;
mod expect;
pub(crate) mod failure;
mod forward;
mod health;
pub(crate) mod http2;
pub(crate) mod pool;
mod recall;
pub(crate) mod screened;
mod service;
pub(crate) mod trunks;
pub(crate) mod upload;
pub(crate) mod visit;
mod way;

use bytes::BytesMut;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use screened::Screened;
use tracing::debug;

use crate::connection::Connection;
use crate::transport::Transport;

/// Serves one client connection until it ends or becomes a WebSocket. `prefix` was read from it
/// already.
pub(crate) async fn serve(stream: Transport, prefix: BytesMut, connection: Connection) {
    let config = &connection.worker.shared.config;
    let (screened, screen) = Screened::new(stream, prefix, &config.limits, &config.timeouts);
    let peer = connection.peer;
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // The screen has its own, told apart from the wait between two requests.
        .header_read_timeout(None)
        .preserve_header_case(true)
        .max_headers(config.limits.header_fields_max)
        .serve_connection(
            TokioIo::new(screened),
            service_fn(|request| service::answer(&connection, &screen, request)),
        )
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(%peer, %error, "client connection ended");
    }
}

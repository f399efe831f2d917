//! HTTP toward clients: a strict screen in front of the library, and the service behind it. What
//! HTTP/2 has instead of the screen is in [`http2`].

mod alarm;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod direct;
pub(crate) mod exchange;
mod expect;
pub(crate) mod failure;
mod forward;
pub(crate) mod health;
pub(crate) mod http2;
mod inject;
pub(crate) mod pool;
mod recall;
pub(crate) mod screened;
mod service;
mod stall;
pub(crate) mod trunks;
pub(crate) mod upload;
pub(crate) mod visit;
mod way;

use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use direct::Rest;
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
    if let Some(rest) = direct::serve(stream, prefix, &connection).await {
        // Boxed, so that a handshake does not pay for the room that the library takes.
        Box::pin(serve_by_library(rest, &connection)).await;
    }
}

async fn serve_by_library(rest: Rest, connection: &Connection) {
    let Rest { stream, prefix, answer } = rest;
    let config = &connection.shared.config;
    let (screened, screen) = Screened::new(stream, prefix, &config.limits, &config.timeouts);
    // Asked for once, by the first request.
    let answered = Mutex::new(answer);
    let take_answer = || answered.lock().unwrap_or_else(PoisonError::into_inner).take();
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // The screen has its own, told apart from the wait between two requests.
        .header_read_timeout(None)
        .preserve_header_case(true)
        .max_headers(config.limits.header_fields_max)
        .serve_connection(
            TokioIo::new(screened),
            service_fn(|request| service::answer(connection, &screen, request, take_answer())),
        )
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(peer = %connection.peer, %error, "client connection ended");
    }
}

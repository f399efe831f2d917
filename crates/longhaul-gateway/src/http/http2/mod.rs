//! HTTP/2 toward clients: a guard against floods in front of the library, and the same service
//! behind it as for HTTP/1.1. A WebSocket comes as an extended CONNECT (RFC 8441).

mod guarded;
mod patience;
mod request;
mod streams;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use guarded::Guarded;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use longhaul_proto::http2::head::Ask;
use patience::StreamTasks;
pub(crate) use streams::OpenStream;
use streams::{Answer, Streams};
use tracing::debug;

use super::answer::Refusal;
use super::body::Body;
use super::{exchange, service};
use crate::config::Limits;
use crate::connection::Connection;
use crate::shared::OpenWork;
use crate::transport::Transport;

/// What a client may send on one stream before somebody took it, and so what one slow replica or
/// one slow reader keeps in memory.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What waits on one stream for the client, beside the piece that is being sent.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How often a client is asked whether it is still there, and how long it may think about it.
const PING_INTERVAL: Duration = Duration::from_secs(25);
const PONG_PATIENCE: Duration = Duration::from_secs(20);
/// Streams that a client resets before they were looked at (CVE-2023-44487), and requests so bad
/// that the library resets them (CVE-2025-8671), before the connection ends.
const RESETS_PENDING_MAX: usize = 20;
const ERRORS_MAX: usize = 100;

/// Serves one client connection until it ends. `prefix` was read from it already.
pub(crate) async fn serve(stream: Transport, prefix: BytesMut, connection: Connection) {
    let shared = connection.shared.clone();
    let timeouts = &shared.config.timeouts;
    let connection = Arc::new(connection);
    let peer = connection.peer;
    let streams = Streams::new();
    let tasks = StreamTasks::new(timeouts.body_stall);
    let guarded = Guarded::new(stream, prefix, timeouts);
    let service = service_fn(|request| answer(connection.clone(), streams.clone(), request));
    let mut served = pin!(
        builder(tasks, &shared.config.limits).serve_connection(TokioIo::new(guarded), service)
    );
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = streams.idle_for(timeouts.keep_alive) => None,
        () = shared.readiness.draining() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // The client is told to open no more streams; those that are open go on to their end.
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served.as_mut() => ended,
                // It has nothing left here and does not leave.
                () = streams.idle_for(timeouts.head) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        debug!(%peer, error = exchange::explain(&error), "client connection ended");
    }
}

fn builder(tasks: StreamTasks, limits: &Limits) -> http2::Builder<StreamTasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(ERRORS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PONG_PATIENCE);
    builder
}

/// Answers one request, in a task of its own.
async fn answer(
    connection: Arc<Connection>,
    streams: Streams,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let connection = connection.refreshed();
    let shared = &connection.shared;
    let work = OpenWork::new(shared);
    let stream = streams.open();
    let is_head = request.method() == Method::HEAD;
    let fields_max = shared.config.limits.header_fields_max;
    let mut answer = match request::translate(&mut request, fields_max) {
        Ok(ask) => {
            if ask == Ask::WebSocket {
                // The stream goes on behind the answer, for as long as the relay has this.
                request.extensions_mut().insert(stream.clone());
            }
            service::dispatch(&connection, request).await
        }
        Err(violation) => {
            debug!(peer = %connection.peer, reason = %violation, "request refused");
            Refusal::Violation(violation).answer(request.headers())
        }
    };
    translate_back(&mut answer);
    Ok(answer.map(|body| Answer::new((!is_head).then_some(body), stream, work)))
}

/// Takes off what only HTTP/1.1 says: a stream ends without words, a tunnel begins with 200.
fn translate_back(answer: &mut Response<Body>) {
    answer.headers_mut().remove(CONNECTION);
    answer.headers_mut().remove(UPGRADE);
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
        *answer.status_mut() = StatusCode::OK;
    }
}

//! The short way in: a connection that begins with a WebSocket handshake, whole and plain, gets its
//! answer without the HTTP library.
//!
//! Whatever else a connection begins with is left to the library, with what was read. So is every
//! answer that is not a 101: it goes out the way all answers do.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::Response;
use http::request::Parts;
use longhaul_proto::http1::{self, Screen, Step};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::timeout;

use super::body::Body;
use super::screened::HELD_BYTES_MAX;
use super::service;
use crate::connection::Connection;
use crate::relay::stream::with_scratch;
use crate::shared::OpenWork;
use crate::transport::Transport;
use crate::upgrade::Offered;
use crate::upgrade::spelling;

/// Bytes read at once: a handshake with many cookies.
const READ_BYTES: usize = 16 * 1024;

/// A connection for the library.
pub(super) struct Rest {
    pub(super) stream: Transport,
    /// What was read from it.
    pub(super) prefix: BytesMut,
    /// What answers the request it begins with, if that was answered already.
    pub(super) answer: Option<Response<Body>>,
}

/// Serves a connection that begins with a handshake. Returns what is left to do.
pub(super) async fn serve(
    mut stream: Transport,
    mut prefix: BytesMut,
    connection: &Connection,
) -> Option<Rest> {
    let shared = &connection.shared;
    if prefix.is_empty() {
        let first = poll_fn(|cx| poll_read(&mut stream, cx, &mut prefix));
        match timeout(shared.config.timeouts.head, first).await {
            Ok(Ok(1..)) => {}
            // Nobody asked anything.
            Ok(Ok(0) | Err(_)) | Err(_) => return None,
        }
    }
    let limits = http1::Limits {
        head_bytes_max: shared.config.limits.head_bytes_max,
        fields_max: shared.config.limits.header_fields_max,
    };
    let Some((head, head_len)) = read_handshake(&prefix, limits) else {
        return Some(Rest { stream, prefix, answer: None });
    };
    // It may have waited with its request for longer than a configuration lasts.
    let connection = &*connection.refreshed();
    let _work = OpenWork::new(&connection.shared);
    // Read on meanwhile, to notice a client that leaves.
    let offered = {
        let mut deciding = pin!(service::decide(connection, head, None));
        poll_fn(|cx| {
            if let Poll::Ready(offered) = deciding.as_mut().poll(cx) {
                return Poll::Ready(Some(offered));
            }
            while prefix.len() - head_len < HELD_BYTES_MAX {
                match ready!(poll_read(&mut stream, cx, &mut prefix)) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return Poll::Ready(None),
                }
            }
            Poll::Pending
        })
        .await?
    };
    match offered {
        Offered::Switch(switch) => {
            // Mostly nothing, which keeps no memory.
            let behind =
                if head_len < prefix.len() { prefix.split_off(head_len) } else { BytesMut::new() };
            switch.by_socket(stream, behind.freeze());
            None
        }
        Offered::Answer(answer) => Some(Rest { stream, prefix, answer: Some(answer) }),
    }
}

/// Reads once, behind what is there.
fn poll_read(
    stream: &mut Transport,
    cx: &mut Context<'_>,
    read: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    with_scratch(READ_BYTES, |scratch| {
        let mut buf = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
        read.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    })
}

/// Reads the handshake at the start of `bytes`, if they begin with a whole one that breaks no rule.
fn read_handshake(bytes: &[u8], limits: http1::Limits) -> Option<(Parts, usize)> {
    let mut screen = Screen::new(limits);
    let Step::Head { len, .. } = screen.feed(bytes) else { return None };
    if !screen.is_held() {
        return None;
    }
    let head = spelling::read_request(Bytes::copy_from_slice(&bytes[..len]))?;
    Some((head, len))
}

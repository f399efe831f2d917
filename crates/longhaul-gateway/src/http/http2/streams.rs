//! The streams of one client connection that are being answered, or carry a WebSocket.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::sleep;

use super::patience::Debt;
use crate::http::body::Body;
use crate::shared::OpenWork;

/// Bytes given to the library at once. The last piece stays in its hands until the client makes
/// room for it, however long that takes.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// How many streams of a connection are open. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Streams(Arc<watch::Sender<usize>>);

impl Streams {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Counts one more until the last clone of this is dropped. To be called by the task that
    /// answers it.
    pub(super) fn open(&self) -> OpenStream {
        self.0.send_modify(|open| *open += 1);
        OpenStream(Arc::new(Counted { streams: self.clone(), debt: Debt::of_this_task() }))
    }

    /// Waits until no stream has been open for so long.
    pub(super) async fn idle_for(&self, time: Duration) {
        let mut open = self.0.subscribe();
        loop {
            let is_idle = *open.borrow_and_update() == 0;
            tokio::select! {
                changed = open.changed() => changed.expect("this holds the sender"),
                () = sleep(time), if is_idle => return,
            }
        }
    }
}

/// One open stream. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct OpenStream(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    streams: Streams,
    debt: Debt,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.streams.0.send_modify(|open| *open -= 1);
        // Of a WebSocket, the library may still have bytes that the client must make room for.
        self.debt.begin();
    }
}

/// Body of an answer on one stream, in small pieces.
#[derive(Debug)]
pub(super) struct Answer {
    /// `None` for the answer to a HEAD.
    body: Option<Body>,
    /// What of the body's last piece was not given away.
    rest: Bytes,
    stream: OpenStream,
    /// Keeps a drain waiting until the answer is out.
    _work: OpenWork,
}

impl Answer {
    pub(super) fn new(body: Option<Body>, stream: OpenStream, work: OpenWork) -> Self {
        Self { body, rest: Bytes::new(), stream, _work: work }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        // Asked for more: the client has made room for what was given before.
        this.stream.0.debt.settle();
        while this.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)?) else {
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let len = this.rest.len().min(PIECE_BYTES_MAX);
        this.stream.0.debt.begin();
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    /// Right before the first piece, which is when it is asked for.
    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

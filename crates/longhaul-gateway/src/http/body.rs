//! Bodies on their way through: never collected, watched only for their end.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use longhaul_proto::http1::Violation;

use super::alarm::Alarm;
use super::expect::Gate;
use super::pool::Lease;
use super::screened::{Exchange, violation_of};
use crate::shared::OpenWork;
use crate::upstream::{Held, Replica, Upstream};

/// Body of an answer to a client.
#[derive(Debug)]
pub(crate) struct Body {
    content: Content,
    /// Keeps the connection from counting as idle until the answer is out.
    exchange: Option<Exchange>,
    /// Keeps a drain waiting until the answer is out.
    work: Option<OpenWork>,
}

#[derive(Debug)]
enum Content {
    /// The gateway's own words, or nothing.
    Whole(Option<Bytes>),
    /// A replica's answer.
    Forwarded(Box<Forwarded>),
}

impl Body {
    /// No body at all.
    pub(crate) fn empty() -> Self {
        Self { content: Content::Whole(None), exchange: None, work: None }
    }

    /// The gateway's own words.
    pub(crate) fn text(text: String) -> Self {
        Self { content: Content::Whole(Some(text.into())), exchange: None, work: None }
    }

    /// Lets the exchange, and the work it is, end with the body.
    pub(crate) fn hold(&mut self, exchange: Exchange, work: OpenWork) {
        self.exchange = Some(exchange);
        self.work = Some(work);
    }
}

/// A replica's answer on its way to the client.
#[derive(Debug)]
pub(crate) struct Forwarded {
    inner: Incoming,
    /// Gives the connection back once the body has ended.
    lease: Option<Lease>,
    /// Counts the request as open until the body is gone.
    _held: Held,
    learner: Option<Learner>,
}

/// Shows the start of an Engine.IO handshake answer to affinity.
#[derive(Debug)]
pub(crate) struct Learner {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) replica: Arc<Replica>,
}

impl Forwarded {
    pub(crate) fn new(inner: Incoming, lease: Lease, held: Held, learner: Option<Learner>) -> Self {
        let mut body = Self { inner, lease: Some(lease), _held: held, learner };
        if body.inner.is_end_stream() {
            body.release();
        }
        body
    }

    fn release(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
    }
}

impl From<Forwarded> for Body {
    fn from(body: Forwarded) -> Self {
        Self { content: Content::Forwarded(Box::new(body)), exchange: None, work: None }
    }
}

impl HttpBody for Forwarded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)?) else {
                self.release();
                return Poll::Ready(None);
            };
            // Trailers are dropped: nothing downstream may take them for headers (RFC 9110 §6.5.1).
            let Ok(data) = frame.into_data() else { continue };
            if let Some(Learner { upstream, replica }) = self.learner.take() {
                upstream.learn(&data, &replica, Instant::now());
            }
            // The library does not ask again behind the last piece of a body of known length.
            if self.inner.is_end_stream() {
                self.release();
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Forwarded(body) => Pin::new(body.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Forwarded(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Content::Forwarded(body) => body.size_hint(),
        }
    }
}

/// A client's request body on its way to a replica.
#[derive(Debug)]
pub(crate) struct Upload {
    /// `None` for a request without a body.
    inner: Option<Incoming>,
    progress: Arc<Progress>,
    gate: Option<Arc<Gate>>,
    stall: Option<Stall>,
}

/// A body whose next piece may be waited for only so long.
#[derive(Debug)]
struct Stall {
    patience: Duration,
    since: Option<Instant>,
    alarm: Alarm,
}

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The client broke off, or broke a rule.
    #[error(transparent)]
    Client(hyper::Error),
    /// No piece of it came in time.
    #[error("the client stopped sending its request body")]
    Stalled,
}

/// How an upload goes, read by whoever waits for the answer to it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    has_moved: AtomicBool,
    broken: OnceLock<Option<Violation>>,
}

impl Progress {
    /// Whether a piece passed since the last call.
    pub(crate) fn take_moved(&self) -> bool {
        self.has_moved.swap(false, Ordering::Relaxed)
    }

    /// Set when the client broke off, with the rule it broke if that was why.
    pub(crate) fn broken(&self) -> Option<Option<Violation>> {
        self.broken.get().copied()
    }
}

impl Upload {
    pub(crate) fn new(inner: Incoming, progress: Arc<Progress>, gate: Option<Arc<Gate>>) -> Self {
        Self { inner: Some(inner), progress, gate, stall: None }
    }

    /// Bounds the wait for each piece. Only streams of HTTP/2 need it: of HTTP/1.1, the screen knows
    /// what a connection waits for.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.stall = Some(Stall { patience, since: None, alarm: Alarm::default() });
        self
    }

    /// The body of a request that has none.
    pub(crate) fn empty() -> Self {
        Self { inner: None, progress: Arc::default(), gate: None, stall: None }
    }
}

impl Stall {
    /// Ready when nothing has come for too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.alarm.poll_at(cx, (since + self.patience).into())
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Some(gate) = &self.gate {
            ready!(gate.poll_open(cx));
            self.gate = None;
        }
        loop {
            let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
            let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) else {
                let Some(stall) = &mut self.stall else { return Poll::Pending };
                ready!(stall.poll_over(cx));
                let _ = self.progress.broken.set(Some(Violation::BodyTimeout));
                return Poll::Ready(Some(Err(UploadError::Stalled)));
            };
            if let Some(stall) = &mut self.stall {
                stall.since = None;
            }
            match frame {
                None => {
                    self.progress.has_moved.store(true, Ordering::Relaxed);
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    let _ = self.progress.broken.set(violation_of(&error));
                    return Poll::Ready(Some(Err(UploadError::Client(error))));
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.progress.has_moved.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

//! A client's request body on its way to a replica, and how it goes.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use longhaul_proto::http1::Violation;

use super::alarm::Alarm;
use super::body::trailers;
use super::expect::Gate;
use super::recall::Recall;
use super::screened::violation_of;
use super::stall::Stall;
use crate::redial::overheard::Listener;

/// A client's request body on its way to a replica.
#[derive(Debug)]
pub(crate) struct Upload {
    /// `None` for a request without a body.
    inner: Option<Incoming>,
    progress: Arc<Progress>,
    gate: Option<Arc<Gate>>,
    /// How long the next piece may be waited for.
    stall: Option<(Stall, Alarm)>,
    /// Whether trailers go on to the replica.
    passes_trailers: bool,
    recall: Option<Arc<Recall>>,
    /// Who keeps a copy of it.
    listener: Option<Arc<Listener>>,
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

impl UploadError {
    /// The rule that was broken, if that was why.
    fn violation(&self) -> Option<Violation> {
        match self {
            Self::Client(error) => violation_of(error),
            Self::Stalled => Some(Violation::BodyTimeout),
        }
    }
}

/// How an upload goes, read by whoever waits for the answer to it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    has_moved: AtomicBool,
    is_answered: AtomicBool,
    broken: OnceLock<Option<Violation>>,
}

impl Progress {
    /// Whether a piece passed since the last call.
    pub(crate) fn take_moved(&self) -> bool {
        self.has_moved.swap(false, Ordering::Relaxed)
    }

    /// The answer has begun, and the body may go on beside it for as long as both like: nobody
    /// waits for its end any more.
    pub(crate) fn note_answer(&self) {
        self.is_answered.store(true, Ordering::Relaxed);
    }

    /// Set when the client broke off, with the rule it broke if that was why.
    pub(crate) fn broken(&self) -> Option<Option<Violation>> {
        self.broken.get().copied()
    }
}

impl Upload {
    pub(crate) fn new(inner: Incoming, progress: Arc<Progress>, gate: Option<Arc<Gate>>) -> Self {
        let mut upload = Self::empty();
        upload.inner = Some(inner);
        upload.progress = progress;
        upload.gate = gate;
        upload
    }

    /// Bounds the wait for each piece. Only streams of HTTP/2 need it: of HTTP/1.1, the screen knows
    /// what a connection waits for.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.stall = Some((Stall::new(patience), Alarm::default()));
        self
    }

    /// Lets trailers go on to a replica that knows them for what they are.
    pub(crate) fn with_trailers(mut self) -> Self {
        self.passes_trailers = true;
        self
    }

    /// Lets the body be sent again as long as `recall` has all that was given away of it.
    pub(super) fn recalled_by(mut self, recall: Arc<Recall>) -> Self {
        self.recall = Some(recall);
        self
    }

    /// Lets `listener` have a copy of what goes by.
    pub(super) fn heard_by(mut self, listener: Option<Arc<Listener>>) -> Self {
        self.listener = listener;
        self
    }

    /// The body of a request that has none.
    pub(crate) fn empty() -> Self {
        Self {
            inner: None,
            progress: Arc::default(),
            gate: None,
            stall: None,
            passes_trailers: false,
            recall: None,
            listener: None,
        }
    }

    fn has_kept(&self) -> bool {
        self.recall.as_ref().is_some_and(|recall| recall.has_more())
    }

    /// Waits no longer than the client may take for the next piece.
    fn poll_inner(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            if let Some((stall, _)) = &mut self.stall {
                stall.settle();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Client)));
        }
        let Some((stall, alarm)) = &mut self.stall else { return Poll::Pending };
        if self.progress.is_answered.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        ready!(stall.poll_over(cx, alarm));
        if self.progress.is_answered.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(UploadError::Stalled)))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(recall) = self.recall.take() {
            recall.come_home(Self {
                inner: self.inner.take(),
                progress: self.progress.clone(),
                gate: self.gate.take(),
                stall: self.stall.take(),
                passes_trailers: self.passes_trailers,
                recall: None,
                listener: self.listener.take(),
            });
        }
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
        if let Some(piece) = self.recall.as_ref().and_then(|recall| recall.again()) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        loop {
            let frame = match ready!(self.poll_inner(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    let _ = self.progress.broken.set(error.violation());
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.progress.has_moved.store(true, Ordering::Relaxed);
                    return Poll::Ready(None);
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    self.progress.has_moved.store(true, Ordering::Relaxed);
                    if let Some(recall) = &self.recall {
                        recall.keep(&data);
                    }
                    if let Some(listener) = &self.listener {
                        listener.hear(&data);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Err(frame) if self.passes_trailers => {
                    if let Some(recall) = &self.recall {
                        recall.forgo();
                    }
                    return Poll::Ready(trailers(frame));
                }
                Err(_) => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.has_kept() && self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_kept() {
            return SizeHint::default();
        }
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

//! Answers on their way to clients: never collected, watched only for their end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use longhaul_policy::hop_by_hop;

use super::inject::Injection;
use super::screened::Exchange;
use super::visit::Visit;
use super::way::Way;
use crate::redial::overheard;
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
        Self::bytes(text.into())
    }

    /// The same, as bytes.
    pub(crate) fn bytes(bytes: Bytes) -> Self {
        Self { content: Content::Whole(Some(bytes)), exchange: None, work: None }
    }

    /// The gateway's own words, for who writes them without the library.
    pub(crate) fn into_whole(self) -> Option<Bytes> {
        match self.content {
            Content::Whole(bytes) => bytes,
            Content::Forwarded(_) => None,
        }
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
    /// Given back once the body has ended.
    way: Option<Way>,
    /// Whether trailers go on to the client.
    passes_trailers: bool,
    /// Counts the request as open until the body is gone.
    _held: Held,
    learner: Option<Learner>,
    injection: Option<Injection>,
}

/// Shows the start of an Engine.IO handshake answer to affinity, and to whoever may have to open
/// the session once more.
#[derive(Debug)]
pub(crate) struct Learner {
    upstream: Arc<Upstream>,
    replica: Arc<Replica>,
    has_affinity: bool,
    overhears: bool,
}

impl Learner {
    /// `None` where nothing is to be learnt from the answer to this request.
    pub(crate) fn of(visit: &Visit<'_>, head: &Parts, replica: &Arc<Replica>) -> Option<Self> {
        let upstream = visit.upstream();
        let has_affinity = upstream.learns_from(head);
        let overhears = overheard::is_opening(visit, head);
        (has_affinity || overhears).then(|| Self {
            upstream: upstream.clone(),
            replica: replica.clone(),
            has_affinity,
            overhears,
        })
    }

    fn learn(&self, body_start: &[u8]) {
        let now = Instant::now();
        if self.has_affinity {
            self.upstream.learn(body_start, &self.replica, now);
        }
        if self.overhears {
            self.upstream.overheard().note_opened(body_start, now);
        }
    }
}

impl Forwarded {
    pub(crate) fn new(
        inner: Incoming,
        way: impl Into<Way>,
        held: Held,
        learner: Option<Learner>,
    ) -> Self {
        let way = Some(way.into());
        let mut body =
            Self { inner, way, passes_trailers: false, _held: held, learner, injection: None };
        if body.inner.is_end_stream() {
            body.release();
        }
        body
    }

    /// Lets trailers go on to a client that knows them for what they are.
    pub(crate) fn with_trailers(self) -> Self {
        Self { passes_trailers: true, ..self }
    }

    /// Puts something into the page that this is.
    pub(super) fn with_injection(self, injection: Option<Injection>) -> Self {
        Self { injection, ..self }
    }

    fn release(&mut self) {
        if let Some(way) = self.way.take() {
            way.release();
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
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) if self.passes_trailers => return Poll::Ready(trailers(frame)),
                // Nothing downstream may take them for headers (RFC 9110 §6.5.1).
                Err(_) => continue,
            };
            if let Some(learner) = self.learner.take() {
                learner.learn(&data);
            }
            // The library does not ask again behind the last piece of a body of known length.
            if self.inner.is_end_stream() {
                self.release();
            }
            let data = match &mut self.injection {
                Some(injection) => injection.pass(data),
                None => data,
            };
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.injection {
            // Longer than what comes in, by as much as is put in.
            Some(_) => SizeHint::default(),
            None => self.inner.size_hint(),
        }
    }
}

/// Trailers as they go on: what concerns one connection ends here, as in a head.
pub(super) fn trailers<E>(frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>, E>> {
    let mut fields = frame.into_trailers().ok()?;
    hop_by_hop::strip_response(&mut fields);
    Some(Ok(Frame::trailers(fields)))
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

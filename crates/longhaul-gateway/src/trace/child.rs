//! The pieces of work on a request that is followed.

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use longhaul_proto::otlp::Value;
use longhaul_proto::otlp::traces::{Kind, Span};
use longhaul_proto::trace::SpanId;

use super::{Began, TRACEPARENT, Trace, traceparent};

/// One piece of work on a request, until this is dropped. Of a request that is not followed it is
/// nothing, and takes no notes.
#[derive(Debug)]
pub(crate) struct Child(Option<Box<Doing>>);

#[derive(Debug)]
struct Doing {
    work: Trace,
    id: SpanId,
    name: &'static str,
    kind: Kind,
    began: Began,
    attributes: Vec<(&'static str, Value)>,
    error: Option<String>,
}

impl Child {
    /// Work of our own on a request.
    pub(crate) fn begin(head: &Parts, name: &'static str) -> Self {
        Self(Trace::of(head).map(|trace| Doing::begin(trace, name, Kind::Internal)))
    }

    /// Work by a replica, which is told of it by [`Self::as_parent`].
    pub(crate) fn begin_by_replica(head: &Parts, name: &'static str) -> Self {
        Self(Trace::of(head).map(|trace| Doing::begin(trace, name, Kind::Client)))
    }

    /// The field that makes a replica's work a part of this.
    pub(crate) fn as_parent(&self) -> Option<(HeaderName, HeaderValue)> {
        let doing = self.0.as_ref()?;
        Some((TRACEPARENT, traceparent(doing.work.0.trace, doing.id)?))
    }

    /// Adds what there is to know.
    pub(crate) fn note<V: Into<Value>>(&mut self, name: &'static str, value: impl FnOnce() -> V) {
        if let Some(doing) = &mut self.0 {
            doing.attributes.push((name, value().into()));
        }
    }

    /// Says why it failed.
    pub(crate) fn fail(&mut self, error: &str) {
        if let Some(doing) = &mut self.0 {
            doing.error = Some(error.to_owned());
        }
    }
}

impl Doing {
    fn begin(trace: &Trace, name: &'static str, kind: Kind) -> Box<Self> {
        Box::new(Self {
            work: trace.clone(),
            id: SpanId::of(fastrand::u64(..)),
            name,
            kind,
            began: Began::now(),
            attributes: Vec::new(),
            error: None,
        })
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        let work = &self.work.0;
        let span = Span {
            trace: work.trace,
            id: self.id,
            parent: Some(work.id),
            name: self.name.into(),
            kind: self.kind,
            began_ns: self.began.ns,
            ended_ns: self.began.end_ns(),
            attributes: std::mem::take(&mut self.attributes),
            error: self.error.take(),
        };
        let mut told = work.told();
        match &mut *told {
            Some(told) => told.children.push(span),
            // A leg that a session opens later.
            None => work.tracer.tell(vec![span]),
        }
    }
}

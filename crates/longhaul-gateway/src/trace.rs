//! Tells a collector what became of some requests: where the time went, and at whose door.
//!
//! One request in so many is followed, or one whose caller is: then its head carries a [`Trace`], and
//! whoever works on it notes a [`Child`]. All others cost a look at one field. What is told waits in a
//! bounded queue for a background task; nothing that serves waits for the collector.
//!
//! Start at [`Trace::begin`].

mod child;
mod sequel;
mod tracer;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::Method;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use longhaul_policy::redact;
use longhaul_proto::otlp::Value;
use longhaul_proto::otlp::traces::{Kind, Span};
use longhaul_proto::trace::{Context, SpanId, TraceId};

pub(crate) use self::child::Child;
pub(crate) use self::sequel::Sequel;
pub(crate) use self::tracer::{OUTCOMES, Tracer, start};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One request that is followed. Cheap to clone; lies in the extensions of its head.
#[derive(Debug, Clone)]
pub(crate) struct Trace(Arc<Work>);

#[derive(Debug)]
struct Work {
    tracer: Arc<Tracer>,
    trace: TraceId,
    parent: Option<SpanId>,
    id: SpanId,
    began: Began,
    /// What is told of it; `None` once it was.
    told: Mutex<Option<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    children: Vec<Span>,
    attributes: Vec<(&'static str, Value)>,
}

/// A moment by both clocks: one to tell, one to measure.
#[derive(Debug, Clone, Copy)]
struct Began {
    ns: u64,
    at: Instant,
}

impl Began {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { ns: nanoseconds(since), at: Instant::now() }
    }

    fn end_ns(&self) -> u64 {
        self.ns.saturating_add(nanoseconds(self.at.elapsed()))
    }
}

/// How a request went.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) method: &'a Method,
    pub(crate) is_upgrade: bool,
    pub(crate) route: Option<&'a str>,
    pub(crate) status: u16,
    /// Why this gateway answered in its own name, if it did.
    pub(crate) refusal: Option<&'static str>,
}

impl Trace {
    /// Follows a request, if it is one of those. Replicas are told whose work theirs is a part of.
    pub(crate) fn begin(tracer: &Arc<Tracer>, head: &mut Parts) -> Option<Self> {
        let parent = head.headers.get(TRACEPARENT).map(HeaderValue::as_bytes);
        let parent = parent.and_then(Context::parse);
        if !tracer.wants(parent.as_ref()) {
            return None;
        }
        let random = || fastrand::u128(..);
        let work = Work {
            tracer: tracer.clone(),
            trace: parent.map_or_else(|| TraceId::of(random()), |parent| parent.trace),
            parent: parent.map(|parent| parent.span),
            id: SpanId::of(fastrand::u64(..)),
            began: Began::now(),
            told: Mutex::new(Some(Told::default())),
        };
        let trace = Self(Arc::new(work));
        trace.note("url.path", redact::target(head.uri.path()).into_owned());
        if let Some(value) = traceparent(trace.0.trace, trace.0.id) {
            head.headers.insert(TRACEPARENT, value);
        }
        head.extensions.insert(trace.clone());
        Some(trace)
    }

    /// That of a request, if it is followed.
    pub(crate) fn of(head: &Parts) -> Option<&Self> {
        head.extensions.get()
    }

    /// Adds what there is to know about the whole.
    pub(crate) fn note(&self, name: &'static str, value: impl Into<Value>) {
        if let Some(told) = &mut *self.0.told() {
            told.attributes.push((name, value.into()));
        }
    }

    /// The request is answered.
    pub(crate) fn end(&self, outcome: &Outcome<'_>) {
        let Outcome { method, is_upgrade, route, status, refusal } = *outcome;
        // A client may send any word as a method; names have few values.
        let known = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];
        let known = known.iter().chain([&Method::HEAD, &Method::OPTIONS]);
        let is_known = known.into_iter().any(|one| one == method);
        let word = if is_known { method.as_str() } else { "_OTHER" };
        let what = if is_upgrade { "upgrade" } else { word };
        let name = route.map_or(what.to_owned(), |route| format!("{what} {route}"));
        self.note("http.request.method", word.to_owned());
        self.note("http.response.status_code", Value::Number(status.into()));
        if let Some(route) = route {
            self.note("longhaul.route", route.to_owned());
        }
        if let Some(cause) = refusal {
            self.note("longhaul.cause", cause);
        }
        let error = (status >= 500).then(|| refusal.map_or(format!("{status}"), str::to_owned));
        self.0.end(name.into(), error);
    }
}

impl Work {
    fn told(&self) -> std::sync::MutexGuard<'_, Option<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, name: Cow<'static, str>, error: Option<String>) {
        let Some(Told { mut children, attributes }) = self.told().take() else { return };
        children.push(Span {
            trace: self.trace,
            id: self.id,
            parent: self.parent,
            name,
            kind: Kind::Server,
            began_ns: self.began.ns,
            ended_ns: self.began.end_ns(),
            attributes,
            error,
        });
        self.tracer.tell(children);
    }
}

impl Drop for Work {
    /// A request that nobody answered: its client left before.
    fn drop(&mut self) {
        self.end("request".into(), Some("the client left before its answer".into()));
    }
}

fn traceparent(trace: TraceId, span: SpanId) -> Option<HeaderValue> {
    HeaderValue::try_from(Context { trace, span, is_sampled: true }.to_string()).ok()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

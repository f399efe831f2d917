//! Tells a collector what became of some requests: where the time went, and at whose door.
//!
//! One request in so many is followed, or one whose caller is: then its head carries a [`Trace`], and
//! whoever works on it notes a [`Child`]. All others cost a look at one field. What is told waits in a
//! bounded queue for a background task; nothing that serves waits for the collector.
//!
//! Start at [`Trace::begin`].

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::Method;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use longhaul_policy::redact;
use longhaul_proto::otlp::Value;
use longhaul_proto::otlp::traces::{self, Kind, Span};
use longhaul_proto::trace::{Context, SpanId, TraceId};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::TraceConfig;
use crate::faults;
use crate::fetch::Fetch;
use crate::relay::Ended;
use crate::supervise::{TaskError, Tasks};
use crate::telemetry::Card;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Requests that wait to be told of; those beyond are dropped and counted.
const QUEUE_MAX: usize = 1024;
/// Requests told of at once.
const BATCH_MAX: usize = 256;
/// How long others are waited for, to be told of together.
const GATHER: Duration = Duration::from_millis(500);
/// How long the collector may take. What it does not take is dropped: tomorrow's requests matter more.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last ones are waited for at the end of the process: within what the drain is given.
const FLUSH: Duration = Duration::from_millis(800);

/// Follows requests for one gateway.
#[derive(Debug)]
pub(crate) struct Tracer {
    config: TraceConfig,
    queue: mpsc::Sender<Vec<Span>>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Vec<Span>>>,
    fetch: Fetch,
    /// Spans by what became of them, in the order of [`OUTCOMES`].
    outcomes: [AtomicU64; 3],
    /// Requests that were queued, and those that are behind us.
    queued: AtomicU64,
    settled: AtomicU64,
}

/// What became of spans.
pub(crate) const OUTCOMES: [&str; 3] = ["exported", "failed", "dropped"];
const EXPORTED: usize = 0;
const FAILED: usize = 1;
const DROPPED: usize = 2;

impl Tracer {
    pub(crate) fn new(config: &TraceConfig) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        Self {
            fetch: Fetch::new(config.collector.clone(), 1),
            config: config.clone(),
            queue,
            waiting: tokio::sync::Mutex::new(waiting),
            outcomes: Default::default(),
            queued: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        }
    }

    /// How many spans had each of [`OUTCOMES`].
    pub(crate) fn outcomes(&self) -> [u64; 3] {
        self.outcomes.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Gives what was told so far a moment to reach the collector.
    pub(crate) async fn flush(&self) {
        let until = Instant::now() + FLUSH;
        let is_behind =
            || self.settled.load(Ordering::Acquire) < self.queued.load(Ordering::Acquire);
        while is_behind() && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn tell(&self, spans: Vec<Span>) {
        let count = spans.len();
        match self.queue.try_send(spans) {
            Ok(()) => drop(self.queued.fetch_add(1, Ordering::AcqRel)),
            Err(_) => self.note(DROPPED, count),
        }
    }

    fn note(&self, outcome: usize, count: usize) {
        self.outcomes[outcome].fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Whether a request is followed, by what its caller says of itself.
    fn wants(&self, parent: Option<&Context>) -> bool {
        match parent {
            Some(parent) if self.config.follows => parent.is_sampled,
            _ => fastrand::u32(0..self.config.one_in) == 0,
        }
    }
}

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

    /// What comes behind a 101, to be told of when it has ended.
    pub(crate) fn sequel(&self) -> Sequel {
        Sequel { tracer: self.0.tracer.clone(), trace: self.0.trace, parent: self.0.id }
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

/// A WebSocket that began with a request that was followed. Its whole life would be one span of
/// hours, which collectors see only at the end; so the end is told of as a moment.
#[derive(Debug)]
pub(crate) struct Sequel {
    tracer: Arc<Tracer>,
    trace: TraceId,
    parent: SpanId,
}

impl Sequel {
    /// As another process can take it up.
    pub(crate) fn carried(&self) -> String {
        Context { trace: self.trace, span: self.parent, is_sampled: true }.to_string()
    }

    /// That of another process, which is told to this one's collector.
    pub(crate) fn take_up(tracer: &Arc<Tracer>, carried: &str) -> Option<Self> {
        let Context { trace, span: parent, .. } = Context::parse(carried.as_bytes())?;
        Some(Self { tracer: tracer.clone(), trace, parent })
    }

    /// It has ended.
    pub(crate) fn end(&self, card: &Card, ended: &Ended) {
        let now = Began::now().ns;
        let count = |number: u64| Value::Number(number.cast_signed());
        let attributes = vec![
            ("longhaul.id", count(card.id)),
            ("longhaul.closed_by", ended.cause.closer().into()),
            ("longhaul.cause", ended.cause.name().into()),
            ("longhaul.duration_s", Value::Real(card.opened_at.elapsed().as_secs_f64())),
            ("longhaul.messages_up", count(ended.up.messages)),
            ("longhaul.messages_down", count(ended.down.messages)),
            ("longhaul.bytes_up", count(ended.up.bytes)),
            ("longhaul.bytes_down", count(ended.down.bytes)),
        ];
        self.tracer.tell(vec![Span {
            trace: self.trace,
            id: SpanId::of(fastrand::u64(..)),
            parent: Some(self.parent),
            name: "websocket closed".into(),
            kind: Kind::Internal,
            began_ns: now,
            ended_ns: now,
            attributes,
            error: None,
        }]);
    }
}

/// Starts to tell the collector, until `stop`. Must be called inside the runtime that keeps
/// background tasks.
pub(crate) fn start(tracer: &Arc<Tracer>, tasks: &Tasks, stop: &CancellationToken) {
    let tracer = tracer.clone();
    tokio::spawn(tasks.keep_alive("traces", stop.clone(), move || export(tracer.clone())));
}

async fn export(tracer: Arc<Tracer>) -> Result<(), TaskError> {
    let mut waiting = tracer.waiting.lock().await;
    let mut is_well = true;
    loop {
        faults::point("traces")?;
        let mut batch = Vec::new();
        if waiting.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return Err("the queue is closed".into());
        }
        sleep(GATHER).await;
        while batch.len() < BATCH_MAX
            && let Ok(more) = waiting.try_recv()
        {
            batch.push(more);
        }
        let requests = batch.len() as u64;
        let spans: Vec<Span> = batch.into_iter().flatten().collect();
        let sent = timeout(PATIENCE, send(&tracer, &spans)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")));
        tracer.note(if sent.is_ok() { EXPORTED } else { FAILED }, spans.len());
        tracer.settled.fetch_add(requests, Ordering::AcqRel);
        // Once when it begins and once when it ends, not for each batch.
        match &sent {
            Err(reason) if is_well => {
                warn!(url = %tracer.fetch.service(), reason, "traces are not taken");
            }
            Ok(()) if !is_well => info!(url = %tracer.fetch.service(), "traces are taken again"),
            _ => {}
        }
        is_well = sent.is_ok();
    }
}

async fn send(tracer: &Tracer, spans: &[Span]) -> Result<(), String> {
    let resource = [
        ("service.name", Value::from(tracer.config.service_name.clone())),
        ("service.version", env!("CARGO_PKG_VERSION").into()),
    ];
    let body = traces::request(&resource, env!("CARGO_PKG_VERSION"), spans);
    tracer.fetch.post_protobuf(body).await
}

fn traceparent(trace: TraceId, span: SpanId) -> Option<HeaderValue> {
    HeaderValue::try_from(Context { trace, span, is_sampled: true }.to_string()).ok()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

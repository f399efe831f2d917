//! Decides which requests are followed, and has a background task tell the collector of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longhaul_proto::otlp::Value;
use longhaul_proto::otlp::traces::{self, Span};
use longhaul_proto::trace::Context;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::TraceConfig;
use crate::faults;
use crate::fetch::Fetch;
use crate::supervise::{TaskError, Tasks};

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

    pub(super) fn tell(&self, spans: Vec<Span>) {
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
    pub(super) fn wants(&self, parent: Option<&Context>) -> bool {
        match parent {
            Some(parent) if self.config.follows => parent.is_sampled,
            _ => fastrand::u32(0..self.config.one_in) == 0,
        }
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

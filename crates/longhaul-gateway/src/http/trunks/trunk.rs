//! One HTTP/2 connection to a replica, shared by many requests.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;

use crate::config::Http2Policy;
use crate::http::exchange::explain;
use crate::http::upload::Upload;
use crate::transport::Transport;

/// What a replica may send on one stream before its client took it, and so what a slow client keeps
/// in memory. The connection has room for all its streams, so that no client can stop another.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What of a request's body waits for the replica to make room, beside the piece being sent.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer's header fields, by HTTP/2's count.
const ANSWER_FIELDS_BYTES_MAX: u32 = 64 * 1024;
/// How long a replica may think about a ping.
const PONG_PATIENCE: Duration = Duration::from_secs(20);
/// Stands for the replica's limit of streams until its settings have come. No replica would say it.
const UNTOLD: usize = usize::MAX - 1;

/// One HTTP/2 connection. It ends once nobody holds it and its streams have ended.
pub(super) struct Trunk {
    sender: SendRequest<Upload>,
    told: Arc<Told>,
    streams_max: usize,
    open: AtomicUsize,
    idle_since: Mutex<Instant>,
    is_retired: AtomicBool,
}

impl Trunk {
    /// Begins to speak HTTP/2 and waits for the replica's settings, as long as it takes; the caller
    /// has the deadline. Dropped midway, the connection ends.
    ///
    /// # Errors
    /// Why this became no HTTP/2 connection.
    pub(super) async fn open(stream: Transport, policy: &Http2Policy) -> Result<Arc<Self>, String> {
        let told = Arc::new(Told::default());
        let handshake = builder(&told, policy).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|error| explain(&error))?;
        // Ends when nobody has the sender any more, or with the connection. Whatever waits for an
        // answer learns of it from the library.
        tokio::spawn(drive(connection, told.clone()));
        told.settings().await?;
        Ok(Arc::new(Self {
            sender,
            told,
            streams_max: policy.streams_max,
            open: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            is_retired: AtomicBool::new(false),
        }))
    }

    pub(super) fn sender(&self) -> SendRequest<Upload> {
        self.sender.clone()
    }

    /// Requests that are open on it.
    pub(super) fn open_streams(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether it takes one more request. Only the worker's thread opens any, so what it says here
    /// is still true when [`Self::begin`] follows.
    pub(super) fn has_room(&self) -> bool {
        self.is_usable() && self.open_streams() < self.streams_max.min(self.told.limit())
    }

    /// Whether it may ever take a request again.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_retired.load(Ordering::Relaxed) && !self.sender.is_closed()
    }

    /// No request is begun on it from here on; those that are open go on.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// Since when no request has been open on it.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        (self.open_streams() == 0).then_some(since)
    }
}

impl fmt::Debug for Trunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trunk").field("open", &self.open).finish_non_exhaustive()
    }
}

fn builder(told: &Arc<Told>, policy: &Http2Policy) -> Builder<Tasks> {
    let streams_max = u32::try_from(policy.streams_max).unwrap_or(u32::MAX);
    let mut builder = Builder::new(Tasks(told.clone()));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(
            STREAM_WINDOW.saturating_mul(streams_max).min(i32::MAX as u32),
        )
        .initial_max_send_streams(UNTOLD)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_header_list_size(ANSWER_FIELDS_BYTES_MAX)
        .keep_alive_interval(policy.ping)
        .keep_alive_timeout(PONG_PATIENCE);
    builder
}

/// Passes requests to the connection's own task, and notes what the replica says of its limits.
async fn drive(connection: Connection<TokioIo<Transport>, Upload, Tasks>, told: Arc<Told>) {
    let mut connection = pin!(connection);
    let ended = std::future::poll_fn(|cx: &mut Context<'_>| {
        told.waker.register(cx.waker());
        let polled = connection.as_mut().poll(cx);
        told.note_limit(connection.current_max_send_streams());
        polled
    })
    .await;
    told.note_end(match ended {
        Ok(()) => "the replica closed the connection".to_owned(),
        Err(error) => explain(&error),
    });
}

/// What a replica said of a connection.
#[derive(Debug)]
struct Told {
    limit: AtomicUsize,
    end: OnceLock<String>,
    /// Told of the first settings, or of the end before them.
    news: Notify,
    /// The task that drives the connection.
    waker: AtomicWaker,
    /// Whether the task that reads the socket runs.
    has_reader: AtomicBool,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            limit: AtomicUsize::new(UNTOLD),
            end: OnceLock::new(),
            news: Notify::new(),
            waker: AtomicWaker::new(),
            has_reader: AtomicBool::new(false),
        }
    }
}

impl Told {
    /// Streams that the replica allows.
    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    fn note_limit(&self, limit: usize) {
        if self.limit.swap(limit, Ordering::Relaxed) != limit {
            self.news.notify_one();
        }
    }

    fn note_end(&self, why: String) {
        // There is one end.
        let _ = self.end.set(why);
        self.news.notify_one();
    }

    async fn settings(&self) -> Result<(), String> {
        loop {
            if let Some(why) = self.end.get() {
                return Err(why.clone());
            }
            if self.limit() != UNTOLD {
                return Ok(());
            }
            self.news.notified().await;
        }
    }
}

/// Runs the tasks of one connection. The first is the one that reads the socket.
#[derive(Debug, Clone)]
struct Tasks(Arc<Told>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        // All of them end with the connection: the library tells them.
        if self.0.has_reader.swap(true, Ordering::Relaxed) {
            tokio::spawn(task);
        } else {
            tokio::spawn(read(task, self.0.clone()));
        }
    }
}

/// Lets the driver look as long as no settings have come: the library does not tell it.
async fn read(task: impl Future<Output = ()>, told: Arc<Told>) {
    let mut task = pin!(task);
    std::future::poll_fn(|cx: &mut Context<'_>| {
        let polled: Poll<()> = task.as_mut().poll(cx);
        if told.limit() == UNTOLD {
            told.waker.wake();
        }
        polled
    })
    .await;
}

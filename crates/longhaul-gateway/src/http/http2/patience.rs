//! Ends a stream whose client makes no room for what it asked for.
//!
//! A client may leave one stream alone and read the others, so the connection says nothing about
//! it. The library runs each stream in a task; such a task gets a [`Debt`], which says since when
//! the client owes room, and is dropped when that has been too long. The library resets the stream
//! then.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use hyper::rt::Executor;
use tokio::time::Instant;

use crate::http::alarm::Alarm;

tokio::task_local! {
    static DEBT: Debt;
}

/// Since when the client of one stream owes room, if it does. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Debt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    since: Mutex<Option<Instant>>,
    /// The task of the stream.
    waker: AtomicWaker,
}

impl Debt {
    /// The debt by which the task that runs this is measured.
    pub(super) fn of_this_task() -> Self {
        DEBT.try_with(Self::clone).unwrap_or_default()
    }

    /// From now on room is owed.
    pub(super) fn begin(&self) {
        self.since().get_or_insert_with(Instant::now);
        self.0.waker.wake();
    }

    /// There was room.
    pub(super) fn settle(&self) {
        *self.since() = None;
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        // A plain value is whole whoever panicked while holding it.
        self.0.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the tasks of one connection's streams.
#[derive(Debug, Clone)]
pub(super) struct StreamTasks {
    patience: Duration,
}

impl StreamTasks {
    /// Each is dropped once its client has owed room for so long.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience }
    }
}

impl<F> Executor<F> for StreamTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        // The task that answers a request begins the one that carries its WebSocket; both are of
        // one stream. Either ends with its connection: the library tells it then.
        tokio::spawn(run(task, Debt::of_this_task(), self.patience));
    }
}

async fn run(task: impl Future<Output = ()>, debt: Debt, patience: Duration) {
    let mut task = pin!(task);
    let mut alarm = Alarm::default();
    std::future::poll_fn(|cx: &mut Context<'_>| {
        // Registered before the look, so that no debt is missed.
        debt.0.waker.register(cx.waker());
        let polled = DEBT.sync_scope(debt.clone(), || task.as_mut().poll(cx));
        if polled.is_ready() {
            return Poll::Ready(());
        }
        let since = *debt.since();
        since.map_or(Poll::Pending, |since| alarm.poll_at(cx, since + patience))
    })
    .await;
}

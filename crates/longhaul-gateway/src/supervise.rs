//! Keeps the tasks that watch (probes, discovery) alive, and remembers how they fare.
//!
//! What serves is not supervised here: a listener or a worker that dies ends the process in good
//! order. What watches is restarted with backoff, counted and shown; serving never waits for it and
//! never falls with it.
//!
//! Start at `Tasks::keep_alive`.

use std::error::Error;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longhaul_policy::backoff::Backoff;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Shortest wait before a restart: a task that fails at once must not turn into a busy loop.
const RESTART_MIN: Duration = Duration::from_millis(100);
/// Longest wait before a restart, and how long a run must last to count as a good one.
const RESTART_MAX: Duration = Duration::from_secs(30);

/// Why a task ended that should not have.
pub type TaskError = Box<dyn Error + Send + Sync>;

/// The tasks that watch, and how they fare. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    tasks: Vec<(u64, TaskSnapshot)>,
    next: u64,
}

/// One task at one moment.
#[derive(Debug, Clone)]
pub struct TaskSnapshot {
    /// What it does and for whom: `probe chat`.
    pub name: String,
    /// Whether it runs, or waits to be restarted.
    pub is_running: bool,
    /// Since when it has run, or waited.
    pub since: Instant,
    /// How often it was restarted. More than 0 means that something is wrong.
    pub restarts: u64,
    /// How it ended last, when it did.
    pub last_error: Option<String>,
}

impl Tasks {
    /// Every task, in the order in which they were started.
    pub fn snapshot(&self) -> Vec<TaskSnapshot> {
        self.lock().tasks.iter().map(|(_, task)| task.clone()).collect()
    }

    /// Keeps one task alive until `stop`, which ends it wherever it waits. An error, a panic or an
    /// end that nobody asked for restarts it with backoff.
    ///
    /// The returned future is what keeps it alive: spawn it. Dropping it ends the task too.
    pub(crate) fn keep_alive<F>(
        &self,
        name: impl Into<String>,
        stop: CancellationToken,
        mut task: impl FnMut() -> F + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let name = name.into();
        let kept = self.enter(name.clone());
        async move {
            let Kept { entry, tasks } = &kept;
            let entry = *entry;
            let mut backoff = Backoff::new(RESTART_MIN, RESTART_MAX);
            while !stop.is_cancelled() {
                let started = Instant::now();
                tasks.note_start(entry, started);
                let running = AbortOnDrop(tokio::spawn(task()));
                let Some(ended) = stop.run_until_cancelled(running).await else { return };
                let is_panic = ended.is_err();
                backoff.note_run(started.elapsed());
                let delay = backoff.next_delay(fastrand::f64());
                let restart_in_s = delay.as_secs_f64();
                let reason = match ended {
                    Ok(Ok(())) => "it ended unasked".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => panic.to_string(),
                };
                if is_panic {
                    error!(task = name, reason, restart_in_s, "background task panicked");
                } else {
                    warn!(task = name, reason, restart_in_s, "background task ended");
                }
                tasks.note_end(entry, reason);
                stop.run_until_cancelled(tokio::time::sleep(delay)).await;
            }
        }
    }

    fn enter(&self, name: String) -> Kept {
        let since = Instant::now();
        let task = TaskSnapshot { name, is_running: false, since, restarts: 0, last_error: None };
        let mut entries = self.lock();
        let entry = entries.next;
        entries.next += 1;
        entries.tasks.push((entry, task));
        Kept { entry, tasks: self.clone() }
    }

    fn note_start(&self, entry: u64, now: Instant) {
        if let Some(task) = self.lock().find(entry) {
            task.restarts += u64::from(task.last_error.is_some());
            task.is_running = true;
            task.since = now;
        }
    }

    fn note_end(&self, entry: u64, reason: String) {
        if let Some(task) = self.lock().find(entry) {
            task.is_running = false;
            task.since = Instant::now();
            task.last_error = Some(reason);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn find(&mut self, entry: u64) -> Option<&mut TaskSnapshot> {
        self.tasks.iter_mut().find(|(known, _)| *known == entry).map(|(_, task)| task)
    }
}

/// The entry of one task, which leaves the list with it.
#[derive(Debug)]
struct Kept {
    entry: u64,
    tasks: Tasks,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.tasks.lock().tasks.retain(|(entry, _)| *entry != self.entry);
    }
}

/// A spawned task that ends with whoever waits for it, instead of living on unwatched.
pub(crate) struct AbortOnDrop<T>(pub(crate) tokio::task::JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::sync::mpsc;

    /// Runs a task that reports each start and ends as `outcome` says, until its third start.
    async fn run_until_the_third_start(
        outcome: fn() -> Result<(), TaskError>,
    ) -> (Tasks, CancellationToken, tokio::task::JoinHandle<()>) {
        let tasks = Tasks::default();
        let stop = CancellationToken::new();
        let (starts, mut started) = mpsc::channel(8);
        let count = Arc::new(AtomicU64::new(0));
        let kept = tokio::spawn(tasks.keep_alive("watch", stop.clone(), move || {
            let starts = starts.clone();
            let start = count.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                starts.send(start).await?;
                if start < 3 { outcome() } else { std::future::pending().await }
            }
        }));
        tokio::time::timeout(Duration::from_secs(10), async {
            while started.recv().await != Some(3) {}
        })
        .await
        .expect("it is restarted twice within seconds");
        (tasks, stop, kept)
    }

    #[track_caller]
    fn check(tasks: &Tasks, expected: &str) {
        let [task] = &tasks.snapshot()[..] else { panic!("one task was started") };
        assert_eq!((task.name.as_str(), task.is_running, task.restarts), ("watch", true, 2));
        let reason = task.last_error.as_deref().unwrap();
        assert!(reason.contains(expected), "{reason}");
    }

    #[tokio::test]
    async fn a_task_that_fails_is_restarted_and_counted() {
        let (tasks, stop, kept) =
            run_until_the_third_start(|| Err("the resolver is gone".into())).await;
        check(&tasks, "the resolver is gone");
        stop.cancel();
        kept.await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_panics_takes_nobody_along() {
        let (tasks, stop, kept) = run_until_the_third_start(|| panic!("index out of bounds")).await;
        check(&tasks, "panicked");
        stop.cancel();
        kept.await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_is_restarted() {
        let (tasks, stop, kept) = run_until_the_third_start(|| Ok(())).await;
        check(&tasks, "ended unasked");
        stop.cancel();
        kept.await.unwrap();
    }

    #[tokio::test]
    async fn stop_ends_a_task_wherever_it_waits() {
        struct Dropped(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.take().expect("it is taken once, here").send(());
            }
        }
        let stop = CancellationToken::new();
        let (dropped, was_dropped) = tokio::sync::oneshot::channel();
        let (starts, mut started) = mpsc::channel(1);
        let mut inside = Some(Dropped(Some(dropped)));
        let kept = tokio::spawn(Tasks::default().keep_alive("watch", stop.clone(), move || {
            let (inside, starts) = (inside.take(), starts.clone());
            async move {
                let _inside = inside;
                starts.send(()).await?;
                std::future::pending().await
            }
        }));
        started.recv().await.unwrap();
        stop.cancel();
        kept.await.unwrap();
        was_dropped.await.unwrap();
    }
}

//! One worker: a thread with a runtime of its own, its accept queues and its pool, and beside it the
//! reactor for WebSockets in clear text.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::http::pool::Pool;
use crate::http::trunks::Trunks;
use crate::reactor::{Clock, Reactor};
use crate::shared::{ListenerId, Shared};
use crate::supervise::{TaskError, Tasks};
use crate::telemetry::lag::BEAT;
use crate::{faults, listen};

/// How often idle connections to replicas are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// What the tasks of one worker share.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its place among the workers.
    pub(crate) index: usize,
    /// What holds for connections and requests that come now.
    pub(crate) current: Arc<ArcSwap<Shared>>,
    pub(crate) pool: Pool,
    pub(crate) trunks: Trunks,
    /// Moves the bytes of WebSockets in clear text.
    pub(crate) reactor: Reactor,
}

/// A worker as the gateway holds it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) worker: Arc<Worker>,
    pub(crate) runtime: tokio::runtime::Handle,
}

/// Starts a worker that has nothing to accept yet. The thread ends when `stop` is cancelled;
/// everything it still holds ends with it.
///
/// # Errors
/// What the system says when it has no thread or no event queue to give.
pub(crate) fn start(
    index: usize,
    current: Arc<ArcSwap<Shared>>,
    tasks: Tasks,
    stop: CancellationToken,
) -> io::Result<(Seat, JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (pool, trunks) = (Pool::default(), Trunks::default());
    let telemetry = current.load().telemetry.clone();
    let mut due = Instant::now();
    let place = telemetry.loops.reactor(index);
    let clock = Clock { period: BEAT, tick: move || telemetry.loops.on_tick(place, &mut due) };
    let name = format!("reactor-{index}");
    let (reactor, reactor_thread) = Reactor::start(name, runtime.handle().clone(), clock)?;
    let worker = Arc::new(Worker { index, current, pool, trunks, reactor });
    let seat = Seat { worker: worker.clone(), runtime: runtime.handle().clone() };
    let thread = std::thread::Builder::new().name(format!("relay-{index}")).spawn(move || {
        runtime.block_on(async {
            let telemetry = worker.current.load().telemetry.clone();
            tokio::spawn(tasks.keep_alive(format!("loop {index}"), stop.clone(), move || {
                let telemetry = telemetry.clone();
                async move { telemetry.loops.beat(index).await }
            }));
            let name = format!("sweep {index}");
            let swept = worker.clone();
            tokio::spawn(tasks.keep_alive(name, stop.clone(), move || sweep(swept.clone())));
            stop.cancelled().await;
        });
        // Its tasks count on the runtime, which goes behind them.
        worker.reactor.stop();
        let _ = reactor_thread.join();
    })?;
    Ok((seat, thread))
}

impl Seat {
    /// Has the worker accept from this socket too, until `closing`. The task ends once it has
    /// accepted whoever was in the queue by then.
    ///
    /// # Errors
    /// What the system says when the worker's event queue is full.
    pub(crate) fn open(
        &self,
        listener: ListenerId,
        socket: TcpListener,
        closing: CancellationToken,
    ) -> io::Result<tokio::task::JoinHandle<()>> {
        let _inside = self.runtime.enter();
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let accept = listen::accept(self.worker.clone(), listener, socket, closing);
        Ok(self.runtime.spawn(accept))
    }
}

async fn sweep(worker: Arc<Worker>) -> Result<(), TaskError> {
    loop {
        faults::point("sweep")?;
        tokio::time::sleep(SWEEP).await;
        let now = Instant::now();
        let shared = worker.current.load_full();
        let idle_time = shared.upstreams.iter().map(|one| one.config().idle_connection).max();
        worker.pool.sweep(idle_time.unwrap_or_default(), now);
        worker.trunks.sweep(now);
    }
}

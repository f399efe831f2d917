//! One relay thread: a single-threaded runtime with its own accept queues, pool and scratch buffer.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::http::pool::Pool;
use crate::http::trunks::Trunks;
use crate::listen;
use crate::shared::Shared;

/// How often idle connections to replicas are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// What the tasks of one worker share.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its place among the workers.
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) trunks: Trunks,
}

/// Starts a worker on these sockets, one for each listener of the config. The thread ends when
/// `stop` is cancelled; everything it still holds ends with it.
///
/// # Errors
/// What the system says when it has no thread or no event queue to give.
pub(crate) fn start(
    index: usize,
    shared: Arc<Shared>,
    sockets: Vec<TcpListener>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let worker =
        Arc::new(Worker { index, shared, pool: Pool::default(), trunks: Trunks::default() });
    std::thread::Builder::new().name(format!("relay-{index}")).spawn(move || {
        runtime.block_on(async {
            for (listener, socket) in sockets.into_iter().enumerate() {
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(socket) => {
                        drop(tokio::spawn(listen::accept(worker.clone(), listener, socket)))
                    }
                    // The socket was bound a moment ago; only a full event queue gets here.
                    Err(error) => error!(listener, %error, "cannot watch the listener"),
                }
            }
            let beating = worker.clone();
            tokio::spawn(async move { beating.shared.telemetry.loops.beat(index).await });
            tokio::spawn(sweep(worker));
            stop.cancelled().await;
        });
    })
}

async fn sweep(worker: Arc<Worker>) {
    let idle_time = worker.shared.upstreams.iter().map(|one| one.config().idle_connection).max();
    loop {
        tokio::time::sleep(SWEEP).await;
        let now = Instant::now();
        worker.pool.sweep(idle_time.unwrap_or_default(), now);
        worker.trunks.sweep(now);
    }
}

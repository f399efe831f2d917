//! Serves the API: few connections, small heads, and a deadline on everything.
//!
//! Whoever reaches this port may be slow or hostile, and must not cost the data plane anything.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use longhaul_gateway::Handle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::api;

/// What one client of the API may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Probes, a scraper and a person or two need a handful; more wait in the accept queue.
    pub(crate) connections_max: usize,
    /// From the start of a connection, or the end of a request, to the end of the next head.
    pub(crate) head: Duration,
    /// Whole life of a connection. It also bounds a client that asks and never reads.
    pub(crate) lifetime: Duration,
    /// From the wish to end a connection to its end, for the answer under way.
    pub(crate) finish: Duration,
}

pub(crate) const LIMITS: Limits = Limits {
    connections_max: 64,
    head: Duration::from_secs(5),
    lifetime: Duration::from_secs(60),
    finish: Duration::from_secs(2),
};

/// hyper's own minimum, and eight times what a browser with many cookies sends.
const HEAD_BYTES_MAX: usize = 8 * 1024;
const HEADER_FIELDS_MAX: usize = 64;

/// An admin API whose port is bound and that waits to be run.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    local_addr: SocketAddr,
    handle: Handle,
    pub(crate) limits: Limits,
}

/// Binds the admin API to `address`; port 0 takes a free one, which [`AdminServer::local_addr`]
/// names. Nothing is answered until [`AdminServer::run`].
///
/// # Errors
/// What the system says about the address: in use, not ours, not permitted.
pub async fn bind(address: SocketAddr, handle: Handle) -> io::Result<AdminServer> {
    let listener = TcpListener::bind(address).await?;
    let local_addr = listener.local_addr()?;
    Ok(AdminServer { listener, local_addr, handle, limits: LIMITS })
}

impl AdminServer {
    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers until `stop`, then lets open requests finish and returns within two seconds.
    ///
    /// Stop it last: while the gateway drains, probes are to hear that it does.
    pub async fn run(self, stop: CancellationToken) {
        let Self { listener, handle, limits, .. } = self;
        let router = api::router(handle);
        let permits = Arc::new(Semaphore::new(limits.connections_max));
        // Connections end by themselves: each has a lifetime and hears `stop`.
        let connections = TaskTracker::new();
        let accept_all = async {
            loop {
                let (stream, permit) = accept(&listener, &permits).await;
                connections.spawn(serve(stream, router.clone(), limits, stop.clone(), permit));
            }
        };
        // Dropping `accept_all` midway loses at most a connection nobody has served yet.
        stop.run_until_cancelled(accept_all).await;
        drop(listener);
        connections.close();
        // Each cuts itself after `limits.finish`.
        connections.wait().await;
    }
}

/// Waits for a free place first, so that those who are not served yet stay in the accept queue.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    /// Out of descriptors is the usual cause, and it passes only when others close some.
    const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

    let permit = Arc::clone(permits).acquire_owned().await.expect("nobody closes the semaphore");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                warn!(%error, "admin: cannot accept");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// Serves one connection until it ends, is too old, or the server stops.
async fn serve(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADER_FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopped_or_old(&stop, limits.lifetime) => {
            connection.as_mut().graceful_shutdown();
            match timeout(limits.finish, connection).await {
                Ok(outcome) => outcome,
                Err(_) => return debug!("admin: cut a client that does not read its answer"),
            }
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "admin: connection failed");
    }
}

async fn stopped_or_old(stop: &CancellationToken, lifetime: Duration) {
    stop.run_until_cancelled(sleep(lifetime)).await;
}

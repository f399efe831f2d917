//! Serves the API: few connections, small heads, and a deadline on everything.
//!
//! Whoever reaches this port may be slow or hostile, and must not cost the data plane anything.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use longhaul_gateway::Handle;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::access::Peer;
use crate::api;
use crate::desk::{Desk, House, Terms};

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

/// Where the API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket at this path, for the gateway's user and root alone.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An admin API that is bound and waits to be run.
#[derive(Debug)]
pub struct AdminServer {
    door: Door,
    address: Address,
    desk: Desk,
    pub(crate) limits: Limits,
}

/// Binds the admin API. Nothing is answered until [`AdminServer::run`].
///
/// A Unix socket that a process left behind is replaced; one that still answers is not.
///
/// # Errors
/// What the system says about the address: in use, not ours, not permitted.
pub async fn bind(
    address: Address,
    handle: Handle,
    house: Arc<dyn House>,
    terms: Terms,
) -> io::Result<AdminServer> {
    let (door, address) = match address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            let address = Address::Tcp(listener.local_addr()?);
            (Door::Tcp(listener), address)
        }
        Address::Unix(path) => (Door::Unix(bind_unix(&path).await?), Address::Unix(path)),
    };
    Ok(AdminServer::behind(door, address, Desk::new(handle, house, terms)))
}

/// The admin API on the socket of a process before, at an address of the same kind.
///
/// # Errors
/// What the system says about the socket.
pub fn adopt(
    socket: OwnedFd,
    address: Address,
    handle: Handle,
    house: Arc<dyn House>,
    terms: Terms,
) -> io::Result<AdminServer> {
    let (door, address) = match address {
        Address::Tcp(_) => {
            let listener = std::net::TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            let address = Address::Tcp(listener.local_addr()?);
            (Door::Tcp(TcpListener::from_std(listener)?), address)
        }
        Address::Unix(path) => {
            let listener = std::os::unix::net::UnixListener::from(socket);
            listener.set_nonblocking(true)?;
            (Door::Unix(UnixListener::from_std(listener)?), Address::Unix(path))
        }
    };
    Ok(AdminServer::behind(door, address, Desk::new(handle, house, terms)))
}

async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let is_socket = path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Between the two nobody is accepted, and who connects is asked for its user anyway.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl AdminServer {
    fn behind(door: Door, address: Address, desk: Desk) -> Self {
        Self { door, address, desk, limits: LIMITS }
    }

    /// Where it is bound.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its socket, for a process that takes over.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        match &self.door {
            Door::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Door::Unix(listener) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// Answers until `stop`, then lets open requests finish and returns within two seconds.
    ///
    /// Stop it last: while the gateway drains, probes are to hear that it does. `is_succeeded` says at
    /// that moment whether another process answers here.
    pub async fn run(self, stop: CancellationToken, is_succeeded: impl Fn() -> bool) {
        let Self { door, address, desk, limits } = self;
        let router = api::router(desk);
        let permits = Arc::new(Semaphore::new(limits.connections_max));
        // Connections end by themselves: each has a lifetime and hears `stop`.
        let connections = TaskTracker::new();
        let accept_all = async {
            loop {
                let (stream, peer, permit) = accept(&door, &permits).await;
                let router = router.clone().layer(Extension(peer));
                let stop = stop.clone();
                match stream {
                    Client::Tcp(stream) => {
                        connections.spawn(serve(stream, router, limits, stop, permit))
                    }
                    Client::Unix(stream) => {
                        connections.spawn(serve(stream, router, limits, stop, permit))
                    }
                };
            }
        };
        // Dropping `accept_all` midway loses at most a connection nobody has served yet.
        stop.run_until_cancelled(accept_all).await;
        drop(door);
        if let Address::Unix(path) = address
            && !is_succeeded()
        {
            // It is of no use to anybody any more; one that is left is replaced at the next start.
            let _ = std::fs::remove_file(path);
        }
        connections.close();
        // Each cuts itself after `limits.finish`.
        connections.wait().await;
    }
}

#[derive(Debug)]
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Door {
    async fn accept(&self) -> io::Result<(Client, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                let is_local = from.ip().to_canonical().is_loopback();
                Ok((Client::Tcp(stream), if is_local { Peer::Local } else { Peer::Foreign }))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let own = rustix::process::geteuid().as_raw();
                let is_owner =
                    stream.peer_cred().is_ok_and(|who| who.uid() == own || who.uid() == 0);
                Ok((Client::Unix(stream), if is_owner { Peer::Owner } else { Peer::Foreign }))
            }
        }
    }
}

/// Waits for a free place first, so that those who are not served yet stay in the accept queue.
async fn accept(door: &Door, permits: &Arc<Semaphore>) -> (Client, Peer, OwnedSemaphorePermit) {
    /// Out of descriptors is the usual cause, and it passes only when others close some.
    const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

    let permit = Arc::clone(permits).acquire_owned().await.expect("nobody closes the semaphore");
    loop {
        match door.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                warn!(%error, "admin: cannot accept");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// Serves one connection until it ends, is too old, or the server stops.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
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

//! The replicas of the demo: real servers on loopback ports of their own, which can be stopped and
//! started like processes.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::room::Room;
use super::site;
use super::tunnel::Tunnel;

/// Connections one replica serves at once; more wait in its accept queue.
const CONNECTIONS_MAX: usize = 2_000;

/// From the start of a connection, or the end of a request, to the end of the next head. Longer
/// than the gateway keeps an idle connection, so that it is the gateway that closes it.
const HEAD_MAX: Duration = Duration::from_secs(75);

/// Both replicas and the room they share.
#[derive(Debug)]
pub(super) struct Cluster {
    room: Room,
    tunnel: Arc<Tunnel>,
    replicas: Vec<Replica>,
    /// What runs of each replica, in their order; `None` while it is stopped.
    running: Mutex<Vec<Option<Running>>>,
}

/// One server of the chat.
#[derive(Debug)]
pub(super) struct Replica {
    name: &'static str,
    address: SocketAddr,
    visitors: AtomicUsize,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    /// Holds the port until `stop`.
    accepting: JoinHandle<()>,
}

/// A replica as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ReplicaSummary {
    name: &'static str,
    is_up: bool,
    visitors: usize,
}

/// Counts one visitor until dropped.
pub(super) struct Visit {
    cluster: Arc<Cluster>,
    index: usize,
}

impl Cluster {
    /// Starts one replica for each name, on free loopback ports.
    ///
    /// # Errors
    /// What the system says about the loopback address.
    pub(super) async fn start(names: &[&'static str]) -> io::Result<Arc<Self>> {
        let mut listeners = Vec::new();
        let mut replicas = Vec::new();
        for &name in names {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            replicas.push(Replica { name, address, visitors: 0.into() });
            listeners.push(listener);
        }
        let running = Mutex::new(names.iter().map(|_| None).collect());
        let cluster =
            Arc::new(Self { room: Room::new(), tunnel: Arc::default(), replicas, running });
        for (index, listener) in listeners.into_iter().enumerate() {
            cluster.run(index, listener);
        }
        Ok(cluster)
    }

    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// What visitors come through.
    pub(super) fn tunnel(&self) -> &Arc<Tunnel> {
        &self.tunnel
    }

    /// Where the replicas are, in the order of their names.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.replicas.iter().map(|replica| replica.address)
    }

    /// The replicas as they are now.
    pub(super) fn summary(&self) -> Vec<ReplicaSummary> {
        let running = self.running();
        let summarise = |(replica, running): (&Replica, &Option<Running>)| ReplicaSummary {
            name: replica.name,
            is_up: running.is_some(),
            visitors: replica.visitors.load(Ordering::Relaxed),
        };
        self.replicas.iter().zip(running.iter()).map(summarise).collect()
    }

    /// The replica of this name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.name == name)
    }

    /// Ends a replica as a crash would: its port closes and its WebSockets break without a close
    /// frame. An answer under way is finished, since it may be the one to the request for this.
    /// False if it is the last one, which stays.
    pub(super) async fn stop(&self, index: usize) -> bool {
        let stopped = {
            let mut running = self.running();
            let mut others = running.iter().enumerate().filter(|&(other, _)| other != index);
            if others.all(|(_, replica)| replica.is_none()) {
                return false;
            }
            running[index].take()
        };
        if let Some(Running { stop, accepting }) = stopped {
            stop.cancel();
            // From here on the port is closed. A panic in there would have closed it, too.
            let _ = accepting.await;
            self.room.tell_replicas_changed();
        }
        true
    }

    /// Starts a stopped replica on the port it had.
    ///
    /// # Errors
    /// What the system says when another program has taken the port meanwhile.
    pub(super) async fn restart(self: &Arc<Self>, index: usize) -> io::Result<()> {
        let is_stopped = self.running()[index].is_none();
        if is_stopped {
            let listener = TcpListener::bind(self.replicas[index].address).await?;
            self.run(index, listener);
        }
        Ok(())
    }

    /// Counts a visitor of this replica until the visit is dropped.
    pub(super) fn visit(self: &Arc<Self>, index: usize) -> Visit {
        self.replicas[index].visitors.fetch_add(1, Ordering::Relaxed);
        self.room.tell_replicas_changed();
        Visit { cluster: Arc::clone(self), index }
    }

    fn run(self: &Arc<Self>, index: usize, listener: TcpListener) {
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept_all(Arc::clone(self), index, listener, stop.clone()));
        self.running()[index] = Some(Running { stop, accepting });
        self.room.tell_replicas_changed();
    }

    fn running(&self) -> MutexGuard<'_, Vec<Option<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    pub(super) fn replica_name(&self) -> &'static str {
        self.cluster.replicas[self.index].name
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.cluster.replicas[self.index].visitors.fetch_sub(1, Ordering::Relaxed);
        self.cluster.room.tell_replicas_changed();
    }
}

async fn accept_all(
    cluster: Arc<Cluster>,
    index: usize,
    listener: TcpListener,
    stop: CancellationToken,
) {
    /// Out of descriptors is the usual cause, and it passes only when others close some.
    const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accept_until_stopped = async {
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let serving = serve(Arc::clone(&cluster), index, stream, stop.clone());
                    tokio::spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(%error, "demo: a replica cannot accept");
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept_until_stopped).await;
}

/// Serves plain HTTP until the client leaves or the replica stops; a WebSocket moves to a task of
/// its own.
async fn serve(cluster: Arc<Cluster>, index: usize, stream: TcpStream, stop: CancellationToken) {
    let service = service_fn(|request| {
        let (cluster, stop) = (Arc::clone(&cluster), stop.clone());
        async move { Ok::<_, Infallible>(site::answer(request, cluster, index, stop).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // A client that goes away is no news.
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

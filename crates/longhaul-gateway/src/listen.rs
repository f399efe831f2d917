//! Binds listeners and accepts clients within limits.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::connection::{self, Connection, Security};
use crate::lane;
use crate::places::Place;
use crate::shared::ListenerId;
use crate::worker::Worker;

/// Connections the kernel holds for a worker that has no time to accept, as far as its own bound
/// (`net.core.somaxconn`) allows.
pub const BACKLOG: usize = 4096;
/// Pause after a failed accept: the cause does not pass by itself, and asking again at once would burn
/// the core that could end it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The same where even the descriptors that are kept were taken: whoever has them is answered and gone
/// soon, and a probe may be waiting.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(5);

/// Binds `address` once for each worker; the kernel spreads clients over the sockets.
///
/// # Errors
/// What the system says; also when another process listens there, which sharing would hide.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // A socket that does not share finds out whether the address is free, and which port 0 became.
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    probe.set_reuse_port(true)?;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        sockets.push(socket);
    }
    sockets.push(probe);
    sockets
        .into_iter()
        .map(|socket| {
            socket.listen(BACKLOG as i32)?;
            // Clients inherit it, which spares a call for each. See `dial` for why.
            let _ = socket.set_tcp_nodelay(true);
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect()
}

/// Whether `socket` listens where the config wants somebody to listen. One for all addresses of
/// IPv6 takes IPv4 clients too.
pub(crate) fn is_at(socket: &TcpListener, asked: SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|at| {
        let is_for_all = at.is_ipv6() && at.ip().is_unspecified() && asked.ip().is_unspecified();
        at == asked || is_for_all && at.port() == asked.port()
    })
}

/// Those of `left` that listen exactly at `asked`, with descriptors of their own; `None` without any.
///
/// # Errors
/// When the system has no descriptor left.
pub(crate) fn taken_back(
    left: &[Arc<TcpListener>],
    asked: SocketAddr,
) -> io::Result<Option<Vec<TcpListener>>> {
    let at = left.iter().filter(|it| it.local_addr().is_ok_and(|at| at == asked));
    let sockets: Vec<_> = at.map(|it| it.try_clone()).collect::<Result<_, _>>()?;
    sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
    Ok((!sockets.is_empty()).then_some(sockets))
}

/// Gives each worker its hold of one socket that somebody else has opened. They take clients from
/// the same queue, so that whoever comes first takes the next one.
///
/// # Errors
/// When the system has no descriptor left.
pub(crate) fn share(socket: &TcpListener, workers: usize) -> io::Result<Vec<TcpListener>> {
    socket.set_nonblocking(true)?;
    (0..workers).map(|_| socket.try_clone()).collect()
}

/// Has every worker and every socket have each other, whichever are more: clients wait in all queues.
///
/// # Errors
/// When the system has no descriptor left.
pub(crate) fn spread(open: Vec<TcpListener>, workers: usize) -> io::Result<Vec<TcpListener>> {
    let missing = workers.saturating_sub(open.len());
    let more: Vec<_> =
        open.iter().cycle().take(missing).map(TcpListener::try_clone).collect::<Result<_, _>>()?;
    Ok(open.into_iter().chain(more).collect())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Old connections in TIME_WAIT must not keep a restarted gateway from its port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 clients too, as containers expect.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// Accepts clients until `closing`, and then those who were in the queue by that time: they have
/// been told that they are connected. Those for whom there is no place wait: some in the lane, the
/// others in the kernel's queue.
pub(crate) async fn accept(
    worker: Arc<Worker>,
    listener: ListenerId,
    socket: tokio::net::TcpListener,
    closing: CancellationToken,
) {
    let mut closing = pin!(closing.cancelled());
    let bound = socket.local_addr().ok();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut closing => match accept_waiting(&socket).await {
                Some(accepted) => accepted,
                None => return,
            },
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let is_short = is_about_descriptors(&error);
                if is_short && answer_one(&worker, listener, &socket).await {
                    continue;
                }
                if !is_about_one_client(&error) {
                    if worker.current.load().telemetry.may_log_refused_peer() {
                        warn!(listener = name(&worker, listener), %error, "cannot accept");
                    }
                    let pause = if is_short { DESCRIPTOR_PAUSE } else { ACCEPT_PAUSE };
                    tokio::time::sleep(pause).await;
                }
                continue;
            }
        };
        let Ok(local) = local_address(bound, &stream) else { continue };
        admit(&worker, listener, stream, Ends { peer, local }).await;
    }
}

/// The next one in the queue, if there is one.
async fn accept_waiting(
    socket: &tokio::net::TcpListener,
) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    std::future::poll_fn(|cx| match socket.poll_accept(cx) {
        Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Takes one client with a descriptor that is kept for that, to be answered and let go. Says whether
/// there was one.
async fn answer_one(
    worker: &Arc<Worker>,
    listener: ListenerId,
    socket: &tokio::net::TcpListener,
) -> bool {
    let spares = worker.current.load().lane.spares.clone();
    let Some(lent) = spares.lend().await else { return false };
    let Some(Ok((stream, _))) = accept_waiting(socket).await else { return false };
    if worker.current.load().telemetry.may_log_refused_peer() {
        let listener = name(worker, listener);
        warn!(listener, "no descriptor is left: only probes are answered");
    }
    let worker = worker.clone();
    // Short: it has its deadlines, and as many as there are spares.
    tokio::spawn(async move {
        lane::answer_at_the_end(&worker, listener, stream).await;
        drop(lent);
    });
    true
}

/// Who connected, and where to.
pub(crate) struct Ends {
    peer: SocketAddr,
    local: SocketAddr,
}

/// Gives a client a place, or sends it where clients wait for one.
async fn admit(worker: &Arc<Worker>, id: ListenerId, stream: TcpStream, ends: Ends) {
    // Taken before `accept`, a place would lie idle in every worker to which no client comes.
    let place = lane::place(&worker.current.load());
    match place {
        Some(place) => begin(worker, id, stream, ends, place),
        None => lane::enter(worker, id, stream, ends).await,
    }
}

/// Starts the task that serves a client.
pub(crate) fn begin(
    worker: &Arc<Worker>,
    id: ListenerId,
    stream: TcpStream,
    ends: Ends,
    place: Place,
) {
    let shared = worker.current.load_full();
    // A listener that left the config while this client waited for a place serves nobody.
    let Some(listener) = shared.listener_of(id) else { return };
    let place = Arc::new(place);
    let (worker, security) = (worker.clone(), Security::Plain);
    let Ends { peer, local } = ends;
    let connection = Connection { worker, shared, listener, peer, local, security, place };
    // Boxed: it is large, and the runtime moves what it is given several times.
    tokio::spawn(Box::pin(connection::serve(stream, connection)));
}

fn name(worker: &Worker, id: ListenerId) -> String {
    let shared = worker.current.load();
    shared.listener_of(id).map_or_else(String::new, |at| shared.config.listeners[at].name.clone())
}

/// Where a client connected to. The system is asked only if the listener has many addresses.
fn local_address(
    bound: Option<SocketAddr>,
    stream: &tokio::net::TcpStream,
) -> io::Result<SocketAddr> {
    match bound {
        Some(address) if !address.ip().is_unspecified() => Ok(address),
        _ => stream.local_addr(),
    }
}

/// Whether there is no descriptor left, for this process or on this machine.
fn is_about_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is(Errno::MFILE) || is(Errno::NFILE)
}

/// Whether the error concerns a client that left before it was accepted.
fn is_about_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_an_error_and_not_a_share() {
        let first = bind(([127, 0, 0, 1], 0).into(), 2).unwrap();
        let address = first[0].local_addr().unwrap();
        assert!(first.iter().all(|socket| socket.local_addr().unwrap() == address));
        let error = bind(address, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}

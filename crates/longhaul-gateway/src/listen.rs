//! Binds listeners and accepts clients within limits.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use crate::connection::{self, Connection, Presence, Security};
use crate::worker::Worker;

/// Connections the kernel holds for a worker that has no time to accept, as far as its own bound
/// (`net.core.somaxconn`) allows.
pub const BACKLOG: usize = 4096;
/// Pause after a failed accept: the cause (mostly no free descriptor) does not pass by itself, and
/// asking again at once would burn the core that could free one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// Accepts clients until the worker ends. At the connection limit it stops accepting, so that
/// clients wait in the kernel's queue instead of being turned away.
pub(crate) async fn accept(worker: Arc<Worker>, listener: usize, socket: tokio::net::TcpListener) {
    let name = &worker.shared.config.listeners[listener].name;
    let bound = socket.local_addr().ok();
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_about_one_client(&error) {
                    warn!(listener = name, %error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        // One client waits here, the rest behind it in the kernel's queue. Taken before `accept`, a
        // permit would lie idle in every worker to which no client comes.
        let Ok(permit) = worker.shared.connections.clone().acquire_owned().await else { return };
        let Ok(local) = local_address(bound, &stream) else { continue };
        let presence = Arc::new(Presence::new(worker.shared.clone(), permit));
        let connection = Connection {
            worker: worker.clone(),
            listener,
            peer,
            local,
            security: Security::Plain,
            presence,
        };
        tokio::spawn(connection::serve(stream, connection));
    }
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

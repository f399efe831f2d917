//! One replica from its start to its end in good order.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::Options;
use crate::hall::Hall;
use crate::site::Site;

/// Connections served at once; more wait in the accept queue.
const CONNECTIONS_MAX: usize = 2_000;

/// From the start of a connection, or the end of a request, to the end of the next head. Longer than
/// gateways keep idle connections, so that it is they who close them.
const HEAD_MAX: Duration = Duration::from_secs(75);

/// Out of descriptors is the usual cause, and it passes only when others close some.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

/// Serves `page` and conversations until TERM or INT; then every client is sent elsewhere (1012), for at most the options' grace.
///
/// # Errors
/// What the system says about the address or the directory.
pub async fn serve(options: Options, page: &'static str) -> io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hall = Arc::new(Hall::open(&options.data, options.name.clone())?);
    let listener = TcpListener::bind(options.listen).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {}: {error}", options.listen))
    })?;
    info!("{} is listening on {}", options.name, listener.local_addr()?);

    hall.listen()?;
    let stop = CancellationToken::new();
    let site = Site { hall, page, conversations: TaskTracker::new(), stop: stop.clone() };
    tokio::select! {
        () = accept_all(&listener, &site) => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    info!(conversations = site.conversations.len(), "asked to end");
    stop.cancel();
    site.conversations.close();
    // Whoever comes now is refused, and so goes to another replica at once.
    drop(listener);
    if timeout(options.grace(), site.conversations.wait()).await.is_err() {
        warn!(conversations = site.conversations.len(), "still open at the end");
    }
    info!("ended");
    Ok(())
}

async fn accept_all(listener: &TcpListener, site: &Site) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small messages are not to wait for each other's confirmations.
                let _ = stream.set_nodelay(true);
                let serving = serve_connection(stream, site.clone());
                tokio::spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// Serves plain HTTP until the client leaves or the replica ends; a WebSocket becomes a task of its own.
async fn serve_connection(stream: TcpStream, site: Site) {
    let stop = site.stop.clone();
    let service = service_fn(|request| {
        let answer = site.answer(request);
        async { Ok::<_, Infallible>(answer) }
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

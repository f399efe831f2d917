//! What lies between a page and the gateway: passes bytes on, and loses a tab's connections when it is told to,
//! as tunnels and phone networks do unasked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Connections at once; more wait in the accept queue.
const CONNECTIONS_MAX: usize = 1_000;
/// How long a connection may take to say which tab it belongs to; then it belongs to none.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// A request line of the chat's page, and some more.
const FIRST_BYTES_MAX: usize = 1_024;
/// Out of descriptors is the usual cause, and it passes only when others close some.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

/// The connections that belong to tabs.
#[derive(Debug, Default)]
pub(super) struct Tunnel(Mutex<Vec<Link>>);

/// One connection of a tab.
#[derive(Debug)]
struct Link {
    tab: String,
    cut: CancellationToken,
}

impl Tunnel {
    /// Passes connections on to `gateway` until the demo ends.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener, gateway: SocketAddr) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            match listener.accept().await {
                Ok((client, _)) => {
                    let tunnel = Arc::clone(&self);
                    // Ends with either connection, or when it is cut.
                    tokio::spawn(async move {
                        tunnel.pass(client, gateway).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(%error, "demo: the tunnel cannot accept");
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }

    /// Cuts every WebSocket of a tab, as it is: half-way through a message, without a word. Says how many.
    pub(super) fn cut(&self, tab: &str) -> usize {
        let links = self.links();
        let cut = links.iter().filter(|link| link.tab == tab).map(|link| link.cut.cancel());
        cut.count()
    }

    async fn pass(&self, mut client: TcpStream, gateway: SocketAddr) {
        let mut first = [0; FIRST_BYTES_MAX];
        let Ok(Ok(count)) = timeout(FIRST_BYTES, client.peek(&mut first)).await else { return };
        let Ok(mut gateway) = TcpStream::connect(gateway).await else { return };
        let _ = (client.set_nodelay(true), gateway.set_nodelay(true));
        let cut = CancellationToken::new();
        if let Some(tab) = tab_in(&first[..count]) {
            let mut links = self.links();
            links.retain(|link| !link.cut.is_cancelled());
            links.push(Link { tab, cut: cut.clone() });
        }
        // Whoever's connection is over is taken off the list by the next one.
        let _over = cut.clone().drop_guard();
        tokio::select! {
            // How it ended is seen by both ends.
            _ = copy_bidirectional(&mut client, &mut gateway) => {}
            () = cut.cancelled() => {
                // A reset, behind which nothing arrives that was on its way.
                let _ = (client.set_zero_linger(), gateway.set_zero_linger());
            }
        }
    }

    fn links(&self) -> MutexGuard<'_, Vec<Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tab that a handshake names: `GET /ws?room=ROOM&tab=NAME HTTP/1.1`.
fn tab_in(first: &[u8]) -> Option<String> {
    let line = first.split(|&byte| byte == b'\r').next()?;
    let query = std::str::from_utf8(line).ok()?.strip_prefix("GET /ws?")?;
    tab_of(query.split(' ').next()?)
}

/// The tab in a query.
pub(super) fn tab_of(query: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix("tab=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_names_its_tab() {
        assert_eq!(tab_in(b"GET /ws?tab=a1 HTTP/1.1\r\nHost: x").as_deref(), Some("a1"));
        assert_eq!(tab_in(b"GET /ws?x=y&tab=a1 HTTP/1.1\r\n").as_deref(), Some("a1"));
        assert_eq!(tab_in(b"GET /ws HTTP/1.1\r\n"), None);
        assert_eq!(tab_in(b"GET /?tab=a1 HTTP/1.1\r\n"), None);
        assert_eq!(tab_in(b"\x16\x03\x01"), None);
    }
}

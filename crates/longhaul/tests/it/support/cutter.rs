//! A TCP proxy that cuts connections: the tunnel of which phones complain, at a thousand times its pace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

/// A proxy that cuts.
pub(crate) struct Cutter {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_calm: AtomicBool,
    is_barred: AtomicBool,
    barring: Notify,
    cuts: AtomicUsize,
}

impl Cutter {
    /// In front of `target`; each connection lives at most `life`, drawn anew each time. Needs a runtime,
    /// with which it ends.
    pub(crate) async fn before(target: SocketAddr, life: (Duration, Duration), seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = state.clone();
        tokio::spawn(async move {
            let mut seed = seed | 1;
            while let Ok((client, _)) = listener.accept().await {
                if shared.is_barred.load(Ordering::Relaxed) {
                    continue;
                }
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let share = (seed >> 11) as f64 / (1u64 << 53) as f64;
                let life = life.0 + (life.1 - life.0).mul_f64(share);
                // Some cuts are clean, some reset; some connections fall silent first.
                let (is_reset, is_silent) = (seed & 1 == 0, seed & 6 == 0);
                tokio::spawn(pass(client, target, life, is_reset, is_silent, shared.clone()));
            }
        });
        Self { address, state }
    }

    /// Cuts no more.
    pub(crate) fn calm(&self) {
        self.state.is_calm.store(true, Ordering::Relaxed);
    }

    /// Cuts all there are and lets nobody through, or everybody again.
    pub(crate) fn bar(&self, is_barred: bool) {
        self.state.is_barred.store(is_barred, Ordering::Relaxed);
        if is_barred {
            self.state.barring.notify_waiters();
        }
    }

    /// Connections cut so far.
    pub(crate) fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::Relaxed)
    }
}

async fn pass(
    mut client: TcpStream,
    target: SocketAddr,
    life: Duration,
    is_reset: bool,
    is_silent: bool,
    state: Arc<State>,
) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        passed = timeout(life, copy_bidirectional(&mut client, &mut server)) => {
            if passed.is_ok() {
                return;
            }
        }
        () = state.barring.notified() => return,
    }
    if state.is_calm.load(Ordering::Relaxed) {
        let _ = copy_bidirectional(&mut client, &mut server).await;
        return;
    }
    state.cuts.fetch_add(1, Ordering::Relaxed);
    if is_silent {
        // Longer than the heartbeat of the story: both ends have to find out for themselves.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    if is_reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

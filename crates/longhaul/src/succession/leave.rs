//! What a process does after another one has taken its place: it finishes what it kept.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use longhaul_gateway::handoff::Giver;
use tokio_util::sync::CancellationToken;

/// WebSockets whose handshakes were under way are moved so soon after they opened.
const LOOK: Duration = Duration::from_millis(50);

/// Gives away what becomes movable while the rest is finished.
pub(crate) struct Leaving {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Option<UnixStream>>,
}

impl Leaving {
    pub(crate) fn begin(mut giver: Giver) -> Self {
        let stop = CancellationToken::new();
        let until = stop.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut is_there = true;
            while is_there && !until.is_cancelled() {
                std::thread::sleep(LOOK);
                if let Err(error) = giver.give_rest() {
                    tracing::warn!(%error, "nothing more can be moved; what is left is drained");
                    is_there = false;
                }
            }
            giver.finish().ok().filter(|_| is_there)
        });
        Self { stop, task }
    }

    /// Ends it. The socket to the other process, if that is still there.
    pub(crate) async fn end(self) -> Option<UnixStream> {
        self.stop.cancel();
        self.task.await.ok().flatten()
    }
}

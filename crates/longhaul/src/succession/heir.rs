//! The process that serves between the two hops, as its parent sees it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

/// From the wish to end to the kill.
const END_MAX: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// A child of this process. It is not ended when this is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Heir {
    id: i32,
    /// Names the process even after its id was given to another one.
    handle: Option<Arc<OwnedFd>>,
}

impl Heir {
    pub(super) fn of(id: i32) -> Self {
        let handle = Pid::from_raw(id).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Self { id, handle: handle.map(Arc::new) }
    }

    pub(super) fn id(&self) -> i32 {
        self.id
    }

    /// Sends it a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(handle) = &self.handle {
            let _ = pidfd_send_signal(handle, signal);
        }
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// How it ended, if it has; reaps it. Who looks after an application reaps all children, and so
    /// perhaps this one: then nobody knows how.
    pub(crate) fn ended(&self) -> Option<String> {
        // It was gone before anybody could ask.
        let Some(handle) = &self.handle else { return Some(String::new()) };
        let has_ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(handle.as_fd()), has_ended) {
            Ok(None) => None,
            Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("; it ended with exit code {code}"),
                (None, Some(signal)) => format!("; it was ended by signal {signal}"),
                (None, None) => String::new(),
            }),
            Err(_) => Some(String::new()),
        }
    }

    /// Waits for its end, however long that takes.
    pub(crate) async fn gone(&self) {
        while self.ended().is_none() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits a moment for its end and brings it about if need be. Says how it ended by itself. Blocks.
    pub(super) fn end(&self) -> String {
        let until = Instant::now() + END_MAX;
        while Instant::now() < until {
            if let Some(how) = self.ended() {
                return how;
            }
            std::thread::sleep(LOOK);
        }
        self.kill();
        while self.ended().is_none() {
            std::thread::sleep(LOOK);
        }
        "; it did not end and was killed".to_owned()
    }
}

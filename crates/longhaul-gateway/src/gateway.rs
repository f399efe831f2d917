//! Starts the workers and the watchers, and ends them in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Config;
use crate::drain::drain;
use crate::handle::Handle;
use crate::handoff::{Arrival, HandoffError, Inheritance, Taken, Taking};
use crate::readiness::Readiness;
use crate::reload::{ReloadAsks, ReloadDesk};
use crate::running::Running;

/// A running gateway. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Gateway {
    handle: Handle,
    asks: Option<ReloadAsks>,
    running: Arc<Running>,
    workers: Vec<JoinHandle<()>>,
    stop: DropGuard,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("cannot listen on {address} (listener {listener:?})")]
    Bind {
        /// Its name in the config.
        listener: String,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be terminated.
    #[error("cannot seal TLS sessions: the system has no random numbers")]
    Tls(#[from] rustls::Error),
    /// A worker thread could not be started.
    #[error("cannot start worker {worker}")]
    Worker {
        /// Which one, from 0.
        worker: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Gateway {
    /// Binds every listener, then starts workers, probes and discovery. Must be called inside a
    /// multi-threaded tokio runtime, which keeps the background tasks.
    ///
    /// # Errors
    /// [`StartError`] when a socket or a thread is refused; nothing is left running then.
    pub fn start(config: Config, readiness: Readiness) -> Result<Self, StartError> {
        Self::start_with(config, readiness, None)
    }

    /// Starts in the place of another process, with its listeners. Nobody is accepted before
    /// [`Gateway::take_up`].
    ///
    /// # Errors
    /// As for [`Gateway::start`].
    pub fn start_after(
        config: Config,
        readiness: Readiness,
        arrival: &mut Arrival,
    ) -> Result<Self, StartError> {
        Self::start_with(config, readiness, Some(arrival.take_inheritance()))
    }

    /// Takes up the connections of the process before, and accepts. Waits until it is ready.
    ///
    /// # Errors
    /// [`HandoffError`]: the process before goes on, and this one should end.
    pub async fn take_up(&self, arrival: Arrival) -> Result<(Taken, Taking), HandoffError> {
        let running = self.running.clone();
        let taken = tokio::task::spawn_blocking(move || arrival.take(&running)).await;
        let taken = taken.unwrap_or(Err(HandoffError::Aborted))?;
        self.running.begin_accepting().await;
        Ok(taken)
    }

    fn start_with(
        config: Config,
        readiness: Readiness,
        inheritance: Option<Inheritance>,
    ) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let (running, workers) = Running::start(config, &readiness, &stop, inheritance)?;
        let running = Arc::new(running);
        let (desk, asks) = ReloadDesk::new();
        let handle = Handle::new(running.clone(), readiness, desk);
        Ok(Self { handle, asks: Some(asks), running, workers, stop: guard })
    }

    /// A view for admin and the binary.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Wishes to read the configuration again, from whoever has a [`Handle`]. Taken once, by who can
    /// read it; dropping them refuses every such wish.
    pub fn take_reload_asks(&mut self) -> Option<ReloadAsks> {
        self.asks.take()
    }

    /// Refuses new work, closes WebSockets spread over the drain time with 1012 and returns when
    /// the last connection is gone or the drain time is over. Dropping it midway ends all at once.
    pub async fn drain(self) {
        let shared = self.running.current.load_full();
        drain(&shared).await;
        if let Some(tracer) = &shared.tracer {
            tracer.flush().await;
        }
        drop(self.stop);
        for worker in self.workers {
            // A worker's panic was logged when it happened; here only its end matters.
            let _ = tokio::task::spawn_blocking(move || worker.join()).await;
        }
    }
}

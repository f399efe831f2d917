//! Starts the workers and the watchers, and ends them in good order.

use std::io;
use std::net::SocketAddr;

use crate::config::Config;
use crate::handle::Handle;
use crate::readiness::Readiness;

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    handle: Handle,
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
    pub fn start(_config: Config, _readiness: Readiness) -> Result<Self, StartError> {
        unimplemented!()
    }

    /// A view for admin and the binary.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Refuses new work, closes WebSockets spread over the drain time with 1012 and returns when
    /// the last connection is gone or the drain time is over. Dropping it midway ends all at once.
    pub async fn drain(self) {
        unimplemented!()
    }
}

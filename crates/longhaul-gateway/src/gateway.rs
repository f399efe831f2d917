//! Starts the workers and the watchers, and ends them in good order.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Config;
use crate::drain::drain;
use crate::handle::Handle;
use crate::readiness::Readiness;
use crate::shared::Shared;
use crate::upstream::{Draining, Upstream};
use crate::{background, listen, retire, tls, worker};

/// A running gateway. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Gateway {
    handle: Handle,
    shared: Arc<Shared>,
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
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let mut per_listener = Vec::with_capacity(config.listeners.len());
        for listener in &config.listeners {
            let sockets = listen::bind(listener.address, config.workers).map_err(|source| {
                StartError::Bind {
                    listener: listener.name.clone(),
                    address: listener.address,
                    source,
                }
            })?;
            per_listener.push(sockets);
        }
        let bound = |sockets: &Vec<TcpListener>| sockets.first()?.local_addr().ok();
        let addresses: Vec<SocketAddr> = per_listener.iter().filter_map(bound).collect();

        let entries_max = config.limits.affinity_entries_max;
        let upstreams: Vec<Arc<Upstream>> = config
            .upstreams
            .iter()
            .map(|upstream| Upstream::new(upstream.clone(), config.affinity_key, entries_max))
            .collect();
        let upstreams = Arc::new(upstreams);
        let shared = Arc::new(Shared::new(config, upstreams.clone(), readiness.clone())?);
        for upstream in upstreams.iter() {
            let shared_for_leaving = Arc::clone(&shared);
            let shared = Arc::downgrade(&shared);
            upstream.on_lost(move |replica| {
                if let Some(shared) = shared.upgrade() {
                    shared.registry.lose_replica(replica);
                    shared.streams.lose_replica(replica);
                }
            });
            let told = (Arc::downgrade(&shared_for_leaving), Arc::downgrade(upstream));
            upstream.on_left(move |replica| {
                if let (Some(shared), Some(upstream)) = (told.0.upgrade(), told.1.upgrade()) {
                    retire::begin(&shared, &upstream, replica, Draining::Left);
                }
            });
        }
        let dns_servers = &shared.config.dns_servers;
        let tasks = background::start(&upstreams, dns_servers, &readiness, &stop);
        let watch_interval = shared.config.certificate_watch;
        tls::watch::start(&shared.certificates, watch_interval, &tasks, &stop);
        let mut workers = Vec::with_capacity(shared.config.workers);
        for index in 0..shared.config.workers {
            let sockets = per_listener.iter_mut().filter_map(Vec::pop).collect();
            let thread = worker::start(index, shared.clone(), sockets, stop.clone())
                .map_err(|source| StartError::Worker { worker: index, source })?;
            workers.push(thread);
        }
        let watched = Arc::downgrade(&shared);
        tokio::spawn(tasks.keep_alive("watch loop", stop.clone(), move || {
            let watched = watched.upgrade();
            async move {
                if let Some(shared) = watched {
                    let loops = &shared.telemetry.loops;
                    loops.beat(loops.watch()).await;
                }
                Ok(())
            }
        }));
        let handle = Handle::new(shared.clone(), addresses, tasks);
        Ok(Self { handle, shared, workers, stop: guard })
    }

    /// A view for admin and the binary.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Refuses new work, closes WebSockets spread over the drain time with 1012 and returns when
    /// the last connection is gone or the drain time is over. Dropping it midway ends all at once.
    pub async fn drain(self) {
        drain(&self.shared).await;
        drop(self.stop);
        for worker in self.workers {
            // A worker's panic was logged when it happened; here only its end matters.
            let _ = tokio::task::spawn_blocking(move || worker.join()).await;
        }
    }
}

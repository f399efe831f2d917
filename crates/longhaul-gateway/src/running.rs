//! A running gateway: what holds now, and everything that was started because of it.
//!
//! Start at [`Running::start`]; [`crate::reload`] puts another configuration into effect.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use crate::config::{Config, Listener};
use crate::gateway::StartError;
use crate::readiness::Readiness;
use crate::shared::{Door, ListenerId, Shared};
use crate::supervise::Tasks;
use crate::upstream::{Draining, Upstream};
use crate::worker::{self, Seat};
use crate::{background, listen, overload, retire, tls, trace};

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Running {
    /// What holds for connections and requests that come now.
    pub(crate) current: Arc<ArcSwap<Shared>>,
    pub(crate) tasks: Tasks,
    seats: Vec<Seat>,
    pub(crate) stop: CancellationToken,
    /// Locked for as long as one configuration takes the place of another.
    pub(crate) parts: tokio::sync::Mutex<Parts>,
}

/// What was started, each with its end.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) listeners: Vec<OpenListener>,
    next_listener: u64,
    /// Discovery and probes, by the name of the upstream.
    pub(crate) watches: HashMap<String, DropGuard>,
    pub(crate) certificate_watch: Option<DropGuard>,
}

/// A listener whose sockets are open.
#[derive(Debug)]
pub(crate) struct OpenListener {
    pub(crate) door: Door,
    /// As the config has it.
    asked: SocketAddr,
    name: String,
    closing: CancellationToken,
    accepting: Vec<tokio::task::JoinHandle<()>>,
}

/// The sockets of a listener that nobody accepts from yet.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) door: Door,
    pub(crate) listener: Listener,
    sockets: Vec<TcpListener>,
}

impl Running {
    /// Binds every listener, then starts watchers and workers. What was started ends with `stop`.
    ///
    /// # Errors
    /// [`StartError`] when a socket or a thread is refused.
    pub(crate) fn start(
        config: Config,
        readiness: &Readiness,
        stop: &CancellationToken,
    ) -> Result<(Self, Vec<JoinHandle<()>>), StartError> {
        let step = readiness.startup_step("listeners and workers");
        let mut parts = Parts::default();
        let bound: Vec<Bound> = (config.listeners.iter())
            .map(|listener| parts.bind(listener, &config))
            .collect::<Result<_, _>>()?;
        let doors = bound.iter().map(|bound| bound.door).collect();
        let upstreams: Vec<_> = config.upstreams.iter().map(|it| make(it, &config)).collect();
        let workers = config.workers;
        let shared = Shared::first(config, doors, upstreams, readiness.clone())?;
        let current = Arc::new(ArcSwap::from_pointee(shared));

        let tasks = Tasks::default();
        let mut threads = Vec::with_capacity(workers);
        let mut seats = Vec::with_capacity(workers);
        for index in 0..workers {
            let (seat, thread) = worker::start(index, current.clone(), tasks.clone(), stop.clone())
                .map_err(|source| StartError::Worker { worker: index, source })?;
            seats.push(seat);
            threads.push(thread);
        }
        let parts = tokio::sync::Mutex::new(parts);
        let mut running = Self { current, tasks, seats, stop: stop.clone(), parts };
        running.start_watching(readiness);
        let parts = running.parts.get_mut();
        // Over before the first client can ask: one that waited on a held socket must not be told to come back.
        drop(step);
        for bound in bound {
            parts.listeners.push(open(&running.seats, &running.stop, bound));
        }
        Ok((running, threads))
    }

    fn start_watching(&mut self, readiness: &Readiness) {
        let shared = self.current.load_full();
        let telemetry = shared.telemetry.clone();
        tokio::spawn(self.tasks.keep_alive("loop watch", self.stop.clone(), move || {
            let telemetry = telemetry.clone();
            async move { telemetry.loops.beat(telemetry.loops.watch()).await }
        }));
        if let Some(tracer) = &shared.tracer {
            trace::start(tracer, &self.tasks, &self.stop);
        }
        overload::start(self.current.clone(), &self.tasks, &self.stop);
        shared.admission.start(&self.tasks, &self.stop);
        let watches: Vec<_> = (shared.upstreams.iter())
            .map(|upstream| {
                background::hold_start(upstream, readiness, &self.stop);
                (upstream.name().to_owned(), self.watch(upstream, &shared))
            })
            .collect();
        let certificate_watch = self.watch_certificates(&shared);
        let parts = self.parts.get_mut();
        parts.watches.extend(watches);
        parts.certificate_watch = Some(certificate_watch);
    }

    /// Starts discovery and probes of an upstream. They end when what is returned is dropped.
    pub(crate) fn watch(&self, upstream: &Arc<Upstream>, shared: &Shared) -> DropGuard {
        let (registry, streams) = (shared.registry.clone(), shared.streams.clone());
        upstream.on_lost(move |replica| {
            registry.lose_replica(replica);
            streams.lose_replica(replica);
        });
        let (current, upstream_left) = (self.current.clone(), Arc::downgrade(upstream));
        upstream.on_left(move |replica| {
            if let Some(upstream) = upstream_left.upgrade() {
                retire::begin(&current.load(), &upstream, replica, Draining::Left);
            }
        });
        let stop = self.stop.child_token();
        background::start(upstream, &shared.config.dns_servers, &self.tasks, &stop);
        stop.drop_guard()
    }

    /// Starts to look after the files of certificates, until what is returned is dropped.
    pub(crate) fn watch_certificates(&self, shared: &Shared) -> DropGuard {
        let stop = self.stop.child_token();
        let interval = shared.config.certificate_watch;
        tls::watch::start(&shared.certificates, interval, &self.tasks, &stop);
        stop.drop_guard()
    }

    /// Has every worker accept from its socket.
    pub(crate) fn open(&self, bound: Bound) -> OpenListener {
        open(&self.seats, &self.stop, bound)
    }
}

/// Makes an upstream of the config.
pub(crate) fn make(upstream: &crate::config::UpstreamConfig, config: &Config) -> Arc<Upstream> {
    Upstream::new(upstream.clone(), config.affinity_key, config.limits.affinity_entries_max)
}

fn open(seats: &[Seat], stop: &CancellationToken, bound: Bound) -> OpenListener {
    let Bound { door, listener, sockets } = bound;
    let closing = stop.child_token();
    let mut accepting = Vec::with_capacity(seats.len());
    for (seat, socket) in seats.iter().zip(sockets) {
        match seat.open(door.id, socket, closing.clone()) {
            Ok(task) => accepting.push(task),
            // The socket was bound a moment ago; only a full event queue gets here.
            Err(error) => error!(listener = listener.name, %error, "cannot watch the listener"),
        }
    }
    OpenListener { door, asked: listener.address, name: listener.name, closing, accepting }
}

impl Parts {
    /// Binds the sockets of a listener, one for each worker.
    ///
    /// # Errors
    /// [`StartError::Bind`] when the system refuses one.
    pub(crate) fn bind(
        &mut self,
        listener: &Listener,
        config: &Config,
    ) -> Result<Bound, StartError> {
        let inherited = config.inherited.iter().find(|it| listen::is_at(it, listener.address));
        let bind = || {
            let sockets = match inherited {
                Some(socket) => listen::share(socket, config.workers)?,
                None => listen::bind(listener.address, config.workers)?,
            };
            let first = sockets.first().map(TcpListener::local_addr).transpose()?;
            Ok((sockets, first.unwrap_or(listener.address)))
        };
        let (sockets, address) = bind().map_err(|source| StartError::Bind {
            listener: listener.name.clone(),
            address: listener.address,
            source,
        })?;
        let id = ListenerId(self.next_listener);
        self.next_listener += 1;
        Ok(Bound { door: Door { id, address }, listener: listener.clone(), sockets })
    }
}

impl OpenListener {
    /// Whether this listener of a config is this one: at the same address; port 0 is another one
    /// each time, so that there the name counts as well.
    pub(crate) fn is(&self, listener: &Listener) -> bool {
        self.asked == listener.address && (self.asked.port() != 0 || self.name == listener.name)
    }

    /// Stops listening. Whoever was in the queue is accepted first, and waited for.
    pub(crate) async fn close(self) {
        self.closing.cancel();
        for task in self.accepting {
            // It ends by itself, or with its worker.
            let _ = task.await;
        }
    }
}

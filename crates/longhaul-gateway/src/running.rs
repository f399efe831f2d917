//! A running gateway: what holds now, and everything that was started because of it.
//!
//! Start at [`Running::start`]; [`crate::reload`] puts another configuration into effect.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use crate::config::{Config, Listener};
use crate::gateway::StartError;
use crate::handoff::Inheritance;
use crate::readiness::Readiness;
use crate::shared::{Door, ListenerId, Shared};
use crate::supervise::Tasks;
use crate::telemetry::push;
use crate::upstream::Upstream;
use crate::worker::{self, Seat};
use crate::{background, listen, overload, retire, tls, trace};

/// How long those who are in the queues of listeners may take to be accepted.
const STOP_MAX: Duration = Duration::from_secs(1);

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Running {
    /// What holds for connections and requests that come now.
    pub(crate) current: Arc<ArcSwap<Shared>>,
    pub(crate) tasks: Tasks,
    pub(crate) seats: Vec<Seat>,
    /// Set while connections are on their way to another process.
    pub(crate) is_moving: AtomicBool,
    pub(crate) stop: CancellationToken,
    /// Locked for as long as one configuration takes the place of another.
    pub(crate) parts: tokio::sync::Mutex<Parts>,
}

/// What was started, each with its end.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) listeners: Vec<OpenListener>,
    /// Bound, and not to be accepted from yet.
    waiting: Vec<Bound>,
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
    /// The same sockets once more, for a process that takes them over.
    sockets: Vec<TcpListener>,
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
        mut config: Config,
        readiness: &Readiness,
        stop: &CancellationToken,
        mut inheritance: Option<Inheritance>,
    ) -> Result<(Self, Vec<JoinHandle<()>>), StartError> {
        let listening = readiness.startup_step("listeners");
        let serving = readiness.startup_step("workers and their connections");
        let mut parts = Parts::default();
        let bound: Vec<Bound> = (config.listeners.iter())
            .map(|listener| {
                let inherited = inheritance.as_mut().and_then(|from| from.sockets_of(listener));
                parts.bind(listener, &config, inherited)
            })
            .collect::<Result<_, _>>()?;
        drop(listening);
        // Listeners have theirs; another one would hold clients that nobody accepts.
        config.left = Vec::new();
        if let Some(from) = &inheritance {
            config.affinity_key = from.affinity_key;
        }
        let doors = bound.iter().map(|bound| bound.door).collect();
        let upstreams: Vec<_> = config.upstreams.iter().map(|it| make(it, &config)).collect();
        let workers = config.workers;
        let session_keys = inheritance.as_ref().map(|from| from.session_keys);
        let shared = Shared::first(config, doors, upstreams, readiness.clone(), session_keys)?;
        if let Some(from) = &inheritance {
            shared.telemetry.connections_total.store(from.connections_total, Ordering::Relaxed);
        }
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
        let is_moving = AtomicBool::new(false);
        let mut running = Self { current, tasks, seats, is_moving, stop: stop.clone(), parts };
        running.start_watching(readiness, inheritance.is_some());
        let parts = running.parts.get_mut();
        // Over before the first client can ask: one that waited on a held socket must not be told to come back.
        drop(serving);
        parts.waiting = bound;
        if inheritance.is_none() {
            parts.open_waiting(&running.seats, &running.stop);
        }
        Ok((running, threads))
    }

    /// The sockets that it listens on, each with a descriptor of its own, those of a listener in a row.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub(crate) async fn sockets(&self) -> std::io::Result<Vec<TcpListener>> {
        let parts = self.parts.lock().await;
        let of_each = parts.listeners.iter().map(OpenListener::sockets);
        Ok(of_each.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    fn start_watching(&mut self, readiness: &Readiness, is_takeover: bool) {
        let shared = self.current.load_full();
        let telemetry = shared.telemetry.clone();
        tokio::spawn(self.tasks.keep_alive("loop watch", self.stop.clone(), move || {
            let telemetry = telemetry.clone();
            async move { telemetry.loops.beat(telemetry.loops.watch()).await }
        }));
        if let Some(tracer) = &shared.tracer {
            trace::start(tracer, &self.tasks, &self.stop);
        }
        if let Some(metrics) = &shared.config.metrics {
            push::start(metrics, &self.current, &self.tasks, &self.stop);
        }
        overload::start(self.current.clone(), &self.tasks, &self.stop);
        if let Some(store) = &shared.store {
            store.hold_start(readiness, is_takeover, &self.stop);
            store.start(&self.tasks, &self.stop);
        }
        shared.admission.hold_start(readiness, &self.stop);
        shared.admission.start(&self.current, &self.tasks, &self.stop);
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
        let (current, of_replica) = (self.current.clone(), Arc::downgrade(upstream));
        upstream.on_leaving(move |replica, why| {
            if let Some(upstream) = of_replica.upgrade() {
                retire::begin(&current.load(), &upstream, replica, why);
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

    /// Begins to accept, where that was put off.
    pub(crate) async fn begin_accepting(&self) {
        self.parts.lock().await.open_waiting(&self.seats, &self.stop);
    }

    /// Accepts whoever is in the queues, and nobody after that: they wait there.
    pub(crate) async fn stop_accepting(&self) {
        let mut parts = self.parts.lock().await;
        let stop = async {
            for open in &mut parts.listeners {
                open.stop_accepting().await;
            }
        };
        // At the connection limit somebody waits for a place; the next process will give it one.
        let _ = tokio::time::timeout(STOP_MAX, stop).await;
    }

    /// Accepts again after [`Self::stop_accepting`].
    pub(crate) async fn accept_again(&self) {
        let mut parts = self.parts.lock().await;
        for open in &mut parts.listeners {
            open.accept_again(&self.seats, &self.stop);
        }
    }

    /// Lets go of the sockets after [`Self::stop_accepting`]: another process has them. Who is connected
    /// is served as before, and asked to connect anew for what comes next.
    pub(crate) async fn give_up_listeners(&self) {
        let mut parts = self.parts.lock().await;
        self.current.load().readiness.start_leaving();
        parts.listeners.clear();
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
    let Bound { door, listener: Listener { name, address: asked, .. }, sockets } = bound;
    let (closing, accepting) = (stop.child_token(), Vec::new());
    let mut open = OpenListener { door, asked, name, sockets, closing, accepting };
    open.accept(seats);
    open
}

impl Parts {
    fn open_waiting(&mut self, seats: &[Seat], stop: &CancellationToken) {
        for bound in std::mem::take(&mut self.waiting) {
            self.listeners.push(open(seats, stop, bound));
        }
    }

    /// Binds the sockets of a listener, one for each worker, or takes those that are open.
    ///
    /// # Errors
    /// [`StartError::Bind`] when the system refuses one.
    pub(crate) fn bind(
        &mut self,
        listener: &Listener,
        config: &Config,
        open: Option<Vec<TcpListener>>,
    ) -> Result<Bound, StartError> {
        let inherited = config.inherited.iter().find(|it| listen::is_at(it, listener.address));
        let bind = || {
            let left = listen::taken_back(&config.left, listener.address)?;
            let sockets = match (open, inherited, left) {
                (Some(open), _, _) | (None, None, Some(open)) => {
                    listen::spread(open, config.workers)?
                }
                (None, Some(socket), _) => listen::share(socket, config.workers)?,
                (None, None, None) => listen::bind(listener.address, config.workers)?,
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

    /// As the config has it.
    pub(crate) fn asked(&self) -> SocketAddr {
        self.asked
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its sockets, with descriptors of their own.
    ///
    /// # Errors
    /// When the system has none left.
    pub(crate) fn sockets(&self) -> std::io::Result<Vec<TcpListener>> {
        self.sockets.iter().map(TcpListener::try_clone).collect()
    }

    fn accept(&mut self, seats: &[Seat]) {
        // As many sockets as workers mostly; each must have somebody, and each worker may have more.
        for (at, socket) in self.sockets.iter().enumerate() {
            let seat = &seats[at % seats.len()];
            let accepting = socket
                .try_clone()
                .and_then(|socket| seat.open(self.door.id, socket, self.closing.clone()));
            match accepting {
                Ok(task) => self.accepting.push(task),
                // The socket was bound a moment ago; only a full event queue gets here.
                Err(error) => error!(listener = self.name, %error, "cannot watch the listener"),
            }
        }
    }

    fn accept_again(&mut self, seats: &[Seat], stop: &CancellationToken) {
        self.closing = stop.child_token();
        self.accept(seats);
    }

    /// Accepts whoever is in the queue, and nobody after that.
    async fn stop_accepting(&mut self) {
        self.closing.cancel();
        for task in std::mem::take(&mut self.accepting) {
            // It ends by itself, or with its worker.
            let _ = task.await;
        }
    }

    /// Stops listening. Whoever was in the queue is accepted first, and waited for.
    pub(crate) async fn close(mut self) {
        self.stop_accepting().await;
    }
}

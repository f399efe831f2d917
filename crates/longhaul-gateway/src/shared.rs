//! What every worker of one gateway shares under one configuration. Read-only, or touched once per
//! connection.
//!
//! A reload makes a new [`Shared`] after the old one, which stays for as long as a connection that
//! began with it has something to ask of it. What counts beyond that, and what is counted, both have
//! in common.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longhaul_policy::route::RouteTable;
use longhaul_proto::redial::RedialPolicy;
use longhaul_proto::session::SessionPolicy;

use crate::admission::Admission;
use crate::config::{Config, OnReplicaLoss, Route, TcpRoute, WebSocketPolicy};
use crate::durable::{Keys, Sessions};
use crate::front::Front;
use crate::handoff::Movers;
use crate::lane::Lane;
use crate::overload::Overload;
use crate::places::Places;
use crate::readiness::Readiness;
use crate::redial::RedialTerms;
use crate::registry::Registry;
use crate::relay::RelayPolicy;
use crate::store::Store;
use crate::telemetry::Telemetry;
use crate::tls::{Certificates, Termination, TlsTerms};
use crate::trace::Tracer;
use crate::upstream::Upstream;

/// What every worker of one gateway shares under one configuration.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// In the order of the config.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) readiness: Readiness,
    /// Every open WebSocket.
    pub(crate) registry: Arc<Registry>,
    /// Every open raw TCP connection.
    pub(crate) streams: Arc<Registry>,
    pub(crate) telemetry: Arc<Telemetry>,
    /// Where requests are traced.
    pub(crate) tracer: Option<Arc<Tracer>>,
    /// Every durable session.
    pub(crate) sessions: Arc<Sessions>,
    /// What gateways of one deployment share, if they do.
    pub(crate) store: Option<Arc<Store>>,
    /// Who may come in.
    pub(crate) admission: Admission,
    /// One for each client connection that may be open.
    pub(crate) places: Arc<Places>,
    /// Where clients wait who have none of them.
    pub(crate) lane: Arc<Lane>,
    /// How near memory and descriptors are to their ends.
    pub(crate) overload: Arc<Overload>,
    /// Requests being answered and raw TCP connections; draining waits for them.
    pub(crate) work_open: Arc<AtomicUsize>,
    pub(crate) started_at: Instant,
    /// Where connections bring their state when they are to move to another process.
    pub(crate) movers: Arc<Movers>,
    /// What listeners that terminate TLS prove themselves with.
    pub(crate) certificates: Arc<Certificates>,
    /// One of each for each listener.
    doors: Vec<Door>,
    fronts: Vec<Front>,
    fronts_behind_tls: Vec<Front>,
    terminations: Vec<Option<Arc<Termination>>>,
    /// One table for each listener; its indices point into `listener_routes`.
    tables: Vec<RouteTable>,
    listener_routes: Vec<Vec<usize>>,
    /// One for each route.
    relays: Vec<Arc<RelayPolicy>>,
    tcp_routes: Vec<Arc<TcpRoute>>,
}

/// A listener for as long as its sockets are open, whatever the configuration calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenerId(pub(crate) u64);

/// Where a listener of the config is open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    pub(crate) id: ListenerId,
    /// With the port that was taken where the config says 0.
    pub(crate) address: SocketAddr,
}

/// One piece of work that is not a WebSocket, open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenWork(Arc<AtomicUsize>);

impl OpenWork {
    pub(crate) fn new(shared: &Shared) -> Self {
        shared.work_open.fetch_add(1, Ordering::Relaxed);
        Self(shared.work_open.clone())
    }
}

impl Drop for OpenWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// What a gateway starts with. `doors` are those of the config's listeners, in their order, and
    /// `upstreams` likewise.
    ///
    /// # Errors
    /// When the system has no random numbers to seal TLS sessions with.
    pub(crate) fn first(
        config: Config,
        doors: Vec<Door>,
        upstreams: Vec<Arc<Upstream>>,
        readiness: Readiness,
        session_keys: Option<Keys>,
    ) -> Result<Self, rustls::Error> {
        let store = config.store.clone().map(|store| Arc::new(Store::new(store)));
        let nothing = Self {
            places: Arc::new(Places::new(config.limits.connections_max)),
            admission: Admission::new(&config, store.as_ref()),
            store,
            sessions: Arc::new(Sessions::new(&config.durable, session_keys)?),
            tracer: config.traces.as_ref().map(|traces| Arc::new(Tracer::new(traces))),
            certificates: Arc::new(Certificates::new(&config.certificates)),
            lane: Arc::default(),
            overload: Arc::default(),
            work_open: Arc::default(),
            started_at: Instant::now(),
            movers: Arc::default(),
            registry: Arc::default(),
            streams: Arc::default(),
            telemetry: Arc::new(Telemetry::new(config.workers)),
            config: config.clone(),
            readiness,
            upstreams: Vec::new(),
            doors: Vec::new(),
            fronts: Vec::new(),
            fronts_behind_tls: Vec::new(),
            terminations: Vec::new(),
            tables: Vec::new(),
            listener_routes: Vec::new(),
            relays: Vec::new(),
            tcp_routes: Vec::new(),
        };
        nothing.followed_by(config, doors, upstreams)
    }

    /// The same gateway under another configuration. Nothing is in effect yet.
    ///
    /// # Errors
    /// As for [`Shared::first`].
    pub(crate) fn followed_by(
        &self,
        config: Config,
        doors: Vec<Door>,
        upstreams: Vec<Arc<Upstream>>,
    ) -> Result<Self, rustls::Error> {
        let listener_routes = listener_routes(&config);
        let tables = listener_routes.iter().map(|routes| {
            RouteTable::new(routes.iter().map(|&route| config.routes[route].pattern.clone()))
        });
        let fronts: Vec<Front> = (config.listeners.iter().enumerate())
            .map(|(index, listener)| {
                let front = Front::new(&config.routes, &config.tcp_routes, index);
                let front = front.with_http2(listener.h2c, listener.http2);
                front.with_tls(listener.tls.as_ref())
            })
            .collect();
        let terminations = (config.listeners.iter().zip(&doors).zip(&fronts))
            .map(|((listener, door), front)| {
                let terms = listener.tls.as_ref()?;
                Some(self.termination_like(door.id, terms, front.protocols()))
            })
            .map(Option::transpose);
        Ok(Self {
            terminations: terminations.collect::<Result<_, _>>()?,
            tables: tables.collect(),
            fronts_behind_tls: fronts.iter().map(Front::behind_tls).collect(),
            fronts,
            relays: config.routes.iter().map(relay_policy).map(Arc::new).collect(),
            tcp_routes: config.tcp_routes.iter().cloned().map(Arc::new).collect(),
            readiness: self.readiness.clone(),
            registry: self.registry.clone(),
            streams: self.streams.clone(),
            telemetry: self.telemetry.clone(),
            places: self.places.clone(),
            lane: self.lane.clone(),
            overload: self.overload.clone(),
            sessions: self.sessions.clone(),
            tracer: self.tracer.clone(),
            work_open: self.work_open.clone(),
            certificates: self.certificates.clone(),
            started_at: self.started_at,
            movers: self.movers.clone(),
            store: self.store.clone(),
            admission: self.admission.followed_by(&config, self.store.as_ref()),
            config,
            upstreams,
            doors,
            listener_routes,
        })
    }

    /// What terminates TLS on a listener of these terms: the same as before where they are the same,
    /// since only that can resume the sessions of its clients.
    fn termination_like(
        &self,
        listener: ListenerId,
        terms: &TlsTerms,
        protocols: &[&[u8]],
    ) -> Result<Arc<Termination>, rustls::Error> {
        let before = self.listener_of(listener).and_then(|at| self.terminations[at].as_ref());
        match before.filter(|before| before.is_of(terms, protocols)) {
            Some(before) => Ok(before.clone()),
            None => Ok(Arc::new(Termination::new(terms, self.certificates.clone(), protocols)?)),
        }
    }

    /// Where in the config a listener is, if it is still there.
    pub(crate) fn listener_of(&self, id: ListenerId) -> Option<usize> {
        self.doors.iter().position(|door| door.id == id)
    }

    /// Where the listeners of the config are open, in their order.
    pub(crate) fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// The most specific route of this listener, as an index into the config's routes.
    pub(crate) fn route(
        &self,
        listener: usize,
        host: Option<&str>,
        path: &str,
        headers: &http::HeaderMap,
    ) -> Option<usize> {
        let at = self.tables[listener].find(host, path, headers)?;
        Some(self.listener_routes[listener][at])
    }

    pub(crate) fn front(&self, listener: usize) -> &Front {
        &self.fronts[listener]
    }

    pub(crate) fn front_behind_tls(&self, listener: usize) -> &Front {
        &self.fronts_behind_tls[listener]
    }

    /// What terminates TLS on this listener, if anything does.
    pub(crate) fn termination(&self, listener: usize) -> Option<&Termination> {
        self.terminations[listener].as_deref()
    }

    /// How long leaving a replica of this upstream may take: as long as the most patient route says.
    pub(crate) fn leave_within(&self, upstream: &Upstream) -> Duration {
        let routes = self.config.routes.iter();
        let there = routes.filter(|route| self.upstreams[route.upstream].name() == upstream.name());
        there.map(|route| route.websocket.leave_within).max().unwrap_or_default()
    }

    pub(crate) fn tcp_route(&self, route: usize) -> Arc<TcpRoute> {
        self.tcp_routes[route].clone()
    }

    /// The HTTP route of this name, as an index into the config.
    pub(crate) fn find_route(&self, name: &str) -> Option<usize> {
        self.config.routes.iter().position(|route| route.name == name)
    }

    pub(crate) fn relay_policy(&self, route: usize) -> &Arc<RelayPolicy> {
        &self.relays[route]
    }
}

/// The routes of each listener, as indices into the config.
fn listener_routes(config: &Config) -> Vec<Vec<usize>> {
    let serves = |route: &Route, listener: usize| {
        route.listeners.is_empty() || route.listeners.contains(&listener)
    };
    let routes_of = |listener| {
        (0..config.routes.len()).filter(|&route| serves(&config.routes[route], listener)).collect()
    };
    (0..config.listeners.len()).map(routes_of).collect()
}

fn relay_policy(route: &Route) -> RelayPolicy {
    let policy = &route.websocket;
    let replacing = redial_terms(policy);
    let redial = (policy.on_replica_loss == OnReplicaLoss::Redial).then(|| replacing.clone());
    RelayPolicy {
        route: route.name.as_str().into(),
        session: Arc::new(SessionPolicy {
            ping: policy.ping,
            pings_missed_max: policy.pings_missed_max,
            idle: policy.idle,
            linger: policy.linger,
            write_stall: policy.write_stall,
            minds_backend: redial.is_none(),
            bounds: policy.bounds,
        }),
        lifetime: policy.lifetime,
        redial,
        replacing,
        buffer_bytes_max: policy.buffer_bytes_max,
    }
}

fn redial_terms(policy: &WebSocketPolicy) -> RedialTerms {
    let redial = &policy.redial;
    RedialTerms {
        policy: Arc::new(RedialPolicy {
            ping: policy.ping,
            pings_missed_max: policy.pings_missed_max,
            write_stall: policy.write_stall,
            hold_bytes_max: redial.hold_bytes_max,
            wait_bytes_max: redial.wait_bytes_max,
            uncertain: redial.uncertain,
            codes: redial.codes.clone(),
            prelude: redial.prelude,
            keep_bytes_max: redial.keep_bytes_max,
            settle: redial.give_up,
        }),
        profile: redial.profile,
        give_up: redial.give_up,
        cutover: policy.cutover,
        linger: policy.linger,
    }
}

//! What every worker of one gateway shares. Read-only, or touched once per connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longhaul_policy::route::RouteTable;
use longhaul_proto::redial::RedialPolicy;
use longhaul_proto::session::SessionPolicy;
use tokio::sync::Semaphore;

use crate::admission::Admission;
use crate::config::{Config, OnReplicaLoss, Route, WebSocketPolicy};
use crate::front::Front;
use crate::readiness::Readiness;
use crate::redial::RedialTerms;
use crate::registry::Registry;
use crate::relay::RelayPolicy;
use crate::telemetry::Telemetry;
use crate::tls::{Certificates, Termination};
use crate::upstream::Upstream;

/// What every worker of one gateway shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) upstreams: Arc<Vec<Arc<Upstream>>>,
    pub(crate) readiness: Readiness,
    /// Every open WebSocket.
    pub(crate) registry: Registry,
    /// Every open raw TCP connection.
    pub(crate) streams: Registry,
    pub(crate) telemetry: Telemetry,
    /// Who may come in.
    pub(crate) admission: Admission,
    /// One permit for each client connection that may be open.
    pub(crate) connections: Arc<Semaphore>,
    /// Client connections open now.
    pub(crate) connections_open: AtomicUsize,
    /// Requests being answered and raw TCP connections; draining waits for them.
    pub(crate) work_open: AtomicUsize,
    pub(crate) started_at: Instant,
    /// What listeners that terminate TLS prove themselves with.
    pub(crate) certificates: Arc<Certificates>,
    /// One of each for each listener.
    fronts: Vec<Front>,
    fronts_behind_tls: Vec<Front>,
    terminations: Vec<Option<Termination>>,
    /// One table for each listener; its indices point into `listener_routes`.
    tables: Vec<RouteTable>,
    listener_routes: Vec<Vec<usize>>,
    /// One for each route.
    relays: Vec<RelayPolicy>,
}

/// One piece of work that is not a WebSocket, open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenWork(Arc<Shared>);

impl OpenWork {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.work_open.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }
}

impl Drop for OpenWork {
    fn drop(&mut self) {
        self.0.work_open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// # Errors
    /// When the system has no random numbers to seal TLS sessions with.
    pub(crate) fn new(
        config: Config,
        upstreams: Arc<Vec<Arc<Upstream>>>,
        readiness: Readiness,
    ) -> Result<Self, rustls::Error> {
        let listener_routes: Vec<Vec<usize>> = (0..config.listeners.len())
            .map(|listener| {
                let serves = |route: &Route| {
                    route.listeners.is_empty() || route.listeners.contains(&listener)
                };
                (0..config.routes.len()).filter(|&route| serves(&config.routes[route])).collect()
            })
            .collect();
        let tables = listener_routes
            .iter()
            .map(|routes| {
                RouteTable::new(routes.iter().map(|&route| config.routes[route].pattern.clone()))
            })
            .collect();
        let fronts: Vec<Front> = (config.listeners.iter().enumerate())
            .map(|(index, listener)| {
                let front = Front::new(&config.routes, &config.tcp_routes, index);
                let front = front.with_http2(listener.h2c, listener.http2);
                front.with_tls(listener.tls.as_ref())
            })
            .collect();
        let certificates = Arc::new(Certificates::new(&config.certificates));
        let terminations = config.listeners.iter().zip(&fronts).map(|(listener, front)| {
            let terminate =
                |terms| Termination::new(terms, certificates.clone(), front.protocols());
            listener.tls.as_ref().map(terminate).transpose()
        });
        let terminations = terminations.collect::<Result<_, _>>()?;
        Ok(Self {
            fronts_behind_tls: fronts.iter().map(Front::behind_tls).collect(),
            fronts,
            certificates,
            terminations,
            relays: config.routes.iter().map(relay_policy).collect(),
            connections: Arc::new(Semaphore::new(
                config.limits.connections_max.min(Semaphore::MAX_PERMITS),
            )),
            connections_open: AtomicUsize::new(0),
            work_open: AtomicUsize::new(0),
            started_at: Instant::now(),
            registry: Registry::default(),
            streams: Registry::default(),
            telemetry: Telemetry::new(config.workers),
            admission: Admission::new(&config),
            config,
            upstreams,
            readiness,
            tables,
            listener_routes,
        })
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
        self.terminations[listener].as_ref()
    }

    /// How long leaving a replica of this upstream may take: as long as the most patient route says.
    pub(crate) fn leave_within(&self, upstream: &Upstream) -> Duration {
        let routes = self.config.routes.iter();
        let there = routes.filter(|route| self.upstreams[route.upstream].name() == upstream.name());
        there.map(|route| route.websocket.leave_within).max().unwrap_or_default()
    }

    pub(crate) fn relay_policy(&self, route: usize) -> &RelayPolicy {
        &self.relays[route]
    }
}

fn relay_policy(route: &Route) -> RelayPolicy {
    let policy = &route.websocket;
    let redial = redial_terms(policy);
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
        buffer_bytes_max: policy.buffer_bytes_max,
    }
}

fn redial_terms(policy: &WebSocketPolicy) -> Option<RedialTerms> {
    if policy.on_replica_loss == OnReplicaLoss::Close {
        return None;
    }
    let redial = &policy.redial;
    Some(RedialTerms {
        policy: Arc::new(RedialPolicy {
            ping: policy.ping,
            pings_missed_max: policy.pings_missed_max,
            write_stall: policy.write_stall,
            hold_bytes_max: redial.hold_bytes_max,
            wait_bytes_max: redial.wait_bytes_max,
            uncertain: redial.uncertain,
            codes: redial.codes.clone(),
            prelude: redial.prelude,
        }),
        give_up: redial.give_up,
        cutover: policy.cutover,
        linger: policy.linger,
    })
}

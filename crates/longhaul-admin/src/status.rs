//! `/status`: a snapshot of the gateway in the API's own words.
//!
//! These structs are the contract; the gateway's snapshot may change without them.

use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use longhaul_gateway::Handle;
use longhaul_gateway::handle::{ReplicaSnapshot, Snapshot, StoreSnapshot, UpstreamSnapshot};
use longhaul_gateway::supervise::TaskSnapshot;
use longhaul_gateway::tls::CertificateSnapshot;
use serde::Serialize;
use utoipa::ToSchema;

use crate::desk::Desk;
use crate::health::seconds;

/// The gateway at one moment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// Longhaul's version.
    version: &'static str,
    /// Seconds since the start.
    uptime_s: f64,
    /// Whether new work is welcome; `/health/ready` says why not.
    ready: bool,
    /// Whether the process is on its way out.
    draining: bool,
    /// Bound addresses.
    listeners: Vec<String>,
    /// Raw TCP connections open now.
    tcp_open: usize,
    /// Client connections open now, WebSockets and raw TCP included.
    connections_open: usize,
    /// WebSockets open now.
    websockets_open: usize,
    /// WebSockets opened since the start.
    websockets_total: u64,
    /// In the order of the config.
    upstreams: Vec<Upstream>,
    /// TLS handshakes of clients since the start that were finished.
    tls_handshakes_total: u64,
    /// Those that failed or took too long.
    tls_handshakes_failed_total: u64,
    /// In the order of the config.
    certificates: Vec<Certificate>,
    /// What gateways of one deployment share; null where each keeps its own.
    store: Option<Store>,
    /// Discovery and probes, in the order in which they were started.
    tasks: Vec<Task>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Upstream {
    name: String,
    replicas: Vec<Replica>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Replica {
    address: String,
    /// `up`, `starting` (slow start), `ejected` or `down`.
    state: &'static str,
    websockets_open: usize,
    requests_open: usize,
    tcp_open: usize,
    /// What the last probe failed with; null when it passed, or none is sent.
    probe_failure: Option<String>,
    /// Why it drains: `asked`, `left` (no source names it any more) or `said` (by itself); null when it
    /// does not. What it still holds is above.
    draining: Option<&'static str>,
}

/// A certificate that listeners prove themselves with.
#[derive(Debug, Serialize, ToSchema)]
struct Certificate {
    file: String,
    names: Vec<String>,
    /// Its last moment, in seconds since 1970.
    not_after_s: f64,
    /// How often a new one took its place since the start.
    swaps: u64,
    /// How often new files were refused since the start, and the old pair kept.
    refusals: u64,
    /// What is wrong with the files that are there now; null when nothing is.
    last_refusal: Option<String>,
}

/// A store that gateways share.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Store {
    address: String,
    /// `answering`, or `away`.
    state: &'static str,
    /// How long it has been in this state, in seconds.
    for_s: f64,
    /// Why it is away; null when it is not.
    reason: Option<String>,
}

/// A task that watches. It is restarted when it fails, which never touches serving.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Task {
    name: String,
    /// `running`, or `waiting` to be restarted.
    state: &'static str,
    /// How long it has been in this state, in seconds.
    for_s: f64,
    restarts: u64,
    /// How it ended last, when it did.
    last_error: Option<String>,
}

/// The gateway at one moment.
#[utoipa::path(get, path = "/status", responses((status = 200, body = Status)))]
pub(crate) async fn show(State(desk): State<Desk>) -> Response {
    Json(Status::of(&desk.handle)).into_response()
}

impl Status {
    pub(crate) fn of(handle: &Handle) -> Self {
        let Snapshot {
            listeners,
            upstreams,
            websockets_open,
            websockets_total,
            tcp_open,
            connections_open,
            uptime,
            handshakes,
            handshakes_failed,
            certificates,
            ..
        } = handle.snapshot();
        let readiness = handle.readiness();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: seconds(uptime),
            ready: readiness.is_ready(),
            draining: readiness.is_draining(),
            listeners: listeners.iter().map(ToString::to_string).collect(),
            connections_open,
            tcp_open,
            websockets_open,
            websockets_total,
            upstreams: upstreams.into_iter().map(Upstream::from).collect(),
            tls_handshakes_total: handshakes,
            tls_handshakes_failed_total: handshakes_failed,
            certificates: certificates.into_iter().map(Certificate::from).collect(),
            store: handle.store().map(Store::from),
            tasks: handle.tasks().into_iter().map(Task::from).collect(),
        }
    }
}

impl From<UpstreamSnapshot> for Upstream {
    fn from(upstream: UpstreamSnapshot) -> Self {
        let replicas = upstream.replicas.into_iter().map(Replica::from).collect();
        Self { name: upstream.name, replicas }
    }
}

impl From<ReplicaSnapshot> for Replica {
    fn from(replica: ReplicaSnapshot) -> Self {
        Self {
            address: replica.address.to_string(),
            state: replica.state,
            websockets_open: replica.websockets_open,
            requests_open: replica.requests_open,
            tcp_open: replica.tcp_open,
            probe_failure: replica.probe_failure,
            draining: replica.draining,
        }
    }
}

impl From<CertificateSnapshot> for Certificate {
    fn from(certificate: CertificateSnapshot) -> Self {
        let not_after = certificate.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            file: certificate.file.display().to_string(),
            names: certificate.names,
            not_after_s: seconds(not_after),
            swaps: certificate.swaps,
            refusals: certificate.refusals,
            last_refusal: certificate.last_refusal,
        }
    }
}

impl From<StoreSnapshot> for Store {
    fn from(store: StoreSnapshot) -> Self {
        Self {
            address: store.address,
            state: if store.is_answering { "answering" } else { "away" },
            for_s: seconds(store.since.elapsed()),
            reason: store.reason,
        }
    }
}

impl From<TaskSnapshot> for Task {
    fn from(task: TaskSnapshot) -> Self {
        Self {
            name: task.name,
            state: if task.is_running { "running" } else { "waiting" },
            for_s: seconds(task.since.elapsed()),
            restarts: task.restarts,
            last_error: task.last_error,
        }
    }
}

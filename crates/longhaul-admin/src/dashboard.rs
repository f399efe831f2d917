//! The page for people, and the one answer that it lives on.
//!
//! It is made of three files in this crate and asks nothing of any other host. The page itself shows
//! nothing: what it then asks for is guarded like every other answer.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use longhaul_gateway::handle::{Finding, LoopSnapshot, Memory, Totals};
use serde::Serialize;
use utoipa::ToSchema;

use crate::connections::Ended;
use crate::desk::Desk;
use crate::health::{Waiting, seconds};
use crate::status::{Store, Task, Upstream};

/// Ends that are shown: what fits on a screen or two.
const ENDS_SHOWN: usize = 40;

const PAGE: &str = include_str!("dashboard/page.html");
const STYLE: &str = include_str!("dashboard/style.css");
const SCRIPT: &str = include_str!("dashboard/script.js");
/// Nothing but these files, and nobody may put them into a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub(crate) async fn page() -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)], PAGE)
        .into_response()
}

pub(crate) async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

pub(crate) async fn script() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// Everything at one moment, for a page that asks again and again. Counters are of all routes since
/// the start.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Overview {
    version: &'static str,
    uptime_s: f64,
    ready: bool,
    draining: bool,
    waiting_for: Vec<Waiting>,
    /// What is wrong although work is welcome.
    degraded: Vec<String>,
    /// Which hop ends connections lately, and why; the most frequent first.
    findings: Vec<Found>,
    websockets_open: usize,
    connections_open: usize,
    connections_max: usize,
    upgrades_accepted: u64,
    upgrades_failed: u64,
    ends_total: u64,
    drops: u64,
    reconnects: u64,
    messages_up: u64,
    messages_down: u64,
    bytes_up: u64,
    bytes_down: u64,
    buffered_bytes: u64,
    lives: Lives,
    memory: Option<MemoryUse>,
    loops: Vec<Loop>,
    upstreams: Vec<Upstream>,
    /// What gateways of one deployment share; null where each keeps its own.
    store: Option<Store>,
    tasks: Vec<Task>,
    /// The last ends, the latest first.
    ends: Vec<Ended>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, ToSchema)]
struct Found {
    /// `client`, `client to gateway`, `gateway`, `gateway to replica` or `replica`.
    hop: &'static str,
    /// How many connections it met in the last ten minutes.
    count: usize,
    what: String,
    remedy: &'static str,
}

/// How old WebSockets were when they ended.
#[derive(Debug, Serialize, ToSchema)]
struct Lives {
    bounds_s: Vec<f64>,
    /// One for each bound, and one for what is beyond all.
    counts: Vec<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct MemoryUse {
    used_bytes: u64,
    limit_bytes: u64,
    /// Whether a container limits it, and not the machine.
    container: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Loop {
    name: String,
    silent_for_s: f64,
    /// The worst of the last minute or two.
    lag_max_s: f64,
}

/// Everything at one moment.
#[utoipa::path(get, path = "/api/v1/overview", responses((status = 200, body = Overview)))]
pub(crate) async fn overview(State(desk): State<Desk>) -> Response {
    let handle = &desk.handle;
    let (snapshot, totals, readiness) = (handle.snapshot(), handle.totals(), handle.readiness());
    let ends = handle.ends().into_iter().rev().take(ENDS_SHOWN).map(Ended::from).collect();
    let Totals { messages, bytes, .. } = totals;
    Json(Overview {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: seconds(snapshot.uptime),
        ready: readiness.is_ready(),
        draining: readiness.is_draining(),
        waiting_for: readiness.gates().into_iter().map(Waiting::from).collect(),
        degraded: handle.degraded(),
        findings: handle.findings().into_iter().map(Found::from).collect(),
        websockets_open: snapshot.websockets_open,
        connections_open: snapshot.connections_open,
        connections_max: handle.connections_max(),
        upgrades_accepted: totals.upgrades_accepted,
        upgrades_failed: totals.upgrades_failed,
        ends_total: totals.ends,
        drops: totals.drops,
        reconnects: totals.reconnects,
        messages_up: messages[0],
        messages_down: messages[1],
        bytes_up: bytes[0],
        bytes_down: bytes[1],
        buffered_bytes: totals.buffered,
        lives: Lives { bounds_s: totals.lives_bounds.to_vec(), counts: totals.lives },
        memory: handle.memory().map(MemoryUse::from),
        loops: handle.loops().into_iter().map(Loop::from).collect(),
        upstreams: snapshot.upstreams.into_iter().map(Upstream::from).collect(),
        store: handle.store().map(Store::from),
        tasks: handle.tasks().into_iter().map(Task::from).collect(),
        ends,
    })
    .into_response()
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        let Finding { hop, count, what, remedy } = finding;
        Self { hop: hop.name(), count, what, remedy }
    }
}

impl From<Memory> for MemoryUse {
    fn from(memory: Memory) -> Self {
        let Memory { used, limit, is_container } = memory;
        Self { used_bytes: used, limit_bytes: limit, container: is_container }
    }
}

impl From<LoopSnapshot> for Loop {
    fn from(one: LoopSnapshot) -> Self {
        let LoopSnapshot { name, silent_for, lag_max } = one;
        Self { name, silent_for_s: seconds(silent_for), lag_max_s: seconds(lag_max) }
    }
}

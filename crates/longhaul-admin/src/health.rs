//! The answers to probes: one word for machines, the reasons for people.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use longhaul_gateway::Handle;
use longhaul_gateway::readiness::{Done, Gate};
use serde::Serialize;
use utoipa::ToSchema;

/// What a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Does the process turn? A no would have it restarted, so waiting for something is a yes.
    Live,
    /// Is new work welcome?
    Ready,
    /// Is every start-up step done?
    Startup,
}

/// The body of every health answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok` with 200, `unavailable` with 503.
    status: &'static str,
    /// True once the process is on its way out.
    draining: bool,
    /// What holds new work back, oldest first.
    waiting_for: Vec<Waiting>,
    /// Start-up steps that are over.
    done: Vec<Step>,
    /// What is wrong although the answer may be yes: replicas that cannot be used, a store that is away,
    /// background tasks that fail, an event loop that hangs.
    degraded: Vec<String>,
}

/// A start-up step that is over.
#[derive(Debug, Serialize, ToSchema)]
struct Step {
    name: String,
    took_s: f64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// In words: "first answer of the app".
    name: String,
    /// `startup`, or `hold` for what came up later.
    kind: &'static str,
    /// How long it has been waited for, in seconds.
    for_s: f64,
    /// What keeps it; null where that is not known, or is in the name.
    reason: Option<String>,
}

/// Answers one probe from the state of this moment.
pub(crate) fn answer(question: Question, handle: &Handle) -> Response {
    let (readiness, hanging) = (handle.readiness(), handle.hanging());
    let draining = readiness.is_draining();
    let gates = readiness.gates();
    let is_ok = match question {
        Question::Live => hanging.is_none(),
        Question::Ready => !draining && gates.is_empty(),
        Question::Startup => !gates.iter().any(|gate| gate.is_startup),
    };
    let waiting_for = gates.into_iter().map(Waiting::from).collect();
    let done = readiness.done().into_iter().map(Step::from).collect();
    let degraded = hanging.into_iter().chain(handle.degraded()).collect();
    let health = |status| Health { status, draining, waiting_for, done, degraded };
    if is_ok {
        return Json(health("ok")).into_response();
    }
    let body = Json(health("unavailable"));
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    // A probe asks again by itself; this is for people's scripts.
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

impl From<Done> for Step {
    fn from(done: Done) -> Self {
        Self { name: done.name, took_s: seconds(done.took) }
    }
}

impl From<Gate> for Waiting {
    fn from(gate: Gate) -> Self {
        Self {
            name: gate.name,
            kind: if gate.is_startup { "startup" } else { "hold" },
            for_s: seconds(gate.since.elapsed()),
            reason: gate.reason,
        }
    }
}

/// Milliseconds are as fine as a reader needs.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

//! Starts what watches beside what serves: discovery and probes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::readiness::{GateGuard, Readiness};
use crate::supervise::Tasks;
use crate::upstream::Upstream;
use crate::{discover, probe};

/// Starts discovery and probes of every upstream. They end with `stop`. Must be called inside the
/// runtime that keeps them.
///
/// The first answer of each name and the first verdict on each replica are a start-up step of each
/// upstream. It closes after some seconds whatever happens: a replica that is missing at start must
/// not keep the others from serving.
pub(crate) fn start(
    upstreams: &[Arc<Upstream>],
    dns_servers: &[SocketAddr],
    readiness: &Readiness,
    stop: &CancellationToken,
) -> Tasks {
    let tasks = Tasks::default();
    for upstream in upstreams {
        discover::start(upstream, dns_servers, &tasks, stop);
        probe::start(upstream, &tasks, stop);
        if !upstream.is_settled(Instant::now()) {
            let step = readiness.startup_step(format!("replicas of upstream {}", upstream.name()));
            tokio::spawn(settle(Arc::clone(upstream), step, stop.clone()));
        }
    }
    tasks
}

/// Holds a start-up step until the upstream is settled, or as long as one lookup and one probe may
/// take. A panic in here would drop the step as well, so it cannot hold up the start.
async fn settle(upstream: Arc<Upstream>, step: GateGuard, stop: CancellationToken) {
    let probe = upstream.config().probe.as_ref().map_or(Duration::ZERO, |probe| probe.timeout);
    let settled = async {
        let mut changes = upstream.changes();
        while !upstream.is_settled(Instant::now()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    let limited = tokio::time::timeout(discover::LOOKUP_MAX + probe, settled);
    if let Some(Err(_)) = stop.run_until_cancelled(limited).await {
        tracing::warn!(upstream = upstream.name(), "started before every replica was heard of");
    }
    drop(step);
}

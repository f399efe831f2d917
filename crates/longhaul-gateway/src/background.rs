//! Starts what watches beside what serves: discovery and probes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::readiness::{GateGuard, Readiness};
use crate::supervise::Tasks;
use crate::upstream::Upstream;
use crate::{discover, probe};

/// Starts discovery and probes of one upstream. They end with `stop`. Must be called inside the
/// runtime that keeps them.
pub(crate) fn start(
    upstream: &Arc<Upstream>,
    dns_servers: &[SocketAddr],
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    discover::start(upstream, dns_servers, tasks, stop);
    probe::start(upstream, tasks, stop);
}

/// Makes the first answer of each name and the first verdict on each replica a start-up step. It
/// closes after some seconds whatever happens: a replica that is missing at start must not keep the
/// others from serving.
pub(crate) fn hold_start(
    upstream: &Arc<Upstream>,
    readiness: &Readiness,
    stop: &CancellationToken,
) {
    if upstream.is_settled(Instant::now()) {
        return;
    }
    let step = readiness.startup_step(format!("replicas of upstream {}", upstream.name()));
    let (upstream, stop) = (Arc::clone(upstream), stop.clone());
    // A panic in here would drop the step as well, so it cannot hold up the start.
    tokio::spawn(async move {
        if stop.run_until_cancelled(settled(&upstream)).await == Some(false) {
            tracing::warn!(upstream = upstream.name(), "started before every replica was heard of");
        }
        drop::<GateGuard>(step);
    });
}

/// Waits until an upstream is settled, or as long as one lookup and one probe may take. Says whether
/// it is.
pub(crate) async fn settled(upstream: &Upstream) -> bool {
    let probe = upstream.config().probe.as_ref().map_or(Duration::ZERO, |probe| probe.timeout);
    let settled = async {
        let mut changes = upstream.changes();
        while !upstream.is_settled(Instant::now()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(discover::LOOKUP_MAX + probe, settled).await.is_ok()
}

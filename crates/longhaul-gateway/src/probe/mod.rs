//! Asks replicas at intervals how they are. What to make of the answers is decided by
//! `longhaul_policy::health`; how to ask is in [`ask`](mod@ask).
//!
//! Start at [`watch`].

mod ask;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use longhaul_policy::backoff::jittered;
use longhaul_policy::readiness::{Readiness, Turn};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::ask::{ProbeFault, ask};
use crate::config::Probe;
use crate::supervise::{TaskError, Tasks};
use crate::upstream::{Draining, Replica, Upstream};
use crate::{faults, retire};

/// How far an interval may stretch or shrink: enough that the probes of many gateways drift apart.
const JITTER: f64 = 0.2;

/// Starts the probes of one upstream, if it has any.
pub(crate) fn start(upstream: &Arc<Upstream>, tasks: &Tasks, stop: &CancellationToken) {
    if let Some(probe) = upstream.config().probe.clone() {
        let name = format!("probe {}", upstream.name());
        let upstream = Arc::clone(upstream);
        tokio::spawn(
            tasks.keep_alive(name, stop.clone(), move || {
                watch(Arc::clone(&upstream), probe.clone())
            }),
        );
    }
}

/// Keeps one series of probes going for each replica, as they come and go.
///
/// Each series has a task of its own, so that a replica that hangs delays nobody else's probes.
/// They end with this future.
async fn watch(upstream: Arc<Upstream>, probe: Probe) -> Result<(), TaskError> {
    let mut changes = upstream.changes();
    let mut series = JoinSet::new();
    let mut probed: Vec<(Arc<Replica>, AbortHandle)> = Vec::new();
    loop {
        let replicas = upstream.replicas();
        probed.retain(|(replica, task)| {
            let stays = replicas.iter().any(|known| Arc::ptr_eq(known, replica));
            if !stays {
                task.abort();
            }
            stays
        });
        for replica in replicas.iter() {
            if !probed.iter().any(|(known, _)| Arc::ptr_eq(known, replica)) {
                let task =
                    probe_for_ever(Arc::clone(replica), probe.clone(), Arc::clone(&upstream));
                let task = series.spawn(task);
                probed.push((Arc::clone(replica), task));
            }
        }
        // Either arm may be dropped and asked again: a change stays marked until it is seen, and an
        // ended task stays in the set until it is taken out.
        tokio::select! {
            changed = changes.changed() => changed?,
            Some(ended) = series.join_next() => match ended {
                Ok(Ok(never)) => match never {},
                // The supervisor starts all of them anew.
                Ok(Err(error)) => return Err(error),
                Err(error) if error.is_cancelled() => {}
                Err(panic) => return Err(panic.into()),
            },
        }
    }
}

async fn probe_for_ever(
    replica: Arc<Replica>,
    probe: Probe,
    upstream: Arc<Upstream>,
) -> Result<Infallible, TaskError> {
    let mut readiness = Readiness::default();
    loop {
        faults::point("probe")?;
        let config = upstream.config();
        let outcome = ask(&probe, replica.address(), &config).await;
        let says_unready = outcome.as_ref().is_err_and(ProbeFault::says_unready);
        if outcome.is_ok() || says_unready {
            let is_left = replica.draining() == Some(Draining::Unready);
            match readiness.note(!says_unready, is_left, &config.health) {
                Some(Turn::Leave) if replica.is_proven(Instant::now()) => {
                    upstream.tell_leaving(&replica, Draining::Unready);
                }
                Some(Turn::Return) => retire::end(&upstream, &replica),
                Some(Turn::Leave) | None => {}
            }
        }
        let outcome = outcome.map_err(|fault| fault.to_string());
        if says_unready && replica.is_proven(Instant::now()) {
            replica.note_unready(outcome.err());
        } else {
            replica.note_probe(outcome, Instant::now());
        }
        tokio::time::sleep(jittered(probe.interval, JITTER, fastrand::f64())).await;
    }
}

//! What is wrong although work may be welcome.

use std::time::Duration;

use super::{Handle, ReplicaSnapshot, UpstreamSnapshot};
use crate::supervise::TaskSnapshot;

impl Handle {
    /// What is wrong although work may be welcome: replicas that cannot be used, watchers that fail, a
    /// store that is away, memory or descriptors that run short.
    pub fn degraded(&self) -> Vec<String> {
        let mut degraded = unusable(&self.snapshot().upstreams, &self.tasks());
        degraded.extend(self.store().and_then(|store| {
            let reason = store.reason?;
            Some(format!("the store is away, so nobody gets a ticket or gets in by one: {reason}"))
        }));
        degraded.extend(self.shared().overload.troubles());
        degraded
    }
}

/// A watcher that failed counts as troubled for so long after it runs again.
const TROUBLED_FOR: Duration = Duration::from_secs(60);

fn unusable(upstreams: &[UpstreamSnapshot], tasks: &[TaskSnapshot]) -> Vec<String> {
    let is_usable = |replica: &ReplicaSnapshot| matches!(replica.state, "up" | "starting");
    let without = upstreams.iter().filter(|one| !one.replicas.iter().any(is_usable));
    let without = without.map(|one| format!("upstream {} has no usable replica", one.name));
    let is_troubled = |task: &&TaskSnapshot| {
        !task.is_running || (task.restarts > 0 && task.since.elapsed() < TROUBLED_FOR)
    };
    let troubled = tasks.iter().filter(is_troubled).map(|task| {
        let reason = task.last_error.as_deref().unwrap_or("it has not started");
        format!("background task {} failed: {reason}", task.name)
    });
    without.chain(troubled).collect()
}

//! Finds the replicas that names stand for, and keeps looking.
//!
//! A name is looked up again when its time to live runs out. When that fails, or the answer is
//! empty, the last good answer stays: stale addresses mostly work, none never do (RFC 8767 argues
//! the same for resolvers). Asking the servers is the work of [`dns`].
//!
//! Start at [`watch`].

mod dns;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_policy::backoff::Backoff;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::dns::{Answer, Dns, Question, Trouble};
use crate::config::ReplicaSource;
use crate::faults;
use crate::supervise::{TaskError, Tasks};
use crate::upstream::{SourceId, Upstream};

/// Total deadline of one lookup, all servers, tries and records included.
pub(crate) const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// A shorter time to live is taken for this one: some servers say 0, and would be asked without end.
const TTL_MIN: Duration = Duration::from_secs(1);
/// A longer time to live is taken for this one: replicas move faster than such answers expect.
const TTL_MAX: Duration = Duration::from_secs(300);

/// Shortest and longest wait after a lookup that failed.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// Starts a task for each name of an upstream. Fixed addresses need none.
pub(crate) fn start(
    upstream: &Arc<Upstream>,
    dns_servers: &[SocketAddr],
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    for (source, spec) in upstream.sources() {
        let question = match spec {
            ReplicaSource::Static { .. } => continue,
            ReplicaSource::Dns { name, port, weight } => Question::Addresses { name, port, weight },
            ReplicaSource::Srv { name } => Question::Services { name },
        };
        let name = format!("discover {} for {}", question.name(), upstream.name());
        let upstream = Arc::clone(upstream);
        let dns_servers = dns_servers.to_vec();
        tokio::spawn(tasks.keep_alive(name, stop.clone(), move || {
            let dns = Dns::new(dns_servers.clone());
            let retry = Backoff::new(RETRY_MIN, RETRY_MAX);
            watch(Arc::clone(&upstream), source, question.clone(), dns, retry)
        }));
    }
}

/// Looks one name up for ever, and tells the upstream what it stands for.
async fn watch(
    upstream: Arc<Upstream>,
    source: SourceId,
    question: Question,
    mut dns: Dns,
    mut retry: Backoff,
) -> Result<(), TaskError> {
    let mut trouble = None;
    loop {
        faults::point("discover")?;
        let looked_up = dns.ask(&question).await;
        let wait = match looked_up {
            Ok(Answer { endpoints, ttl }) => {
                if trouble.take().is_some() {
                    info!(upstream = upstream.name(), name = question.name(), "name found again");
                }
                retry.reset();
                upstream.set_endpoints(source, endpoints, Instant::now());
                ttl.clamp(TTL_MIN, TTL_MAX)
            }
            Err(now_in) => {
                // Once per change: a name that stays away would fill the log.
                if trouble.as_ref() != Some(&now_in) {
                    report(&upstream, &question, &now_in);
                }
                trouble = Some(now_in);
                upstream.give_up_waiting(source);
                retry.next_delay(fastrand::f64())
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn report(upstream: &Upstream, question: &Question, trouble: &Trouble) {
    let replicas_kept = upstream.replicas().len();
    warn!(
        upstream = upstream.name(),
        name = question.name(),
        reason = %trouble,
        replicas_kept,
        "cannot look up replicas; the last good answer stays"
    );
}

//! Tells a collector all metrics at intervals, where somebody wants that: OTLP over HTTP.
//!
//! The numbers are those of the page that scrapers get, under the same names. Whatever a collector does,
//! nothing waits for it but the task in here.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use longhaul_proto::otlp::Value;
use longhaul_proto::otlp::metrics::{Span, request};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::gather;
use crate::config::MetricsConfig;
use crate::faults;
use crate::fetch::Fetch;
use crate::shared::Shared;
use crate::supervise::{TaskError, Tasks};

/// How long the collector may take. What it does not take is told again next time: counters only grow.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts to tell the collector, until `stop`. Must be called inside the runtime that keeps
/// background tasks.
pub(crate) fn start(
    config: &MetricsConfig,
    current: &Arc<ArcSwap<Shared>>,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let (config, current, all) = (config.clone(), current.clone(), tasks.clone());
    let kept = tasks.keep_alive("metrics", stop.clone(), move || {
        export(config.clone(), current.clone(), all.clone())
    });
    drop(tokio::spawn(kept));
}

async fn export(
    config: MetricsConfig,
    current: Arc<ArcSwap<Shared>>,
    tasks: Tasks,
) -> Result<(), TaskError> {
    let MetricsConfig { collector, interval, service_name, instance } = config;
    let resource = [
        ("service.name", Value::from(service_name)),
        ("service.version", env!("CARGO_PKG_VERSION").into()),
        // Without it the numbers of several gateways would be taken for those of one.
        ("service.instance.id", instance.unwrap_or_else(host_name).into()),
    ];
    let fetch = Fetch::new(collector, 1);
    let mut is_well = true;
    loop {
        // Not all gateways that were started together tell together.
        sleep(interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
        faults::point("metrics")?;
        let body = {
            let shared = current.load_full();
            let metrics = gather::points(&shared, &tasks);
            request(&resource, env!("CARGO_PKG_VERSION"), counted(&shared), &metrics)
        };
        let sent = timeout(PATIENCE, fetch.post_protobuf(body)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")));
        let outcome = if sent.is_ok() { "exported" } else { "failed" };
        current.load().telemetry.pushes.count(&[outcome]);
        // Once when it begins and once when it ends, not each time.
        match &sent {
            Err(reason) if is_well => {
                warn!(url = %fetch.service(), reason, "metrics are not taken");
            }
            Ok(()) if !is_well => info!(url = %fetch.service(), "metrics are taken again"),
            _ => {}
        }
        is_well = sent.is_ok();
    }
}

fn counted(shared: &Shared) -> Span {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let began = now.saturating_sub(shared.started_at.elapsed());
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Span { began_ns: nanoseconds(began), at_ns: nanoseconds(now) }
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

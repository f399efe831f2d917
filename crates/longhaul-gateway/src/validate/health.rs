//! Looks after a service in the background, so that nobody has to find out by waiting.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Validator, lock};
use crate::config::HealthCheck;
use crate::faults;
use crate::fetch::Fetch;
use crate::supervise::{TaskError, Tasks};

/// Looks in a row that must fail: one lost packet is no death.
const FAILURES: u32 = 2;
/// What a health check may say.
const BYTES_MAX: usize = 64 * 1024;

pub(super) fn start(
    validator: &Arc<Validator>,
    check: HealthCheck,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let name = format!("health of {}", validator.name);
    let validator = validator.clone();
    let kept =
        tasks.keep_alive(name, stop.clone(), move || watch(validator.clone(), check.clone()));
    drop(tokio::spawn(kept));
}

async fn watch(validator: Arc<Validator>, check: HealthCheck) -> Result<(), TaskError> {
    // Connections of its own: questions must not stand in its way.
    let fetch = Fetch::new(validator.config.service.clone(), 1);
    let mut failures = 0;
    loop {
        faults::point("health")?;
        match timeout(check.timeout, look(&fetch, &check.path))
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {:?}", check.timeout)))
        {
            Ok(()) => {
                failures = 0;
                if lock(&validator.breaker).note_health(true) {
                    info!(authority = validator.name, "the authentication service is well again");
                }
            }
            Err(reason) => {
                failures += 1;
                if failures >= FAILURES && lock(&validator.breaker).note_health(false) {
                    warn!(
                        authority = validator.name, service = %validator.config.service, reason,
                        "the authentication service is not well; nobody waits for it"
                    );
                }
            }
        }
        let jitter = 0.9 + 0.2 * fastrand::f64();
        tokio::time::sleep(check.interval.mul_f64(jitter).max(Duration::from_millis(10))).await;
    }
}

/// Anything but a server's own failure proves that somebody is there and answers.
async fn look(fetch: &Fetch, path: &str) -> Result<(), String> {
    let request = Request::get(path).body(Full::default()).map_err(|error| error.to_string())?;
    let answer = fetch.send(request, BYTES_MAX).await.map_err(|error| error.to_string())?;
    if answer.status.is_server_error() {
        Err(format!("it answers {}", answer.status))
    } else {
        Ok(())
    }
}

//! Lets a gateway go in good order: told, spread over time, and with an end that holds.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};

use crate::relay::control::Order;
use crate::shared::Shared;

/// Part of the drain time over which WebSockets are told; the rest is theirs for leaving.
const SPREAD: f64 = 0.8;
/// How long whoever can still move to another process has for that, before anybody is told.
const LEAVE: Duration = Duration::from_secs(2);
/// How often it is looked whether everyone has left.
const LOOK: Duration = Duration::from_millis(20);

/// Tells every WebSocket to leave, spread over the drain time, and waits until all work is gone or
/// the time is over.
///
/// Where another process serves already, connections without a request are waited for as well: what
/// they ask next is answered, and they are asked to connect anew. So no request meets a closed door.
pub(crate) async fn drain(shared: &Shared) {
    let time = shared.config.timeouts.drain;
    let deadline = tokio::time::Instant::now() + time;
    if !shared.readiness.is_leaving() {
        shared.readiness.start_draining();
    }
    let mut controls = shared.registry.all();
    // Whoever connected together should not be told together: their reconnects would come as one.
    fastrand::shuffle(&mut controls);
    info!(websockets = controls.len(), drain_s = time.as_secs_f64(), "draining");

    let started = Instant::now();
    let step = time.mul_f64(SPREAD) / u32::try_from(controls.len().max(1)).unwrap_or(u32::MAX);
    // Those that are on their way to another process get there first.
    let first = if shared.readiness.is_leaving() { LEAVE.min(time / 5) } else { Duration::ZERO };
    let started = started + first;
    let tell = async {
        for (place, control) in controls.into_iter().enumerate() {
            let at = step.mul_f64(place as f64 + fastrand::f64());
            sleep_until((started + at).into()).await;
            control.order(Order::Drain);
        }
    };
    let everyone_left = async {
        let is_open = || shared.readiness.is_leaving() && shared.places.taken() > 0;
        while shared.registry.len() > 0 || shared.work_open.load(Ordering::Relaxed) > 0 || is_open()
        {
            sleep(LOOK).await;
        }
    };
    // Telling goes on only as long as somebody is left to be told.
    let told = async {
        tell.await;
        std::future::pending().await
    };
    tokio::select! {
        () = everyone_left => info!("drained"),
        () = told => {}
        () = sleep_until(deadline) => {
            let (websockets, other) = (shared.registry.len(), shared.work_open.load(Ordering::Relaxed));
            warn!(websockets, other, "drain time is over; ending the rest");
        }
    }
}

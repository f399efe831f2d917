//! Empties a replica that drains: it gets nothing new, and what it holds leaves, spread over time.
//!
//! When a WebSocket leaves, and whether it can without its client noticing, is its route's choice.
//! How the gateway itself drains is [`drain`](crate::drain)'s work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};
use tokio::time::sleep_until;
use tracing::info;

use crate::registry::Registry;
use crate::relay::control::{Control, Order};
use crate::shared::Shared;
use crate::upstream::{Draining, Replica, Upstream};

/// Part of the time in which WebSockets are told that they may leave; in the rest they have to.
const TELLING: f64 = 0.8;

/// With `1`, a replica says that it drains.
const SAYS_DRAIN: HeaderName = HeaderName::from_static("longhaul-drain");

/// How long a replica's own word that it drains holds after it was said: it ends soon then, and the
/// next one at its address should not be kept waiting.
const WORD_HOLDS: Duration = Duration::from_secs(60);

/// Begins to empty a replica, unless that is under way. Needs a runtime around it.
pub(crate) fn begin(
    shared: &Shared,
    upstream: &Arc<Upstream>,
    replica: &Arc<Replica>,
    why: Draining,
) {
    if !replica.set_draining(Some(why)) {
        return;
    }
    let (address, websockets) = (replica.address(), replica.open_websockets());
    info!(upstream = upstream.name(), replica = %address, why = why.name(), websockets, "replica drains");
    let emptying = Emptying {
        registry: shared.registry.clone(),
        upstream: Arc::clone(upstream),
        replica: Arc::clone(replica),
        why,
        time: shared.leave_within(upstream),
    };
    // Ends by itself in bounded time. A panic in it leaves the rest where they are.
    tokio::spawn(emptying.run());
}

/// Takes a replica's word that it drains, which concerns nobody behind this gateway.
pub(crate) fn heed(
    shared: &Shared,
    upstream: &Arc<Upstream>,
    replica: &Arc<Replica>,
    answer: &mut HeaderMap,
) {
    if answer.remove(SAYS_DRAIN).is_some_and(|value| value == "1") {
        begin(shared, upstream, replica, Draining::Said);
    }
}

/// Lets a replica have new work again.
pub(crate) fn end(upstream: &Upstream, replica: &Replica) {
    if replica.set_draining(None) {
        info!(upstream = upstream.name(), replica = %replica.address(), "replica drains no more");
    }
}

/// A replica being emptied.
struct Emptying {
    registry: Arc<Registry>,
    upstream: Arc<Upstream>,
    replica: Arc<Replica>,
    why: Draining,
    time: Duration,
}

impl Emptying {
    async fn run(self) {
        let (began, time) = (Instant::now(), self.time);
        let last_call = match self.why {
            // A name that loses an address may find it again: who cannot move stays.
            Draining::Left => Order::ReplicaLeft,
            Draining::Asked | Draining::Said | Draining::Unready => Order::ReplicaDrained,
        };
        let telling = time.mul_f64(TELLING);
        self.tell(Order::ReplicaLeaves, began, telling).await;
        sleep_until((began + telling).into()).await;
        self.tell(last_call, began + telling, time - telling).await;
        sleep_until((began + time).into()).await;
        let (upstream, replica) = (self.upstream.name(), self.replica.address());
        let websockets = self.replica.open_websockets();
        info!(upstream, %replica, websockets, "time to leave is over");
        if self.why == Draining::Said {
            sleep_until((began + time.max(WORD_HOLDS)).into()).await;
            if self.replica.draining() == Some(Draining::Said) {
                end(&self.upstream, &self.replica);
            }
        }
    }

    /// Gives an order to each WebSocket that is at the replica now, spread over `time`.
    async fn tell(&self, order: Order, began: Instant, time: Duration) {
        let replica = &self.replica;
        let mut controls: Vec<Arc<Control>> = self.registry.at_replica(replica.address());
        // Who came together should not arrive at the next replica together.
        fastrand::shuffle(&mut controls);
        let step = time / u32::try_from(controls.len().max(1)).unwrap_or(u32::MAX);
        for (place, control) in controls.into_iter().enumerate() {
            sleep_until((began + step.mul_f64(place as f64 + fastrand::f64())).into()).await;
            if !replica.is_draining() {
                return;
            }
            if control.replica() == replica.address() {
                control.order(order);
            }
        }
    }
}

//! Keeps the process within its memory and its descriptors, and says when it is near their ends.
//!
//! A background task looks several times a second. What follows is read where work begins: a route
//! that may not have more ([`Overload::refuses`]), a listener that pauses ([`Overload::room`]).
//! [`crate::lane`] answers health even then.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use longhaul_policy::overload::{Level, hungriest};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::readiness::GateGuard;
use crate::shared::Shared;
use crate::supervise::{TaskError, Tasks};
use crate::telemetry::process::{self, Memory};
use crate::{faults, heap};

/// Between two looks while there is plenty.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks while more than this share of a budget is used: buffers can fill fast.
const LOOK_CLOSELY: Duration = Duration::from_millis(50);
const CLOSE: f64 = 0.6;
/// Freed memory is given back so often at most: it holds allocating threads up.
const GIVE_BACK: Duration = Duration::from_secs(2);
/// With fewer left than this, nobody gets one more.
const DESCRIPTORS_LEFT_MIN: u64 = 32;
/// What a WebSocket takes beside what it holds: its task and the kernel's part of two sockets.
const WEBSOCKET_BYTES: u64 = 8 << 10;

/// What there is a budget of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Bytes.
    Memory,
    /// Sockets and files.
    Descriptors,
}

impl Resource {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Memory, Self::Descriptors];

    /// Its name, for people and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
        }
    }
}

/// How near one budget is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Budget {
    /// What is used.
    pub(crate) used: u64,
    /// What may be. 0: nobody knows.
    pub(crate) limit: u64,
    /// What follows.
    pub(crate) level: Level,
}

impl Budget {
    fn share(&self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.used as f64 / self.limit as f64 }
    }
}

/// The budgets of one gateway.
#[derive(Debug)]
pub(crate) struct Overload {
    /// In the order of [`Resource::ALL`].
    budgets: ArcSwap<[Budget; 2]>,
    /// Times each level above calm was reached, by resource.
    reached: [[AtomicU64; 2]; 2],
    /// The route that gets no new WebSockets.
    hungriest: ArcSwapOption<String>,
    /// Whether there is one, so that a handshake costs one load.
    is_strained: AtomicBool,
    level: watch::Sender<Level>,
    /// Descriptors that were open before anybody had come: listeners, logs, what is kept for health.
    own_descriptors: OnceLock<u64>,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            budgets: ArcSwap::default(),
            reached: Default::default(),
            hungriest: ArcSwapOption::empty(),
            is_strained: AtomicBool::new(false),
            level: watch::Sender::new(Level::Calm),
            own_descriptors: OnceLock::new(),
        }
    }
}

impl Overload {
    /// Whether this route has so much that it gets no new WebSockets.
    pub(crate) fn refuses(&self, route: &str) -> bool {
        self.is_strained.load(Ordering::Relaxed)
            && self.hungriest.load().as_deref().is_some_and(|name| name.as_str() == route)
    }

    /// Whether nobody gets anything new.
    pub(crate) fn is_full(&self) -> bool {
        *self.level.borrow() == Level::Full
    }

    /// Whether it is descriptors that are used up: then even who waits holds one too many.
    pub(crate) fn is_out_of_descriptors(&self) -> bool {
        self.budgets()[1].level == Level::Full
    }

    /// Waits until somebody gets something again.
    pub(crate) async fn room(&self) {
        let mut level = self.level.subscribe();
        // The sender is ours, and so outlives the wait.
        let _ = level.wait_for(|level| *level < Level::Full).await;
    }

    /// How near each budget is.
    pub(crate) fn budgets(&self) -> [Budget; 2] {
        **self.budgets.load()
    }

    /// How often strained and full were reached.
    pub(crate) fn reached(&self, resource: usize) -> [u64; 2] {
        self.reached[resource].each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// What is short, in words.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let strained = Resource::ALL.into_iter().zip(self.budgets());
        let strained = strained.filter(|(_, budget)| budget.level > Level::Calm);
        strained.map(|(resource, budget)| self.trouble(resource, budget)).collect()
    }

    fn trouble(&self, resource: Resource, budget: Budget) -> String {
        let percent = (budget.share() * 100.0) as u64;
        let follows = match (budget.level, self.hungriest.load().as_deref()) {
            (Level::Full, _) => "nothing new is accepted".to_owned(),
            (_, Some(route)) => format!("route {route} gets no new WebSockets"),
            (_, None) => "no route has more than others".to_owned(),
        };
        format!("{percent} % of the {} budget is used: {follows}", resource.name())
    }

    /// Takes what is used now, and says what to do about it.
    fn note(&self, used: [(u64, u64); 2], shared: &Shared) -> Level {
        let before = self.budgets();
        let after = std::array::from_fn(|at| {
            let (used, limit) = used[at];
            let level = match limit {
                0 => Level::Calm,
                _ => before[at].level.after(used, limit),
            };
            Budget { used, limit, level }
        });
        self.budgets.store(Arc::new(after));
        let worst = after[0].level.max(after[1].level);
        let hungriest = (worst > Level::Calm).then(|| hungriest_route(shared, &after)).flatten();
        self.is_strained.store(hungriest.is_some(), Ordering::Relaxed);
        self.hungriest.store(hungriest);
        for (at, resource) in Resource::ALL.into_iter().enumerate() {
            self.tell(resource, at, before[at].level, after[at]);
        }
        worst
    }

    /// Lets those who wait know.
    fn announce(&self, worst: Level) {
        self.level.send_if_modified(|level| std::mem::replace(level, worst) != worst);
    }

    fn tell(&self, resource: Resource, at: usize, before: Level, now: Budget) {
        let Budget { used, limit, level } = now;
        for (place, reached) in [Level::Strained, Level::Full].into_iter().enumerate() {
            if before < reached && level >= reached {
                self.reached[at][place].fetch_add(1, Ordering::Relaxed);
            }
        }
        let name = resource.name();
        if level > before {
            warn!(resource = name, used, limit, "{}", self.trouble(resource, now));
        } else if level < before {
            info!(resource = name, used, limit, level = level.name(), "overload eases");
        }
    }
}

/// Starts to look after the budgets, until `stop`. Must be called inside the runtime that keeps
/// background tasks.
pub(crate) fn start(current: Arc<ArcSwap<Shared>>, tasks: &Tasks, stop: &CancellationToken) {
    tokio::spawn(tasks.keep_alive("overload", stop.clone(), move || watch(current.clone())));
}

async fn watch(current: Arc<ArcSwap<Shared>>) -> Result<(), TaskError> {
    let mut hold: Option<GateGuard> = None;
    let mut gave_back = Instant::now();
    loop {
        faults::point("overload")?;
        let shared = current.load_full();
        let used = [memory(&shared), descriptors(&shared)];
        let level = shared.overload.note(used, &shared);
        match level {
            Level::Full => {
                hold.get_or_insert_with(|| shared.readiness.hold("memory or descriptors"));
            }
            Level::Strained | Level::Calm => hold = None,
        }
        // Behind the hold, which would refuse those who have waited.
        shared.overload.announce(level);
        let [memory, descriptors] = shared.overload.budgets();
        if memory.level > Level::Calm && gave_back.elapsed() >= GIVE_BACK {
            // On a thread where it holds up nobody else.
            let _ = tokio::task::spawn_blocking(heap::give_back).await;
            gave_back = Instant::now();
        }
        let is_close = memory.share().max(descriptors.share()) > CLOSE;
        drop(shared);
        tokio::time::sleep(if is_close { LOOK_CLOSELY } else { LOOK }).await;
    }
}

/// Bytes used, and how many may be.
fn memory(shared: &Shared) -> (u64, u64) {
    let Memory { used, limit, .. } = process::memory(shared.config.limits.memory_bytes_max)
        .unwrap_or(Memory { used: 0, limit: 0, is_container: false });
    (used, limit)
}

/// Descriptors that connections hold, and how many there may be.
fn descriptors(shared: &Shared) -> (u64, u64) {
    let limit = process::descriptors_max().unwrap_or(0);
    let Some(open) = process::descriptors_open() else {
        // Where the system does not say it cheaply: two for each client.
        return (shared.places.taken() as u64 * 2, limit);
    };
    let own = *shared.overload.own_descriptors.get_or_init(|| open);
    // Where so few are left, a share of all says nothing any more.
    let is_out = limit > 0 && limit.saturating_sub(open) < DESCRIPTORS_LEFT_MIN;
    (if is_out { limit } else { open.saturating_sub(own) }, limit)
}

/// The route that has the most of what is short.
fn hungriest_route(shared: &Shared, budgets: &[Budget; 2]) -> Option<Arc<String>> {
    let [memory, descriptors] = budgets;
    let is_memory = memory.level >= descriptors.level;
    let sums = shared.telemetry.tallies.sums();
    let is_alone = sums.iter().filter(|(_, sum)| sum.open > 0).count() < 2;
    if is_alone && !is_memory {
        // It takes them from nobody, and whoever finds none waits. Memory grows by itself.
        return None;
    }
    let shares = sums.iter().map(|(route, sum)| {
        let held = if is_memory { sum.buffered } else { 0 };
        (route, held + sum.open * WEBSOCKET_BYTES)
    });
    hungriest(shares).map(|route| Arc::new(route.to_string()))
}

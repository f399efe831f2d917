//! Whether this process has started, may take new work, or is on its way out; and why not.
//!
//! Steps gate start-up once; holds gate new work for as long as their guard lives; draining never
//! ends. The HTTP service answers 503 while a step or a hold is open; health endpoints read it all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Shared by everything that can be unready. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    gates: Mutex<Vec<Gate>>,
    /// Start-up steps that are over, in the order of their ends.
    done: Mutex<Vec<Done>>,
    /// Mirrors `gates.is_empty()`, so that a request costs one load.
    is_gated: AtomicBool,
    is_draining: AtomicBool,
    is_leaving: AtomicBool,
    /// Told when draining starts.
    drain: Notify,
}

/// One reason not to take work, as health endpoints show it.
#[derive(Debug, Clone)]
pub struct Gate {
    id: u64,
    /// What it waits for, in words: "first answer of the app".
    pub name: String,
    /// True for start-up steps, false for later holds.
    pub is_startup: bool,
    /// Since when.
    pub since: Instant,
    /// What keeps it, where that is known.
    pub reason: Option<String>,
}

/// A start-up step that is over.
#[derive(Debug, Clone)]
pub struct Done {
    /// What was waited for.
    pub name: String,
    /// For how long.
    pub took: Duration,
}

/// An open start-up step or hold; dropping it closes it.
#[derive(Debug)]
pub struct GateGuard {
    id: u64,
    readiness: Readiness,
}

impl Readiness {
    /// Opens a start-up step: `/health/startup` and `/health/ready` say 503 until the guard drops.
    pub fn startup_step(&self, name: impl Into<String>) -> GateGuard {
        self.open(name.into(), true)
    }

    /// Opens a hold: requests get 503 with `Retry-After` and this reason until the guard drops.
    pub fn hold(&self, name: impl Into<String>) -> GateGuard {
        self.open(name.into(), false)
    }

    /// Says that the process ends: no new work from here on.
    pub fn start_draining(&self) {
        self.0.is_draining.store(true, Ordering::Release);
        self.0.drain.notify_waiters();
    }

    /// Says that another process serves from here on: who is connected is served as before, and asked
    /// to connect anew for what comes next.
    pub(crate) fn start_leaving(&self) {
        self.0.is_leaving.store(true, Ordering::Release);
        self.0.drain.notify_waiters();
    }

    /// Whether another process serves, and this one finishes what it has.
    pub fn is_leaving(&self) -> bool {
        self.0.is_leaving.load(Ordering::Acquire)
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Acquire)
    }

    /// Waits until the process is on its way out.
    pub async fn draining(&self) {
        // Made before the look, so that it is told even if draining starts in between.
        let told = self.0.drain.notified();
        if !self.is_draining() && !self.is_leaving() {
            told.await;
        }
    }

    /// Whether new work is welcome. One or two loads; no lock.
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && !self.0.is_gated.load(Ordering::Acquire)
    }

    /// The start-up steps that are over.
    pub fn done(&self) -> Vec<Done> {
        self.0.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is being waited for, oldest first.
    pub fn gates(&self) -> Vec<Gate> {
        self.lock().clone()
    }

    fn open(&self, name: String, is_startup: bool) -> GateGuard {
        let mut gates = self.lock();
        let id = gates.last().map_or(0, |gate| gate.id + 1);
        gates.push(Gate { id, name, is_startup, since: Instant::now(), reason: None });
        self.0.is_gated.store(true, Ordering::Release);
        GateGuard { id, readiness: self.clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Gate>> {
        self.0.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GateGuard {
    /// Says what keeps it.
    pub(crate) fn explain(&self, reason: Option<String>) {
        let mut gates = self.readiness.lock();
        if let Some(gate) = gates.iter_mut().find(|gate| gate.id == self.id) {
            gate.reason = reason;
        }
    }
}

impl Drop for GateGuard {
    fn drop(&mut self) {
        let mut gates = self.readiness.lock();
        if let Some(at) = gates.iter().position(|gate| gate.id == self.id) {
            let Gate { name, is_startup, since, .. } = gates.remove(at);
            if is_startup {
                let done = Done { name, took: since.elapsed() };
                let all = &self.readiness.0.done;
                all.lock().unwrap_or_else(PoisonError::into_inner).push(done);
            }
        }
        self.readiness.0.is_gated.store(!gates.is_empty(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_welcome_once_every_gate_closed() {
        let readiness = Readiness::default();
        let step = readiness.startup_step("listeners");
        let hold = readiness.hold("the app restarts");
        assert!(!readiness.is_ready());
        drop(step);
        hold.explain(Some("it is new".to_owned()));
        assert_eq!(readiness.gates()[0].name, "the app restarts");
        assert_eq!(readiness.gates()[0].reason.as_deref(), Some("it is new"));
        drop(hold);
        assert!(readiness.is_ready());
        let done = readiness.done();
        assert_eq!(done.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["listeners"]);
        readiness.start_draining();
        assert!(!readiness.is_ready());
    }
}

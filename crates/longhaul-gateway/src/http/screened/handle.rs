//! What the service sees of a screened stream, and what it tells it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use longhaul_proto::http1::Violation;

/// What the service sees of a [`Screened`](super::Screened) stream. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ScreenHandle {
    pub(super) shared: Arc<Shared>,
}

/// Held while a request is answered, until its last byte was given to hyper: its connection is not
/// idle.
#[derive(Debug)]
#[must_use = "the connection counts as idle once this is dropped"]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
}

/// A head that was refused, to be answered with `Connection: close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What is wrong with it: status, public reason, section.
    pub(crate) violation: Violation,
    /// False for a HEAD request, whose answer must not have a body.
    pub(crate) wants_body: bool,
}

/// What both know of one connection.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Requests whose answer was given to hyper.
    answered: AtomicUsize,
    /// The connection's task, to be told of that.
    idle: AtomicWaker,
    refusal: Mutex<Option<Refusal>>,
}

impl ScreenHandle {
    /// The refusal that this request stands in for. No request of a client's is ever taken for one.
    pub(crate) fn take_refusal<B>(&self, request: &http::Request<B>) -> Option<Refusal> {
        if request.method() != http::Method::TRACE {
            return None;
        }
        self.shared.refusal().take()
    }

    /// Says that a request is being answered; to be called once for each. Keep what this returns in
    /// the response's body: the connection counts as idle when it is dropped.
    pub(crate) fn begin_exchange(&self) -> Exchange {
        Exchange { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.answered.fetch_add(1, Ordering::AcqRel);
        self.shared.idle.wake();
    }
}

impl Shared {
    /// How many requests were answered. The task of `waker` is told when that changes.
    pub(super) fn answered(&self, waker: &Waker) -> usize {
        // Registered before the look, so that no change is missed.
        self.idle.register(waker);
        self.answered.load(Ordering::Acquire)
    }

    /// Leaves word for whoever meets the stand-in.
    pub(super) fn refuse(&self, refusal: Refusal) {
        *self.refusal() = Some(refusal);
    }

    fn refusal(&self) -> MutexGuard<'_, Option<Refusal>> {
        // A plain value is whole whoever panicked while holding it.
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The violation that made a body end, if `error` or what caused it carries one.
pub(crate) fn violation_of(error: &(dyn std::error::Error + 'static)) -> Option<Violation> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        if let Some(violation) = inner.and_then(|inner| inner.downcast_ref::<Violation>()) {
            return Some(*violation);
        }
        cause = error.source();
    }
    None
}

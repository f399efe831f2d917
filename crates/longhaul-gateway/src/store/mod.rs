//! What gateways of one deployment share: small things for moments, at a store that speaks the protocol
//! of Redis.
//!
//! Two operations are all there is, [`Store::put`] and [`Store::take`]: whatever else may be a store one
//! day has to do these. An operation takes no longer than the configuration says, and none waits for a
//! store that is known to be away. `link` is one connection to it, `upkeep` has it connected again.

mod link;
mod upkeep;

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::link::{Link, in_words};
use crate::config::StoreConfig;
use crate::readiness::{GateGuard, Readiness};
use crate::supervise::Tasks;
use crate::telemetry::families as f;
use crate::telemetry::series::{Counters, Histograms};

/// The name of its task, and of the start-up step.
const NAME: &str = "store";

/// A store, connected or not.
#[derive(Debug)]
pub(crate) struct Store {
    config: StoreConfig,
    state: watch::Sender<State>,
    pub(crate) operations: Counters,
    pub(crate) seconds: Histograms,
}

/// How it stands with the store at one moment.
#[derive(Debug, Clone)]
struct State {
    /// `None`: it is away.
    link: Option<Link>,
    /// Since when that is so.
    since: Instant,
    /// Why it is away, in words; `None` before the first try has ended.
    reason: Option<String>,
}

/// How it stands with the store, for people.
#[derive(Debug, Clone)]
pub struct StoreSnapshot {
    /// Where it is, without what proves who asks.
    pub address: String,
    /// Whether it is connected, and answered when it was asked last.
    pub is_answering: bool,
    /// Since when that is so.
    pub since: Instant,
    /// Why it does not answer, if it does not.
    pub reason: Option<String>,
}

/// Why an operation was not done. A store that did not answer may have done it all the same.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the store is away: {0}")]
    Away(String),
    #[error("the store did not answer in {0:?}")]
    TimedOut(Duration),
    #[error("the store fails: {0}")]
    Failed(String),
}

/// What it is asked to do, as metrics call it.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Put,
    Take,
    Ping,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Take => "take",
            Self::Ping => "ping",
        }
    }
}

impl Store {
    pub(crate) fn new(config: StoreConfig) -> Self {
        let state = State { link: None, since: Instant::now(), reason: None };
        Self {
            config,
            state: watch::Sender::new(state),
            operations: Counters::new(&f::STORE_OPERATIONS),
            seconds: Histograms::new(&f::STORE_SECONDS),
        }
    }

    /// Keeps it connected until `stop`. Must be called inside the runtime that keeps background tasks.
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks, stop: &CancellationToken) {
        let store = self.clone();
        let kept = tasks.keep_alive(NAME, stop.clone(), move || upkeep::tend(store.clone()));
        drop(tokio::spawn(kept));
    }

    /// Makes its first answer a start-up step, where the configuration wants that. What keeps it is said
    /// along with the step.
    ///
    /// Who takes over from another process gives it one try: what that one has served without, clients
    /// need not be refused for, and tickets need not be, if the store is there.
    pub(crate) fn hold_start(
        self: &Arc<Self>,
        readiness: &Readiness,
        is_takeover: bool,
        stop: &CancellationToken,
    ) {
        let patience = match (is_takeover, self.config.is_required) {
            (true, _) => Some(self.config.connect_timeout),
            (false, true) => None,
            (false, false) => return,
        };
        let step = readiness.startup_step(NAME);
        let (mut changes, stop) = (self.state.subscribe(), stop.clone());
        // A panic in here would drop the step as well, so it cannot hold up the start.
        tokio::spawn(async move {
            let answered = changes.wait_for(|state| {
                step.explain(state.reason.clone());
                state.link.is_some()
            });
            let waited = async {
                match patience {
                    Some(patience) => drop(tokio::time::timeout(patience, answered).await),
                    None => drop(answered.await),
                }
            };
            let _ = stop.run_until_cancelled(waited).await;
            drop::<GateGuard>(step);
        });
    }

    /// Keeps a value under a name that nobody has used, for as long as `life`.
    ///
    /// # Errors
    /// [`StoreError`]; it may be there all the same.
    pub(crate) async fn put(
        &self,
        name: &str,
        value: &[u8],
        life: Duration,
    ) -> Result<(), StoreError> {
        let command = link::put(&self.key(name), value, life);
        match self.ask(Operation::Put, &command).await? {
            Value::Okay => Ok(()),
            // As many bits as a name has do not come twice.
            _ => Err(StoreError::Failed("the name is taken".to_owned())),
        }
    }

    /// Takes a value away: of all who ask for it, on whichever gateway, one gets it.
    ///
    /// # Errors
    /// [`StoreError`]; it may be gone all the same.
    pub(crate) async fn take(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let answer = self.ask(Operation::Take, &link::take(&self.key(name))).await?;
        match answer {
            Value::BulkString(value) => Ok(Some(value)),
            _ => Ok(None),
        }
    }

    /// How it stands with the store.
    pub(crate) fn snapshot(&self) -> StoreSnapshot {
        let State { link, since, reason } = self.state.borrow().clone();
        StoreSnapshot {
            address: self.config.address.to_string(),
            is_answering: link.is_some(),
            since,
            reason: if link.is_some() { None } else { Some(self.why(reason)) },
        }
    }

    async fn ask(&self, operation: Operation, command: &Cmd) -> Result<Value, StoreError> {
        let state = self.state.borrow().clone();
        let Some(link) = state.link else {
            self.operations.count(&[operation.name(), "away"]);
            return Err(StoreError::Away(self.why(state.reason)));
        };
        self.ask_by(&link, operation, command).await
    }

    /// Asks over one connection, in time, and counts how that went.
    async fn ask_by(
        &self,
        link: &Link,
        operation: Operation,
        command: &Cmd,
    ) -> Result<Value, StoreError> {
        let began = Instant::now();
        let answer = tokio::time::timeout(self.config.answer, link.send(command)).await;
        let (outcome, answer) = match answer {
            Ok(Ok(value)) => ("done", Ok(value)),
            Ok(Err(error)) => ("failed", Err(StoreError::Failed(in_words(&error)))),
            Err(_) => ("timed_out", Err(StoreError::TimedOut(self.config.answer))),
        };
        self.operations.count(&[operation.name(), outcome]);
        self.seconds.observe(&[operation.name()], began.elapsed());
        answer
    }

    fn announce(&self, link: Option<Link>, reason: Option<String>) {
        self.state.send_modify(|state| {
            if state.link.is_some() != link.is_some() {
                state.since = Instant::now();
            }
            state.link = link;
            state.reason = reason;
        });
    }

    fn why(&self, reason: Option<String>) -> String {
        let reason = reason.unwrap_or_else(|| "the first connection is under way".to_owned());
        format!("{}: {reason}", self.config.address)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.config.prefix)
    }
}

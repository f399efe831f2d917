//! Asks a service about tokens, without ever waiting for one that does not answer.
//!
//! Each question is asked once, however many wait for the answer, in a task of its own: who gives up
//! waiting does not take the answer away from the others. A question has one deadline, for its wait
//! in line, the lookup, the connection, TLS, and every try. A service that fails is left alone, and a
//! background check knows that it is dead before anybody asks.
//!
//! Start at [`Validator::judge`].

mod exchange;
mod health;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use longhaul_policy::admission::breaker::{Breaker, Leave};
use longhaul_policy::admission::verdicts::{Answer, Question, Verdicts};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::exchange::Asking;
use crate::config::{Asks, ServiceAuthority};
use crate::fetch::Fetch;
use crate::supervise::Tasks;

/// Asks one service.
#[derive(Debug)]
pub(crate) struct Validator {
    name: String,
    config: ServiceAuthority,
    fetch: Fetch,
    /// One for each question that may be under way; the others wait in line.
    slots: Semaphore,
    breaker: Mutex<Breaker>,
    verdicts: Mutex<Verdicts>,
    /// Questions that were asked and not yet answered, in line or under way.
    flights: Mutex<HashMap<Question, watch::Receiver<Option<Outcome>>>>,
    pub(crate) counters: Counters,
    /// Where questions are asked: a worker has connections of its own to look after.
    runtime: Handle,
}

/// What became of questions, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Answered from memory.
    pub(crate) hits: AtomicU64,
    /// Served from memory past its time, for want of somebody to ask.
    pub(crate) stale: AtomicU64,
    /// Sent to the service.
    pub(crate) asked: AtomicU64,
    /// Not answered in time, or not understood.
    pub(crate) failed: AtomicU64,
    /// Refused at once because the service was known not to answer: each would have been a timeout.
    pub(crate) prevented: AtomicU64,
}

/// What came of a question.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Answered(Answer),
    /// Nobody can say; in words for the log, and when to ask again.
    Unavailable {
        reason: String,
        retry_after: Duration,
    },
}

/// How a service fares.
#[derive(Debug, Clone)]
pub struct ServiceSnapshot {
    /// The name of its authority.
    pub name: String,
    /// `closed` (it is asked), `open` (it failed too often), `half_open` (one is asking), or `sick`
    /// (its health check fails).
    pub breaker: &'static str,
    /// How often the breaker opened.
    pub opened: u64,
    /// Answers from memory.
    pub cache_hits: u64,
    /// Answers from memory past their time.
    pub cache_stale: u64,
    /// Questions that were sent.
    pub asked: u64,
    /// Those without an answer.
    pub failed: u64,
    /// Refusals at once that would have been timeouts.
    pub prevented: u64,
    /// Questions in line or under way.
    pub waiting: usize,
}

impl Validator {
    /// Must be called inside the runtime that shall ask.
    pub(crate) fn new(name: &str, config: &ServiceAuthority) -> Self {
        Self {
            name: name.to_owned(),
            fetch: Fetch::new(config.service.clone(), config.connections_max),
            slots: Semaphore::new(config.connections_max),
            breaker: Mutex::new(Breaker::new(config.breaker)),
            verdicts: Mutex::new(Verdicts::new(config.cache)),
            flights: Mutex::default(),
            counters: Counters::default(),
            runtime: Handle::current(),
            config: config.clone(),
        }
    }

    /// Starts the health check; it ends with `stop`.
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks, stop: &CancellationToken) {
        if let Some(check) = self.config.health.clone() {
            health::start(self, check, tasks, stop);
        }
    }

    /// What the service says of a token, or of a request. The answer comes by `deadline`, as far as
    /// the service is concerned; the caller has a deadline of its own.
    pub(crate) async fn judge(
        self: &Arc<Self>,
        token: Option<&str>,
        head: &Parts,
        deadline: Instant,
    ) -> Outcome {
        let asking = Asking::new(&self.config, token, head);
        let now = Instant::now();
        if let Some(answer) = lock(&self.verdicts).fresh(&asking.question, now) {
            self.counters.hits.fetch_add(1, Ordering::Relaxed);
            return Outcome::Answered(answer);
        }
        let question = asking.question;
        let outcome = match self.join(asking, deadline) {
            Ok(mut flight) => {
                // An error means that the task panicked, which has been logged.
                let landed = flight.wait_for(Option::is_some).await;
                landed.ok().and_then(|outcome| outcome.clone())
            }
            Err(refused) => Some(refused),
        };
        let outcome = outcome.unwrap_or_else(|| unavailable("asking it went wrong"));
        match outcome {
            Outcome::Unavailable { .. } => self.stale(&question).unwrap_or(outcome),
            answered => answered,
        }
    }

    pub(crate) fn asks(&self) -> &Asks {
        &self.config.asks
    }

    pub(crate) fn snapshot(&self) -> ServiceSnapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let breaker = lock(&self.breaker);
        ServiceSnapshot {
            name: self.name.clone(),
            breaker: breaker.name(Instant::now()),
            opened: breaker.opened(),
            cache_hits: count(&self.counters.hits),
            cache_stale: count(&self.counters.stale),
            asked: count(&self.counters.asked),
            failed: count(&self.counters.failed),
            prevented: count(&self.counters.prevented),
            waiting: lock(&self.flights).len(),
        }
    }

    /// Waits for the answer to a question that is under way, or asks it.
    fn join(
        self: &Arc<Self>,
        asking: Asking,
        deadline: Instant,
    ) -> Result<watch::Receiver<Option<Outcome>>, Outcome> {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&asking.question) {
            return Ok(flight.clone());
        }
        if flights.len() >= self.config.connections_max + self.config.waiting_max {
            return Err(unavailable("too many questions wait for it (waiting_max)"));
        }
        let leave = lock(&self.breaker).ask(Instant::now());
        if let Leave::Wait(retry_after) = leave {
            self.counters.prevented.fetch_add(1, Ordering::Relaxed);
            let reason = "it is known not to answer".to_owned();
            return Err(Outcome::Unavailable { reason, retry_after });
        }
        let is_trial = leave == Leave::Try;
        let (sender, receiver) = watch::channel(None);
        flights.insert(asking.question, receiver.clone());
        drop(flights);
        let (validator, question) = (self.clone(), asking.question);
        let flight = Flight { validator, question, is_trial, sender };
        drop(self.runtime.spawn(flight.fly(asking, deadline)));
        Ok(receiver)
    }

    /// A yes from before, where it may count past its time.
    fn stale(&self, question: &Question) -> Option<Outcome> {
        let grant = lock(&self.verdicts).stale(question, Instant::now(), SystemTime::now())?;
        self.counters.stale.fetch_add(1, Ordering::Relaxed);
        Some(Outcome::Answered(Answer::Granted(grant)))
    }

    /// Asks, in line with others, as often as may be.
    async fn ask(&self, asking: &Asking, is_trial: bool) -> Result<Answer, String> {
        let _slot = self.slots.acquire().await.map_err(|_| "it is not asked any more")?;
        if !is_trial && !lock(&self.breaker).is_worth_waiting_for(Instant::now()) {
            return Err("it stopped answering those who were first in line".to_owned());
        }
        let mut tries_left = self.config.retries;
        loop {
            self.counters.asked.fetch_add(1, Ordering::Relaxed);
            match exchange::ask(&self.fetch, &self.config, asking).await {
                Ok(answer) => return Ok(answer),
                Err(failure) if tries_left == 0 || !failure.may_be_repeated => {
                    return Err(failure.reason);
                }
                Err(_) => {
                    tries_left -= 1;
                    tokio::time::sleep(RETRY_PAUSE.mul_f64(0.5 + fastrand::f64())).await;
                }
            }
        }
    }

    fn note(&self, asked: &Result<Answer, String>) {
        let now = Instant::now();
        match asked {
            Ok(_) => {
                let mut breaker = lock(&self.breaker);
                let was = breaker.name(now);
                breaker.note_success();
                drop(breaker);
                if was != "closed" {
                    info!(authority = self.name, "the authentication service answers again");
                }
            }
            Err(reason) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                if lock(&self.breaker).note_failure(now) {
                    let recovery_s = self.config.breaker.recovery.as_secs_f64();
                    warn!(
                        authority = self.name, service = %self.config.service, reason, recovery_s,
                        "the authentication service does not answer; it is left alone for a while"
                    );
                }
            }
        }
    }
}

/// Between two tries of one question.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// One question under way. Dropping it, as a panic does, lets all who wait go.
struct Flight {
    validator: Arc<Validator>,
    question: Question,
    /// Whether it is the one by which a service that failed is tried again.
    is_trial: bool,
    sender: watch::Sender<Option<Outcome>>,
}

impl Flight {
    async fn fly(self, asking: Asking, deadline: Instant) {
        let validator = &self.validator;
        let asked = match timeout_at(deadline.into(), validator.ask(&asking, self.is_trial)).await {
            Ok(asked) => asked,
            Err(_) => Err("no answer within the deadline".to_owned()),
        };
        validator.note(&asked);
        let outcome = match asked {
            Ok(answer) => {
                let (now, wall) = (Instant::now(), SystemTime::now());
                let mut verdicts = lock(&validator.verdicts);
                verdicts.remember(self.question, answer.clone(), now, wall);
                Outcome::Answered(answer)
            }
            Err(reason) => unavailable(&reason),
        };
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        lock(&self.validator.flights).remove(&self.question);
    }
}

fn unavailable(reason: &str) -> Outcome {
    Outcome::Unavailable { reason: reason.to_owned(), retry_after: Duration::from_secs(2) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

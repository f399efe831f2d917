//! The handshake a session began with, offered again to one replica after the other until one takes
//! it.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::SEC_WEBSOCKET_KEY;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use longhaul_policy::forwarded::Client;
use longhaul_policy::redial::{self, Answer, judge};
use longhaul_proto::proxy_protocol::Ends;
use longhaul_proto::redial::{Polled, Profile};
use longhaul_proto::session::Cause;
use longhaul_proto::websocket::handshake;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use super::{Agreed, RedialTerms, profile};
use crate::dial::Dial;
use crate::http::visit::Visit;
use crate::relay::Leg;
use crate::shared::Shared;
use crate::transport::Transport;
use crate::upgrade::{self, NoLeg};
use crate::upstream::{Held, Upstream};
use crate::worker::Worker;

/// The same for all legs of one session. No secret, and nobody can guess another's.
const SESSION: HeaderName = HeaderName::from_static("longhaul-session");
/// Counts the legs of a session from 1.
const LEG: HeaderName = HeaderName::from_static("longhaul-leg");
/// Why there is a new leg: `new`, `drain` or `crash`.
const REASON: HeaderName = HeaderName::from_static("longhaul-reason");
/// The client's messages, counted from 1, of which nobody knows whether the replica before had read
/// them: `FIRST-LAST`.
const UNCERTAIN: HeaderName = HeaderName::from_static("longhaul-uncertain");

/// Everything that is needed to dial for a session once more.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(super) worker: Arc<Worker>,
    /// By name: what holds when a leg is dialled need not be what held when the client came.
    pub(super) route: Arc<str>,
    pub(super) client: Client,
    pub(super) ends: Ends,
    pub(super) head: Parts,
    pub(super) agreed: Agreed,
    pub(super) profile: Profile,
    /// Of an Engine.IO session that began with long-polling.
    pub(super) sid: Option<String>,
    pub(super) give_up: Duration,
    pub(super) unrest: Mutex<Option<Unrest>>,
    /// Joins its lines in the log.
    pub(super) log_id: u64,
}

/// Why a leg is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// The replica died, hung or closed.
    Crash,
    /// It drains.
    Drain,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::Drain => "drain",
        })
    }
}

/// One search for a replica.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Errand {
    pub(crate) leg: u32,
    pub(crate) reason: Reason,
    pub(crate) uncertain: Option<(u64, u64)>,
    /// The replica that was lost or is left: not the first to be tried.
    pub(crate) before: Option<SocketAddr>,
}

/// A leg that is lost sooner was none: the search for it goes on, with its pauses and its deadline.
/// So a replica that takes every handshake and drops it is not dialled without end.
const LASTS: Duration = Duration::from_secs(1);

/// The last search that found a leg.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unrest {
    pub(super) began: Instant,
    pub(super) tries: u32,
    pub(super) found_at: Instant,
}

/// A connection to a replica that took the handshake.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) io: Transport,
    /// What was read beyond the handshake.
    pub(crate) ahead: Bytes,
    pub(crate) held: Held,
}

/// A search under way. Dropping it ends it.
///
/// A task of its own: the handshake borrows the worker's scratch buffer, which the relay that waits
/// for it may just be reading into.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) errand: Errand,
    /// With those before it that found nothing that lasted.
    pub(crate) began: Instant,
    task: AbortOnDropHandle<Result<Wire, Cause>>,
}

impl Search {
    /// Ready with what was found, or why nothing was.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Wire, Cause>> {
        // A panic in there was logged; it has found nothing.
        let nothing = |_| Err(Cause::RedialGaveUp(Duration::ZERO));
        Pin::new(&mut self.task).poll(cx).map(|ended| ended.unwrap_or_else(nothing))
    }
}

/// Why one try brought no leg.
enum Miss {
    /// No replica will have this client.
    Final(StatusCode),
    /// This replica answers otherwise than the first: the client could not follow it.
    Unusable(SocketAddr),
    /// Another try may do better.
    Again,
}

/// Marks a session's first handshake, so that replicas can tell it from a later one.
pub(crate) fn introduce(headers: &mut HeaderMap) {
    let session = format!("{:032x}", fastrand::u128(..));
    if let Ok(session) = HeaderValue::try_from(session) {
        headers.insert(SESSION, session);
    }
    headers.insert(LEG, HeaderValue::from_static("1"));
    headers.insert(REASON, HeaderValue::from_static("new"));
}

impl Origin {
    /// `head` is the handshake as the first replica got it, and `answer` what it said.
    pub(crate) fn new(
        visit: &Visit<'_>,
        head: &Parts,
        answer: &HeaderMap,
        terms: &RedialTerms,
        log_id: u64,
    ) -> Self {
        let mut head = head.clone();
        let profile = profile::of(terms.profile, &head, answer);
        let sid = match profile {
            Profile::SocketIo { .. } => profile::forget_session(&mut head),
            Profile::Plain | Profile::GraphQl => None,
        };
        Self {
            worker: visit.worker.clone(),
            route: visit.shared.relay_policy(visit.route).route.clone(),
            client: visit.client,
            ends: visit.ends,
            head,
            agreed: Agreed::of(answer),
            profile,
            sid,
            give_up: terms.give_up,
            unrest: Mutex::default(),
            log_id,
        }
    }

    /// What the session speaks.
    pub(crate) fn profile(&self) -> Profile {
        self.profile
    }

    /// What the client said over long-polling before its WebSocket took over.
    pub(super) fn polled(&self) -> Option<Polled> {
        self.upstream()?.overheard().take(self.sid.as_deref()?)
    }

    /// Looks for a replica until one takes the handshake, all refuse the client, or the time is over.
    pub(crate) fn search(self: &Arc<Self>, errand: Errand) -> Search {
        let origin = Arc::clone(self);
        let asked_at = Instant::now();
        let unrest = self.unrest_at(asked_at);
        let task = tokio::spawn(async move { origin.find(errand, unrest, asked_at).await });
        Search { errand, began: unrest.began, task: AbortOnDropHandle::new(task) }
    }

    async fn find(&self, errand: Errand, unrest: Unrest, asked_at: Instant) -> Result<Wire, Cause> {
        let Unrest { began, tries: tries_before, .. } = unrest;
        let gave_up = Cause::RedialGaveUp(self.give_up);
        let mut unusable: Vec<SocketAddr> = Vec::new();
        let mut changes = self.upstream().map(|upstream| upstream.changes());
        for tries in tries_before.. {
            let pause = redial::pause(tries, began.elapsed(), fastrand::f64());
            let left = self.give_up.saturating_sub(began.elapsed());
            // A replica that is found well again need not be waited for any longer.
            tokio::select! {
                () = sleep(pause.min(left)) => {}
                // All that wait are told at once, and should not come at once.
                () = changed(&mut changes), if tries > 0 => {
                    sleep(redial::pause(0, Duration::ZERO, fastrand::f64()).min(left)).await;
                }
            }
            let left = self.give_up.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            let mut avoided = unusable.clone();
            avoided.extend(errand.before.filter(|_| tries == tries_before));
            match timeout(left, self.attempt(errand, &avoided)).await {
                Ok(Ok(wire)) => {
                    let found_at = Instant::now();
                    *self.lock_unrest() = Some(Unrest { began, tries: tries + 1, found_at });
                    self.log(errand, &wire, asked_at);
                    return Ok(wire);
                }
                Ok(Err(Miss::Final(status))) => return Err(Cause::RedialRefused(status.as_u16())),
                Ok(Err(Miss::Unusable(replica))) => unusable.push(replica),
                Ok(Err(Miss::Again)) => {}
                Err(_) => break,
            }
        }
        Err(gave_up)
    }

    /// Where a search stands that begins now: behind the last one, if what that found did not last.
    fn unrest_at(&self, now: Instant) -> Unrest {
        let last = self.lock_unrest().take();
        let goes_on = |last: &Unrest| now.duration_since(last.found_at) < LASTS;
        last.filter(goes_on).unwrap_or(Unrest { began: now, tries: 0, found_at: now })
    }

    pub(super) fn lock_unrest(&self) -> MutexGuard<'_, Option<Unrest>> {
        self.unrest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attempt(&self, errand: Errand, avoided: &[SocketAddr]) -> Result<Wire, Miss> {
        let shared = self.worker.current.load_full();
        let visit = self.visit(&shared).ok_or(Miss::Again)?;
        let head = self.head_for(errand);
        let mut dial = Dial::new(visit.upstream(), Some(&head), visit.client.address, visit.ends);
        dial.avoid(avoided);
        let another = match upgrade::another_leg(&visit, &head, &mut dial).await {
            Ok(another) => another,
            Err(no_leg) => {
                let cause = match &no_leg {
                    NoLeg::Failed(failure) => failure.refusal.cause(),
                    NoLeg::Answered(_) | NoLeg::Invalid(_) | NoLeg::Broken => "answer",
                };
                debug!(id = self.log_id, cause, ?no_leg, "no leg yet");
                return Err(match no_leg {
                    NoLeg::Answered(status) if judge(status.as_u16()) == Answer::Final => {
                        Miss::Final(status)
                    }
                    NoLeg::Invalid(replica) => Miss::Unusable(replica),
                    NoLeg::Failed(_) | NoLeg::Answered(_) | NoLeg::Broken => Miss::Again,
                });
            }
        };
        let replica = another.held.replica().address();
        if Agreed::of(&another.answer) != self.agreed {
            info!(id = self.log_id, %replica, "answers otherwise; not used");
            return Err(Miss::Unusable(replica));
        }
        let Leg { io, read_ahead, greeting: _ } = another.leg;
        Ok(Wire { io, ahead: read_ahead, held: another.held })
    }

    /// The session as a request of this moment. `None` while its route is gone from the config.
    fn visit<'a>(&'a self, shared: &'a Arc<Shared>) -> Option<Visit<'a>> {
        let route = shared.find_route(&self.route)?;
        let Self { worker, client, ends, .. } = self;
        Some(Visit { worker, shared, route, client: *client, ends: *ends })
    }

    fn upstream(&self) -> Option<Arc<Upstream>> {
        let shared = self.worker.current.load_full();
        Some(self.visit(&shared)?.upstream().clone())
    }

    fn head_for(&self, errand: Errand) -> Parts {
        let mut head = self.head.clone();
        let headers = &mut head.headers;
        let mut set = |name, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        set(SEC_WEBSOCKET_KEY, handshake::new_key(fastrand::u128(..).to_be_bytes()));
        set(LEG, errand.leg.to_string());
        set(REASON, errand.reason.to_string());
        if let Some((first, last)) = errand.uncertain {
            set(UNCERTAIN, format!("{first}-{last}"));
        }
        head
    }

    /// Says in the log that a replica was lost, and with it perhaps these messages.
    pub(crate) fn log_loss(
        &self,
        replica: SocketAddr,
        reason: Reason,
        uncertain: Option<(u64, u64)>,
    ) {
        self.count_uncertain(uncertain);
        let (first, last) = (uncertain.map(|it| it.0), uncertain.map(|it| it.1));
        info!(
            id = self.log_id, %replica, %reason, uncertain = count(uncertain),
            uncertain_first = first, uncertain_last = last,
            "websocket lost its replica"
        );
    }

    /// Says that a replica that was left in good order went without a word on these messages, the
    /// last it was sent.
    pub(super) fn log_silent_leave(&self, replica: SocketAddr, (first, last): (u64, u64)) {
        let uncertain = Some((first, last));
        self.count_uncertain(uncertain);
        info!(
            id = self.log_id, %replica, uncertain = count(uncertain),
            uncertain_first = first, uncertain_last = last,
            "the replica before ended without saying what it had read"
        );
    }

    fn count_uncertain(&self, uncertain: Option<(u64, u64)>) {
        let shared = self.worker.current.load();
        shared.telemetry.uncertain_messages.add(&[&self.route], count(uncertain));
    }

    fn log(&self, errand: Errand, wire: &Wire, began: Instant) {
        info!(
            id = self.log_id,
            from = errand.before.map(tracing::field::display),
            replica = %wire.held.replica().address(),
            reason = %errand.reason,
            leg = errand.leg,
            took_s = (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            uncertain = count(errand.uncertain),
            "websocket has a new replica"
        );
    }
}

/// Wakes when something about the replicas may have changed; never where nobody says so.
async fn changed(changes: &mut Option<watch::Receiver<()>>) {
    let has_changed = match changes {
        Some(changes) => changes.changed().await.is_ok(),
        None => false,
    };
    if !has_changed {
        std::future::pending().await
    }
}

fn count(uncertain: Option<(u64, u64)>) -> u64 {
    uncertain.map_or(0, |(first, last)| last - first + 1)
}

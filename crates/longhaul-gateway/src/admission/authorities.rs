//! Those who judge tokens, running: with their keys, and what keeps these fresh.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderName;
use http::request::Parts;
use longhaul_policy::admission::verdicts::Answer;
use longhaul_policy::token::{Grant, TokenFault, TokenRules, Unverified};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::rechecks::{Recheck, Rechecks};
use crate::config::{Asks, Authority, AuthorityKind, JwtAuthority};
use crate::keys::KeySet;
use crate::keys::remote::{RemoteKeys, keep_fresh};
use crate::readiness::{GateGuard, Readiness};
use crate::supervise::Tasks;
use crate::validate::{Outcome, ServiceSnapshot, Validator};

/// One of them.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) config: Authority,
    kind: Kind,
    /// Ends what it has in the background.
    background: OnceLock<DropGuard>,
}

#[derive(Debug)]
enum Kind {
    Jwt(JwtJudge),
    Service(Arc<Validator>),
}

#[derive(Debug)]
struct JwtJudge {
    rules: TokenRules,
    keys: KeySet,
    remote: Option<Arc<RemoteKeys>>,
}

/// What one of them says.
#[derive(Debug)]
pub(super) enum Verdict {
    Granted(Grant),
    /// The token is worth nothing here. In words for the log.
    Worthless(String),
    /// The token is good, and not for this. In words for the log.
    Forbidden(String),
    /// Nobody can say. In words for the log.
    Unavailable {
        reason: String,
        retry_after: Duration,
    },
}

impl Judge {
    pub(super) fn new(config: &Authority) -> Self {
        let kind = match &config.kind {
            AuthorityKind::Jwt(jwt) => Kind::Jwt(JwtJudge::new(jwt)),
            AuthorityKind::Service(service) => {
                Kind::Service(Arc::new(Validator::new(&config.name, service)))
            }
        };
        Self { config: config.clone(), kind, background: OnceLock::new() }
    }

    /// Starts what it needs in the background; ends with `stop`, or with this.
    pub(super) fn start(&self, tasks: &Tasks, stop: &CancellationToken) {
        let stop = &stop.child_token();
        self.background.get_or_init(|| stop.clone().drop_guard());
        match &self.kind {
            Kind::Jwt(jwt) => {
                if let Some(remote) = &jwt.remote {
                    keep_fresh(remote, &self.config.name, tasks, stop);
                }
            }
            Kind::Service(validator) => validator.start(tasks, stop),
        }
    }

    /// Makes the first key set a start-up step, for as long as the start may wait for it.
    pub(super) fn hold_start(&self, readiness: &Readiness, stop: &CancellationToken) {
        let (Kind::Jwt(judge), AuthorityKind::Jwt(config)) = (&self.kind, &self.config.kind) else {
            return;
        };
        let wait = config.key_set.as_ref().and_then(|set| set.start_wait);
        let Some((remote, wait)) = judge.remote.clone().zip(wait) else { return };
        let step = readiness.startup_step(format!("key set of {}", self.config.name));
        let (authority, stop) = (self.config.name.clone(), stop.clone());
        // A panic in here would drop the step as well, so it cannot hold up the start.
        tokio::spawn(async move {
            let fetched = tokio::time::timeout(wait, remote.fetched());
            if let Some(Err(_)) = stop.run_until_cancelled(fetched).await {
                warn!(authority, "started without its key set: who needs it is refused");
            }
            drop::<GateGuard>(step);
        });
    }

    /// Judges a request by the token in it, or by all of it. `None`: there is nothing to judge. The
    /// caller has the deadline, and tells it to those who would work on in vain.
    pub(super) async fn judge(&self, head: &Parts, deadline: Instant) -> Option<Verdict> {
        let sources = self.config.sources.iter();
        let token = sources.filter_map(|source| source.find(&head.headers, &head.uri)).next();
        match &self.kind {
            Kind::Jwt(jwt) => Some(jwt.judge(&token?).await),
            Kind::Service(validator) => {
                if token.is_none() && !matches!(validator.asks(), Asks::Forward) {
                    return None;
                }
                Some(validator.judge(token.as_deref(), head, deadline).await.into())
            }
        }
    }

    /// Judges a token that came by another way than a request. `head` is what a service is shown that
    /// judges by a whole one.
    pub(super) async fn judge_token(
        &self,
        token: &str,
        head: &Parts,
        deadline: Instant,
    ) -> Verdict {
        match &self.kind {
            Kind::Jwt(jwt) => jwt.judge(token).await,
            Kind::Service(validator) => validator.judge(Some(token), head, deadline).await.into(),
        }
    }

    /// How to ask again about who was let in by this request. `None`: nobody wants that, or the request
    /// does not carry what was judged (a ticket).
    pub(super) fn recheck(&self, head: &Parts, rechecks: &Arc<Rechecks>) -> Option<Box<Recheck>> {
        let every = self.revalidate()?;
        let sources = self.config.sources.iter();
        let token = sources.filter_map(|source| source.find(&head.headers, &head.uri)).next();
        // Only a service that judges by the whole request needs it.
        let is_whole = self.asked_again().is_some_and(|it| matches!(it.asks(), Asks::Forward));
        let head = is_whole.then(|| Box::new(head.clone()));
        if token.is_none() && head.is_none() {
            return None;
        }
        Some(Box::new(Recheck::new(rechecks, &self.config.name, token, head, every)))
    }

    /// How often it is asked again about those whom it let in, if it is.
    pub(super) fn revalidate(&self) -> Option<Duration> {
        match &self.config.kind {
            AuthorityKind::Service(service) => service.revalidate,
            AuthorityKind::Jwt(_) => None,
        }
    }

    /// Who is asked again, if anybody is.
    pub(super) fn asked_again(&self) -> Option<&Arc<Validator>> {
        match &self.kind {
            Kind::Service(validator) if self.revalidate().is_some() => Some(validator),
            Kind::Service(_) | Kind::Jwt(_) => None,
        }
    }

    /// The headers by which replicas are told of the subject alone.
    pub(super) fn subject_headers(&self) -> Vec<&HeaderName> {
        let (headers, subject) = match &self.config.kind {
            AuthorityKind::Jwt(jwt) => (&jwt.rules.headers, jwt.rules.subject.as_str()),
            AuthorityKind::Service(service) => match &service.asks {
                Asks::Validate { subject, .. } | Asks::Introspect { subject } => {
                    (&service.pass, subject.as_str())
                }
                Asks::Forward => return service.pass.first().iter().map(|it| &it.0).collect(),
            },
        };
        headers.iter().filter(|(_, from)| from == subject).map(|(name, _)| name).collect()
    }

    /// How the service behind it fares, if there is one.
    pub(super) fn service(&self) -> Option<ServiceSnapshot> {
        match &self.kind {
            Kind::Jwt(_) => None,
            Kind::Service(validator) => Some(validator.snapshot()),
        }
    }
}

impl JwtJudge {
    fn new(config: &JwtAuthority) -> Self {
        let remote = config
            .key_set
            .clone()
            .map(|set| Arc::new(RemoteKeys::new(set.service, set.refresh, set.algorithms)));
        Self { rules: config.rules.clone(), keys: config.keys.clone(), remote }
    }

    async fn judge(&self, token: &str) -> Verdict {
        let token = match Unverified::read(token) {
            Ok(token) => token,
            Err(fault) => return refuse(fault),
        };
        match self.verify(&token).await {
            Ok(()) => {}
            Err(Unverifiable::Fault(fault)) => return refuse(fault),
            Err(Unverifiable::NoKeys) => {
                return Verdict::Unavailable {
                    reason: "its keys were never fetched".into(),
                    retry_after: Duration::from_secs(2),
                };
            }
        }
        let judged = token.claims().and_then(|it| self.rules.judge(&it, SystemTime::now()));
        judged.map_or_else(refuse, Verdict::Granted)
    }

    /// Holds a token against the keys that were given, then against those that were fetched, and
    /// once more when newer ones may be had.
    async fn verify(&self, token: &Unverified<'_>) -> Result<(), Unverifiable> {
        let given = self.keys.verify(token);
        let Some(remote) = &self.remote else { return given.map_err(Unverifiable::Fault) };
        if given.is_ok() {
            return Ok(());
        }
        if let Some(fetched) = &*remote.current() {
            match fetched.verify(token) {
                Err(TokenFault::UnknownKey) => {}
                verified => return verified.map_err(Unverifiable::Fault),
            }
        }
        let is_newer = remote.renew().await;
        match &*remote.current() {
            None => Err(Unverifiable::NoKeys),
            Some(fetched) if is_newer => fetched.verify(token).map_err(Unverifiable::Fault),
            Some(_) => Err(Unverifiable::Fault(TokenFault::UnknownKey)),
        }
    }
}

/// Why a token cannot be held against a key.
enum Unverifiable {
    Fault(TokenFault),
    NoKeys,
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answered(Answer::Granted(grant)) => Self::Granted(grant),
            Outcome::Answered(Answer::Worthless) => {
                Self::Worthless("the authentication service refuses the token".into())
            }
            Outcome::Answered(Answer::Forbidden) => {
                Self::Forbidden("the authentication service forbids it".into())
            }
            Outcome::Unavailable { reason, retry_after } => {
                let reason = format!("the authentication service gives no verdict: {reason}");
                Self::Unavailable { reason, retry_after }
            }
        }
    }
}

fn refuse(fault: TokenFault) -> Verdict {
    let reason = format!("the token is refused: {fault}");
    match fault {
        TokenFault::Claim => Verdict::Forbidden(reason),
        _ => Verdict::Worthless(reason),
    }
}

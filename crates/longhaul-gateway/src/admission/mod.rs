//! Who may come in: asked once for each request, before a replica is.
//!
//! What is allowed is decided in `longhaul-policy`; here it is applied to what arrives, and what the
//! gateway answers by itself is answered. Start at [`admit`].

mod authenticate;
mod authorities;
pub(crate) mod counters;
mod farewell;
mod limits;
pub(crate) mod live;
mod login;
mod office;
mod pass;
mod rechecks;
mod sharing;
mod tickets;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use http::Response;
use http::request::Parts;
use longhaul_policy::origin::{OriginFault, Target};
use tokio_util::sync::CancellationToken;

pub(crate) use self::authenticate::BYPASS;
use self::authorities::Judge;
use self::counters::{Counters, Outcome};
pub(crate) use self::farewell::Farewell;
use self::limits::Limiter;
pub(crate) use self::live::{Live, Right};
pub(crate) use self::login::judge_login;
pub(crate) use self::pass::Pass;
use self::rechecks::{FrozenRecheck, Recheck, Rechecks};
pub(crate) use self::sharing::Sharing;
use self::tickets::Tickets;
use crate::config::{AuthScope, Authority, Config, RefusalStyle};
use crate::connection::Connection;
use crate::http::answer::Refusal;
use crate::http::body::Body;
use crate::http::failure::Failure;
use crate::http::visit::Visit;
use crate::readiness::Readiness;
use crate::shared::Shared;
use crate::store::Store;
use crate::supervise::Tasks;
use crate::upgrade::Offered;
use crate::validate::ServiceSnapshot;

/// What admission keeps from one request to the next.
#[derive(Debug)]
pub(crate) struct Admission {
    limiter: Arc<Limiter>,
    /// One for each authority of the config.
    judges: Vec<Arc<Judge>>,
    tickets: Option<Arc<Tickets>>,
    ticket_path: Option<String>,
    bypass_key: Option<[u8; 32]>,
    pub(crate) live: Arc<Live>,
    rechecks: Arc<Rechecks>,
    pub(crate) counters: Arc<Counters>,
    /// What keeps those in the background who came with a later configuration.
    background: OnceLock<(Tasks, CancellationToken)>,
}

impl Admission {
    pub(crate) fn new(config: &Config, store: Option<&Arc<Store>>) -> Self {
        Self {
            limiter: Arc::new(Limiter::new(&config.limits.admission, &config.routes)),
            judges: config.authorities.iter().map(|it| Arc::new(Judge::new(it))).collect(),
            tickets: config.tickets.as_ref().map(|it| Arc::new(Tickets::new(it.life, store))),
            ticket_path: config.tickets.as_ref().map(|office| office.path.clone()),
            bypass_key: config.bypass_key,
            live: Arc::default(),
            rechecks: Arc::default(),
            counters: Arc::default(),
            background: OnceLock::new(),
        }
    }

    /// How the services fare that tokens are judged by.
    pub(crate) fn services(&self) -> Vec<ServiceSnapshot> {
        self.judges.iter().filter_map(|judge| judge.service()).collect()
    }

    /// Starts what watches: fresh keys, and WebSockets whose right ends. Ends with `stop`.
    pub(crate) fn start(
        &self,
        current: &Arc<ArcSwap<Shared>>,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) {
        for judge in &self.judges {
            judge.start(tasks, stop);
        }
        let live = self.live.clone();
        let kept =
            tasks.keep_alive("ends of tokens", stop.clone(), move || live.clone().end_in_time());
        drop(tokio::spawn(kept));
        let (rechecks, current) = (self.rechecks.clone(), current.clone());
        let ask = move || rechecks.clone().ask_in_time(current.clone());
        drop(tokio::spawn(tasks.keep_alive("revalidation", stop.clone(), ask)));
        self.background.get_or_init(|| (tasks.clone(), stop.clone()));
    }

    /// Makes what must be known before anybody is let in start-up steps.
    pub(crate) fn hold_start(&self, readiness: &Readiness, stop: &CancellationToken) {
        for judge in &self.judges {
            judge.hold_start(readiness, stop);
        }
    }

    /// The same under another configuration: who is inside still counts, who came too often still
    /// did, and an authority that is the same keeps its keys and what it knows.
    pub(crate) fn followed_by(&self, config: &Config, store: Option<&Arc<Store>>) -> Self {
        let limiter = self.limiter.followed_by(&config.limits.admission, &config.routes);
        let judge = |authority: &Authority| {
            let same = self.judges.iter().find(|judge| judge.config == *authority);
            same.cloned().unwrap_or_else(|| {
                let judge = Judge::new(authority);
                if let Some((tasks, stop)) = self.background.get() {
                    judge.start(tasks, stop);
                }
                Arc::new(judge)
            })
        };
        let tickets = config.tickets.as_ref().map(|office| {
            let same = self.tickets.as_ref().filter(|tickets| tickets.life() == office.life);
            same.cloned().unwrap_or_else(|| Arc::new(Tickets::new(office.life, store)))
        });
        Self {
            limiter: Arc::new(limiter),
            judges: config.authorities.iter().map(judge).collect(),
            tickets,
            ticket_path: config.tickets.as_ref().map(|office| office.path.clone()),
            bypass_key: config.bypass_key,
            live: self.live.clone(),
            rechecks: self.rechecks.clone(),
            counters: self.counters.clone(),
            background: self.background.clone(),
        }
    }
}

impl Admission {
    /// Counts somebody whom another process let in.
    pub(crate) fn readmit(
        &self,
        client: IpAddr,
        route: usize,
        mut right: Option<Right>,
    ) -> Option<Box<Pass>> {
        let frozen = right.as_mut().and_then(|right| right.recheck.take());
        let recheck = frozen.and_then(|frozen| self.thaw(*frozen));
        let grant = right.map(Right::into_grant);
        let subject = grant.as_ref().and_then(|grant| grant.subject.as_ref());
        let permit = self.limiter.readmit(client, route, subject);
        let is_of_use = permit.is_some() || grant.is_some();
        is_of_use.then(|| Box::new(Pass::new(permit, grant, recheck)))
    }

    /// What another process asked about somebody, where this one's configuration has it asked too.
    fn thaw(&self, frozen: FrozenRecheck) -> Option<Box<Recheck>> {
        let judge = self.judges.iter().find(|judge| judge.config.name == frozen.authority);
        let every = judge.and_then(|judge| judge.revalidate())?;
        Recheck::thaw(&self.rechecks, frozen, every).map(Box::new)
    }
}

/// What becomes of a request.
pub(crate) enum Entry {
    /// It goes on to a replica.
    Admitted(Option<Box<Pass>>),
    /// The gateway has answered it.
    Answered(Offered),
}

/// Judges one request that found its route, and prepares its head for the replica.
///
/// # Errors
/// Why it is refused.
pub(crate) async fn admit(
    visit: &Visit<'_>,
    connection: &Connection,
    head: &mut Parts,
    is_upgrade: bool,
) -> Result<Entry, Failure> {
    let arrived_at = Instant::now();
    let (admission, policy) = (&visit.shared.admission, &visit.route().admission);
    if let Some(answer) = sharing::preflight(visit, head)? {
        return Ok(Entry::Answered(Offered::Answer(answer)));
    }
    let is_known_by_token =
        !policy.authorities.is_empty() && (is_upgrade || policy.scope != AuthScope::WebSockets);
    if !policy.authorities.is_empty() {
        authenticate::strip(admission, policy, &mut head.headers);
    }
    if !is_known_by_token {
        head.headers.remove(BYPASS);
    }
    if is_upgrade {
        let judged = policy.origins.judge(&head.headers, target(visit, head));
        if let Err(fault) = judged {
            admission.counters.note(Outcome::Origin);
            return Err(refuse(fault, head));
        }
    } else if !is_known_by_token {
        return Ok(Entry::Admitted(None));
    }
    let entered = enter(visit, head, is_upgrade, arrived_at).await;
    if !policy.authorities.is_empty() {
        admission.counters.note_took(arrived_at.elapsed());
    }
    let failure = match entered {
        Ok(pass) => return Ok(Entry::Admitted(pass)),
        Err(failure) => failure,
    };
    if is_upgrade
        && policy.refusal == RefusalStyle::Close
        && let Some(answer) = farewell::close_instead(head, connection, &failure.refusal)
    {
        return Ok(Entry::Answered(answer));
    }
    Err(failure)
}

/// Lets somebody in, within the limits and by a token where one is needed.
async fn enter(
    visit: &Visit<'_>,
    head: &mut Parts,
    is_upgrade: bool,
    arrived_at: Instant,
) -> Result<Option<Box<Pass>>, Failure> {
    let (admission, policy) = (&visit.shared.admission, &visit.route().admission);
    let limited = |refusal: Refusal| {
        admission.counters.note(Outcome::Limited);
        Failure::from(refusal)
    };
    let mut permit = None;
    if is_upgrade {
        let entered = admission.limiter.enter(visit.client.address, visit.route);
        permit = entered.map_err(limited)?;
    }
    if policy.authorities.is_empty() {
        return Ok(permit.map(|it| Box::new(Pass::new(Some(it), None, None))));
    }
    let entered = authenticate::authenticate(admission, policy, head, is_upgrade, arrived_at);
    let authenticate::Entered { grant, subprotocol, recheck } = entered.await?;
    if is_upgrade && let Some(subject) = &grant.subject {
        admission.limiter.enter_subject(&mut permit, subject).map_err(limited)?;
    }
    let mut pass = Pass::new(permit, Some(grant), recheck);
    pass.subprotocol = subprotocol;
    Ok(Some(Box::new(pass)))
}

/// Answers what is asked of the gateway itself: tickets.
pub(crate) async fn answer_own(
    connection: &Connection,
    head: &mut Parts,
) -> Option<Response<Body>> {
    let admission = &connection.shared.admission;
    let is_ours = admission.ticket_path.as_deref() == Some(head.uri.path());
    if is_ours { Some(office::answer(connection, head).await) } else { None }
}

/// What the client sees as the place that it talks to.
fn target<'h>(visit: &Visit<'_>, head: &'h Parts) -> Target<'h> {
    // Written by the gateway itself from the Host field, or from what a trusted proxy said it was.
    let host = head.headers.get("x-forwarded-host").and_then(|host| host.to_str().ok());
    Target { scheme: visit.client.scheme, host }
}

fn refuse(fault: OriginFault, head: &Parts) -> Failure {
    /// Strangers choose it, and a line should stay one.
    const SHOWN_MAX: usize = 100;
    let shown = |name| {
        let value = head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        value.unwrap_or_default().chars().take(SHOWN_MAX).collect::<String>()
    };
    let (origin, host) = (shown("origin"), shown("x-forwarded-host"));
    let remedy = match fault {
        OriginFault::Foreign => {
            "add it to `origins` under [admission] if it may; behind a proxy that changes Host, name \
             that proxy in server.trusted_proxies"
        }
        OriginFault::Missing => "admission.origin_required = true refuses programs",
        OriginFault::Unreadable => "no browser sends this",
    };
    Refusal::OriginForbidden
        .because(format_args!("{fault}: Origin {origin:?}, Host {host:?}; {remedy}"))
}

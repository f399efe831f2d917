//! Counts who is inside, and lets in as many as the config allows. Locked once for each upgrade, and
//! only where a limit is set.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longhaul_policy::admission::limits::{Allowance, Excess, Gate, Gates, Place, client_key};

use crate::config::{AdmissionLimits, Route};
use crate::http::answer::{Limit, Refusal};

/// All limits on upgrades.
#[derive(Debug)]
pub(crate) struct Limiter {
    everybody: Limited<Gate>,
    /// One for each route of the config, with its name.
    routes: Vec<(String, Limited<Gate>)>,
    clients: Limited<Gates<IpAddr>>,
    subjects: Limited<Gates<Arc<str>>>,
}

#[derive(Debug)]
struct Limited<G> {
    allowed: Allowance,
    /// Outlives what is allowed: a reload changes that alone.
    gate: Arc<Mutex<G>>,
}

impl<G> Limited<G> {
    fn new(allowed: Allowance, gate: G) -> Self {
        Self { allowed, gate: Arc::new(Mutex::new(gate)) }
    }

    /// The same gate with another allowance.
    fn allowing(&self, allowed: Allowance) -> Self {
        Self { allowed, gate: self.gate.clone() }
    }

    /// The gate, when there is something to ask it.
    fn lock_limited(&self) -> Option<MutexGuard<'_, G>> {
        (!self.allowed.is_unlimited()).then(|| self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, G> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One WebSocket's place within the limits; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Permit {
    limiter: Arc<Limiter>,
    is_everybodys: bool,
    route: Option<usize>,
    client: Option<Place<IpAddr>>,
    subject: Option<Place<Arc<str>>>,
}

impl Permit {
    fn to_nothing(limiter: &Arc<Limiter>) -> Self {
        let limiter = limiter.clone();
        Self { limiter, is_everybodys: false, route: None, client: None, subject: None }
    }

    /// Itself, if it holds a place anywhere: most gateways have no limits, and keep nothing.
    fn if_of_use(self) -> Option<Self> {
        let is_of_use = self.client.is_some()
            || self.route.is_some()
            || self.subject.is_some()
            || self.is_everybodys;
        is_of_use.then_some(self)
    }
}

impl Limiter {
    pub(crate) fn new(limits: &AdmissionLimits, routes: &[Route]) -> Self {
        let gate = |allowed| Limited::new(allowed, Gate::default());
        Self {
            everybody: gate(limits.everybody),
            routes: routes
                .iter()
                .map(|route| (route.name.clone(), gate(route.admission.limits)))
                .collect(),
            clients: Limited::new(limits.client, Gates::new(limits.keys_max)),
            subjects: Limited::new(limits.subject, Gates::new(limits.keys_max)),
        }
    }

    /// The same counts under other limits. Routes are known by their names; `keys_max` stays.
    pub(crate) fn followed_by(&self, limits: &AdmissionLimits, routes: &[Route]) -> Self {
        let of_route = |route: &Route| {
            let allowed = route.admission.limits;
            let known = self.routes.iter().find(|(name, _)| *name == route.name);
            let limited = match known {
                Some((_, known)) => known.allowing(allowed),
                None => Limited::new(allowed, Gate::default()),
            };
            (route.name.clone(), limited)
        };
        Self {
            everybody: self.everybody.allowing(limits.everybody),
            routes: routes.iter().map(of_route).collect(),
            clients: self.clients.allowing(limits.client),
            subjects: self.subjects.allowing(limits.subject),
        }
    }

    /// Lets one upgrade in. The client comes first: who comes too often must not use up what
    /// belongs to all. `None`: no limit is set.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn enter(
        self: &Arc<Self>,
        client: IpAddr,
        route: usize,
    ) -> Result<Option<Permit>, Refusal> {
        let mut permit = Permit::to_nothing(self);
        let Limited { allowed, .. } = &self.clients;
        if let Some(mut gates) = self.clients.lock_limited() {
            let now = Instant::now();
            let place = gates.enter(&client_key(client), allowed, fastrand::f64(), now);
            permit.client = Some(place.map_err(|excess| refuse(Limit::Client, excess))?);
        }
        let (_, limited) = &self.routes[route];
        if let Some(mut gate) = limited.lock_limited() {
            let entered = gate.enter(&limited.allowed, fastrand::f64(), Instant::now());
            entered.map_err(|excess| refuse(Limit::Route, excess))?;
            permit.route = Some(route);
        }
        if let Some(mut gate) = self.everybody.lock_limited() {
            let entered = gate.enter(&self.everybody.allowed, fastrand::f64(), Instant::now());
            entered.map_err(|excess| refuse(Limit::Gateway, excess))?;
            permit.is_everybodys = true;
        }
        Ok(permit.if_of_use())
    }

    /// Counts somebody who is inside already, let in by another process. Nothing is refused.
    pub(crate) fn readmit(
        self: &Arc<Self>,
        client: IpAddr,
        route: usize,
        subject: Option<&Arc<str>>,
    ) -> Option<Permit> {
        let (free, now) = (Allowance::default(), Instant::now());
        let mut permit = Permit::to_nothing(self);
        if let Some(mut gates) = self.clients.lock_limited() {
            permit.client = gates.enter(&client_key(client), &free, 0.0, now).ok();
        }
        if let Some(mut gate) = self.routes[route].1.lock_limited() {
            permit.route = gate.enter(&free, 0.0, now).is_ok().then_some(route);
        }
        if let Some(mut gate) = self.everybody.lock_limited() {
            permit.is_everybodys = gate.enter(&free, 0.0, now).is_ok();
        }
        if let Some(subject) = subject
            && let Some(mut gates) = self.subjects.lock_limited()
        {
            permit.subject = gates.enter(subject, &free, 0.0, now).ok();
        }
        permit.if_of_use()
    }

    /// Counts an upgrade toward its subject as well, once that is known.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn enter_subject(
        self: &Arc<Self>,
        permit: &mut Option<Permit>,
        subject: &Arc<str>,
    ) -> Result<(), Refusal> {
        let Some(mut gates) = self.subjects.lock_limited() else { return Ok(()) };
        let entered = gates.enter(subject, &self.subjects.allowed, fastrand::f64(), Instant::now());
        let place = entered.map_err(|excess| refuse(Limit::Subject, excess))?;
        let permit = permit.get_or_insert_with(|| Permit {
            limiter: self.clone(),
            is_everybodys: false,
            route: None,
            client: None,
            subject: None,
        });
        permit.subject = Some(place);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_everybodys {
            self.limiter.everybody.lock().leave();
        }
        if let Some(route) = self.route {
            self.limiter.routes[route].1.lock().leave();
        }
        if let Some(place) = &self.client {
            self.limiter.clients.lock().leave(place, Instant::now());
        }
        if let Some(place) = &self.subject {
            self.limiter.subjects.lock().leave(place, Instant::now());
        }
    }
}

fn refuse(limit: Limit, excess: Excess) -> Refusal {
    match excess {
        Excess::Rate { retry_after } => Refusal::TooFast { limit, retry_after },
        Excess::Open => {
            // Nobody knows when one leaves; not all ask again at once.
            let retry_after =
                Duration::from_secs(5) + Duration::from_secs(10).mul_f64(fastrand::f64());
            Refusal::TooMany { limit, retry_after }
        }
    }
}

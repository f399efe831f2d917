//! Who may come in: asked once for each request, before a replica is.
//!
//! What is allowed is decided in `longhaul-policy`; here it is applied to what arrives, and what the
//! gateway answers by itself is answered. Start at [`admit`].

mod farewell;
mod limits;
mod sharing;

use std::sync::Arc;

use http::request::Parts;
use longhaul_policy::origin::{OriginFault, Target};

pub(crate) use self::farewell::Farewell;
use self::limits::{Limiter, Permit};
pub(crate) use self::sharing::Sharing;
use crate::config::{Config, RefusalStyle};
use crate::connection::Connection;
use crate::http::answer::Refusal;
use crate::http::failure::Failure;
use crate::http::visit::Visit;
use crate::upgrade::Offered;

/// What admission keeps from one request to the next.
#[derive(Debug)]
pub(crate) struct Admission {
    limiter: Arc<Limiter>,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        Self { limiter: Arc::new(Limiter::new(&config.limits.admission, &config.routes)) }
    }

    /// The same under another configuration: who is inside still counts, and who came too often
    /// still did.
    pub(crate) fn followed_by(&self, config: &Config) -> Self {
        let limiter = self.limiter.followed_by(&config.limits.admission, &config.routes);
        Self { limiter: Arc::new(limiter) }
    }
}

/// What somebody who was let in holds until the WebSocket ends. Boxed where it is kept: most hold
/// nothing.
#[derive(Debug)]
pub(crate) struct Pass {
    _permit: Permit,
}

/// What becomes of a request.
pub(crate) enum Entry {
    /// It goes on to a replica.
    Admitted(Option<Box<Pass>>),
    /// The gateway has answered it.
    Answered(Offered),
}

/// Judges one request that found its route.
///
/// # Errors
/// Why it is refused.
pub(crate) fn admit(
    visit: &Visit<'_>,
    connection: &Connection,
    head: &mut Parts,
    is_upgrade: bool,
) -> Result<Entry, Failure> {
    if let Some(answer) = sharing::preflight(visit, head)? {
        return Ok(Entry::Answered(Offered::Answer(answer)));
    }
    if !is_upgrade {
        return Ok(Entry::Admitted(None));
    }
    let policy = &visit.route().admission;
    policy
        .origins
        .judge(&head.headers, target(visit, head))
        .map_err(|fault| refuse(fault, head))?;
    let failure = match enter(visit) {
        Ok(pass) => return Ok(Entry::Admitted(pass.map(Box::new))),
        Err(failure) => failure,
    };
    if policy.refusal == RefusalStyle::Close
        && let Some(answer) = farewell::close_instead(head, connection, &failure.refusal)
    {
        return Ok(Entry::Answered(answer));
    }
    Err(failure)
}

/// Lets a WebSocket in by a page that may.
fn enter(visit: &Visit<'_>) -> Result<Option<Pass>, Failure> {
    let limiter = &visit.shared.admission.limiter;
    let permit = limiter.enter(visit.client.address, visit.route)?;
    Ok(permit.map(|permit| Pass { _permit: permit }))
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

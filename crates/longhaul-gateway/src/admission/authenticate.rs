//! Finds out who a client is: by a ticket, by a token that one of the route's authorities vouches
//! for, or, in tests, by a bypass.
//!
//! Start at [`authenticate`].

use std::time::{Duration, Instant, SystemTime};

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use longhaul_policy::query;
use longhaul_policy::token::source::{self, TokenSource};
use longhaul_policy::token::{Grant, bypass};
use tokio::time::timeout_at;
use tracing::warn;

use super::authorities::{Judge, Verdict};
use super::rechecks::Recheck;
use super::tickets::{self, Ticket, TicketFault};
use super::{Admission, counters::Outcome};
use crate::config::AdmissionPolicy;
use crate::http::answer::Refusal;
use crate::http::failure::Failure;

/// Where a client shows a bypass token. It never goes on to a replica.
pub(crate) const BYPASS: HeaderName = HeaderName::from_static("longhaul-bypass");
/// When somebody who could not be judged may ask again, if nothing better is known.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Who somebody is, and by whose word.
pub(super) struct Known {
    pub(super) grant: Grant,
    /// Index of the authority; `None`: a bypass.
    pub(super) authority: Option<usize>,
}

/// Somebody who may come in.
pub(super) struct Entered {
    pub(super) grant: Grant,
    /// The subprotocol to answer with, should the application choose none.
    pub(super) subprotocol: Option<HeaderValue>,
    /// How to ask about them again, where that is wanted.
    pub(super) recheck: Option<Box<Recheck>>,
}

/// Finds out who sent a request, within the route's deadline, and prepares its head for the replica.
///
/// # Errors
/// Why it is refused.
pub(super) async fn authenticate(
    admission: &Admission,
    policy: &AdmissionPolicy,
    head: &mut Parts,
    is_upgrade: bool,
    arrived_at: Instant,
) -> Result<Entered, Failure> {
    let deadline = arrived_at + policy.deadline;
    let known = identify(admission, &policy.authorities, head, deadline).await?;
    if admission.live.is_revoked(&known.grant) {
        admission.counters.note(Outcome::Worthless);
        let refusal = Refusal::Unauthenticated { has_token: true };
        return Err(refusal.because("the token is refused: it was revoked"));
    }
    let judge = known.authority.filter(|_| is_upgrade).map(|index| &admission.judges[index]);
    let recheck = judge.and_then(|judge| judge.recheck(head, &admission.rechecks));
    let subprotocol = clean(admission, policy, head);
    for (name, value) in &known.grant.headers {
        head.headers.insert(name, value.clone());
    }
    admission.counters.note(Outcome::Granted);
    Ok(Entered { grant: known.grant, subprotocol, recheck })
}

/// Asks whoever can say who this is.
///
/// # Errors
/// Why nobody vouches for it.
pub(super) async fn identify(
    admission: &Admission,
    authorities: &[usize],
    head: &mut Parts,
    deadline: Instant,
) -> Result<Known, Failure> {
    if let Some(grant) = bypassed(admission, authorities, &mut head.headers) {
        return Ok(Known { grant, authority: None });
    }
    let ticket = take_word(admission, head);
    let (counters, head) = (&admission.counters, &*head);
    let asked = async {
        let Some(word) = ticket else { return ask(admission, authorities, head, deadline).await };
        match by_ticket(admission, authorities, &word).await {
            Ok(Some(known)) => Ok(known),
            Ok(None) => ask(admission, authorities, head, deadline).await,
            Err(fault) => {
                let asked = ask(admission, authorities, head, deadline).await;
                // The ticket might have been good.
                let refusal = Refusal::AuthUnavailable { retry_after: jittered(RETRY_AFTER) };
                asked.map_err(|_| refusal.because(fault))
            }
        }
    };
    match timeout_at(deadline.into(), asked).await {
        Ok(Ok(known)) => Ok(known),
        Ok(Err(failure)) => {
            counters.note(match failure.refusal {
                Refusal::Forbidden => Outcome::Forbidden,
                Refusal::AuthUnavailable { .. } => Outcome::Unavailable,
                Refusal::Unauthenticated { has_token: false } => Outcome::Missing,
                _ => Outcome::Worthless,
            });
            Err(failure)
        }
        Err(_) => {
            counters.note(Outcome::TimedOut);
            let refusal = Refusal::AuthUnavailable { retry_after: jittered(RETRY_AFTER) };
            Err(refusal.because("no verdict within admission.deadline"))
        }
    }
}

async fn ask(
    admission: &Admission,
    authorities: &[usize],
    head: &Parts,
    deadline: Instant,
) -> Result<Known, Failure> {
    let (mut forbidden, mut worthless, mut unavailable) = (None, None, None);
    for &index in authorities {
        let Some(verdict) = admission.judges[index].judge(head, deadline).await else { continue };
        match verdict {
            Verdict::Granted(grant) => return Ok(Known { grant, authority: Some(index) }),
            Verdict::Forbidden(reason) => forbidden = Some(reason),
            Verdict::Worthless(reason) => worthless = Some(reason),
            Verdict::Unavailable { reason, retry_after } => {
                unavailable = Some((reason, retry_after));
            }
        }
    }
    // One that could not be asked might have said yes.
    Err(if let Some((reason, retry_after)) = unavailable {
        Refusal::AuthUnavailable { retry_after: jittered(retry_after) }.because(reason)
    } else if let Some(reason) = forbidden {
        Refusal::Forbidden.because(reason)
    } else if let Some(reason) = worthless {
        Refusal::Unauthenticated { has_token: true }.because(reason)
    } else {
        Refusal::Unauthenticated { has_token: false }
            .because("no token where the route's authorities look for one (`sources`)")
    })
}

/// Takes the ticket out of the address: it is not the application's.
fn take_word(admission: &Admission, head: &mut Parts) -> Option<String> {
    admission.tickets.as_ref()?;
    let word = query::parameter(head.uri.query()?, tickets::PARAMETER)?.into_owned();
    source::remove_parameter(&mut head.uri, tickets::PARAMETER);
    Some(word)
}

/// A ticket counts where the authority that vouched for it does.
async fn by_ticket(
    admission: &Admission,
    authorities: &[usize],
    word: &str,
) -> Result<Option<Known>, TicketFault> {
    let Some(office) = admission.tickets.as_ref() else { return Ok(None) };
    let Some(Ticket { grant, authority }) = office.take(word).await? else { return Ok(None) };
    let named = |index: &usize| *admission.judges[*index].config.name == *authority;
    let index = authorities.iter().copied().find(named);
    Ok(index.map(|index| Known { grant, authority: Some(index) }))
}

fn bypassed(
    admission: &Admission,
    authorities: &[usize],
    headers: &mut HeaderMap,
) -> Option<Grant> {
    let shown = headers.remove(BYPASS);
    let (key, shown) = (admission.bypass_key.as_ref()?, shown?);
    let (subject, expires) = bypass::open(key, shown.to_str().ok()?, SystemTime::now())?;
    admission.counters.note(Outcome::Bypassed);
    warn!(subject, "let in by a bypass token, without a login");
    let headers =
        authorities.first().map(|&index| subject_headers(&admission.judges[index], &subject));
    Some(Grant {
        subject: Some(subject.into()),
        expires: Some(expires),
        headers: headers.unwrap_or_default(),
        ..Grant::default()
    })
}

/// What replicas are told of a subject that no token speaks of.
fn subject_headers(judge: &Judge, subject: &str) -> Vec<(HeaderName, HeaderValue)> {
    let Ok(value) = HeaderValue::from_str(subject) else { return Vec::new() };
    judge.subject_headers().into_iter().map(|name| (name.clone(), value.clone())).collect()
}

/// Takes out what only authorities may say, in every spelling that servers take for the same. To be
/// called for every request of the route, asked for a token or not.
pub(super) fn strip(admission: &Admission, policy: &AdmissionPolicy, headers: &mut HeaderMap) {
    let folded = |name: &HeaderName| name.as_str().replace(['_', '.'], "-");
    let told: Vec<String> = (policy.authorities.iter())
        .flat_map(|&index| admission.judges[index].config.headers())
        .map(folded)
        .collect();
    if told.is_empty() {
        return;
    }
    let doomed: Vec<HeaderName> =
        headers.keys().filter(|name| told.contains(&folded(name))).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

/// Takes out what is not the application's: subprotocols that only carried a token, and the token
/// itself where the authority keeps it.
fn clean(admission: &Admission, policy: &AdmissionPolicy, head: &mut Parts) -> Option<HeaderValue> {
    let mut echo = None;
    for &index in &policy.authorities {
        let config = &admission.judges[index].config;
        for source in &config.sources {
            match source {
                TokenSource::Subprotocol(marker)
                    if head.headers.contains_key(SEC_WEBSOCKET_PROTOCOL) =>
                {
                    let taken = source::take_subprotocol(&mut head.headers, marker);
                    echo = echo.or(taken);
                }
                _ if config.passes_token => {}
                source => source.remove(&mut head.headers, &mut head.uri),
            }
        }
    }
    echo
}

/// Half as long again, at most: those who were refused together do not come back together.
pub(super) fn jittered(after: Duration) -> Duration {
    after.mul_f64(1.0 + 0.5 * fastrand::f64())
}

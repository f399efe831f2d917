//! A newer token of somebody who is inside, judged by those who judge the route's clients.

use std::time::{Instant, SystemTime};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use longhaul_policy::token::Grant;
use longhaul_proto::durable::Credential;
use tokio::time::timeout_at;

use super::authorities::Verdict;
use super::counters::Outcome;
use crate::shared::Shared;

/// Judges a token within the route's admission deadline. Where nobody judges the clients of a route,
/// whatever they show is as good as what they came by: `None`.
///
/// # Errors
/// Why it is not accepted, for the client. It learns nothing that a handshake would not tell it.
pub(crate) async fn judge_login(
    shared: &Shared,
    route: &str,
    credential: &Credential,
) -> Result<Option<Grant>, &'static str> {
    let admission = &shared.admission;
    let route = shared.config.routes.iter().find(|it| it.name == route);
    let policy = &route.ok_or("the route is gone")?.admission;
    if policy.authorities.is_empty() {
        return Ok(None);
    }
    let deadline = Instant::now() + policy.deadline;
    let token = credential.expose();
    // What a service that judges by a whole request is shown.
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| "the token has characters that no header may have")?;
    bearer.set_sensitive(true);
    let (mut head, ()) = Request::new(()).into_parts();
    head.headers.insert(AUTHORIZATION, bearer);
    let mut fault = (Outcome::Worthless, "the token is refused");
    for &index in &policy.authorities {
        let judged = admission.judges[index].judge_token(token, &head, deadline);
        fault = match timeout_at(deadline.into(), judged).await {
            Ok(Verdict::Granted(grant)) if admission.live.is_revoked(&grant) => {
                (Outcome::Worthless, "the token was revoked")
            }
            Ok(Verdict::Granted(grant)) if grant.expires.is_some_and(is_past) => {
                (Outcome::Worthless, "the token has expired")
            }
            Ok(Verdict::Granted(grant)) => {
                admission.counters.note(Outcome::Granted);
                return Ok(Some(grant));
            }
            Ok(Verdict::Forbidden(_)) => (Outcome::Forbidden, "the token may not come in here"),
            Ok(Verdict::Worthless(_)) => fault,
            Ok(Verdict::Unavailable { .. }) => {
                (Outcome::Unavailable, "the token cannot be judged now")
            }
            Err(_) => (Outcome::TimedOut, "the token was not judged in time"),
        };
    }
    admission.counters.note(fault.0);
    Err(fault.1)
}

fn is_past(time: SystemTime) -> bool {
    time <= SystemTime::now()
}

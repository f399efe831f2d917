//! Where clients bring a token: POST gives a ticket for it, PUT lets their open WebSockets go on until
//! the new token ends.
//!
//! Only a header or a cookie brings a token here, and never a ticket: who has one word must not get
//! another for it.

use std::time::{Duration, Instant};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Uri};
use longhaul_policy::token::Grant;
use tracing::info;

use super::authenticate::{Known, RETRY_AFTER, identify, jittered};
use super::tickets::Ticket;
use crate::connection::Connection;
use crate::http::answer::{CAUSE, Refusal};
use crate::http::body::Body;

/// From the request to the answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Answers a request to the office.
pub(super) async fn answer(connection: &Connection, head: &mut Parts) -> Response<Body> {
    let admission = &connection.shared.admission;
    if head.method != Method::POST && head.method != Method::PUT {
        let mut answer = json(StatusCode::METHOD_NOT_ALLOWED, "ticket_method", String::new());
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, PUT"));
        return answer;
    }
    // A page elsewhere could post with the cookies of its visitor; it could not read the ticket, but
    // prolong what should end.
    if head.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Refusal::OriginForbidden.answer(&head.headers);
    }
    head.uri = Uri::from_static("/");
    let authorities: Vec<usize> = (0..admission.judges.len()).collect();
    let known = identify(admission, &authorities, head, Instant::now() + DEADLINE).await;
    let known = match known {
        Ok(known) if !admission.live.is_revoked(&known.grant) => known,
        Ok(_) => return Refusal::Unauthenticated { has_token: true }.answer(&head.headers),
        Err(failure) => return failure.answer(&head.headers),
    };
    if head.method == Method::PUT {
        refresh(connection, &known.grant)
    } else {
        give(connection, head, known).await
    }
}

async fn give(connection: &Connection, head: &Parts, known: Known) -> Response<Body> {
    let admission = &connection.shared.admission;
    let (Some(tickets), Some(authority)) = (&admission.tickets, known.authority) else {
        return json(StatusCode::NOT_FOUND, "no_ticket", String::new());
    };
    let authority = admission.judges[authority].config.name.as_str().into();
    match tickets.give(Ticket { grant: known.grant, authority }).await {
        Ok(ticket) => {
            let life = tickets.life().as_secs();
            let body = format!("{{\"ticket\":\"{ticket}\",\"expires_in\":{life}}}\n");
            json(StatusCode::OK, "ticket", body)
        }
        Err(fault) => {
            info!(%fault, "no ticket is given");
            Refusal::AuthUnavailable { retry_after: jittered(RETRY_AFTER) }.answer(&head.headers)
        }
    }
}

fn refresh(connection: &Connection, grant: &Grant) -> Response<Body> {
    let live = &connection.shared.admission.live;
    let count = match (&grant.subject, grant.expires) {
        (Some(subject), Some(expires)) => live.refresh(subject, expires),
        _ => 0,
    };
    json(StatusCode::OK, "refreshed", format!("{{\"websockets\":{count}}}\n"))
}

fn json(status: StatusCode, cause: &'static str, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::text(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CAUSE, HeaderValue::from_static(cause));
    answer
}

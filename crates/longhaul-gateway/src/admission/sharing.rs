//! CORS at the gateway: answers preflights, and puts the route's policy on every other answer.

use http::header::{CACHE_CONTROL, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use longhaul_policy::cors::CorsRules;
use longhaul_policy::forwarded::Scheme;
use longhaul_policy::origin::Target;

use super::target;
use crate::http::answer::{CAUSE, Refusal};
use crate::http::body::Body;
use crate::http::failure::Failure;
use crate::http::visit::Visit;
use crate::upgrade::Offered;

/// Answers a preflight of a route that has a policy. `None`: it is something else.
///
/// # Errors
/// Why the page may not.
pub(super) fn preflight(
    visit: &Visit<'_>,
    head: &Parts,
) -> Result<Option<Response<Body>>, Failure> {
    let Some(cors) = &visit.route().admission.cors else { return Ok(None) };
    let Some(judged) = cors.preflight(&head.method, &head.headers, target(visit, head)) else {
        return Ok(None);
    };
    let Ok(fields) = judged else {
        let remedy = "a preflight of an origin that is not in `origins` under [cors]";
        return Err(Refusal::OriginForbidden.because(remedy));
    };
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    *answer.headers_mut() = fields;
    answer.headers_mut().insert(CAUSE, HeaderValue::from_static("preflight"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(Some(answer))
}

/// What the answer to one request needs to be read by a page of another origin.
pub(crate) struct Sharing<'a>(Option<Asked<'a>>);

struct Asked<'a> {
    cors: &'a CorsRules,
    origin: Option<HeaderValue>,
    scheme: Scheme,
    host: Option<String>,
}

impl<'a> Sharing<'a> {
    /// Keeps what the head says, which is gone when there is an answer.
    pub(crate) fn new(visit: &'a Visit<'_>, head: &Parts) -> Self {
        let asked = visit.route().admission.cors.as_ref().map(|cors| {
            let Target { scheme, host } = target(visit, head);
            let origin = head.headers.get(ORIGIN).cloned();
            Asked { cors, origin, scheme, host: host.map(str::to_owned) }
        });
        Self(asked)
    }

    /// Puts the policy on an answer, be it a replica's or the gateway's own.
    pub(crate) fn apply(self, answer: Result<Offered, Failure>) -> Result<Offered, Failure> {
        let Some(Asked { cors, origin, scheme, host }) = self.0 else { return answer };
        let target = Target { scheme, host: host.as_deref() };
        match answer {
            // Handshakes know no CORS.
            Ok(switch @ Offered::Switch(_)) => Ok(switch),
            Ok(Offered::Answer(mut answer)) => {
                cors.apply(origin.as_ref(), target, answer.headers_mut());
                Ok(Offered::Answer(answer))
            }
            Err(mut failure) => {
                let fields = failure.fields.get_or_insert_default();
                cors.apply(origin.as_ref(), target, fields);
                Err(failure)
            }
        }
    }
}

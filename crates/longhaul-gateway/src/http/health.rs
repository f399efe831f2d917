//! The health endpoints on the public port. Admin has richer ones; these are what platforms probe.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::body::Body;
use crate::config::HealthPaths;
use crate::readiness::Readiness;

/// Answers when `path` is one of the health endpoints.
pub(crate) fn answer(
    paths: &HealthPaths,
    readiness: &Readiness,
    method: &Method,
    path: &str,
) -> Option<Response<Body>> {
    let is_at = |endpoint: &str| !endpoint.is_empty() && path == endpoint;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let is_well = if is_at(&paths.live) {
        true
    } else if is_at(&paths.ready) {
        readiness.is_ready()
    } else if is_at(&paths.startup) {
        !readiness.gates().iter().any(|gate| gate.is_startup)
    } else {
        return None;
    };
    let (status, text) = if is_well {
        (StatusCode::OK, "{\"status\":\"ok\"}\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons(readiness))
    };
    let mut response = Response::new(Body::text(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// Says what is waited for. The public port tells no more than that: no addresses, no names of config.
fn reasons(readiness: &Readiness) -> String {
    let status = if readiness.is_draining() { "draining" } else { "starting" };
    format!("{{\"status\":\"{status}\",\"waiting_for\":{}}}\n", readiness.gates().len())
}

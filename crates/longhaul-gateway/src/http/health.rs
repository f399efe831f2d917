//! The health endpoints on the public port. Admin has richer ones; these are what platforms probe.

use std::fmt::Write;
use std::time::Instant;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::body::Body;
use crate::readiness::Readiness;
use crate::shared::Shared;

/// Answers when `path` is one of the health endpoints.
pub(crate) fn answer(shared: &Shared, method: &Method, path: &str) -> Option<Response<Body>> {
    let (paths, readiness) = (&shared.config.health_paths, &shared.readiness);
    let is_at = |endpoint: &str| !endpoint.is_empty() && path == endpoint;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let trouble = if is_at(&paths.live) {
        shared.telemetry.loops.hanging(Instant::now()).map(|hangs| said("hanging", &[(hangs, 0.0)]))
    } else if is_at(&paths.ready) {
        (!readiness.is_ready()).then(|| waiting(readiness, shared.overload.is_full()))
    } else if is_at(&paths.startup) {
        readiness.gates().iter().any(|gate| gate.is_startup).then(|| waiting(readiness, false))
    } else {
        return None;
    };
    let (status, text) = match trouble {
        None => (StatusCode::OK, "{\"status\":\"ok\"}\n".to_owned()),
        Some(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
    };
    let mut response = Response::new(Body::text(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// Says what is waited for and since when. These are the words that clients of a service that is not
/// ready read as well.
fn waiting(readiness: &Readiness, is_full: bool) -> String {
    let status = match (readiness.is_draining(), is_full) {
        (true, _) => "draining",
        (false, true) => "overloaded",
        (false, false) => "starting",
    };
    let gates = readiness.gates().into_iter();
    let gates: Vec<_> = gates.map(|gate| (gate.name, gate.since.elapsed().as_secs_f64())).collect();
    said(status, &gates)
}

fn said(status: &str, reasons: &[(String, f64)]) -> String {
    let mut text = format!("{{\"status\":\"{status}\",\"waiting_for\":[");
    for (place, (name, for_s)) in reasons.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{{\"name\":\"{}\",\"for_s\":{for_s:.3}}}", escaped(name));
    }
    text.push_str("]}\n");
    text
}

/// The names are words of ours and names of the configuration, which are letters, digits and marks;
/// whatever else there may be one day must not break out of its string.
fn escaped(name: &str) -> String {
    name.chars().map(|c| if c == '"' || c == '\\' || c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stay_in_their_strings() {
        let readiness = Readiness::default();
        let _step = readiness.startup_step("replicas of upstream chat");
        let _hold = readiness.hold("a \"quoted\"\nname");
        let text = waiting(&readiness, false);
        assert!(
            text.starts_with("{\"status\":\"starting\",\"waiting_for\":[{\"name\":\"replicas of")
        );
        assert!(text.contains("{\"name\":\"a  quoted  name\",\"for_s\":0.0"), "{text}");
    }
}

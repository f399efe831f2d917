//! `/metrics`: the page that scrapers read.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use longhaul_gateway::handle::Format;

use crate::desk::Desk;

/// Every metric of the gateway, as OpenMetrics where the scraper prefers it.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, description = "Metrics as text of Prometheus, or OpenMetrics where `Accept` prefers it", content_type = "text/plain"))
)]
pub(crate) async fn show(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let format = preferred(&headers);
    ([(header::CONTENT_TYPE, format.content_type())], desk.handle.metrics(format)).into_response()
}

/// Prometheus names OpenMetrics first in `Accept`, with the highest weight, when it can read it.
fn preferred(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let best = accepted
        .flat_map(|value| value.split(','))
        .map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            (kind, weight.unwrap_or(1.0))
        })
        .filter(|(kind, _)| matches!(*kind, "application/openmetrics-text" | "text/plain"))
        // The first of equals wins, as their order says what is liked best.
        .fold(None, |best: Option<(&str, f32)>, next| match best {
            Some(best) if best.1 >= next.1 => Some(best),
            _ => Some(next),
        });
    match best {
        Some(("application/openmetrics-text", weight)) if weight > 0.0 => Format::OpenMetrics,
        _ => Format::Prometheus,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: Option<&str>, expected: Format) {
        let mut headers = HeaderMap::new();
        headers.extend(accept.map(|accept| (header::ACCEPT, accept.parse().unwrap())));
        assert_eq!(preferred(&headers), expected, "{accept:?}");
    }

    #[test]
    fn a_scraper_gets_what_it_likes_best() {
        check(None, Format::Prometheus);
        check(Some("*/*"), Format::Prometheus);
        check(Some("text/html,*/*;q=0.8"), Format::Prometheus);
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        check(Some(prometheus), Format::OpenMetrics);
        check(Some("text/plain, application/openmetrics-text"), Format::Prometheus);
        check(Some("application/openmetrics-text;q=0"), Format::Prometheus);
    }
}

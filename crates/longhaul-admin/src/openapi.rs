//! The API described for programs. The copy in `docs/reference` is compared with this one by a test.

use axum::Json;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::{
    admission, api, connections, dashboard, metrics, sessions, settings, status, upgrade, upstreams,
};

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Longhaul admin API",
        description = "What a running gateway looks like, and commands to it. Errors are {\"error\": \"…\"}. \
                       Whatever changes something is sent with Content-Type: application/json and the token."
    ),
    paths(
        api::live,
        api::ready,
        api::startup,
        metrics::show,
        status::show,
        dashboard::overview,
        connections::list,
        connections::one,
        connections::close,
        connections::ends,
        sessions::show,
        sessions::migrate,
        admission::show,
        admission::revoke,
        admission::refresh,
        upstreams::routes,
        upstreams::upstreams,
        upstreams::drain,
        upstreams::undrain,
        settings::config,
        settings::reload,
        upgrade::upgrade,
        settings::log_level,
        settings::set_log_level,
    ),
    modifiers(&BearerToken)
)]
struct Api;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        api.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

pub(crate) async fn show() -> Response {
    Json(Api::openapi()).into_response()
}

/// The description as it is checked in.
pub fn text() -> String {
    let mut text = Api::openapi().to_pretty_json().expect("what utoipa makes is JSON");
    text.push('\n');
    text
}

//! The answers the gateway gives in its own name: what happened, in plain words, to people and to
//! programs. Details that a stranger should not see go to the log instead.

use std::time::Duration;

use http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use longhaul_proto::http1::Violation;
use longhaul_proto::websocket::CloseCode;

use super::body::Body;

/// Names the cause in every answer of the gateway's own; an answer without it is the application's.
pub(crate) const CAUSE: HeaderName = HeaderName::from_static("longhaul-cause");

/// Why the gateway itself answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request breaks HTTP or RFC 6455; nothing was forwarded.
    Violation(Violation),
    /// The request came without TLS where it must not.
    TlsRequired,
    /// No route takes this host and path.
    NoRoute,
    /// The page that asks is not of an origin that may.
    OriginForbidden,
    /// No token was shown where one is needed, or one that is worth nothing.
    Unauthenticated { has_token: bool },
    /// The token is good, and not for this.
    Forbidden,
    /// Who should judge the token cannot be asked.
    AuthUnavailable { retry_after: Duration },
    /// Too many come in this moment.
    TooFast { limit: Limit, retry_after: Duration },
    /// Too many are here already.
    TooMany { limit: Limit, retry_after: Duration },
    /// The process has not started yet, or the app behind it restarts: this is waited for.
    NotReady(String),
    /// Memory or descriptors are nearly used up.
    Overloaded,
    /// The process is on its way out.
    Draining,
    /// The upstream has no replica at all: discovery found none.
    NoReplica,
    /// No replica took the connection.
    Unreachable,
    /// A replica took the connection, but TLS with it failed: it is not who it should be, or speaks
    /// otherwise.
    ReplicaTls,
    /// The total connect deadline ran out.
    ConnectTimeout,
    /// The replica took the request and ended the connection without an answer.
    AnswerMissing,
    /// The replica answered what is not HTTP.
    AnswerGarbled,
    /// The replica took the request and did not answer in time.
    AnswerTimeout,
    /// The replica answered the upgrade with a 101 that RFC 6455 does not allow.
    HandshakeInvalid,
    /// The client stopped sending its request body, or broke its framing.
    BodyAborted,
}

/// Whose allowance is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Gateway,
    Route,
    Client,
    Subject,
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Violation(violation) => {
                StatusCode::from_u16(violation.status()).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::OriginForbidden | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::AuthUnavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooFast { .. } | Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NotReady(_) | Self::Overloaded | Self::Draining | Self::NoReplica => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Unreachable
            | Self::ReplicaTls
            | Self::AnswerMissing
            | Self::AnswerGarbled
            | Self::HandshakeInvalid => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::AnswerTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::BodyAborted | Self::TlsRequired => StatusCode::BAD_REQUEST,
        }
    }

    /// The value of the cause header: a closed set, good for alerts.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Violation(_) => "bad_request",
            Self::TlsRequired => "tls_required",
            Self::NoRoute => "no_route",
            Self::OriginForbidden => "origin_forbidden",
            Self::Unauthenticated { .. } => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::AuthUnavailable { .. } => "auth_unavailable",
            Self::TooFast { .. } => "too_fast",
            Self::TooMany { .. } => "too_many",
            Self::NotReady(_) => "not_ready",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::NoReplica => "no_replica",
            Self::Unreachable => "replica_unreachable",
            Self::ReplicaTls => "replica_tls",
            Self::ConnectTimeout => "connect_timeout",
            Self::AnswerMissing => "answer_missing",
            Self::AnswerGarbled => "answer_garbled",
            Self::AnswerTimeout => "answer_timeout",
            Self::HandshakeInvalid => "handshake_invalid",
            Self::BodyAborted => "body_aborted",
        }
    }

    /// One plain sentence for whoever made the request.
    fn sentence(&self) -> String {
        match self {
            Self::Violation(violation) => violation.to_string(),
            Self::TlsRequired => {
                "This port speaks TLS only; use https:// (or wss://) instead of http://.".into()
            }
            Self::NoRoute => "No route of this gateway takes this host and path.".into(),
            Self::OriginForbidden => "Pages of this origin may not connect here.".into(),
            Self::Unauthenticated { has_token: false } => "A token is needed here.".into(),
            Self::Unauthenticated { has_token: true } => "The token is not valid here.".into(),
            Self::Forbidden => "The token does not allow this.".into(),
            Self::AuthUnavailable { .. } => {
                "AUTH_UNAVAILABLE: the authentication service does not answer; please try again."
                    .into()
            }
            Self::TooFast { limit, .. } => {
                format!("Too many connections in this moment {}.", limit.whose())
            }
            Self::TooMany { limit, .. } => {
                format!("Too many connections are open {}.", limit.whose())
            }
            Self::NotReady(what) => format!("The service is starting; waiting for: {what}."),
            Self::Overloaded => "This gateway has no room at the moment; please try again.".into(),
            Self::Draining => "This gateway is shutting down; please connect again.".into(),
            Self::NoReplica => "The service has no replica to answer at the moment.".into(),
            Self::Unreachable => "The service behind this gateway took no connection.".into(),
            Self::ReplicaTls => {
                "The service behind this gateway could not be reached by a secure connection."
                    .into()
            }
            Self::ConnectTimeout => {
                "The service behind this gateway took no connection in time.".into()
            }
            Self::AnswerMissing => {
                "The service behind this gateway ended the connection without an answer.".into()
            }
            Self::AnswerGarbled => {
                "The service behind this gateway answered with something that is not HTTP.".into()
            }
            Self::AnswerTimeout => "The service behind this gateway did not answer in time.".into(),
            Self::HandshakeInvalid => {
                "The service behind this gateway answered the WebSocket upgrade wrongly.".into()
            }
            Self::BodyAborted => "The request body did not arrive whole.".into(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotReady(_) | Self::Draining => Some(Duration::from_secs(1)),
            // Not all in the same second.
            Self::Overloaded => Some(Duration::from_secs(fastrand::u64(2..8))),
            Self::NoReplica | Self::Unreachable | Self::ConnectTimeout => {
                Some(Duration::from_secs(2))
            }
            Self::TooFast { retry_after, .. }
            | Self::TooMany { retry_after, .. }
            | Self::AuthUnavailable { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// The close code that says the same over an open WebSocket, where that is an option.
    pub(crate) fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Unauthenticated { .. } => Some(CloseCode::UNAUTHORIZED),
            Self::Forbidden => Some(CloseCode::FORBIDDEN),
            Self::AuthUnavailable { .. } => Some(CloseCode::AUTH_UNAVAILABLE),
            // One client too often is its own doing; all of them are nobody's.
            Self::TooMany { limit: Limit::Client | Limit::Subject, .. } => {
                Some(CloseCode::POLICY_VIOLATION)
            }
            Self::Overloaded | Self::TooFast { .. } | Self::TooMany { .. } => {
                Some(CloseCode::TRY_AGAIN_LATER)
            }
            _ => None,
        }
    }

    /// The reason beside it: for programs, within the 123 bytes of a close frame.
    pub(crate) fn close_reason(&self) -> String {
        let cause = match self {
            Self::AuthUnavailable { .. } => "AUTH_UNAVAILABLE",
            other => other.cause(),
        };
        match self.retry_after() {
            Some(after) => format!("{cause}; retry_after={}", seconds(after)),
            None => cause.to_owned(),
        }
    }

    /// Whether the connection must end after this answer: its framing can no longer be trusted, or
    /// bytes behind a refused upgrade could be taken for a request.
    fn ends_connection(&self) -> bool {
        matches!(self, Self::Violation(_) | Self::TlsRequired | Self::Draining | Self::BodyAborted)
    }

    /// The whole answer, as HTML where the client asks for it and as JSON otherwise.
    pub(crate) fn answer(&self, request_headers: &HeaderMap) -> Response<Body> {
        let status = self.status();
        let sentence = self.sentence();
        let (content_type, text) = if accepts_html(request_headers) {
            ("text/html; charset=utf-8", html(status, self.cause(), &sentence))
        } else {
            ("application/json", json(status, self.cause(), &sentence))
        };
        let mut response = Response::new(Body::text(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CAUSE, HeaderValue::from_static(self.cause()));
        if let Some(after) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds(after)));
        }
        if let Self::Violation(violation) = self
            && let Some((name, value)) = violation.extra_field()
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if let Self::Unauthenticated { has_token } = self {
            let challenge = if *has_token { "Bearer error=\"invalid_token\"" } else { "Bearer" };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.ends_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Limit {
    fn whose(self) -> &'static str {
        match self {
            Self::Gateway | Self::Route => "for this service",
            Self::Client => "from this address",
            Self::Subject => "for this user",
        }
    }
}

/// Whole seconds, of which there is at least one: 0 would mean at once.
fn seconds(after: Duration) -> u64 {
    (after + Duration::from_millis(999)).as_secs().max(1)
}

/// Whether the client names HTML in `Accept`; a bare `*/*` is a program.
fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("text/html"))
}

fn json(status: StatusCode, cause: &str, sentence: &str) -> String {
    // Sentences are the gateway's own but for gate names, which come from config.
    let sentence = sentence.replace('\\', "\\\\").replace('"', "\\\"");
    let sentence: String = sentence.chars().filter(|c| !c.is_control()).collect();
    format!(
        "{{\"error\":{{\"status\":{},\"cause\":\"{cause}\",\"message\":\"{sentence}\"}}}}\n",
        status.as_u16()
    )
}

fn html(status: StatusCode, cause: &str, sentence: &str) -> String {
    let sentence = sentence.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{status}</title>\
         <style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;\
         max-width:40rem;margin:15vh auto;padding:0 1rem}}small{{opacity:.7}}</style>\
         <h1>{status}</h1><p>{sentence}</p>\
         <p><small>Answered by the gateway, cause: <code>{cause}</code></small></p></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_html_and_a_program_json() {
        let mut headers = HeaderMap::new();
        let answer = Refusal::Unreachable.answer(&headers);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        headers.insert(ACCEPT, HeaderValue::from_static("text/html,*/*;q=0.8"));
        let answer = Refusal::Unreachable.answer(&headers);
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(answer.headers()[CAUSE], "replica_unreachable");
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    }

    #[test]
    fn what_is_waited_for_cannot_break_the_answer() {
        let refusal = Refusal::NotReady("the \"app\" <b>".into());
        let text = json(refusal.status(), refusal.cause(), &refusal.sentence());
        assert!(text.contains(r#"the \"app\" <b>"#));
        assert!(html(refusal.status(), "x", &refusal.sentence()).contains("&lt;b&gt;"));
    }

    #[test]
    fn every_answer_stands_in_the_operators_table() {
        let table = include_str!("../../../../docs/operate/errors.md");
        for refusal in [
            Refusal::NoRoute,
            Refusal::OriginForbidden,
            Refusal::Unauthenticated { has_token: true },
            Refusal::Forbidden,
            Refusal::AuthUnavailable { retry_after: Duration::ZERO },
            Refusal::TooFast { limit: Limit::Route, retry_after: Duration::ZERO },
            Refusal::TooMany { limit: Limit::Route, retry_after: Duration::ZERO },
            Refusal::NotReady(String::new()),
            Refusal::Overloaded,
            Refusal::Draining,
            Refusal::NoReplica,
            Refusal::Unreachable,
            Refusal::ConnectTimeout,
            Refusal::AnswerMissing,
            Refusal::AnswerGarbled,
            Refusal::AnswerTimeout,
            Refusal::HandshakeInvalid,
            Refusal::BodyAborted,
        ] {
            let row = format!("| {} | `{}` |", refusal.status().as_u16(), refusal.cause());
            assert!(table.contains(&row), "docs/operate/errors.md lacks {row}");
        }
    }
}

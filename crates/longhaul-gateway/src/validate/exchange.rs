//! One question in the words of its service, and what its answer means.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderValue,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::Full;
use longhaul_policy::admission::verdicts::{Answer, Question};
use longhaul_policy::token::{Claims, Grant, claim, json, moment, text_of};
use serde_json::Value;

use crate::config::{Asks, ServiceAuthority};
use crate::fetch::{Fetch, FetchError, Fetched};

/// What an answer may be long.
const BYTES_MAX: usize = 64 * 1024;

/// One question.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) question: Question,
    request: Request<Full<Bytes>>,
}

/// Why there is no answer.
pub(super) struct Failure {
    pub(super) reason: String,
    /// Whether another try could do better.
    pub(super) may_be_repeated: bool,
}

impl Asking {
    pub(super) fn new(config: &ServiceAuthority, token: Option<&str>, head: &Parts) -> Self {
        let token = token.unwrap_or_default();
        let mut request = Request::new(Full::default());
        let mut question = Question::new(&[token.as_bytes()]);
        // What was configured was read as a path; the service itself would be asked otherwise.
        *request.uri_mut() = config.service.path.parse().unwrap_or_default();
        match &config.asks {
            Asks::Validate { body, .. } => {
                *request.method_mut() = http::Method::POST;
                let quoted = Value::from(token).to_string();
                let escaped = &quoted[1..quoted.len() - 1];
                *request.body_mut() = Full::from(body.replace("{token}", escaped));
                request
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            Asks::Introspect { .. } => {
                *request.method_mut() = http::Method::POST;
                *request.body_mut() = Full::from(format!("token={}", encoded(token)));
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.headers_mut().insert(CONTENT_TYPE, form);
            }
            Asks::Forward => {
                copy_head(head, request.headers_mut());
                let fields = request.headers().iter();
                let parts: Vec<&[u8]> = fields
                    .flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()])
                    .collect();
                question = Question::new(&parts);
            }
        }
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().entry(ACCEPT).or_insert(json);
        for (name, value) in &config.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Self { question, request }
    }
}

/// Asks once.
pub(super) async fn ask(
    fetch: &Fetch,
    config: &ServiceAuthority,
    asking: &Asking,
) -> Result<Answer, Failure> {
    let answer = fetch.send(asking.request.clone(), BYTES_MAX).await.map_err(|error| Failure {
        may_be_repeated: !matches!(error, FetchError::Body(_) | FetchError::Request(_)),
        reason: error.to_string(),
    })?;
    let is_overloaded = answer.status.is_server_error();
    understand(config, &answer).map_err(|reason| Failure { reason, may_be_repeated: is_overloaded })
}

/// What an answer means. What is not understood is no verdict.
fn understand(config: &ServiceAuthority, answer: &Fetched) -> Result<Answer, String> {
    let status = answer.status;
    let strange = || Err(format!("it answers {status}, which is no verdict"));
    match &config.asks {
        Asks::Validate { verdict, subject, .. } => match status.as_u16() {
            200..300 => granted(config, &answer.body, verdict, subject),
            400 | 401 | 422 => Ok(Answer::Worthless),
            403 => Ok(Answer::Forbidden),
            _ => strange(),
        },
        // 401 and 403 are about who asks here, not about whom (RFC 7662 §2.3).
        Asks::Introspect { subject } if status == StatusCode::OK => {
            granted(config, &answer.body, "active", subject)
        }
        Asks::Introspect { .. } => strange(),
        Asks::Forward => match status.as_u16() {
            200..300 => Ok(Answer::Granted(forwarded(config, &answer.headers))),
            // A page for a login is of no use to a WebSocket.
            300..=399 | 401 => Ok(Answer::Worthless),
            403 => Ok(Answer::Forbidden),
            _ => strange(),
        },
    }
}

fn granted(
    config: &ServiceAuthority,
    body: &[u8],
    verdict: &str,
    subject: &str,
) -> Result<Answer, String> {
    let claims = json::object(body).ok_or("its answer is no JSON object")?;
    match claim(&claims, verdict) {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(Answer::Worthless),
        _ => return Err(format!("its answer has no {verdict:?} that is true or false")),
    }
    let expires = match claims.get("exp") {
        None | Some(Value::Null) => None,
        Some(exp) => Some(moment(exp).ok_or("its answer has an exp that is no time")?),
    };
    if expires.is_some_and(|expires| expires <= SystemTime::now()) {
        return Ok(Answer::Worthless);
    }
    let text = |name: &str| claim(&claims, name).and_then(text_of).map(Into::into);
    Ok(Answer::Granted(Grant {
        subject: text(subject),
        token_id: text("jti"),
        issued: claims.get("iat").and_then(moment),
        expires,
        headers: passed(config, &claims),
    }))
}

fn passed(config: &ServiceAuthority, claims: &Claims) -> Vec<(HeaderName, HeaderValue)> {
    let header = |(name, from): &(HeaderName, String)| {
        let text = claim(claims, from).and_then(text_of)?;
        Some((name.clone(), HeaderValue::from_bytes(text.as_bytes()).ok()?))
    };
    config.pass.iter().filter_map(header).collect()
}

/// What a 2xx says about who it is: headers of the answer, under the names that replicas know.
fn forwarded(config: &ServiceAuthority, answer: &HeaderMap) -> Grant {
    let header = |(name, from): &(HeaderName, String)| {
        Some((name.clone(), answer.get(from.as_str())?.clone()))
    };
    let headers: Vec<_> = config.pass.iter().filter_map(header).collect();
    let subject = headers.first().and_then(|(_, value)| value.to_str().ok()).map(Into::into);
    Grant { subject, headers, ..Grant::default() }
}

/// What a service needs to know about a request: everything that could say who sent it, and where to,
/// and nothing that is about this connection or its body.
fn copy_head(head: &Parts, to: &mut HeaderMap) {
    for (name, value) in &head.headers {
        let is_handshake = name.as_str().starts_with("sec-websocket-");
        let is_ours = [HOST, UPGRADE, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING]
            .contains(name)
            || name == http::header::CONNECTION
            || name == http::header::EXPECT;
        if !is_handshake && !is_ours || name == AUTHORIZATION || name == COOKIE {
            to.append(name, value.clone());
        }
    }
    let method = HeaderValue::from_str(head.method.as_str());
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let fields =
        [("x-forwarded-method", method), ("x-forwarded-uri", HeaderValue::from_str(target))];
    for (name, value) in fields {
        if let Ok(value) = value {
            to.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Percent-encoding for a form: everything but what never means anything.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests;

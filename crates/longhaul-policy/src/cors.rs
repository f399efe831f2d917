//! Decides which pages of other origins may read answers over HTTP (Fetch standard, "CORS protocol").
//!
//! It is about answers to `fetch` and XHR, Socket.IO's polling among them. WebSocket handshakes know
//! no CORS: [`origin`] is what protects those.
//!
//! Start at [`CorsRules::preflight`] and [`CorsRules::apply`].

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method};

use crate::origin::{self, OriginPattern, Target};

/// What pages of other origins may do on one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsRules {
    /// Which origins.
    pub origins: Vec<OriginPattern>,
    /// Methods beside those that need no word (GET, HEAD, POST).
    pub methods: Vec<Method>,
    /// Request headers beside those that need no word. Empty: those that are asked for.
    pub headers: Vec<HeaderName>,
    /// Answer headers that pages may read.
    pub expose: Vec<HeaderName>,
    /// Whether cookies may come along. Not with [`OriginPattern::Any`].
    pub credentials: bool,
    /// How long browsers may remember the answer to a preflight.
    pub max_age: Duration,
}

/// Which headers a browser may send along, which it asks about before.
const REQUEST_HEADERS: HeaderName = HeaderName::from_static("access-control-request-headers");

/// The origin of a request is not allowed to read the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forbidden;

impl CorsRules {
    /// Answers a preflight with the fields of its answer. `None`: it is no preflight.
    ///
    /// # Errors
    /// [`Forbidden`] for an origin that is not allowed.
    pub fn preflight(
        &self,
        method: &Method,
        request: &HeaderMap,
        target: Target<'_>,
    ) -> Option<Result<HeaderMap, Forbidden>> {
        if method != Method::OPTIONS || !request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let origin = request.get(ORIGIN)?;
        Some(self.permit(origin, target).map(|mut answer| {
            let methods = self.methods.iter().map(Method::as_str);
            let methods = ["GET", "HEAD", "POST"].into_iter().chain(methods);
            insert_list(&mut answer, ACCESS_CONTROL_ALLOW_METHODS, methods);
            if self.headers.is_empty() {
                if let Some(asked) = request.get(REQUEST_HEADERS) {
                    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
                }
            } else {
                let names = self.headers.iter().map(HeaderName::as_str);
                insert_list(&mut answer, ACCESS_CONTROL_ALLOW_HEADERS, names);
            }
            answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age.as_secs()));
            answer.append(VARY, HeaderValue::from_static("access-control-request-headers"));
            answer
        }))
    }

    /// Puts this policy in place of whatever the application said about it.
    pub fn apply(&self, origin: Option<&HeaderValue>, target: Target<'_>, answer: &mut HeaderMap) {
        let told: Vec<HeaderName> = answer
            .keys()
            .filter(|name| name.as_str().starts_with("access-control-"))
            .cloned()
            .collect();
        for name in told {
            answer.remove(name);
        }
        // Caches must not show the answer for one origin to another, nor that for none.
        if !self.is_for_all() {
            answer.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(Ok(fields)) = origin.map(|origin| self.permit(origin, target)) else { return };
        answer.extend(fields.into_iter().filter(|(name, _)| name.as_ref() != Some(&VARY)));
        if !self.expose.is_empty() {
            let names = self.expose.iter().map(HeaderName::as_str);
            insert_list(answer, ACCESS_CONTROL_EXPOSE_HEADERS, names);
        }
    }

    /// What every answer to this origin carries.
    fn permit(&self, origin: &HeaderValue, target: Target<'_>) -> Result<HeaderMap, Forbidden> {
        let text = origin.to_str().map_err(|_| Forbidden)?;
        if !origin::allows(&self.origins, text, target).map_err(|_| Forbidden)? {
            return Err(Forbidden);
        }
        let mut answer = HeaderMap::new();
        if self.is_for_all() {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(VARY, HeaderValue::from_static("origin"));
        }
        if self.credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        Ok(answer)
    }

    fn is_for_all(&self) -> bool {
        !self.credentials && self.origins.contains(&OriginPattern::Any)
    }
}

fn insert_list<'a>(
    headers: &mut HeaderMap,
    name: HeaderName,
    words: impl Iterator<Item = &'a str>,
) {
    let joined = words.collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&joined) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarded::Scheme;

    const HERE: Target<'_> = Target { scheme: Scheme::Https, host: Some("api.example") };

    fn rules(origins: &[&str], credentials: bool) -> CorsRules {
        CorsRules {
            origins: origins.iter().map(|text| text.parse().unwrap()).collect(),
            methods: vec![Method::DELETE],
            headers: Vec::new(),
            expose: vec![HeaderName::from_static("x-total")],
            credentials,
            max_age: Duration::from_secs(600),
        }
    }

    fn preflight(origin: &str) -> HeaderMap {
        let fields = [
            ("origin", origin),
            ("access-control-request-method", "DELETE"),
            ("access-control-request-headers", "x-a, x-b"),
        ];
        let field = |(name, value)| (HeaderName::from_static(name), value);
        let fields = fields.into_iter().map(field);
        fields.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_is_told_what_it_may() {
        let rules = rules(&["https://app.example"], true);
        let answer =
            rules.preflight(&Method::OPTIONS, &preflight("https://app.example"), HERE).unwrap();
        let answer = answer.unwrap();
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_METHODS], "GET, HEAD, POST, DELETE");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_HEADERS], "x-a, x-b");
        assert_eq!(answer[ACCESS_CONTROL_MAX_AGE], "600");
        let foreign = rules.preflight(&Method::OPTIONS, &preflight("https://evil.example"), HERE);
        assert_eq!(foreign.unwrap(), Err(Forbidden));
    }

    #[test]
    fn an_ordinary_options_request_is_none_of_its_business() {
        let rules = rules(&["https://app.example"], false);
        let mut request = preflight("https://app.example");
        assert!(rules.preflight(&Method::GET, &request, HERE).is_none());
        request.remove(ACCESS_CONTROL_REQUEST_METHOD);
        assert!(rules.preflight(&Method::OPTIONS, &request, HERE).is_none());
    }

    #[test]
    fn what_the_application_said_is_replaced() {
        let mut answer = HeaderMap::new();
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        let origin = HeaderValue::from_static("https://evil.example");
        rules(&["https://app.example"], true).apply(Some(&origin), HERE, &mut answer);
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{answer:?}");
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS), "{answer:?}");
        assert_eq!(answer[VARY], "origin");
        let origin = HeaderValue::from_static("https://app.example");
        rules(&["https://app.example"], true).apply(Some(&origin), HERE, &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(answer[ACCESS_CONTROL_EXPOSE_HEADERS], "x-total");
    }

    #[test]
    fn everybody_is_named_by_a_star_and_never_gets_cookies() {
        let mut answer = HeaderMap::new();
        let origin = HeaderValue::from_static("https://any.example");
        rules(&["any"], false).apply(Some(&origin), HERE, &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert!(!answer.contains_key(VARY));
    }
}

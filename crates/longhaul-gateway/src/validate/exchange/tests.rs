use std::time::Duration;

use http::header::SEC_WEBSOCKET_KEY;
use longhaul_policy::admission::breaker::BreakerPolicy;
use longhaul_policy::admission::verdicts::CachePolicy;

use super::*;
use crate::fetch::Service;

fn config(asks: Asks) -> ServiceAuthority {
    let service =
        Service { host: "auth".into(), port: 80, tls: None, path: "/auth/validate".into() };
    ServiceAuthority {
        service,
        asks,
        headers: vec![(HeaderName::from_static("x-secret"), HeaderValue::from_static("s"))],
        pass: vec![(HeaderName::from_static("x-user"), "sub".into())],
        connections_max: 1,
        waiting_max: 1,
        retries: 0,
        cache: CachePolicy {
            granted: Duration::ZERO,
            denied: Duration::ZERO,
            stale: Duration::ZERO,
            entries_max: 1,
        },
        revalidate: None,
        breaker: BreakerPolicy { failures: 1, recovery: Duration::ZERO },
        health: None,
    }
}

fn validate() -> Asks {
    Asks::Validate {
        body: r#"{"token":"{token}"}"#.into(),
        verdict: "valid".into(),
        subject: "user.id".into(),
    }
}

#[track_caller]
fn understood(asks: Asks, status: u16, body: &str) -> Result<Answer, String> {
    let status = StatusCode::from_u16(status).unwrap();
    let answer = Fetched { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) };
    understand(&config(asks), &answer)
}

/// What is sent, read the way it is sent.
fn body_of(asking: &Asking) -> Bytes {
    use http_body_util::BodyExt as _;
    let collected = asking.request.body().clone().collect();
    futures_util::FutureExt::now_or_never(collected).unwrap().unwrap().to_bytes()
}

#[test]
fn only_a_plain_yes_is_one() {
    let yes = r#"{"valid":true,"user":{"id":7},"sub":"ann"}"#;
    let Ok(Answer::Granted(grant)) = understood(validate(), 200, yes) else { panic!("refused") };
    assert_eq!(grant.subject.as_deref(), Some("7"));
    assert_eq!(grant.headers[0].1, "ann");
    assert_eq!(understood(validate(), 200, r#"{"valid":false}"#), Ok(Answer::Worthless));
    assert_eq!(understood(validate(), 200, r#"{"valid":true,"exp":1}"#), Ok(Answer::Worthless));
    for body in [
        "",
        "{}",
        "true",
        "[]",
        "<html>",
        r#"{"valid":"true"}"#,
        r#"{"valid":1}"#,
        r#"{"valid":null}"#,
        r#"{"valid":false,"valid":true}"#,
        r#"{"valid":true,"exp":"soon"}"#,
    ] {
        assert!(understood(validate(), 200, body).is_err(), "{body}");
    }
    for (status, answer) in
        [(400, Answer::Worthless), (401, Answer::Worthless), (403, Answer::Forbidden)]
    {
        assert_eq!(understood(validate(), status, yes), Ok(answer));
    }
    for status in [301, 404, 405, 429, 500, 502, 503] {
        assert!(understood(validate(), status, yes).is_err(), "{status}");
    }
}

#[test]
fn introspection_and_forwarding_have_their_own_words() {
    let asks = || Asks::Introspect { subject: "sub".into() };
    let active = r#"{"active":true,"sub":"ann"}"#;
    assert!(matches!(understood(asks(), 200, active), Ok(Answer::Granted(_))));
    assert_eq!(understood(asks(), 200, r#"{"active":false}"#), Ok(Answer::Worthless));
    // Who asks is not known there: that says nothing about the token.
    assert!(understood(asks(), 401, active).is_err());
    assert!(matches!(understood(Asks::Forward, 204, ""), Ok(Answer::Granted(_))));
    assert_eq!(understood(Asks::Forward, 302, ""), Ok(Answer::Worthless));
    assert_eq!(understood(Asks::Forward, 403, ""), Ok(Answer::Forbidden));
    assert!(understood(Asks::Forward, 404, "").is_err());
}

fn head() -> Parts {
    let request = Request::get("/ws?room=1")
        .header(AUTHORIZATION, "Bearer t")
        .header(COOKIE, "a=b")
        .header(SEC_WEBSOCKET_KEY, "key")
        .header(HOST, "chat.example")
        .header("connection", "Upgrade")
        .header(UPGRADE, "websocket")
        .header("x-forwarded-uri", "/forged");
    request.body(()).unwrap().into_parts().0
}

#[test]
fn a_question_is_the_same_for_the_same_token_and_nothing_breaks_out_of_its_words() {
    let evil = "a\",\"admin\":\"b\\";
    let asking = Asking::new(&config(validate()), Some(evil), &head());
    assert_eq!(asking.request.headers()["x-secret"], "s");
    let read: Value = serde_json::from_slice(&body_of(&asking)).unwrap();
    assert_eq!(read["token"], evil);
    let again = Asking::new(&config(validate()), Some(evil), &head());
    let other = Asking::new(&config(validate()), Some("other"), &head());
    assert!(again.question == asking.question && other.question != asking.question);
    let form =
        Asking::new(&config(Asks::Introspect { subject: "sub".into() }), Some("a&b=c"), &head());
    assert_eq!(body_of(&form), "token=a%26b%3Dc");
}

#[test]
fn a_forwarded_question_says_who_and_where_and_nothing_of_the_connection() {
    let asking = Asking::new(&config(Asks::Forward), None, &head());
    let headers = asking.request.headers();
    assert_eq!(headers[AUTHORIZATION], "Bearer t");
    assert_eq!(headers["x-forwarded-uri"], "/ws?room=1");
    for name in ["connection", "upgrade", "sec-websocket-key", "host"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    let mut elsewhere = head();
    elsewhere.uri = "/ws?room=2".parse().unwrap();
    assert!(Asking::new(&config(Asks::Forward), None, &elsewhere).question != asking.question);
}

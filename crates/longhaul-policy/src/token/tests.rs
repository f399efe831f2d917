use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW_S: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_S)
}

fn claims(value: Value) -> Claims {
    value.as_object().unwrap().clone()
}

fn token(header: &str, payload: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", encode(header), encode(payload), encode("signature"))
}

#[track_caller]
fn judged(rules: &TokenRules, value: Value) -> Result<Grant, TokenFault> {
    rules.judge(&claims(value), now())
}

#[test]
fn times_are_checked_with_leeway_and_exp_must_be_there() {
    let rules = TokenRules::default();
    assert!(judged(&rules, json!({"exp": NOW_S + 1})).is_ok());
    assert!(judged(&rules, json!({"exp": NOW_S - 29})).is_ok());
    assert_eq!(judged(&rules, json!({"exp": NOW_S - 30})), Err(TokenFault::Expired));
    assert_eq!(judged(&rules, json!({})), Err(TokenFault::NoExpiry));
    assert!(judged(&rules, json!({"exp": NOW_S + 1, "nbf": NOW_S + 30})).is_ok());
    let early = json!({"exp": NOW_S + 100, "nbf": NOW_S + 31});
    assert_eq!(judged(&rules, early), Err(TokenFault::TooEarly));
    for odd in [json!("1900000000"), json!(true), json!(null), json!([1]), json!(-1), json!(1e300)]
    {
        assert_eq!(judged(&rules, json!({"exp": odd})), Err(TokenFault::Times), "{odd}");
        let nbf = json!({"exp": NOW_S + 1, "nbf": odd});
        assert_eq!(judged(&rules, nbf), Err(TokenFault::Times), "{odd}");
    }
}

#[test]
fn a_token_for_somebody_else_is_refused_also_where_nobody_said_for_whom() {
    let exp = NOW_S + 60;
    let open = TokenRules::default();
    assert!(judged(&open, json!({"exp": exp})).is_ok());
    let meant = json!({"exp": exp, "aud": "b"});
    assert_eq!(judged(&open, meant.clone()), Err(TokenFault::Audience));
    let ours = TokenRules { audiences: vec!["a".into()], ..TokenRules::default() };
    assert!(judged(&ours, json!({"exp": exp, "aud": ["b", "a"]})).is_ok());
    for aud in [json!("b"), json!(["b"]), json!([]), json!({"a": "a"}), json!(null), json!("A")] {
        assert_eq!(judged(&ours, json!({"exp": exp, "aud": aud})), Err(TokenFault::Audience));
    }
    assert_eq!(judged(&ours, json!({"exp": exp})), Err(TokenFault::Audience));
    let any = TokenRules { is_any_audience: true, ..TokenRules::default() };
    assert!(judged(&any, meant).is_ok());
}

#[test]
fn issuer_and_required_claims_must_fit() {
    let exp = NOW_S + 60;
    let rules = TokenRules { issuers: vec!["https://id.example".into()], ..TokenRules::default() };
    assert!(judged(&rules, json!({"exp": exp, "iss": "https://id.example"})).is_ok());
    for iss in [json!("https://id.example/"), json!(["https://id.example"]), json!(null)] {
        assert_eq!(judged(&rules, json!({"exp": exp, "iss": iss})), Err(TokenFault::Issuer));
    }
    let required = vec![("scope".into(), vec!["chat".into()]), ("org.id".into(), vec![])];
    let rules = TokenRules { required, ..TokenRules::default() };
    let fine = json!({"exp": exp, "scope": "read chat", "org": {"id": 7}});
    assert!(judged(&rules, fine).is_ok());
    for wrong in [
        json!({"exp": exp, "scope": "read chats", "org": {"id": 7}}),
        json!({"exp": exp, "scope": "chat"}),
        json!({"exp": exp, "scope": "chat", "org": {"id": null}}),
    ] {
        assert_eq!(judged(&rules, wrong), Err(TokenFault::Claim));
    }
}

#[test]
fn claims_become_a_grant() {
    let headers = [("x-user", "sub"), ("x-roles", "realm.roles"), ("x-evil", "evil")];
    let headers = headers.map(|(name, from)| (HeaderName::from_static(name), from.to_owned()));
    let rules = TokenRules { headers: headers.into(), ..TokenRules::default() };
    let claims = json!({
        "exp": NOW_S + 60, "sub": "ann", "jti": "7", "realm": {"roles": ["a", "b"]},
        "evil": "a\r\nx-admin: 1",
    });
    let grant = judged(&rules, claims).unwrap();
    assert_eq!(grant.subject.as_deref(), Some("ann"));
    assert_eq!(grant.token_id.as_deref(), Some("7"));
    assert_eq!(grant.expires, Some(now() + Duration::from_secs(90)));
    let headers: Vec<_> = grant.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    assert_eq!(headers, [("x-user", &b"ann"[..]), ("x-roles", b"a,b")]);
}

#[test]
fn only_what_is_plainly_a_signed_token_is_read() {
    let fine = token(r#"{"alg":"RS256","kid":"1"}"#, "{}");
    let read = Unverified::read(&fine).unwrap();
    assert_eq!((read.algorithm, read.key_id.as_deref()), (Algorithm::RS256, Some("1")));
    assert_eq!(read.message, fine.rsplit_once('.').unwrap().0.as_bytes());
    for (header, fault) in [
        (r#"{"alg":"none"}"#, TokenFault::Algorithm),
        (r#"{"alg":"nOnE"}"#, TokenFault::Algorithm),
        (r#"{"alg":""}"#, TokenFault::Algorithm),
        (r#"{"alg":"rs256"}"#, TokenFault::Algorithm),
        (r#"{"alg":["RS256"]}"#, TokenFault::Algorithm),
        (r#"{}"#, TokenFault::Algorithm),
        (r#"{"alg":"RS256","alg":"HS256"}"#, TokenFault::Malformed),
        (r#"{"alg":"RS256","kid":1}"#, TokenFault::Malformed),
        (r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, TokenFault::Critical),
        (r#"{"alg":"RS256","crit":[]}"#, TokenFault::Critical),
        (r#"[]"#, TokenFault::Malformed),
    ] {
        assert_eq!(Unverified::read(&token(header, "{}")).err(), Some(fault), "{header}");
    }
    let parts: Vec<&str> = fine.split('.').collect();
    for broken in [
        String::new(),
        "..".into(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{fine}.a.b"),
        format!("{}.{}.{}", parts[0], "a".repeat(TOKEN_BYTES_MAX), parts[2]),
    ] {
        assert!(Unverified::read(&broken).is_err(), "{broken}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail_otherwise_than_by_a_fault(text in "[ -~]{0,200}") {
        let _ = Unverified::read(&text);
        let _ = Unverified::read(&token(&text, &text)).map(|token| token.claims());
    }

    #[test]
    fn whatever_is_claimed_a_grant_ends(members in prop::collection::btree_map(
        prop::sample::select(vec!["exp", "nbf", "iat", "iss", "aud", "sub"]),
        prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z0-9]{0,4}".prop_map(Value::from),
            Just(Value::Null),
            Just(json!(NOW_S + 5)),
        ], 0..6,
    )) {
        let claims = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if let Ok(grant) = TokenRules::default().judge(&claims, now()) {
            prop_assert!(grant.expires.is_some_and(|expires| expires > now()));
        }
    }
}

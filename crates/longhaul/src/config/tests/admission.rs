//! Who may come in, as the file says it.

use longhaul_gateway::config::{Asks, AuthorityKind, ServiceAuthority};

use super::*;

const SERVICE: &str = "[[auth_services]]\nname = \"login\"\nkind = \"validate\"\n\
                       url = \"http://127.0.0.1:8081/auth/validate\"\n";

fn service(environment: &str, more: &str) -> ServiceAuthority {
    let text = format!("[server]\nenvironment = \"{environment}\"\n{ONE}{SERVICE}{more}");
    let config = settings(&text).gateway;
    match &config.authorities[0].kind {
        AuthorityKind::Service(service) => service.clone(),
        AuthorityKind::Jwt(_) => panic!("it is a service"),
    }
}

#[test]
fn an_environment_gives_deadlines_and_when_a_service_is_left_alone() {
    let deadline = |environment: &str, said: &str| {
        let text = format!("[server]\nenvironment = \"{environment}\"\n{ONE}[admission]\n{said}\n");
        settings(&text).gateway.routes[0].admission.deadline
    };
    let seconds = Duration::from_secs;
    assert_eq!(deadline("production", ""), seconds(2));
    assert_eq!(deadline("staging", ""), seconds(1));
    assert_eq!(deadline("development", ""), seconds(2));
    assert_eq!(deadline("production", "deadline = \"15s\""), seconds(15));
    for (environment, most) in [("staging", "6s"), ("development", "8s")] {
        let text = format!(
            "[server]\nenvironment = \"{environment}\"\n{ONE}[admission]\ndeadline = \"9s\"\n"
        );
        refused(&text, &["admission.deadline", environment, &format!("use {most} or less")]);
    }
    let breaker = |environment: &str| service(environment, "").breaker;
    assert_eq!((breaker("staging").failures, breaker("staging").recovery), (2, seconds(30)));
    assert_eq!((breaker("production").failures, breaker("production").recovery), (5, seconds(60)));
}

#[test]
fn a_service_has_defaults_that_hold_and_a_forwarded_yes_is_not_remembered() {
    let plain = service("production", "");
    assert_eq!(plain.cache.granted, Duration::from_secs(60));
    assert!(plain.cache.stale.is_zero(), "nobody is let in for want of an answer");
    let health = plain.health.unwrap();
    assert_eq!(
        (health.path.as_str(), health.timeout),
        ("/auth/validate", Duration::from_millis(500))
    );
    assert!(matches!(plain.asks, Asks::Validate { .. }));
    let forward = SERVICE.replace("validate\"\nurl", "forward\"\nurl");
    let config = settings(&format!("{ONE}{forward}")).gateway;
    let AuthorityKind::Service(forward) = &config.authorities[0].kind else { panic!("a service") };
    assert!(forward.cache.granted.is_zero());
    refused(&format!("{ONE}{SERVICE}body = '{{}}'\n"), &["does not say where the token goes"]);
    let secret = "headers = { x-secret = \"env:LONGHAUL_THERE_IS_NO_SUCH_VARIABLE\" }\n";
    refused(&format!("{ONE}{SERVICE}{secret}"), &["names a variable that is not set"]);
}

#[test]
fn routes_name_authorities_that_exist_and_tokens_need_keys() {
    let text = format!("{ONE}{SERVICE}[admission]\nauth = \"logn\"\n");
    refused(&text, &["did you mean \"login\"?"]);
    refused(&format!("{ONE}[[jwt]]\nname = \"users\"\n"), &["no key to check tokens with"]);
    let literal = "[[jwt]]\nname = \"users\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n";
    refused(&format!("{ONE}{literal}"), &["a secret does not belong into this file"]);
    let twice = format!("{ONE}{SERVICE}{SERVICE}");
    refused(&twice, &["the name \"login\" is taken"]);
}

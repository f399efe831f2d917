//! Reads `[[auth_services]]`.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use longhaul_gateway::config::{
    Asks, Authority, AuthorityKind, BreakerPolicy, CachePolicy, HealthCheck, ServiceAuthority,
};

use super::admission::Environment;
use super::process::to_usize;
use super::{Sections, tokens};
use crate::config::problem::Problem;
use crate::config::read::Reader;
use crate::config::{defaults, forms};

pub(super) fn read(
    sections: &Sections<'_>,
    reader: &Reader<'_>,
    environment: Environment,
) -> Option<Authority> {
    let name = reader.parsed("name", forms::name);
    let sources = tokens::sources(reader);
    let passes_token = reader.boolean("pass_token").unwrap_or(true);
    let asks = asks(reader);
    let service = tokens::service(sections, reader, "url");
    let headers = headers(sections, reader);
    let pass = tokens::passed(reader, "pass");
    let is_forward = matches!(asks, Some(Asks::Forward));
    let cache = cache(reader, is_forward);
    let breaker = breaker(reader, environment.breaker());
    let url_path = service.as_ref().map_or("/", |service| service.path.as_str()).to_owned();
    let health = health(reader, url_path);
    let count = |key, default| reader.count(key).map_or(default, to_usize);
    let service = ServiceAuthority {
        service: service?,
        asks: asks?,
        headers: headers?,
        pass,
        connections_max: count("connections_max", defaults::AUTH_CONNECTIONS_MAX),
        waiting_max: count("waiting_max", defaults::AUTH_WAITING_MAX),
        retries: u32::try_from(count("retries", defaults::AUTH_RETRIES as usize)).unwrap_or(0),
        cache,
        revalidate: reader.duration_or_off("revalidate").flatten(),
        breaker,
        health,
    };
    let kind = AuthorityKind::Service(service);
    Some(Authority { name: name?, sources, passes_token, kind })
}

fn asks(reader: &Reader<'_>) -> Option<Asks> {
    let text = |text: &str| match text.is_empty() {
        true => Err("is empty; remove it".to_owned()),
        false => Ok(text.to_owned()),
    };
    let body = reader.parsed("body", |text| match text.contains("\"{token}\"") {
        true => Ok(text.to_owned()),
        false => Err("does not say where the token goes; write \"{token}\" in quotes where it \
                      belongs"
            .to_owned()),
    });
    let verdict = reader.parsed("verdict", text).unwrap_or_else(|| "valid".to_owned());
    let subject = reader.parsed("subject", text).unwrap_or_else(|| "sub".to_owned());
    let kind = reader.choice("kind")?;
    for key in ["body", "verdict"] {
        if reader.has(key) && kind != "validate" {
            reader.warn(key, "has no effect", "it belongs to kind = \"validate\"");
        }
    }
    Some(match kind {
        "introspect" => Asks::Introspect { subject },
        "forward" => Asks::Forward,
        _ => {
            let body = body.unwrap_or_else(|| r#"{"token":"{token}"}"#.to_owned());
            Asks::Validate { body, verdict, subject }
        }
    })
}

/// Headers with their values, wherever those are; `None`: what is wrong was reported.
fn headers(sections: &Sections<'_>, reader: &Reader<'_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = Vec::new();
    let mut is_read = true;
    for (name, from) in tokens::pairs(reader, "headers") {
        let value = match forms::is_elsewhere(&from) {
            true => forms::secret(&from, sections.directory),
            false => Ok(from),
        };
        let header = value.and_then(|value| {
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| "has characters that no header may have; use printable ASCII")?;
            value.set_sensitive(true);
            Ok((forms::header_name(&name)?, value))
        });
        match header {
            Ok(header) => headers.push(header),
            Err(problem) => {
                is_read = false;
                let (problem, remedy) = problem.split_once("; ").unwrap_or((&problem, ""));
                let title = format!("{}.headers.{name} {problem}", reader.path());
                reader.report(Problem::error(reader.at_key("headers"), title).remedy(remedy));
            }
        }
    }
    is_read.then_some(headers)
}

fn cache(reader: &Reader<'_>, is_forward: bool) -> CachePolicy {
    let time =
        |key, default| reader.duration_or_off(key).map_or(default, Option::unwrap_or_default);
    let granted = if is_forward { Duration::ZERO } else { defaults::AUTH_CACHE };
    let stale = time("cache_stale", Duration::ZERO);
    if !stale.is_zero() {
        let danger = "who was locked out gets in for as long as the service does not answer";
        reader.warn("cache_stale", danger, "use minutes, not hours, or \"off\"");
    }
    CachePolicy {
        granted: time("cache", granted),
        denied: time("cache_denied", defaults::AUTH_CACHE_DENIED),
        stale,
        entries_max: reader
            .count("cache_entries_max")
            .map_or(defaults::AUTH_CACHE_ENTRIES_MAX, to_usize),
    }
}

fn breaker(reader: &Reader<'_>, default: BreakerPolicy) -> BreakerPolicy {
    let failures = reader.count("breaker_failures").and_then(|count| u32::try_from(count).ok());
    BreakerPolicy {
        failures: failures.unwrap_or(default.failures),
        recovery: reader.duration("breaker_recovery").unwrap_or(default.recovery),
    }
}

fn health(reader: &Reader<'_>, url_path: String) -> Option<HealthCheck> {
    let path = reader.parsed("health_path", forms::path).unwrap_or(url_path);
    let timeout = reader.duration("health_timeout").unwrap_or(defaults::AUTH_HEALTH_TIMEOUT);
    let interval = reader.duration_or_off("health").unwrap_or(Some(defaults::AUTH_HEALTH))?;
    Some(HealthCheck { path, interval, timeout })
}

//! Reads `[[jwt]]` and `[tickets]`; [`auth_services`] reads the others that judge tokens.

use std::path::PathBuf;

use http::HeaderName;
use longhaul_gateway::config::{
    Algorithm, Authority, AuthorityKind, JwtAuthority, KeySet, RemoteKeySet, Service, TicketOffice,
    TokenRules, TokenSource,
};
use longhaul_gateway::tls::{Authorities, Trust, UpstreamTls};

use super::admission::Environment;
use super::tls::file;
use super::{Sections, auth_services};
use crate::config::problem::Problem;
use crate::config::read::{Reader, nearest};
use crate::config::tree::Kind;
use crate::config::{defaults, forms};

/// All that judge tokens.
pub(super) fn authorities(sections: &Sections<'_>, environment: Environment) -> Vec<Authority> {
    let (tokens, services) = (sections.each("jwt"), sections.each("auth_services"));
    let tokens = tokens.iter().map(|reader| (reader, jwt(sections, reader)));
    let services =
        services.iter().map(|reader| (reader, auth_services::read(sections, reader, environment)));
    let mut authorities: Vec<Authority> = Vec::new();
    for (reader, authority) in tokens.chain(services) {
        reader.require();
        let Some(authority) = authority else { continue };
        if authorities.iter().any(|other| other.name == authority.name) {
            let title = format!("{}: the name {:?} is taken", reader.path(), authority.name);
            let problem = Problem::error(reader.at_key("name"), title);
            reader.report(problem.remedy("give each its own `name`"));
        }
        authorities.push(authority);
    }
    authorities
}

/// The authorities that a table names, by index.
pub(super) fn named(
    reader: &Reader<'_>,
    key: &'static str,
    authorities: &[Authority],
) -> Option<Vec<usize>> {
    let known = || authorities.iter().map(|authority| authority.name.as_str());
    let index = |name: &str| {
        known().position(|known| known == name).ok_or_else(|| match nearest(name, known()) {
            Some(near) => format!("is not known; did you mean {near:?}?"),
            None => "is not known; add it under [[jwt]] or [[auth_services]]".to_owned(),
        })
    };
    let said = reader.parsed_list(key, index)?;
    Some(said.into_iter().map(|(index, _)| index).collect())
}

/// Where tickets are given.
pub(super) fn tickets(sections: &Sections<'_>) -> Option<TicketOffice> {
    let reader = sections.one("tickets");
    let life = reader.duration("life").unwrap_or(defaults::TICKET_LIFE);
    let path = reader.parsed("path", |text| match text.contains(['?', '#']) {
        true => Err("has a query or fragment; write the path alone".to_owned()),
        false => forms::path(text),
    });
    if path.is_none() && reader.has("life") && !reader.has("path") {
        reader.warn("life", "has no effect without a path", "set tickets.path as well");
    }
    Some(TicketOffice { path: path?, life })
}

fn jwt(sections: &Sections<'_>, reader: &Reader<'_>) -> Option<Authority> {
    let name = reader.parsed("name", forms::name);
    let sources = sources(reader);
    let passes_token = reader.boolean("pass_token").unwrap_or(true);
    let algorithms = reader.parsed_list("algorithms", forms::algorithm);
    let algorithms: Vec<Algorithm> = match algorithms {
        Some(said) => said.into_iter().map(|(algorithm, _)| algorithm).collect(),
        None => Algorithm::ALL.into(),
    };
    let key_set = remote(sections, reader, &algorithms);
    let keys = given(sections, reader, &algorithms);
    let rules = rules(reader);
    if !reader.has("key_set_url") && !reader.has("keys") && !reader.has("secret") {
        let title = format!("{}: no key to check tokens with", reader.path());
        let problem = Problem::error(reader.at(), title);
        reader.report(problem.remedy("add `key_set_url`, `keys` or `secret`"));
    }
    let kind = AuthorityKind::Jwt(JwtAuthority { rules, keys: keys?, key_set });
    Some(Authority { name: name?, sources, passes_token, kind })
}

pub(super) fn sources(reader: &Reader<'_>) -> Vec<TokenSource> {
    match reader.parsed_list("sources", forms::token_source) {
        Some(said) => said.into_iter().map(|(source, _)| source).collect(),
        None => vec![TokenSource::Authorization, TokenSource::Subprotocol("bearer".to_owned())],
    }
}

fn rules(reader: &Reader<'_>) -> TokenRules {
    let default = TokenRules::default();
    let any_text = |text: &str| match text.is_empty() {
        true => Err("is empty; remove it".to_owned()),
        false => Ok(text.to_owned()),
    };
    let texts = |name| {
        let said = reader.parsed_list(name, any_text).unwrap_or_default();
        said.into_iter().map(|(text, _)| text).collect::<Vec<String>>()
    };
    let mut audiences = texts("audience");
    let is_any_audience = audiences.iter().any(|name| name == "*");
    audiences.retain(|name| name != "*");
    if is_any_audience {
        let danger = "takes tokens that the issuer gave to any other application";
        reader.warn("audience", danger, "name this application");
    }
    let required = pairs(reader, "require").into_iter().map(|(claim, wanted)| {
        let wanted =
            if wanted == "*" { Vec::new() } else { wanted.split('|').map(str::to_owned).collect() };
        (claim, wanted)
    });
    TokenRules {
        issuers: texts("issuer"),
        audiences,
        is_any_audience,
        required: required.collect(),
        leeway: reader.duration("leeway").unwrap_or(default.leeway),
        subject: reader.parsed("subject", any_text).unwrap_or(default.subject),
        headers: passed(reader, "pass"),
    }
}

/// A table of header names and what they are taken from.
pub(super) fn passed(reader: &Reader<'_>, key: &'static str) -> Vec<(HeaderName, String)> {
    let mut headers = Vec::new();
    for (name, from) in pairs(reader, key) {
        match forms::header_name(&name) {
            Ok(header) => headers.push((header, from)),
            Err(problem) => {
                let (problem, remedy) = problem.split_once("; ").unwrap_or((&problem, ""));
                let title = format!("{}.{key}.{name:?} {problem}", reader.path());
                reader.report(Problem::error(reader.at_key(key), title).remedy(remedy));
            }
        }
    }
    headers
}

/// A table of texts.
pub(super) fn pairs(reader: &Reader<'_>, key: &'static str) -> Vec<(String, String)> {
    let Some(table) = reader.table(key) else { return Vec::new() };
    let mut pairs = Vec::new();
    for (name, entry) in &table.entries {
        match &entry.value.kind {
            Kind::Text(text) => pairs.push((name.clone(), text.clone())),
            other => {
                let problem = format!("is {}", other.name());
                reader.wrong(&format!("{key}.{name}"), &entry.value, &problem, "write it as text");
            }
        }
    }
    pairs
}

/// Keys that were given; `None`: what is wrong was reported.
fn given(sections: &Sections<'_>, reader: &Reader<'_>, algorithms: &[Algorithm]) -> Option<KeySet> {
    let directory = sections.directory;
    let of_file = |text: &str| {
        let path = directory.join(PathBuf::from(text));
        let bytes = std::fs::read(&path)
            .map_err(|error| format!("cannot be read ({error}); check the path"))?;
        let remedy = "name a PEM file with public keys or certificates, or a JSON Web Key Set";
        KeySet::of_file(&bytes).map_err(|fault| format!("{fault}; {remedy}"))
    };
    let of_secret = |text: &str| {
        let secret = forms::secret(text, directory)?;
        let remedy = "make one with `openssl rand -hex 32`";
        KeySet::of_secret(secret.as_bytes()).map_err(|fault| format!("{fault}; {remedy}"))
    };
    let files = reader.parsed_list("keys", of_file);
    let secret = reader.parsed("secret", of_secret);
    let is_read = files.as_ref().map_or(0, Vec::len)
        == reader.list_or_one("keys").map_or(0, <[_]>::len)
        && secret.is_some() == reader.has("secret");
    let mut keys = KeySet::default();
    for (more, _) in files.unwrap_or_default() {
        keys = keys.join(more);
    }
    keys = keys.join(secret.unwrap_or_default());
    let has_any = !keys.is_empty();
    keys.restrict(algorithms);
    if has_any && keys.is_empty() {
        reader.warn("algorithms", "fit none of the keys", "name those of the keys");
    }
    is_read.then_some(keys)
}

fn remote(
    sections: &Sections<'_>,
    reader: &Reader<'_>,
    algorithms: &[Algorithm],
) -> Option<RemoteKeySet> {
    let refresh = reader.duration("key_set_refresh").unwrap_or(defaults::KEY_SET_REFRESH);
    let wait = reader.duration_or_off("key_set_start_wait");
    let start_wait = wait.unwrap_or(Some(defaults::KEY_SET_START_WAIT));
    let service = service(sections, reader, "key_set_url")?;
    Some(RemoteKeySet { service, refresh, start_wait, algorithms: algorithms.into() })
}

/// What a URL leads to, with `ca` for those that begin with https.
pub(super) fn service(
    sections: &Sections<'_>,
    reader: &Reader<'_>,
    key: &'static str,
) -> Option<Service> {
    let url = reader.parsed(key, forms::service_url)?;
    let mut service = Service { host: url.host, port: url.port, tls: None, path: url.path };
    if !url.is_secure {
        if !forms::is_loopback(&service.host) {
            let danger = "whoever stands between can read what it is told, and answer in its place";
            reader.warn(key, danger, "use https://");
        }
        return Some(service);
    }
    let bare = service.host.trim_start_matches('[').trim_end_matches(']');
    service.tls = Some(tls(sections, reader, key, bare)?);
    Some(service)
}

/// TLS toward who must prove to be `host`, by the authorities in `ca`. `None`: what is wrong was reported.
pub(super) fn tls(
    sections: &Sections<'_>,
    reader: &Reader<'_>,
    key: &'static str,
    host: &str,
) -> Option<UpstreamTls> {
    let trust = match file(sections, reader, "ca") {
        Some(path) => {
            let loaded = Authorities::load(&path).map_err(|fault| {
                let problem =
                    Problem::error(reader.at_key("ca"), format!("{}.ca: {fault}", reader.path()));
                reader.report(
                    problem.remedy("it must be a PEM file with certificates of authorities"),
                );
            });
            Trust::Authorities(loaded.ok()?)
        }
        None => Trust::System,
    };
    match UpstreamTls::new(trust, Some(host), None) {
        Ok(tls) => Some(tls),
        Err(fault) => {
            let problem =
                Problem::error(reader.at_key(key), format!("{}.{key}: {fault}", reader.path()));
            reader.report(
                problem.remedy("install ca-certificates, or name the authorities with `ca`"),
            );
            None
        }
    }
}

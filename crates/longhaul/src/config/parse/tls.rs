//! Reads `[[certificates]]`, `[tls]`, `[listeners.tls]` and `[upstreams.tls]`, with the files that
//! they name: what is wrong with a file is told like anything else that is wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use longhaul_gateway::config::{Listener, ReplicaSource};
use longhaul_gateway::tls::{
    Authorities, ClientCertificates, Pair, TlsTerms, TlsVersion, Trust, UpstreamTls, show_day,
};

use super::Sections;
use crate::config::defaults;
use crate::config::forms::Scheme;
use crate::config::problem::{Origin, Problem};
use crate::config::read::Reader;

/// Most issuers renew 30 days ahead; at 14 something went wrong.
const EXPIRY_NEAR: Duration = Duration::from_secs(14 * 24 * 3600);

/// TLS of the whole process.
pub(super) struct Tls {
    pub(super) certificates: Vec<Pair>,
    pub(super) watch: Option<Duration>,
    /// What listeners go by that say nothing themselves.
    base: Terms,
    has_certificates: bool,
}

/// How TLS is terminated, as far as it was said.
#[derive(Clone)]
struct Terms {
    mode: Mode,
    terms: TlsTerms,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    On,
    Auto,
}

pub(super) fn read(sections: &Sections<'_>) -> Tls {
    let readers = sections.each("certificates");
    let has_certificates = !readers.is_empty();
    let certificates: Vec<Pair> =
        readers.iter().filter_map(|reader| certificate(sections, reader)).collect();
    let reader = sections.one("tls");
    let mode = if has_certificates { Mode::On } else { Mode::Off };
    let base = Terms { mode, terms: TlsTerms::default() };
    let base = terms(sections, &reader, &base);
    let watch = reader.duration_or_off("watch").unwrap_or(Some(defaults::CERTIFICATE_WATCH));
    if watch.is_none() && has_certificates {
        let danger = "a renewed certificate takes a restart, and is forgotten until it has expired";
        reader.warn("watch", danger, "remove it, unless every renewal restarts the gateway");
    }
    if base.mode != Mode::Off && !has_certificates {
        report_no_certificate(&reader);
    }
    Tls { certificates, watch, base, has_certificates }
}

impl Tls {
    /// The terms of a listener about which nothing else is said.
    pub(super) fn common(&self) -> Option<TlsTerms> {
        self.base.settle()
    }

    /// The terms of a listener by its own table.
    pub(super) fn of_listener(
        &self,
        sections: &Sections<'_>,
        listener: &Reader<'_>,
    ) -> Option<TlsTerms> {
        let Some(reader) = listener.child("tls") else { return self.common() };
        let terms = terms(sections, &reader, &self.base);
        if terms.mode != Mode::Off && self.base.mode == Mode::Off && !self.has_certificates {
            report_no_certificate(&reader);
        }
        terms.settle()
    }

    /// Warns of certificates that no client will ever see.
    pub(super) fn warn_of_unused(&self, sections: &Sections<'_>, listeners: &[Listener]) {
        if self.has_certificates && listeners.iter().all(|listener| listener.tls.is_none()) {
            let at = sections.at("certificates");
            let problem =
                Problem::warning(at, "no listener terminates TLS with these certificates");
            sections.report(problem.remedy("set tls.mode = \"on\", or remove them"));
        }
    }
}

impl Terms {
    fn settle(&self) -> Option<TlsTerms> {
        let takes_plain = self.mode == Mode::Auto;
        (self.mode != Mode::Off).then(|| TlsTerms { takes_plain, ..self.terms.clone() })
    }
}

fn report_no_certificate(reader: &Reader<'_>) {
    let title = format!("{}.mode asks for TLS, and there is no certificate", reader.path());
    let remedy = "add [[certificates]] with `certificate` and `key`; to try it out, make a pair with \
                  `longhaul cert --self-signed DIR`";
    reader.report(Problem::error(reader.at_key("mode"), title).remedy(remedy));
}

fn certificate(sections: &Sections<'_>, reader: &Reader<'_>) -> Option<Pair> {
    reader.require();
    let pair = pair(sections, reader)?;
    if pair.names().is_empty() {
        let danger = "has no DNS name (subjectAltName): no client that looks for a name accepts it";
        reader.warn("certificate", danger, "have it made with its names");
    }
    Some(pair)
}

/// The pair that `certificate` and `key` of a table name. `None`: one of them is missing, or what is
/// wrong was reported.
fn pair(sections: &Sections<'_>, reader: &Reader<'_>) -> Option<Pair> {
    let certificate = file(sections, reader, "certificate");
    let key = file(sections, reader, "key");
    let (certificate, key) = (certificate?, key?);
    let now = SystemTime::now();
    match Pair::load(&certificate, &key, now) {
        Ok(pair) => {
            if pair.not_after() < now + EXPIRY_NEAR {
                let danger = format!("expires on {}", show_day(pair.not_after()));
                reader.warn("certificate", &danger, "renew it");
            }
            if is_readable_by_all(&key) {
                let danger = "can be read by every user of this machine";
                reader.warn("key", danger, "chmod 600, and give it to the user of the gateway");
            }
            Some(pair)
        }
        Err(fault) => {
            let name = if fault.is_about(&key) { "key" } else { "certificate" };
            let title = format!("{}.{name}: {fault}", reader.path());
            let problem = Problem::error(reader.at_key(name), title);
            reader.report(problem.remedy(fault.remedy()));
            None
        }
    }
}

fn is_readable_by_all(path: &std::path::Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

/// What `reader` says, over `base`.
fn terms(sections: &Sections<'_>, reader: &Reader<'_>, base: &Terms) -> Terms {
    let mode = match reader.choice("mode") {
        None => base.mode,
        Some("on") => Mode::On,
        Some("auto") => Mode::Auto,
        Some(_) => Mode::Off,
    };
    let version_min = match reader.choice("min_version") {
        None => base.terms.version_min,
        Some("1.3") => TlsVersion::Tls13,
        Some(_) => TlsVersion::Tls12,
    };
    let client_certificates = client_certificates(sections, reader, base);
    let handshake = reader.duration("handshake").unwrap_or(base.terms.handshake);
    let terms = TlsTerms { version_min, client_certificates, handshake, ..base.terms.clone() };
    Terms { mode, terms }
}

fn client_certificates(
    sections: &Sections<'_>,
    reader: &Reader<'_>,
    base: &Terms,
) -> ClientCertificates {
    let of_base = match &base.terms.client_certificates {
        ClientCertificates::Ignored => None,
        ClientCertificates::Optional(them) | ClientCertificates::Required(them) => Some(them),
    };
    let own =
        file(sections, reader, "client_ca").map(|path| authorities(reader, "client_ca", path));
    let has_own = own.is_some();
    let said = reader.choice("client_certificates");
    let authorities = own.flatten().or_else(|| of_base.cloned());
    match (said, authorities) {
        (Some("required"), Some(authorities)) => ClientCertificates::Required(authorities),
        (Some("optional"), Some(authorities)) => ClientCertificates::Optional(authorities),
        (Some("required" | "optional"), None) => {
            if !reader.has("client_ca") {
                let title = format!("{}: nothing says whose certificates count", reader.path());
                let problem = Problem::error(reader.at_key("client_certificates"), title);
                reader.report(problem.remedy("add `client_ca = \"client-ca.pem\"`"));
            }
            ClientCertificates::Ignored
        }
        (None, Some(authorities)) if has_own && of_base.is_some() => {
            match base.terms.client_certificates {
                ClientCertificates::Optional(_) => ClientCertificates::Optional(authorities),
                _ => ClientCertificates::Required(authorities),
            }
        }
        (None, _) if has_own => {
            let title = format!("{}.client_ca, and clients are not asked", reader.path());
            let problem = Problem::error(reader.at_key("client_ca"), title);
            let remedy = "set client_certificates = \"required\" (or \"optional\"), or remove it";
            reader.report(problem.remedy(remedy));
            ClientCertificates::Ignored
        }
        (None, _) => base.terms.client_certificates.clone(),
        (Some(_), _) => ClientCertificates::Ignored,
    }
}

/// How an upstream is spoken to by TLS, if it is.
pub(super) fn upstream(
    sections: &Sections<'_>,
    upstream: &Reader<'_>,
    schemes: &[Scheme],
    sources: &[ReplicaSource],
    hosts: &[String],
) -> Option<UpstreamTls> {
    let reader = upstream.child("tls");
    let is_said = reader.as_ref().and_then(|reader| reader.boolean("enabled"));
    report_mixed(upstream, schemes, is_said);
    if !is_said.unwrap_or_else(|| schemes.contains(&Scheme::Tls)) {
        return None;
    }
    // Without a table there is nothing to read, and everything has its default.
    let reader = reader.as_ref();
    let server_name = server_name(upstream, reader, sources, hosts);
    let trust = match reader {
        Some(reader) => trust(sections, reader)?,
        None => Trust::System,
    };
    let identity = match reader {
        Some(reader) => identity(sections, reader),
        None => None,
    };
    UpstreamTls::new(trust, server_name.as_deref(), identity.as_ref())
        .map_err(|fault| {
            let title = format!("{}.tls: {fault}", upstream.path());
            let problem = Problem::error(upstream.at_key("replicas"), title);
            let remedy = "install ca-certificates, name the authorities with tls.ca, or say the name as \
                          in tls.server_name = \"chat.internal\"";
            upstream.report(problem.remedy(remedy));
        })
        .ok()
}

fn report_mixed(upstream: &Reader<'_>, schemes: &[Scheme], is_said: Option<bool>) {
    let has = |scheme| schemes.contains(&scheme);
    let contradiction = match is_said {
        Some(true) if has(Scheme::Plain) => "some say http:// and tls.enabled is true",
        Some(false) if has(Scheme::Tls) => "some say https:// and tls.enabled is false",
        None if has(Scheme::Tls) && schemes.iter().any(|scheme| *scheme != Scheme::Tls) => {
            "some say https:// and some do not"
        }
        _ => return,
    };
    let title = format!("{}.replicas: {contradiction}", upstream.path());
    let problem = Problem::error(upstream.at_key("replicas"), title);
    upstream.report(problem.remedy("say the same of all, or make two upstreams of them"));
}

/// The name that all replicas must prove to have; `None`: each its own address.
fn server_name(
    upstream: &Reader<'_>,
    reader: Option<&Reader<'_>>,
    sources: &[ReplicaSource],
    hosts: &[String],
) -> Option<String> {
    let said = reader.and_then(|reader| {
        reader.parsed("server_name", |text| match text.is_empty() {
            true => Err("is empty; name the replicas, or remove it".to_owned()),
            false => Ok(text.trim_end_matches('.').to_owned()),
        })
    });
    if said.is_some() {
        return said;
    }
    let is_address = |host: &String| host.parse::<std::net::IpAddr>().is_ok();
    let has_srv = sources.iter().any(|source| matches!(source, ReplicaSource::Srv { .. }));
    match hosts {
        [] if !has_srv => None,
        hosts if !has_srv && hosts.iter().all(is_address) => None,
        [first, rest @ ..] if !has_srv && rest.iter().all(|host| host == first) => {
            Some(first.clone())
        }
        _ => {
            let title =
                format!("{}: nothing says which name the replicas must prove", upstream.path());
            let problem = Problem::error(upstream.at(), title);
            let remedy = format!("add server_name = \"NAME\" to [{}.tls]", upstream.path());
            upstream.report(problem.remedy(remedy));
            None
        }
    }
}

/// `None`: what is wrong was reported.
fn trust(sections: &Sections<'_>, reader: &Reader<'_>) -> Option<Trust> {
    let ca = file(sections, reader, "ca");
    if reader.boolean("verify") == Some(false) {
        let danger =
            "whoever gets between the gateway and a replica can read and change everything";
        let remedy = "name the authority of the replicas' certificates with `ca` instead";
        reader.warn("verify", danger, remedy);
        return Some(Trust::Anybody);
    }
    match ca {
        Some(path) => Some(Trust::Authorities(authorities(reader, "ca", path)?)),
        None if reader.has("ca") => None,
        None => Some(Trust::System),
    }
}

fn identity(sections: &Sections<'_>, reader: &Reader<'_>) -> Option<Pair> {
    let (has_certificate, has_key) = (reader.has("certificate"), reader.has("key"));
    if has_certificate != has_key {
        let (there, missing) =
            if has_certificate { ("certificate", "key") } else { ("key", "certificate") };
        let title = format!("{}: `{there}` without `{missing}`", reader.path());
        let problem = Problem::error(reader.at_key(there), title);
        reader.report(problem.remedy(format!("add `{missing}`, or remove `{there}`")));
        return None;
    }
    pair(sections, reader)
}

/// `None`: what is wrong was reported.
fn authorities(reader: &Reader<'_>, name: &str, path: PathBuf) -> Option<Authorities> {
    Authorities::load(&path)
        .map_err(|fault| {
            let title = format!("{}.{name}: {fault}", reader.path());
            let problem = Problem::error(reader.at_key(name), title);
            reader.report(problem.remedy("it must be a PEM file with certificates of authorities"));
        })
        .ok()
}

/// The path that a key names. One in the file is relative to the file, one of a flag to where the
/// gateway was started.
pub(super) fn file(
    sections: &Sections<'_>,
    reader: &Reader<'_>,
    name: &'static str,
) -> Option<PathBuf> {
    let path = reader.parsed(name, |text| match text.is_empty() {
        true => Err("is empty; name a file".to_owned()),
        false => Ok(PathBuf::from(text)),
    })?;
    Some(match reader.at_key(name) {
        Origin::File(_) => sections.directory.join(path),
        Origin::Flag(_) | Origin::Env(_) | Origin::Nowhere => path,
    })
}

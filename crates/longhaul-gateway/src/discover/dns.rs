//! Asks DNS servers and the hosts file what a name stands for (RFC 1035, RFC 2782).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, Resolver};
use tokio::task::JoinSet;

use super::LOOKUP_MAX;
use crate::upstream::Endpoint;

/// How long a line of the hosts file is believed. It has no time to live, and reading it is cheap.
const HOSTS_TTL: Duration = Duration::from_secs(10);

/// Time to live of what has none: an address in place of a name.
const LITERAL_TTL: Duration = Duration::from_secs(300);

/// One question to one server, and how often it is repeated: together less than [`LOOKUP_MAX`].
const TRY: Duration = Duration::from_secs(2);
const TRIES: usize = 2;

/// Endpoints of one name that are used; an answer with more is cut.
const ENDPOINTS_MAX: usize = 1024;

/// What is asked about a name.
#[derive(Debug, Clone)]
pub(super) enum Question {
    /// Its addresses; IPv6 ones count when there are no IPv4 ones, since a name that has both gives
    /// the same instances twice.
    Addresses { name: String, port: u16, weight: u32 },
    /// Its SRV records, of which those of the best priority count.
    Services { name: String },
}

impl Question {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Addresses { name, .. } | Self::Services { name } => name,
        }
    }
}

/// What a name stands for, and for how long. Never empty; in order, so that equal answers are equal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) ttl: Duration,
}

/// Why a lookup gave nothing to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no such name")]
    NoSuchName,
    #[error("the name has no addresses")]
    NoRecords,
    #[error("no DNS server answered in time")]
    TimedOut,
    #[error("{0:?} is no valid name")]
    BadName(String),
    #[error("no DNS servers are known: {0}")]
    NoServers(String),
    #[error("lookup failed: {0}")]
    Failed(String),
}

impl From<NetError> for Trouble {
    fn from(error: NetError) -> Self {
        match error {
            error if error.is_nx_domain() => Self::NoSuchName,
            error if error.is_no_records_found() => Self::NoRecords,
            NetError::Timeout => Self::TimedOut,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Asks, and remembers the last good answer of each part of a question: when the A records of one
/// name among several cannot be had for a moment, the others must not lose it.
#[derive(Debug)]
pub(super) struct Dns {
    servers: Vec<SocketAddr>,
    /// Made when first needed and after each failure, since the system's servers may have changed.
    resolver: Option<TokioResolver>,
    addresses: HashMap<(Name, RecordType), Vec<IpAddr>>,
}

impl Dns {
    /// Asks `servers`, or those of the system when there are none.
    pub(super) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, resolver: None, addresses: HashMap::new() }
    }

    /// Looks a name up, within [`LOOKUP_MAX`] for each round of questions.
    pub(super) async fn ask(&mut self, question: &Question) -> Result<Answer, Trouble> {
        let answered = match question {
            Question::Addresses { name, port, weight } => self.hosts(name, *port, *weight).await,
            Question::Services { name } => self.services(name).await,
        };
        let (mut endpoints, ttl) = answered.inspect_err(|_| self.resolver = None)?;
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        endpoints.truncate(ENDPOINTS_MAX);
        if endpoints.is_empty() { Err(Trouble::NoRecords) } else { Ok(Answer { endpoints, ttl }) }
    }

    async fn hosts(
        &mut self,
        name: &str,
        port: u16,
        weight: u32,
    ) -> Result<(Vec<Endpoint>, Duration), Trouble> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok((vec![endpoint(address, port, weight)], LITERAL_TTL));
        }
        let (addresses, ttl) = self.addresses_of(vec![parsed(name)?]).await?;
        let endpoints = addresses.into_values().flatten();
        Ok((endpoints.map(|address| endpoint(address, port, weight)).collect(), ttl))
    }

    async fn services(&mut self, name: &str) -> Result<(Vec<Endpoint>, Duration), Trouble> {
        let resolver = self.resolver()?;
        let (records, mut ttl) = lookup(&resolver, parsed(name)?, RecordType::SRV).await?;
        let services = best_services(&records);
        let targets = services.iter().map(|service| service.target.clone()).collect();
        let (addresses, addresses_ttl) = self.addresses_of(targets).await?;
        ttl = ttl.min(addresses_ttl);
        let endpoints = services.iter().flat_map(|service| {
            let found = addresses.get(&service.target).map(Vec::as_slice).unwrap_or_default();
            // A weight of 0 asks for very little work (RFC 2782), which is as little as 1 gives.
            let weight = u32::from(service.weight.max(1));
            found.iter().map(move |address| endpoint(*address, service.port, weight))
        });
        Ok((endpoints.collect(), ttl))
    }

    /// Looks up the addresses of several names at once. A name whose lookup fails keeps its last
    /// good answer; it is an error only when that leaves nothing at all.
    async fn addresses_of(
        &mut self,
        mut names: Vec<Name>,
    ) -> Result<(HashMap<Name, Vec<IpAddr>>, Duration), Trouble> {
        names.sort();
        names.dedup();
        self.addresses.retain(|(name, _), _| names.contains(name));
        let resolver = self.resolver()?;
        let mut lookups = JoinSet::new();
        for name in &names {
            for family in [RecordType::A, RecordType::AAAA] {
                let (resolver, name) = (resolver.clone(), name.clone());
                lookups.spawn(async move {
                    let answered = addresses(&resolver, name.clone(), family).await;
                    (name, family, answered)
                });
            }
        }
        let mut trouble = Trouble::NoRecords;
        let mut ttl_min = None;
        while let Some(looked_up) = lookups.join_next().await {
            // Only a panic inside the resolver gets here; it is one failed lookup.
            let Ok((name, family, answered)) = looked_up else { continue };
            match answered {
                Ok((found, ttl)) => {
                    ttl_min = Some(ttl_min.map_or(ttl, |min: Duration| min.min(ttl)));
                    self.addresses.insert((name, family), found);
                }
                Err(Trouble::NoRecords) => {
                    self.addresses.remove(&(name, family));
                }
                Err(other) => trouble = other,
            }
        }
        let ttl = ttl_min.ok_or(trouble)?;
        let of = |name: &Name, family| self.addresses.get(&(name.clone(), family)).cloned();
        let preferred = names.into_iter().filter_map(|name| {
            let found = of(&name, RecordType::A).or_else(|| of(&name, RecordType::AAAA))?;
            Some((name, found))
        });
        Ok((preferred.collect(), ttl))
    }

    fn resolver(&mut self) -> Result<TokioResolver, Trouble> {
        if let Some(resolver) = &self.resolver {
            return Ok(resolver.clone());
        }
        let provider = TokioRuntimeProvider::default();
        let builder = if self.servers.is_empty() {
            Resolver::builder(provider)
        } else {
            let servers = self.servers.iter().map(|server| name_server(*server)).collect();
            let config = ResolverConfig::from_name_servers(servers);
            Ok(Resolver::builder_with_config(config, provider))
        };
        let mut builder = builder.map_err(|error| Trouble::NoServers(error.to_string()))?;
        let options = builder.options_mut();
        options.timeout = TRY;
        options.attempts = TRIES;
        // Names are asked for again just when their answer has run out, so a cache could only delay
        // the news; and the hosts file is read here, each time, so that its changes count.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = builder.build().map_err(|error| Trouble::NoServers(error.to_string()))?;
        self.resolver = Some(resolver.clone());
        Ok(resolver)
    }
}

/// Looks up addresses of one family: in the hosts file, then in DNS.
async fn addresses(
    resolver: &TokioResolver,
    name: Name,
    family: RecordType,
) -> Result<(Vec<IpAddr>, Duration), Trouble> {
    let (found, ttl) = match in_hosts_file(&name, family) {
        Some(found) => (found, HOSTS_TTL),
        None => {
            let (records, ttl) = lookup(resolver, name, family).await?;
            (records.iter().filter_map(|record| record.data.ip_addr()).collect(), ttl)
        }
    };
    if found.is_empty() { Err(Trouble::NoRecords) } else { Ok((found, ttl)) }
}

/// Reads the hosts file. A name that it has in one family has none in the other: the file is an
/// override, and DNS must not add to it.
fn in_hosts_file(name: &Name, family: RecordType) -> Option<Vec<IpAddr>> {
    let hosts = Hosts::from_system().ok()?;
    let mut name = name.clone();
    name.set_fqdn(true);
    let of = |family| {
        let lookup = hosts.lookup_static_host(&Query::query(name.clone(), family))?;
        Some(lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
    };
    let other = if family == RecordType::A { RecordType::AAAA } else { RecordType::A };
    of(family).or_else(|| of(other).map(|_: Vec<IpAddr>| Vec::new()))
}

/// Asks for records of one type. Their time to live is the shortest among them.
async fn lookup(
    resolver: &TokioResolver,
    name: Name,
    kind: RecordType,
) -> Result<(Vec<Record>, Duration), Trouble> {
    let looked_up = tokio::time::timeout(LOOKUP_MAX, resolver.lookup(name, kind)).await;
    let answers = looked_up.map_err(|_| Trouble::TimedOut)??.answers().to_vec();
    let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or_default();
    Ok((answers, Duration::from_secs(u64::from(ttl))))
}

/// Picks the services of the best priority. The target `.` says that there is none (RFC 2782).
fn best_services(records: &[Record]) -> Vec<&SRV> {
    let services = || {
        records.iter().filter_map(|record| match &record.data {
            RData::SRV(service) if !service.target.is_root() => Some(service),
            _ => None,
        })
    };
    let best = services().map(|service| service.priority).min();
    services().filter(|service| Some(service.priority) == best).take(ENDPOINTS_MAX).collect()
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(on_port).to_vec();
    NameServerConfig::new(address.ip(), true, connections)
}

fn parsed(name: &str) -> Result<Name, Trouble> {
    Name::from_utf8(name).map_err(|_| Trouble::BadName(name.to_owned()))
}

fn endpoint(address: IpAddr, port: u16, weight: u32) -> Endpoint {
    Endpoint { address: SocketAddr::new(address, port), weight }
}

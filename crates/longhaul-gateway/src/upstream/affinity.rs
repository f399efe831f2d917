//! Which replica a client had, by what its request carries, and what makes it come back.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use http::request::Parts;
use longhaul_policy::affinity::{cookie, engine_io};
use longhaul_policy::balance::{Strategy, stable_hash};
use longhaul_policy::health::State;
use longhaul_policy::query;

use super::{Replica, Upstream, lock};
use crate::config::{Affinity, HashOn, UpstreamConfig};

impl Upstream {
    /// Finds the replica that this client had, if it may have it again.
    ///
    /// An Engine.IO session lives in one replica's memory, so it is followed even to an ejected one:
    /// any other could only refuse it. A cookie is followed while the replica takes work.
    pub(super) fn known_to<'a>(
        &self,
        head: &Parts,
        untried: &[(&'a Arc<Replica>, State)],
        now: Instant,
    ) -> Option<&'a Arc<Replica>> {
        let told = self.told.load();
        if told.config.affinity == Affinity::Auto
            && let Some(engine_io::Request::Session(sid)) = engine_io_request(head)
        {
            let address = lock(&self.sessions).find(&sid, now);
            let issuer = untried.iter().find(|(replica, _)| Some(replica.address()) == address);
            if let Some((replica, state)) = issuer
                && *state != State::Down
            {
                return Some(replica);
            }
        }
        let tag = cookie::tag_of(&head.headers, told.cookie_name.as_deref()?)?;
        untried
            .iter()
            .find(|(replica, state)| state.is_usable() && replica.tag().matches(&tag))
            .map(|(replica, _)| *replica)
    }
}

/// Returns the name of the cookie that names replicas, if there is one.
///
/// The automatic one carries a hash of the upstream's name: two upstreams behind one host would
/// otherwise overwrite each other's cookie with every answer.
pub(super) fn cookie_name(config: &UpstreamConfig) -> Option<String> {
    match &config.affinity {
        Affinity::Auto => {
            let hash = stable_hash(config.name.as_bytes()) >> 32;
            Some(format!("longhaul_replica_{hash:08x}"))
        }
        Affinity::Cookie { name } => Some(name.clone()),
        Affinity::None | Affinity::Hash(_) => None,
    }
}

/// Returns the `Set-Cookie` value that brings the client back to `replica`, unless it would come
/// back anyway or nothing asks for it.
pub(super) fn set_cookie(
    affinity: &Affinity,
    name: &str,
    head: &Parts,
    replica: &Replica,
) -> Option<HeaderValue> {
    let is_asked_for = match affinity {
        Affinity::Auto => engine_io_request(head) == Some(engine_io::Request::Handshake),
        Affinity::Cookie { .. } => true,
        Affinity::None | Affinity::Hash(_) => false,
    };
    let carried = cookie::tag_of(&head.headers, name);
    if !is_asked_for || carried.is_some_and(|tag| tag.matches(replica.tag())) {
        return None;
    }
    let is_https = head
        .headers
        .get("x-forwarded-proto")
        .is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"));
    let secure = if is_https { "; Secure" } else { "" };
    let value = replica.tag().encode();
    HeaderValue::try_from(format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}")).ok()
}

/// Whether the answer to this request will hold a session id worth remembering.
pub(super) fn learns_from(affinity: &Affinity, head: &Parts) -> bool {
    *affinity == Affinity::Auto && engine_io_request(head) == Some(engine_io::Request::Handshake)
}

/// Returns what is hashed to choose a replica, and whether the hash alone decides whatever the
/// strategy.
pub(super) fn hash_key(
    config: &UpstreamConfig,
    head: Option<&Parts>,
    client: IpAddr,
) -> (Option<Vec<u8>>, bool) {
    match (&config.affinity, config.strategy) {
        (Affinity::Hash(on), _) => (key_of(on, head, client), true),
        (_, Strategy::ConsistentHash) => (key_of(&config.hash_on, head, client), false),
        (_, Strategy::LeastConnections | Strategy::RoundRobin | Strategy::RandomOfTwo) => {
            (None, false)
        }
    }
}

/// Reads the key; a request without one is balanced like any other.
fn key_of(on: &HashOn, head: Option<&Parts>, client: IpAddr) -> Option<Vec<u8>> {
    match (on, head) {
        (HashOn::Address, _) => Some(client.to_canonical().to_string().into_bytes()),
        (_, None) => None,
        (HashOn::Header(name), Some(head)) => {
            head.headers.get(name).map(|value| value.as_bytes().to_vec())
        }
        (HashOn::Query(name), Some(head)) => {
            query::parameter(head.uri.query()?, name).map(Cow::into_owned).map(String::into_bytes)
        }
        (HashOn::Cookie(name), Some(head)) => {
            cookie::values(&head.headers, name).next().map(|value| value.as_bytes().to_vec())
        }
        (HashOn::Target, Some(head)) => {
            head.uri.path_and_query().map(|target| target.as_str().as_bytes().to_vec())
        }
    }
}

fn engine_io_request(head: &Parts) -> Option<engine_io::Request<'_>> {
    engine_io::Request::read(head.uri.query()?)
}

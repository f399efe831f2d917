//! Decides who the client is, and tells the replica so (`X-Forwarded-*`, RFC 7239 `Forwarded`).
//!
//! Only a trusted peer is believed. Of what it says, `X-Forwarded-For` counts before `Forwarded`:
//! a proxy that writes one and passes the other through unread would otherwise let its clients
//! choose their address. Both are written anew from the one that counted, so they always agree.
//!
//! Start at [`apply`]. It comes after [`crate::hop_by_hop`].

mod element;

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use self::element::{address_of, elements, write_element};
use crate::address::Shown;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Fields by which proxies and platforms tell the client's address, scheme or original target. A
/// replica may believe any of them, so a stranger may send none. `x-forwarded` and whatever begins
/// with it belong here too.
const IDENTITY: &[&str] = &[
    "client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "true-client-ip",
    "x-azure-clientip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-host",
    "x-http-host-override",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-real-ip",
    "x-real-port",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
];

/// Hops that are read and passed on; what is farther away than that is forgotten.
const HOPS_MAX: usize = 32;

/// How the client's leg of a request was spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain: `http` or `ws`.
    Http,
    /// Over TLS: `https` or `wss`.
    Https,
}

impl Scheme {
    /// Its name in `X-Forwarded-Proto`: `http` or `https`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Reads a value of `X-Forwarded-Proto`; the first of a list is the client's.
    fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        match text.split(',').next()?.trim().to_ascii_lowercase().as_str() {
            "http" | "ws" => Some(Self::Http),
            "https" | "wss" => Some(Self::Https),
            _ => None,
        }
    }
}

/// How a request reached this gateway.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// How that connection speaks.
    pub scheme: Scheme,
    /// The `Host` field or the target's authority.
    pub host: Option<&'a str>,
    /// Port of the listener, for a `host` that names none and did not come by TLS elsewhere.
    pub port: u16,
    /// Peers that are believed.
    pub trusted: &'a [IpNet],
}

/// Who sent a request, as far as trusted peers can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The nearest address that is not a trusted proxy.
    pub address: IpAddr,
    /// How the client itself spoke, which decides whether cookies may be `Secure`.
    pub scheme: Scheme,
}

/// Finds out who the client is and replaces every field that tells it.
///
/// From a peer that is not trusted all of them are deleted first, in every spelling (`_` and `.` for
/// `-` included, since many servers fold them). From a trusted one the addresses are extended by
/// the peer's, and its word on scheme, host and port stands. Sent on are `X-Forwarded-For`,
/// `-Proto`, `-Host`, `-Port`, `X-Real-IP` and `Forwarded`.
pub fn apply(headers: &mut HeaderMap, arrival: &Arrival<'_>) -> Client {
    let peer = arrival.peer.to_canonical();
    let is_trusted = trusts(arrival.trusted, peer);
    delete_spellings(headers, is_trusted);

    let mut hops = if is_trusted { hops_told(headers) } else { Vec::new() };
    hops.push(peer);
    let address = nearest_stranger(&hops, arrival.trusted);
    let told = |name| headers.get(name).filter(|_| is_trusted);
    let scheme = told(X_FORWARDED_PROTO).and_then(Scheme::parse).unwrap_or(arrival.scheme);
    let host = told(X_FORWARDED_HOST)
        .cloned()
        .or_else(|| arrival.host.and_then(|host| HeaderValue::from_str(host).ok()));
    let port = told(X_FORWARDED_PORT)
        .and_then(|value| value.to_str().ok()?.trim().parse::<u16>().ok())
        .or_else(|| port_of(host.as_ref()?.to_str().ok()?))
        .unwrap_or(if scheme == arrival.scheme { arrival.port } else { scheme.port() });

    write(headers, &hops, address, scheme, host, port);
    Client { address, scheme }
}

/// Whether `address` is one of `trusted`; IPv4 addresses mapped into IPv6 count as IPv4.
pub fn trusts(trusted: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// Deletes what the peer may not say: of a stranger everything, of a trusted peer only the aliases
/// of fields that are written here, which its own clients may have smuggled past it.
fn delete_spellings(headers: &mut HeaderMap, is_trusted: bool) {
    let doomed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            if !may_tell(name) {
                return false;
            }
            let is_folded = name.as_str().contains(['_', '.']);
            let folded = match is_folded {
                true => Cow::Owned(name.as_str().replace(['_', '.'], "-")),
                false => Cow::Borrowed(name.as_str()),
            };
            let tells = folded.starts_with("x-forwarded") || IDENTITY.contains(&&*folded);
            tells && !(is_trusted && folded == name.as_str())
        })
        .cloned()
        .collect();
    for name in doomed {
        headers.remove(name);
    }
}

/// Whether a name begins as those do that tell who a client is, which most do not.
fn may_tell(name: &HeaderName) -> bool {
    matches!(name.as_str().as_bytes().first(), Some(b'c' | b'f' | b't' | b'x'))
}

/// Addresses that a trusted peer told, farthest first. An unreadable one ends the list on its left:
/// nothing beyond it can be vouched for.
fn hops_told(headers: &HeaderMap) -> Vec<IpAddr> {
    let is_x = headers.contains_key(X_FORWARDED_FOR);
    let name = if is_x { X_FORWARDED_FOR } else { header::FORWARDED };
    let mut hops: Vec<IpAddr> = headers
        .get_all(name)
        .iter()
        .rev()
        .flat_map(|value| elements(value).into_iter().rev())
        .map_while(|element| address_of(element, is_x))
        .take(HOPS_MAX)
        .collect();
    hops.reverse();
    hops
}

fn nearest_stranger(hops: &[IpAddr], trusted: &[IpNet]) -> IpAddr {
    let nearest = hops.iter().rev().find(|hop| !trusts(trusted, **hop));
    *nearest.or(hops.first()).expect("the peer itself was pushed as the last hop")
}

fn port_of(host: &str) -> Option<u16> {
    let (rest, port) = host.rsplit_once(':')?;
    // In `::1` the last colon starts no port.
    (!rest.contains(':') || rest.ends_with(']')).then(|| port.parse().ok()).flatten()
}

fn write(
    headers: &mut HeaderMap,
    hops: &[IpAddr],
    client: IpAddr,
    scheme: Scheme,
    host: Option<HeaderValue>,
    port: u16,
) {
    let (mut forwarded, mut addresses) = (String::with_capacity(64), String::new());
    for (index, hop) in hops.iter().enumerate() {
        let address = Shown(*hop).to_string();
        if index > 0 {
            forwarded.push_str(", ");
            addresses.push_str(", ");
        }
        let spoken = (index == 0).then_some((scheme, host.as_ref()));
        write_element(&mut forwarded, &address, spoken);
        addresses.push_str(&address);
    }
    let addresses = HeaderValue::try_from(addresses).ok();
    let client = match hops {
        [_] => addresses.clone(),
        _ => HeaderValue::try_from(Shown(client).to_string()).ok(),
    };
    let fields = [
        (header::FORWARDED, HeaderValue::try_from(forwarded).ok()),
        (X_FORWARDED_FOR, addresses),
        (X_FORWARDED_PROTO, Some(HeaderValue::from_static(scheme.name()))),
        (X_FORWARDED_PORT, Some(HeaderValue::from(port))),
        (X_REAL_IP, client),
        (X_FORWARDED_HOST, host),
    ];
    for (name, value) in fields {
        match value {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
}

#[cfg(test)]
mod tests;

//! One request at the gateway: who sent it, which route takes it, and how it goes on.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONNECTION, HOST, TE, UPGRADE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};
use longhaul_policy::forwarded::{self, Arrival, Client, Scheme};
use longhaul_policy::hop_by_hop;
use longhaul_proto::http1::Violation;
use longhaul_proto::proxy_protocol::Ends;

use super::answer::Refusal;
use super::upload::Upload;
use crate::admission;
use crate::config::Route;
use crate::connection::{Connection, Security};
use crate::shared::Shared;
use crate::tls::UpstreamTls;
use crate::upstream::{Replica, Upstream};
use crate::worker::Worker;

/// One request that found its route.
pub(crate) struct Visit<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) shared: &'a Arc<Shared>,
    /// Index into the config's routes.
    pub(crate) route: usize,
    pub(crate) client: Client,
    /// What replicas are told by the PROXY protocol, where they want to know.
    pub(crate) ends: Ends,
}

impl<'a> Visit<'a> {
    pub(crate) fn new(connection: &'a Connection, route: usize, client: Client) -> Self {
        let peer = connection.peer;
        let is_peer = client.address == peer.ip().to_canonical();
        // Of a client behind a trusted proxy the port is not known.
        let address = if is_peer { peer } else { SocketAddr::new(client.address, 0) };
        let ends = Ends { client: address, local: connection.local };
        Self { worker: &connection.worker, shared: &connection.shared, route, client, ends }
    }

    pub(crate) fn route(&self) -> &Route {
        &self.shared.config.routes[self.route]
    }

    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        &self.shared.upstreams[self.route().upstream]
    }

    /// The request as it goes to `replica`: origin form, HTTP/1.1 whatever the client spoke.
    pub(crate) fn outbound(
        &self,
        head: &Parts,
        replica: &Replica,
        upload: Upload,
    ) -> Request<Upload> {
        let mut request = Request::from_parts(head.clone(), upload);
        *request.version_mut() = Version::HTTP_11;
        if request.uri().authority().is_some() {
            let origin = request.uri().path_and_query().cloned();
            *request.uri_mut() = origin.map_or_else(|| Uri::from_static("/"), Uri::from);
        }
        if let Some(host) = self.host_for(head, replica) {
            request.headers_mut().insert(HOST, host);
        }
        request
    }

    /// The host that `replica` is asked for, where that is not the one the client asked for.
    pub(crate) fn host_for(&self, head: &Parts, replica: &Replica) -> Option<HeaderValue> {
        if self.route().preserve_host && head.headers.contains_key(HOST) {
            return None;
        }
        let config = self.upstream().config();
        let host = match config.tls.as_ref().and_then(UpstreamTls::server_name) {
            Some(name) => format!("{name}:{}", replica.address().port()),
            None => replica.address().to_string(),
        };
        HeaderValue::try_from(host).ok()
    }

    /// Makes a request of HTTP/2 out of an outbound one: the host and the scheme have fields of their
    /// own (RFC 9113 §8.3.1).
    ///
    /// # Errors
    /// When the library cannot read the host that the client asked for.
    pub(crate) fn translate<B>(
        &self,
        head: &Parts,
        request: &mut Request<B>,
    ) -> Result<(), Refusal> {
        let host = request.headers_mut().remove(HOST);
        let authority = host.and_then(|host| Authority::from_maybe_shared(host).ok());
        let mut target = request.uri().clone().into_parts();
        target.scheme = Some(match self.upstream().config().tls {
            Some(_) => http::uri::Scheme::HTTPS,
            None => http::uri::Scheme::HTTP,
        });
        target.authority = authority;
        *request.uri_mut() =
            Uri::from_parts(target).map_err(|_| Refusal::Violation(Violation::HostMalformed))?;
        *request.version_mut() = Version::HTTP_2;
        if head.version == Version::HTTP_2 {
            // They are passed on to a client that speaks HTTP/2, and gRPC asks for this word.
            request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        }
        Ok(())
    }

    /// What affinity adds to the answer of `replica`.
    pub(crate) fn cookie_for(&self, head: &Parts, replica: &Replica) -> Option<HeaderValue> {
        self.upstream().cookie_for(head, replica)
    }
}

/// Rewrites a head for the way on: nothing of this connection's own stays, and who the client is
/// stands where replicas look for it. Upgrades get back the two fields that make one.
pub(crate) fn prepare(head: &mut Parts, connection: &Connection, is_upgrade: bool) -> Client {
    // An absolute target wins over the field (RFC 9112 §3.2.2).
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
    hop_by_hop::strip_request(&mut head.headers);
    strip_own(&mut head.headers);
    let host = head.headers.get(HOST).cloned();
    let arrival = Arrival {
        peer: connection.peer.ip(),
        scheme: match connection.security {
            Security::Tls => Scheme::Https,
            Security::Plain | Security::Missing => Scheme::Http,
        },
        host: host.as_ref().and_then(|host| host.to_str().ok()),
        port: connection.local.port(),
        trusted: &connection.shared.config.trusted_proxies,
    };
    let client = forwarded::apply(&mut head.headers, &arrival);
    if is_upgrade {
        head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    client
}

/// Removes what only the gateway says to replicas: they believe it. What a client may say to the
/// gateway itself is taken out by admission.
fn strip_own(headers: &mut HeaderMap) {
    const OWN: &str = "longhaul-";
    let is_own = |name: &&HeaderName| name.as_str().starts_with(OWN) && *name != admission::BYPASS;
    let own: Vec<HeaderName> = headers.keys().filter(is_own).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

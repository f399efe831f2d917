//! What one listener serves, and which of it the first bytes of a connection ask for. Decides, reads
//! nothing: [`crate::arrival`] does.

use longhaul_policy::route::{RoutePattern, RouteTable};
use longhaul_proto::client_hello::{self, Hello};
use longhaul_proto::detect::{self, Protocol};

use crate::config::{Route, TcpRoute};
use crate::tls::TlsTerms;

/// Bytes looked at before an undecided protocol counts as raw: more than any of the known ones needs.
const DETECT_BYTES_MAX: usize = 1024;

/// What one listener serves.
#[derive(Debug)]
pub(crate) struct Front {
    serves_http: bool,
    /// Whether HTTP/2 is served without TLS, and inside of TLS that ended here.
    http2: Http2,
    /// Whether TLS is terminated here.
    tls: Tls,
    /// The TCP route that takes what nothing else does.
    rest: Option<usize>,
    /// Names of TLS connections that are passed through; its places are those of `named`.
    names: RouteTable,
    /// TCP routes, as indices into the config.
    named: Vec<usize>,
}

/// What a listener makes of TLS that no name passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    /// It is bytes like any others.
    Unknown,
    /// It is terminated; whoever comes without is served as well.
    Possible,
    /// Nothing else is served.
    Required,
}

/// Where HTTP/2 is served.
#[derive(Debug, Clone, Copy)]
struct Http2 {
    is_plain: bool,
    is_behind_tls: bool,
}

/// What a connection turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP/1, or what its parser shall refuse in words.
    Http,
    /// HTTP/2.
    Http2,
    /// Bytes for this TCP route.
    Tcp(usize),
    /// TLS that ends here; what is in it remains to be seen.
    Tls,
    /// HTTP/1 where TLS must be around it: to be told so.
    HttpWithoutTls,
    /// TLS for a name that nobody here serves.
    UnknownName(Option<String>),
    /// Nothing that this listener serves.
    Unknown,
}

impl Front {
    pub(crate) fn new(routes: &[Route], tcp_routes: &[TcpRoute], listener: usize) -> Self {
        let mut patterns = Vec::new();
        let mut named = Vec::new();
        let mut rest = None;
        for (index, route) in tcp_routes.iter().enumerate() {
            if route.listener != listener {
                continue;
            }
            match &route.server_names {
                None => rest = Some(index),
                Some(names) => {
                    let pattern = |host| RoutePattern { host, ..RoutePattern::default() };
                    named.extend(names.iter().map(|_| index));
                    patterns.extend(names.iter().cloned().map(pattern));
                }
            }
        }
        let serves_http = routes
            .iter()
            .any(|route| route.listeners.is_empty() || route.listeners.contains(&listener));
        let names = RouteTable::new(patterns);
        let http2 = Http2 { is_plain: false, is_behind_tls: false };
        Self { serves_http, http2, tls: Tls::Unknown, rest, names, named }
    }

    /// The same on a listener that speaks HTTP/2 with or without TLS, where it serves HTTP at all.
    pub(crate) fn with_http2(self, is_plain: bool, is_behind_tls: bool) -> Self {
        let http2 = Http2 {
            is_plain: is_plain && self.serves_http,
            is_behind_tls: is_behind_tls && self.serves_http,
        };
        Self { http2, ..self }
    }

    /// The same on a listener that terminates TLS by these terms, if there are any.
    pub(crate) fn with_tls(self, terms: Option<&TlsTerms>) -> Self {
        let tls = match terms {
            None => Tls::Unknown,
            Some(terms) if terms.takes_plain => Tls::Possible,
            Some(_) => Tls::Required,
        };
        Self { tls, ..self }
    }

    /// What the same listener serves inside of TLS that ended here.
    pub(crate) fn behind_tls(&self) -> Self {
        let names = RouteTable::new([]);
        let http2 = Http2 { is_plain: self.http2.is_behind_tls, is_behind_tls: false };
        Self { tls: Tls::Unknown, http2, names, named: Vec::new(), ..*self }
    }

    /// The protocols to agree on by ALPN (RFC 7301). None where raw bytes are served as well: a client
    /// may name whatever it speaks.
    pub(crate) fn protocols(&self) -> &'static [&'static [u8]] {
        match self.rest {
            Some(_) => &[],
            None if self.http2.is_behind_tls => &[b"h2", b"http/1.1"],
            None => &[b"http/1.1"],
        }
    }

    /// Whether HTTP is served here without TLS around it.
    pub(crate) fn takes_plain_http(&self) -> bool {
        self.serves_http && self.tls != Tls::Required
    }

    /// The kind that every connection is of, where no byte needs to be seen.
    pub(crate) fn only_kind(&self) -> Option<Kind> {
        match self.rest {
            _ if self.tls != Tls::Unknown || self.http2.is_plain => None,
            None if self.named.is_empty() => Some(Kind::Http),
            Some(route) if self.named.is_empty() && !self.serves_http => Some(Kind::Tcp(route)),
            _ => None,
        }
    }

    /// What `bytes`, all that arrived so far, ask for; `None` when more are needed.
    pub(crate) fn judge(&self, bytes: &[u8]) -> Option<Kind> {
        match detect::classify(bytes) {
            Protocol::NeedMore if bytes.len() < DETECT_BYTES_MAX => None,
            Protocol::Tls if !self.named.is_empty() => match client_hello::read(bytes) {
                Ok(Hello::Partial) => None,
                Ok(Hello::Whole { server_name }) => Some(self.named(server_name)),
                // Where TLS ends here, the client is told what is wrong with its hello.
                Err(_) if self.tls != Tls::Unknown => Some(Kind::Tls),
                Err(_) => Some(self.other()),
            },
            Protocol::Tls if self.tls != Tls::Unknown => Some(Kind::Tls),
            Protocol::Http2 if self.http2.is_plain && self.tls != Tls::Required => {
                Some(Kind::Http2)
            }
            Protocol::Http1 if self.tls == Tls::Required => Some(Kind::HttpWithoutTls),
            Protocol::Http1 if self.serves_http => Some(Kind::Http),
            _ => Some(self.other()),
        }
    }

    /// What a connection is that said nothing in time, or not enough.
    pub(crate) fn silent(&self) -> Kind {
        if self.serves_http && self.tls != Tls::Required { Kind::Http } else { Kind::Unknown }
    }

    /// What a connection is that ended early: whoever serves it sees the same end.
    pub(crate) fn other(&self) -> Kind {
        match self.rest() {
            Some(route) => Kind::Tcp(route),
            None => self.silent(),
        }
    }

    /// The route that a silent client is connected to when its server speaks first.
    pub(crate) fn rest(&self) -> Option<usize> {
        self.rest.filter(|_| self.tls != Tls::Required)
    }

    fn named(&self, name: Option<String>) -> Kind {
        let found = self.names.find(name.as_deref(), "/", &http::HeaderMap::new());
        match (found, self.rest) {
            (Some(place), _) => Kind::Tcp(self.named[place]),
            (None, _) if self.tls != Tls::Unknown => Kind::Tls,
            (None, Some(rest)) => Kind::Tcp(rest),
            (None, None) => Kind::UnknownName(name),
        }
    }
}

#[cfg(test)]
mod tests;

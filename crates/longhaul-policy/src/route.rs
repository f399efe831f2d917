//! Decides which route a request takes: the most specific pattern that matches.
//!
//! Paths are compared as applications read them: percent-decoded once, repeated slashes as one. A
//! route that is stricter than its neighbour could otherwise be passed by on `/%61dmin` or
//! `//admin`. What is forwarded stays as it arrived.
//!
//! Start at [`RouteTable::find`].

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::net::Ipv6Addr;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::query::decoded;

/// Which requests a route takes. All parts must match.
#[derive(Debug, Clone, Default)]
pub struct RoutePattern {
    /// Host to match, without port.
    pub host: HostPattern,
    /// Path prefix on segment borders: `/ws` takes `/ws` and `/ws/x`, not `/wsx`. Empty or `/` takes all.
    /// Compared after percent-decoding, so written without it.
    pub path_prefix: String,
    /// Headers that must be there, with this value or with any.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
}

/// Host part of a pattern; compared without case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HostPattern {
    /// Every host.
    #[default]
    Any,
    /// This host alone, lower case.
    Exact(String),
    /// Every name below this domain, as in `*.example.com` (stored as `example.com`).
    Below(String),
}

/// Patterns in the order in which they are tried.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Place of the pattern in the list the table was made from.
    index: usize,
    pattern: RoutePattern,
}

impl RouteTable {
    /// Sorts patterns by how specific they are: an exact host before the longest `*.domain` before
    /// any host; then the longer path prefix; then more headers; then the order given.
    pub fn new(patterns: impl IntoIterator<Item = RoutePattern>) -> Self {
        let mut entries: Vec<Entry> = patterns
            .into_iter()
            .enumerate()
            .map(|(index, pattern)| Entry { index, pattern: normalised(pattern) })
            .collect();
        // The sort is stable, so equals keep the order given.
        entries.sort_by_key(|entry| Reverse(entry.pattern.specificity()));
        Self { entries }
    }

    /// Returns the place (in the list given to [`RouteTable::new`]) of the most specific pattern
    /// that takes this request.
    ///
    /// `host` is the `Host` field or the target's authority, with or without port; `path` is without
    /// the query. A path with dot segments (`/a/../b`, in any spelling) has no route: applications
    /// disagree on what it names, so whatever it were routed by could be the wrong reading.
    pub fn find(&self, host: Option<&str>, path: &str, headers: &HeaderMap) -> Option<usize> {
        let host = host.map(bare_host);
        let path = &*comparable(path)?;
        self.entries
            .iter()
            .find(|entry| entry.pattern.takes(host.as_deref(), path, headers))
            .map(|entry| entry.index)
    }
}

impl RoutePattern {
    fn specificity(&self) -> (u8, usize, usize, usize) {
        let (rank, domain_len) = match &self.host {
            HostPattern::Any => (0, 0),
            HostPattern::Below(domain) => (1, domain.len()),
            HostPattern::Exact(_) => (2, 0),
        };
        (rank, domain_len, self.path_prefix.len(), self.headers.len())
    }

    fn takes(&self, host: Option<&str>, path: &str, headers: &HeaderMap) -> bool {
        self.host.takes(host)
            && has_prefix(path, &self.path_prefix)
            && self.headers.iter().all(|(name, value)| match value {
                None => headers.contains_key(name),
                Some(value) => headers.get_all(name).iter().any(|sent| sent == value),
            })
    }
}

impl fmt::Display for RoutePattern {
    /// Host, path and headers, as people write them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path_prefix.is_empty() { "/" } else { &self.path_prefix };
        write!(f, "{}{path}", self.host)?;
        for (name, value) in &self.headers {
            match value.as_ref().map(|value| value.to_str().unwrap_or("…")) {
                Some(value) => write!(f, " {name}: {value}")?,
                None => write!(f, " {name}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl HostPattern {
    fn takes(&self, host: Option<&str>) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exact(name), Some(host)) => name == host,
            (Self::Below(domain), Some(host)) => host
                .strip_suffix(domain.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty()),
            (Self::Exact(_) | Self::Below(_), None) => false,
        }
    }
}

/// Returns a host as patterns store it: lower case, without port, brackets or trailing dot. IPv6
/// literals take their shortest form.
pub fn bare_host(authority: &str) -> Cow<'_, str> {
    if let Some(rest) = authority.strip_prefix('[') {
        let literal = rest.split(']').next().unwrap_or(rest);
        return match literal.parse::<Ipv6Addr>() {
            Ok(address) => Cow::Owned(address.to_string()),
            Err(_) => Cow::Owned(literal.to_ascii_lowercase()),
        };
    }
    let host = match authority.split_once(':') {
        // More than one colon is an IPv6 literal without brackets, as a pattern may have it.
        Some((_, rest)) if rest.contains(':') => return bare_literal(authority),
        Some((host, _port)) => host,
        None => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

fn bare_literal(text: &str) -> Cow<'_, str> {
    match text.parse::<Ipv6Addr>() {
        Ok(address) => Cow::Owned(address.to_string()),
        Err(_) => Cow::Owned(text.to_ascii_lowercase()),
    }
}

/// Returns a path as applications read it, or `None` when they would not agree.
fn comparable(path: &str) -> Option<Cow<'_, str>> {
    let path = decoded(path);
    // Some servers cut parameters off each segment, so `/..;x/` climbs as well.
    let climbs = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if path.split(['/', '\\']).any(climbs) {
        return None;
    }
    if !path.contains("//") {
        return Some(path);
    }
    let mut merged = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !merged.ends_with('/') {
            merged.push(letter);
        }
    }
    Some(Cow::Owned(merged))
}

fn has_prefix(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// Makes patterns comparable byte for byte, so that `find` need not.
fn normalised(mut pattern: RoutePattern) -> RoutePattern {
    pattern.host = match pattern.host {
        HostPattern::Any => HostPattern::Any,
        HostPattern::Exact(host) => HostPattern::Exact(bare_host(&host).into_owned()),
        HostPattern::Below(domain) => {
            let domain = domain.strip_prefix("*.").unwrap_or(&domain);
            HostPattern::Below(bare_host(domain).into_owned())
        }
    };
    let trimmed = pattern.path_prefix.trim_end_matches('/').len();
    pattern.path_prefix.truncate(trimmed);
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: &str, path: &str) -> RoutePattern {
        let host = match host.strip_prefix("*.") {
            _ if host == "*" => HostPattern::Any,
            Some(domain) => HostPattern::Below(domain.to_owned()),
            None => HostPattern::Exact(host.to_owned()),
        };
        RoutePattern { host, path_prefix: path.to_owned(), headers: Vec::new() }
    }

    #[track_caller]
    fn check(routes: &[(&str, &str)], host: Option<&str>, path: &str, expected: Option<usize>) {
        let table = RouteTable::new(routes.iter().map(|(host, path)| route(host, path)));
        assert_eq!(table.find(host, path, &HeaderMap::new()), expected, "{host:?} {path}");
    }

    #[test]
    fn the_most_specific_host_wins_over_the_longest_path() {
        let routes = [
            ("*", "/a/long/path"),
            ("*.example.com", "/"),
            ("*.eu.example.com", "/"),
            ("x.eu.example.com", ""),
        ];
        check(&routes, Some("x.eu.example.com"), "/a/long/path", Some(3));
        check(&routes, Some("y.eu.example.com"), "/a/long/path", Some(2));
        check(&routes, Some("z.example.com"), "/a/long/path", Some(1));
        check(&routes, Some("example.com"), "/a/long/path", Some(0));
        check(&routes, Some("badexample.com"), "/", None);
        check(&routes, None, "/a/long/path", Some(0));
    }

    #[test]
    fn hosts_are_compared_without_case_port_and_trailing_dot() {
        for host in ["chat.example", "CHAT.Example", "chat.example:8080", "chat.example.:1"] {
            check(&[("chat.example", "")], Some(host), "/", Some(0));
        }
        for host in ["[::1]", "[::1]:80", "[0:0::1]:80"] {
            check(&[("::1", "")], Some(host), "/", Some(0));
            check(&[("[::1]", "")], Some(host), "/", Some(0));
        }
        check(&[("*.example", "")], Some(".example"), "/", None);
    }

    #[test]
    fn a_prefix_ends_on_a_segment_border() {
        let routes = [("*", "/ws/"), ("*", "/ws/socket.io")];
        check(&routes, None, "/ws", Some(0));
        check(&routes, None, "/ws/x", Some(0));
        check(&routes, None, "/wsx", None);
        check(&routes, None, "/ws/socket.io/", Some(1));
        check(&routes, None, "/ws/socket.iox", Some(0));
        check(&[("*", "/")], None, "/anything", Some(0));
        // `OPTIONS *` has no path, only a catch-all takes it.
        check(&[("*", "/")], None, "*", Some(0));
        check(&[("*", "/ws")], None, "*", None);
    }

    #[test]
    fn no_spelling_leads_past_a_stricter_route() {
        let routes = [("*", "/"), ("*", "/admin")];
        for path in ["/admin", "/%61dmin", "//admin", "/admin%2fx", "/admin//x", "///admin/"] {
            check(&routes, None, path, Some(1));
        }
        for path in ["/%2561dmin", "/admins", "/x/admin", "/...", "/.hidden", "/a..b"] {
            check(&routes, None, path, Some(0));
        }
        for path in
            ["/x/../admin", "/x/%2e%2E/admin", "/.", "/a/./b", "/..;a=1/admin", "/x/..\\admin"]
        {
            check(&routes, None, path, None);
        }
    }

    #[test]
    fn more_headers_are_more_specific_and_equals_keep_their_order() {
        let upgrade = (http::header::UPGRADE, Some(HeaderValue::from_static("websocket")));
        let tenant = (HeaderName::from_static("x-tenant"), None);
        let patterns = [
            RoutePattern::default(),
            RoutePattern::default(),
            RoutePattern { headers: vec![upgrade.clone()], ..Default::default() },
            RoutePattern { headers: vec![upgrade, tenant], ..Default::default() },
        ];
        let table = RouteTable::new(patterns);
        let mut headers = HeaderMap::new();
        assert_eq!(table.find(None, "/", &headers), Some(0));
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        assert_eq!(table.find(None, "/", &headers), Some(2));
        headers.insert("x-tenant", HeaderValue::from_static("a"));
        assert_eq!(table.find(None, "/", &headers), Some(3));
    }
}

//! Decides whether a page may open a WebSocket here (RFC 6454, RFC 6455 §10.2).
//!
//! Browsers apply neither the same-origin policy nor CORS to WebSocket handshakes; they only say
//! where the page came from. Whoever answers a handshake has to look, or every page on the web can
//! speak with the cookies of its visitor.
//!
//! Start at [`OriginRules::judge`].

use std::fmt;
use std::str::FromStr;

use http::header::{HeaderMap, ORIGIN};

use crate::forwarded::Scheme;

/// Where a page came from: scheme, host and port, in lower case and with the port filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    /// `None` only for schemes that have no default.
    port: Option<u16>,
}

/// Which origins are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// The origin that the request itself goes to.
    Same,
    /// This one alone.
    Exact(Origin),
    /// Every host below this one, by the same scheme and port.
    Below(Origin),
    /// Pages without an origin of their own: sandboxed frames, files.
    Null,
    /// Every page there is.
    Any,
}

/// Which pages may open WebSockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRules {
    /// Any of these.
    pub allow: Vec<OriginPattern>,
    /// Refuses clients that say nothing: browsers always do, programs rarely.
    pub is_required: bool,
}

impl Default for OriginRules {
    fn default() -> Self {
        Self { allow: vec![OriginPattern::Same], is_required: false }
    }
}

/// What a request is aimed at, as its client sees it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// How the client spoke, as far as this gateway knows.
    pub scheme: Scheme,
    /// The `Host` field, or what a trusted proxy said it was.
    pub host: Option<&'a str>,
}

/// Why a page may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginFault {
    /// No `Origin`, where one is required.
    Missing,
    /// More than one `Origin`, or one that is none.
    Unreadable,
    /// It is not among those allowed.
    Foreign,
}

impl fmt::Display for OriginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the request has no Origin, and one is required",
            Self::Unreadable => "Origin is not one origin",
            Self::Foreign => "the origin is not allowed",
        })
    }
}

impl OriginRules {
    /// Judges the origin of an upgrade.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn judge(&self, headers: &HeaderMap, target: Target<'_>) -> Result<(), OriginFault> {
        let mut values = headers.get_all(ORIGIN).iter();
        let Some(value) = values.next() else {
            return if self.is_required { Err(OriginFault::Missing) } else { Ok(()) };
        };
        if values.next().is_some() {
            return Err(OriginFault::Unreadable);
        }
        let text = value.to_str().map_err(|_| OriginFault::Unreadable)?;
        if allows(&self.allow, text, target)? { Ok(()) } else { Err(OriginFault::Foreign) }
    }
}

/// Whether an `Origin` is one of those meant.
///
/// # Errors
/// [`OriginFault::Unreadable`] when it is no origin at all.
pub fn allows(
    patterns: &[OriginPattern],
    origin: &str,
    target: Target<'_>,
) -> Result<bool, OriginFault> {
    if origin == "null" {
        let is_meant = |it: &OriginPattern| matches!(it, OriginPattern::Null | OriginPattern::Any);
        return Ok(patterns.iter().any(is_meant));
    }
    let origin: Origin = origin.parse().map_err(|_| OriginFault::Unreadable)?;
    Ok(patterns.iter().any(|pattern| match pattern {
        OriginPattern::Any => true,
        OriginPattern::Null => false,
        OriginPattern::Same => origin.is_at(target),
        OriginPattern::Exact(exact) => origin == *exact,
        OriginPattern::Below(domain) => origin.is_below(domain),
    }))
}

impl Origin {
    /// Whether a page from here that connects to `target` stays where it is.
    ///
    /// A page that came by TLS is also at home where the gateway knows of none: TLS ended at a proxy
    /// in front that nobody named as trusted. The other way round is refused: whoever can forge a
    /// page without TLS must not speak with the cookies of the site with it.
    fn is_at(&self, target: Target<'_>) -> bool {
        let is_scheme_fine = match (self.scheme.as_str(), target.scheme) {
            ("https", _) | ("http", Scheme::Http) => true,
            _ => return false,
        };
        let Some(authority) = target.host else { return false };
        // Without a port, the host means that of the page's own scheme.
        let aimed = format!("{}://{authority}", self.scheme).parse::<Self>();
        is_scheme_fine && aimed.is_ok_and(|aimed| aimed == *self)
    }

    fn is_below(&self, domain: &Self) -> bool {
        let label = self.host.strip_suffix(&domain.host).and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(|label| !label.is_empty())
            && self.scheme == domain.scheme
            && self.port == domain.port
    }
}

/// The text is not an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnOrigin;

impl FromStr for Origin {
    type Err = NotAnOrigin;

    /// Reads `scheme://host[:port]`, to the letter: a path, even `/`, belongs to no origin.
    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let (scheme, authority) = text.split_once("://").ok_or(NotAnOrigin)?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return Err(NotAnOrigin);
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = match authority.rsplit_once(':') {
            // In `[::1]` the last colon starts no port.
            Some((host, port)) if !port.ends_with(']') => {
                let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse().ok().filter(|_| is_number).ok_or(NotAnOrigin)?;
                (host, Some(port))
            }
            _ => (authority, None),
        };
        let is_address = host.starts_with('[') && host.ends_with(']');
        let is_host = !host.is_empty()
            && host.bytes().all(|byte| {
                byte.is_ascii_alphanumeric()
                    || b"-_.".contains(&byte)
                    || is_address && byte == b':'
                    || is_address && b"[]".contains(&byte)
            });
        if !is_host {
            return Err(NotAnOrigin);
        }
        let port = port.or(match scheme.as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        });
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port })
    }
}

impl FromStr for OriginPattern {
    type Err = NotAnOrigin;

    /// Reads `same`, `any` (or `*`), `null`, `https://app.example` or `https://*.example`.
    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        match text {
            "same" => return Ok(Self::Same),
            "any" | "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        match text.split_once("://*.") {
            Some((scheme, domain)) => Ok(Self::Below(format!("{scheme}://{domain}").parse()?)),
            None => text.parse().map(Self::Exact),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const HERE: Target<'_> = Target { scheme: Scheme::Https, host: Some("chat.example") };

    fn rules(allow: &[&str]) -> OriginRules {
        let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
        OriginRules { allow, is_required: false }
    }

    #[track_caller]
    fn judge(rules: &OriginRules, origins: &[&str], target: Target<'_>) -> Result<(), OriginFault> {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        rules.judge(&headers, target)
    }

    #[test]
    fn the_same_origin_is_scheme_host_and_port() {
        let same = OriginRules::default();
        for fine in ["https://chat.example", "https://CHAT.example", "https://chat.example:443"] {
            assert_eq!(judge(&same, &[fine], HERE), Ok(()), "{fine}");
        }
        for foreign in [
            "http://chat.example",
            "https://chat.example:8443",
            "https://evil.example",
            "https://chat.example.evil.example",
            "https://evilchat.example",
            "wss://chat.example",
            "null",
        ] {
            assert_eq!(judge(&same, &[foreign], HERE), Err(OriginFault::Foreign), "{foreign}");
        }
    }

    #[test]
    fn a_page_by_tls_is_at_home_behind_an_ingress_that_ends_it() {
        let same = OriginRules::default();
        let inside = Target { scheme: Scheme::Http, host: Some("chat.example") };
        assert_eq!(judge(&same, &["https://chat.example"], inside), Ok(()));
        assert_eq!(judge(&same, &["http://chat.example"], inside), Ok(()));
        let with_port = Target { host: Some("chat.example:8443"), ..inside };
        assert_eq!(judge(&same, &["https://chat.example:8443"], with_port), Ok(()));
        assert!(judge(&same, &["https://chat.example"], with_port).is_err());
        let nowhere = Target { host: None, ..inside };
        assert!(judge(&same, &["https://chat.example"], nowhere).is_err());
    }

    #[test]
    fn a_star_stands_for_what_is_below_and_for_nothing_else() {
        let rules = rules(&["https://*.example.com"]);
        assert_eq!(judge(&rules, &["https://a.example.com"], HERE), Ok(()));
        assert_eq!(judge(&rules, &["https://a.b.example.com"], HERE), Ok(()));
        for foreign in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://a.example.com.evil",
            "https://chat.example",
        ] {
            assert!(judge(&rules, &[foreign], HERE).is_err(), "{foreign}");
        }
    }

    #[test]
    fn programs_say_nothing_and_may_unless_an_origin_is_required() {
        let mut rules = rules(&["https://a.example"]);
        assert_eq!(judge(&rules, &[], HERE), Ok(()));
        rules.is_required = true;
        assert_eq!(judge(&rules, &[], HERE), Err(OriginFault::Missing));
    }

    #[test]
    fn what_is_no_origin_or_two_is_refused_even_where_any_is_allowed() {
        let any = rules(&["any"]);
        assert_eq!(judge(&any, &["https://a.example"], HERE), Ok(()));
        assert_eq!(judge(&any, &["null"], HERE), Ok(()));
        assert_eq!(judge(&any, &["capacitor://localhost"], HERE), Ok(()));
        for text in
            ["", "a.example", "https://", "https://a/", "https://u@a", "https://a:b", "://a"]
        {
            assert_eq!(judge(&any, &[text], HERE), Err(OriginFault::Unreadable), "{text}");
        }
        let two = judge(&any, &["https://a.example", "https://a.example"], HERE);
        assert_eq!(two, Err(OriginFault::Unreadable));
    }

    #[test]
    fn addresses_and_schemes_of_apps_are_origins() {
        let rules = rules(&["http://[::1]:3000", "capacitor://localhost"]);
        assert_eq!(judge(&rules, &["http://[::1]:3000"], HERE), Ok(()));
        assert_eq!(judge(&rules, &["capacitor://localhost"], HERE), Ok(()));
        assert!(judge(&rules, &["http://[::1]"], HERE).is_err());
    }

    proptest! {
        #[test]
        fn only_hosts_below_the_domain_pass_a_star(host in "[a-z.]{0,12}") {
            let rules = rules(&["https://*.b.c"]);
            let is_below = host.ends_with(".b.c") && host.len() > 4;
            let judged = judge(&rules, &[&format!("https://{host}")], HERE);
            prop_assert_eq!(judged.is_ok(), is_below);
        }
    }
}

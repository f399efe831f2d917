//! Decides which route a request takes.

use http::{HeaderName, HeaderValue};

/// Which requests a route takes. All parts must match.
#[derive(Debug, Clone, Default)]
pub struct RoutePattern {
    /// Host to match, without port.
    pub host: HostPattern,
    /// Path prefix on segment borders: `/ws` takes `/ws` and `/ws/x`, not `/wsx`. Empty or `/` takes all.
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

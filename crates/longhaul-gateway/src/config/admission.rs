//! Who may come in.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
pub use longhaul_policy::admission::breaker::BreakerPolicy;
pub use longhaul_policy::admission::limits::Allowance;
pub use longhaul_policy::admission::verdicts::CachePolicy;
pub use longhaul_policy::cors::CorsRules;
pub use longhaul_policy::origin::{OriginPattern, OriginRules};
pub use longhaul_policy::token::source::TokenSource;
pub use longhaul_policy::token::{Algorithm, TokenRules};

pub use crate::fetch::Service;
pub use crate::keys::{KeyFault, KeySet};

/// How many upgrades may come, and how many WebSockets may be open. Default: no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// All clients together.
    pub everybody: Allowance,
    /// Each client address; of IPv6, each /64.
    pub client: Allowance,
    /// Each subject of a token.
    pub subject: Allowance,
    /// Clients, and subjects, that are counted one by one. The rest share one count.
    pub keys_max: usize,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        let none = Allowance::default();
        Self { everybody: none, client: none, subject: none, keys_max: 100_000 }
    }
}

/// Who may use one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionPolicy {
    /// Which pages may open WebSockets. Default: those of the same origin.
    pub origins: OriginRules,
    /// Which pages of other origins may read answers over HTTP; `None` leaves that to replicas.
    /// Default: none.
    pub cors: Option<CorsRules>,
    /// How many upgrades and WebSockets this route takes, beside what the whole gateway does.
    /// Default: no limit.
    pub limits: Allowance,
    /// How a refused WebSocket is told. Default: by a status.
    pub refusal: RefusalStyle,
    /// Indices of those that judge tokens, in the order in which they are asked; one yes is enough.
    /// Empty: nobody is asked for a token. Default: empty.
    pub authorities: Vec<usize>,
    /// Which requests need a token. Default: everything.
    pub scope: AuthScope,
    /// From the request to the verdict, whatever it takes. Then: 503. Default: 2 s.
    pub deadline: Duration,
}

impl Default for AdmissionPolicy {
    fn default() -> Self {
        Self {
            origins: OriginRules::default(),
            cors: None,
            limits: Allowance::default(),
            refusal: RefusalStyle::default(),
            authorities: Vec::new(),
            scope: AuthScope::default(),
            deadline: Duration::from_secs(2),
        }
    }
}

/// Which requests of a route need a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuthScope {
    /// All but preflights.
    #[default]
    Everything,
    /// Upgrades alone.
    WebSockets,
}

/// How a WebSocket that may not be opened is told so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RefusalStyle {
    /// By the status of its handshake, as HTTP has it. Pages see 1006, whatever it is.
    #[default]
    Status,
    /// It is opened and closed at once, with a code and a reason that pages can read. Foreign origins
    /// are still refused by 403.
    Close,
}

/// Who judges tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Unique name, for logs and metrics.
    pub name: String,
    /// Where a token for it may be; the first place that has one counts.
    pub sources: Vec<TokenSource>,
    /// Whether the token goes on to the replica.
    pub passes_token: bool,
    /// How it judges.
    pub kind: AuthorityKind,
}

/// How tokens are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityKind {
    /// By their signature and what they claim.
    Jwt(JwtAuthority),
    /// By the word of a service.
    Service(ServiceAuthority),
}

impl Authority {
    /// Headers that it tells replicas, which no client may send.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        let headers = match &self.kind {
            AuthorityKind::Jwt(jwt) => &jwt.rules.headers,
            AuthorityKind::Service(service) => &service.pass,
        };
        headers.iter().map(|(name, _)| name)
    }
}

/// Judges JSON Web Tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtAuthority {
    /// Which are taken.
    pub rules: TokenRules,
    /// Keys that were given.
    pub keys: KeySet,
    /// Where more keys are.
    pub key_set: Option<RemoteKeySet>,
}

/// Has tokens judged by a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAuthority {
    /// Where it is.
    pub service: Service,
    /// How it is asked.
    pub asks: Asks,
    /// Sent with each question: what proves who asks.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers that replicas get, and what of the answer they hold.
    pub pass: Vec<(HeaderName, String)>,
    /// Questions under way at once, and connections that are kept for the next.
    pub connections_max: usize,
    /// Questions that may wait in line beside them; more are refused at once.
    pub waiting_max: usize,
    /// Times that a question is asked again when it fails, within its deadline.
    pub retries: u32,
    /// How long answers count.
    pub cache: CachePolicy,
    /// How often it is asked again about WebSockets that it let in; `None`: never. Default: `None`.
    pub revalidate: Option<Duration>,
    /// When it is left alone.
    pub breaker: BreakerPolicy,
    /// How it is looked after in the background; `None`: not at all.
    pub health: Option<HealthCheck>,
}

/// How a service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// POST with JSON; the answer has a boolean.
    Validate {
        /// JSON with `{token}` where the token goes, inside of quotes.
        body: String,
        /// The boolean, by its name or path.
        verdict: String,
        /// What of the answer says who it is.
        subject: String,
    },
    /// As RFC 7662 has it.
    Introspect {
        /// What of the answer says who it is.
        subject: String,
    },
    /// GET with the headers of the request; any 2xx allows.
    Forward,
}

/// How a service is looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path of a GET; any answer below 500 is a good one.
    pub path: String,
    /// Between two looks.
    pub interval: Duration,
    /// What one look may take.
    pub timeout: Duration,
}

/// A key set that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteKeySet {
    /// Where it is.
    pub service: Service,
    /// How often it is fetched while all is well.
    pub refresh: Duration,
    /// How long a start waits for the first of them; `None`: not at all.
    pub start_wait: Option<Duration>,
    /// Which algorithms its keys may be used with.
    pub algorithms: Vec<Algorithm>,
}

/// Where clients get tickets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketOffice {
    /// Path that tokens are posted to.
    pub path: String,
    /// How long a ticket holds.
    pub life: Duration,
}

//! Defaults that no type of the gateway owns, because they are about starting.

use std::time::Duration;

use std::num::NonZero;

/// Where clients arrive when nothing says where. Loopback: nothing is open to the world unasked.
pub(crate) const LISTEN: &str = "127.0.0.1:8080";

/// One worker for each core that this process may use.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// An operator who saves a file looks at the log within seconds.
pub(crate) const CONFIG_WATCH: Duration = Duration::from_secs(1);

/// Seldom enough to cost nothing, often enough for whoever waits for a new certificate.
pub(crate) const CERTIFICATE_WATCH: Duration = Duration::from_secs(5);

/// Long enough to spare most preflights, short enough to take a changed policy back within minutes.
pub(crate) const CORS_MAX_AGE: Duration = Duration::from_secs(600);

/// Often enough for an issuer that changes keys with a day's notice.
pub(crate) const METRICS_INTERVAL: Duration = Duration::from_secs(60);
pub(crate) const KEY_SET_REFRESH: Duration = Duration::from_secs(600);
pub(crate) const KEY_SET_START_WAIT: Duration = Duration::from_secs(15);

/// As long as a page takes to open its WebSocket, on the worst of links.
pub(crate) const TICKET_LIFE: Duration = Duration::from_secs(30);

/// What keys of a store begin with, which others may use as well.
pub(crate) const STORE_PREFIX: &str = "longhaul:";

/// Ten times what a healthy store takes, from another building; within the deadline of admission.
pub(crate) const STORE_ANSWER: Duration = Duration::from_millis(500);
pub(crate) const STORE_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Few enough to cost nothing, and in a day some of each kind.
pub(crate) const TRACES_ONE_IN: u32 = 1_000;

/// What this gateway is called where nobody says otherwise.
pub(crate) const TRACES_SERVICE: &str = "longhaul";

/// Of an authentication service: what one can take, and what a crowd may wait for.
pub(crate) const AUTH_CONNECTIONS_MAX: usize = 20;
pub(crate) const AUTH_WAITING_MAX: usize = 2_000;
pub(crate) const AUTH_RETRIES: u32 = 1;

/// How long its answers count.
pub(crate) const AUTH_CACHE: Duration = Duration::from_secs(60);
pub(crate) const AUTH_CACHE_DENIED: Duration = Duration::from_secs(2);
pub(crate) const AUTH_CACHE_ENTRIES_MAX: usize = 10_000;

/// How it is looked after.
pub(crate) const AUTH_HEALTH: Duration = Duration::from_secs(1);
pub(crate) const AUTH_HEALTH_TIMEOUT: Duration = Duration::from_millis(500);

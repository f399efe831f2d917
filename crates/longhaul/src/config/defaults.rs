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

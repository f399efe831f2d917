//! What the answers are made from: the gateway's handle, and what only the process can say.

use std::fmt;
use std::sync::Arc;

use longhaul_gateway::Handle;
use serde_json::Value;

use crate::access::Token;

/// What only the process around the gateway can show or do. The binary gives it.
pub trait House: Send + Sync + 'static {
    /// The configuration in force, secrets masked: sections, keys, each with its value and who said
    /// it.
    fn config(&self) -> Value;

    /// What is logged: a level, or levels by target.
    fn log_level(&self) -> String;

    /// Changes what is logged, until the next change or restart.
    ///
    /// # Errors
    /// In words, when it is no level.
    fn set_log_level(&self, level: &str) -> Result<(), String>;
}

/// Who may do what, beyond what every gateway has.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// What lets its bearer change things, and read from elsewhere.
    pub token: Option<Token>,
    /// Names in `Host` that mean this gateway, beside `localhost` and addresses.
    pub hosts: Vec<String>,
}

/// The state behind every endpoint. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) handle: Handle,
    pub(crate) house: Arc<dyn House>,
    pub(crate) token: Option<Token>,
    pub(crate) hosts: Arc<[String]>,
}

impl Desk {
    pub(crate) fn new(handle: Handle, house: Arc<dyn House>, terms: Terms) -> Self {
        Self { handle, house, token: terms.token, hosts: terms.hosts.into() }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

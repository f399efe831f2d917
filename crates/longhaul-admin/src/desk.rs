//! What the answers are made from: the gateway's handle, and what only the process can say.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
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

    /// Has another program, by default the same file again, take the place of this one.
    fn upgrade(&self, _wish: UpgradeWish) -> Upgrading {
        Box::pin(async { Err("this process cannot be upgraded".to_owned()) })
    }
}

/// What shall take the place of this process.
#[derive(Debug, Clone, Default)]
pub struct UpgradeWish {
    /// `None`: the file that this process was started from.
    pub binary: Option<PathBuf>,
    /// Everything but the last step.
    pub is_rehearsal: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Upgraded {
    /// The version of the new program.
    pub version: String,
    /// Connections that it has now; in a rehearsal, could have.
    pub moved: usize,
    /// Connections that stay to be finished here, by what ties them.
    pub stays: Vec<(String, usize)>,
    /// The longest that one stood still, in seconds.
    pub pause_s: f64,
}

/// An upgrade under way. Dropping it takes nothing back.
pub type Upgrading = Pin<Box<dyn Future<Output = Result<Upgraded, String>> + Send>>;

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

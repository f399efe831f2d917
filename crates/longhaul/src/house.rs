//! What the admin API asks of the process around the gateway.

use longhaul_admin::House;
use serde_json::Value;

use crate::logs;

/// This process, as the admin API sees it.
#[derive(Debug)]
pub(crate) struct ThisProcess {
    /// The configuration in force, masked.
    pub(crate) config: Value,
}

impl House for ThisProcess {
    fn config(&self) -> Value {
        self.config.clone()
    }

    fn log_level(&self) -> String {
        logs::level()
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        if !logs::level_is_known(level) {
            return Err(format!(
                "{level:?} is no level; use off, error, warn, info, debug or trace, or a list as \
                 in info,longhaul_gateway=debug"
            ));
        }
        logs::set_level(level)
    }
}

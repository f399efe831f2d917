//! What the admin API asks of the process around the gateway.

use std::sync::{Arc, Mutex, PoisonError};

use longhaul_admin::{House, UpgradeWish, Upgrading};
use serde_json::Value;

use crate::logs;
use crate::succession::Desk;

/// This process, as the admin API sees it.
#[derive(Debug)]
pub(crate) struct ThisProcess {
    pub(crate) config: InForce,
    /// Who upgrades it; nobody upgrades a demo.
    pub(crate) desk: Option<Desk>,
}

/// The configuration in force, masked; a reload puts another one there.
#[derive(Debug, Clone)]
pub(crate) struct InForce(Arc<Mutex<Value>>);

impl InForce {
    pub(crate) fn new(config: Value) -> Self {
        Self(Arc::new(Mutex::new(config)))
    }

    pub(crate) fn set(&self, config: Value) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn get(&self) -> Value {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl House for ThisProcess {
    fn config(&self) -> Value {
        self.config.get()
    }

    fn upgrade(&self, wish: UpgradeWish) -> Upgrading {
        match &self.desk {
            Some(desk) => Box::pin(desk.clone().ask(wish)),
            None => Box::pin(async { Err("a demo is not upgraded".to_owned()) }),
        }
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

//! When a key that was changed takes effect in a gateway that runs.

/// When a changed value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// At once, also for what is open.
    AtOnce,
    /// For connections, requests and WebSockets that begin afterwards; those that are open go on
    /// as they began.
    NewWork,
    /// After a restart.
    Restart,
}

impl Effect {
    /// As the reference has it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::AtOnce => "at once",
            Self::NewWork => "for what begins afterwards",
            Self::Restart => "not before a restart",
        }
    }
}

/// When a change of this key holds. `section` is its full name, as in `upstreams.probe`.
pub(crate) fn of(section: &str, key: &str) -> Effect {
    match (section, key) {
        ("app" | "log" | "durable" | "store" | "traces" | "metrics", _)
        | ("server", "admin" | "admin_token" | "admin_token_file" | "admin_hosts")
        | ("server", "workers" | "affinity_key")
        | ("limits", "affinity_entries_max") => Effect::Restart,
        ("server", "listen" | "dns_servers" | "config_watch")
        | ("upstreams", "replicas" | "srv" | "balance")
        | ("upstreams.probe" | "upstreams.health", _)
        | ("limits", "connections_max" | "memory_bytes_max")
        | ("timeouts", "drain" | "upgrade_start" | "upgrade_step")
        | ("tls", "watch") => Effect::AtOnce,
        _ => Effect::NewWork,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::all_sections;

    #[test]
    fn what_is_said_here_is_said_of_keys_that_exist() {
        for (section, key, effect) in [
            ("server", "admin", Effect::Restart),
            ("server", "workers", Effect::Restart),
            ("durable", "grace", Effect::Restart),
            ("store", "url", Effect::Restart),
            ("server", "affinity_key", Effect::Restart),
            ("limits", "affinity_entries_max", Effect::Restart),
            ("server", "listen", Effect::AtOnce),
            ("server", "dns_servers", Effect::AtOnce),
            ("server", "config_watch", Effect::AtOnce),
            ("upstreams", "replicas", Effect::AtOnce),
            ("upstreams", "srv", Effect::AtOnce),
            ("upstreams", "balance", Effect::AtOnce),
            ("upstreams.probe", "kind", Effect::AtOnce),
            ("upstreams.health", "fall", Effect::AtOnce),
            ("limits", "connections_max", Effect::AtOnce),
            ("timeouts", "drain", Effect::AtOnce),
            ("timeouts", "upgrade_start", Effect::AtOnce),
            ("timeouts", "upgrade_step", Effect::AtOnce),
            ("tls", "watch", Effect::AtOnce),
        ] {
            let known = |(name, keys): &(String, &'static crate::config::keys::Section)| {
                name == section && keys.keys.iter().any(|known| known.name == key)
            };
            assert!(all_sections().iter().any(known), "{section}.{key}");
            assert_eq!(of(section, key), effect);
        }
    }
}

//! What known platforms cut, and when: only to warn of settings that lose against them.
//!
//! As of 2026-11, from the documentation of each; defaults that their users can change.

use std::time::Duration;

/// Silence after which a platform cuts a WebSocket, shortest first.
const IDLE_CUTS: [(u64, &str); 5] = [
    (55, "Heroku"),
    (60, "AWS ALB, nginx and Fly"),
    (100, "Cloudflare"),
    (230, "Azure App Service and Container Apps"),
    (300, "Envoy and Azure Front Door"),
];

/// Time between SIGTERM and SIGKILL on Kubernetes, Azure Container Apps and Render.
pub(super) const GRACE_USUAL: Duration = Duration::from_secs(30);

/// Who cuts a WebSocket that is silent for so long, as in `Heroku after 55s`.
pub(super) fn who_cuts_idle_after(silence: Duration) -> Option<String> {
    let cutters: Vec<String> = IDLE_CUTS
        .iter()
        .filter(|(seconds, _)| silence >= Duration::from_secs(*seconds))
        .map(|(seconds, who)| format!("{who} after {seconds}s"))
        .collect();
    (!cutters.is_empty()).then(|| cutters.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_ping_beats_every_known_timer() {
        let ping = longhaul_gateway::config::WebSocketPolicy::default().ping.unwrap();
        assert_eq!(who_cuts_idle_after(ping), None);
        let cutters = who_cuts_idle_after(Duration::from_secs(60)).unwrap();
        assert!(cutters.contains("AWS ALB") && !cutters.contains("Cloudflare"));
    }
}

//! Reads `[websocket]` and `[routes.websocket]`: the second fills its gaps from the first.

use std::time::Duration;

use longhaul_gateway::config::{Bounds, WebSocketPolicy};

use crate::config::platforms::who_cuts_idle_after;
use crate::config::read::Reader;

/// Shorter than people think before they answer.
const IDLE_SENSIBLE: Duration = Duration::from_secs(60);

/// What `reader` says, over `base`.
pub(super) fn read(reader: &Reader<'_>, base: &WebSocketPolicy) -> WebSocketPolicy {
    let policy = WebSocketPolicy {
        ping: reader.duration_or_off("ping").unwrap_or(base.ping),
        pings_missed_max: reader
            .count("pings_missed_max")
            .map_or(base.pings_missed_max, |count| u32::try_from(count).unwrap_or(u32::MAX)),
        idle: reader.duration_or_off("idle").unwrap_or(base.idle),
        lifetime: reader.duration_or_off("lifetime").unwrap_or(base.lifetime),
        linger: reader.duration("linger").unwrap_or(base.linger),
        write_stall: reader.duration("write_stall").unwrap_or(base.write_stall),
        buffer_bytes_max: reader.size("buffer_bytes_max").unwrap_or(base.buffer_bytes_max),
        bounds: Bounds {
            message_bytes_max: reader
                .size("message_bytes_max")
                .map(|size| size as u64)
                .or(base.bounds.message_bytes_max),
            messages_per_second: reader
                .count("messages_per_second")
                .map(|count| u32::try_from(count).unwrap_or(u32::MAX))
                .or(base.bounds.messages_per_second),
            bytes_per_second: reader
                .size("bytes_per_second")
                .map(|size| size as u64)
                .or(base.bounds.bytes_per_second),
        },
        injects_client: reader.boolean("inject_client").unwrap_or(base.injects_client),
    };
    warn(reader, &policy);
    policy
}

fn warn(reader: &Reader<'_>, policy: &WebSocketPolicy) {
    if reader.has("ping") {
        match policy.ping {
            None => reader.warn(
                "ping",
                "quiet WebSockets are cut by every idle timer on the path, and dead peers stay unseen",
                "use 25s, which beats every known timer",
            ),
            Some(ping) => {
                if let Some(cutters) = who_cuts_idle_after(ping) {
                    let danger = format!("quiet WebSockets are cut first, by {cutters}");
                    reader.warn("ping", &danger, "use 25s, which beats every known timer");
                }
            }
        }
    }
    if reader.has("idle") && policy.idle.is_some_and(|idle| idle < IDLE_SENSIBLE) {
        let danger = "ends WebSockets on which nobody spoke for a moment; pings do not count";
        reader.warn("idle", danger, "use 60s or more, or \"off\"");
    }
    if reader.has("lifetime") && policy.lifetime.is_some_and(|age| age < IDLE_SENSIBLE) {
        let danger = "every client reconnects more than once a minute";
        reader.warn("lifetime", danger, "use minutes or hours, or \"off\"");
    }
}

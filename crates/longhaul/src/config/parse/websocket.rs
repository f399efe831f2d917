//! Reads `[websocket]` and `[routes.websocket]`: the second fills its gaps from the first.

use std::time::Duration;

use longhaul_gateway::config::{
    Bounds, Cutover, OnReplicaLoss, Prelude, Profile, Redial, Uncertain, WebSocketPolicy,
};

use crate::config::forms;
use crate::config::platforms::who_cuts_idle_after;
use crate::config::problem::Problem;
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
        on_replica_loss: match reader.choice("on_replica_loss") {
            Some("redial") => OnReplicaLoss::Redial,
            Some(_) => OnReplicaLoss::Close,
            None => base.on_replica_loss,
        },
        redial: redial(reader, &base.redial),
        cutover: reader.parsed("cutover", forms::cutover).unwrap_or(base.cutover),
        leave_within: reader.duration("leave_within").unwrap_or(base.leave_within),
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
    warn_of_redial(reader, &policy);
    policy
}

fn redial(reader: &Reader<'_>, base: &Redial) -> Redial {
    let codes = reader.parsed_list("redial_codes", forms::close_code);
    let keep_bytes_max = reader.size("redial_keep_bytes_max").unwrap_or(base.keep_bytes_max);
    Redial {
        give_up: reader.duration("redial_give_up").unwrap_or(base.give_up),
        hold_bytes_max: reader.size("redial_hold_bytes_max").unwrap_or(base.hold_bytes_max),
        wait_bytes_max: reader.size("redial_wait_bytes_max").unwrap_or(base.wait_bytes_max),
        uncertain: match reader.choice("uncertain") {
            Some("at_least_once") => Uncertain::AtLeastOnce,
            Some(_) => Uncertain::AtMostOnce,
            None => base.uncertain,
        },
        codes: codes.map_or_else(
            || base.codes.clone(),
            |codes| codes.into_iter().map(|(code, _)| code).collect(),
        ),
        profile: match reader.choice("profile") {
            Some("plain") => Profile::Plain,
            Some("socketio") => Profile::SocketIo,
            Some("graphql_ws") => Profile::GraphQl,
            Some(_) => Profile::Auto,
            None => base.profile,
        },
        keep_bytes_max,
        prelude: Prelude {
            first: reader.count("prelude").unwrap_or(base.prelude.first),
            bytes_max: keep_bytes_max,
            suppress: reader.count("suppress").unwrap_or(base.prelude.suppress),
        },
    }
}

fn warn_of_redial(reader: &Reader<'_>, policy: &WebSocketPolicy) {
    let is_at_least_once = policy.redial.uncertain == Uncertain::AtLeastOnce;
    if is_at_least_once && policy.ping.is_none() {
        let key = if reader.has("ping") { "ping" } else { "uncertain" };
        let title = format!("{}: at_least_once needs pings, and ping is \"off\"", reader.path());
        let problem = Problem::error(reader.at_key(key), title);
        let remedy = "their answers say what was read; use ping = \"25s\", or at_most_once";
        reader.report(problem.remedy(remedy));
    }
    let is_asked_for = [
        ("prelude", policy.redial.prelude.first > 0),
        ("profile", policy.redial.profile != Profile::Auto),
        ("suppress", policy.redial.prelude.suppress > 0),
        ("uncertain", is_at_least_once),
        ("cutover", policy.cutover != Cutover::OnClose),
    ];
    for (key, is_asked_for) in is_asked_for {
        if policy.on_replica_loss == OnReplicaLoss::Close && is_asked_for && reader.has(key) {
            let danger = "has no effect without on_replica_loss = \"redial\"";
            reader.warn(key, danger, "add that, or remove it");
        }
    }
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

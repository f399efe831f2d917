//! Reads `[upstreams.probe]` and `[upstreams.health]`.

use http::StatusCode;
use longhaul_gateway::config::{HealthPolicy, Probe, ProbeKind};

use crate::config::forms;
use crate::config::problem::Problem;
use crate::config::read::Reader;

pub(super) fn probe(reader: &Reader<'_>) -> Option<Probe> {
    reader.require();
    let path = reader.parsed("path", forms::path);
    let host = reader.parsed("host", |host| {
        http::uri::Authority::try_from(host)
            .map(|authority| authority.to_string())
            .map_err(|_| "is not a host; as in \"chat.example\"".to_owned())
    });
    let status = reader.count("status");
    let kind_said = reader.choice("kind")?;
    let ignored: &[&'static str] = match kind_said {
        "tcp" => &["path", "host", "status"],
        "websocket" => &["status"],
        _ => &[],
    };
    for &name in ignored.iter().filter(|name| reader.has(name)) {
        let danger = format!("has no effect with kind = {kind_said:?}");
        reader.warn(name, &danger, "remove it, or use kind = \"http\"");
    }
    let path = path.unwrap_or_else(|| "/".to_owned());
    let kind = match kind_said {
        "http" => ProbeKind::Http {
            path,
            host,
            status: status
                .and_then(|status| u16::try_from(status).ok())
                .and_then(|status| StatusCode::from_u16(status).ok()),
        },
        "websocket" => ProbeKind::WebSocket { path, host },
        _ => ProbeKind::Tcp,
    };
    let default = Probe::new(kind);
    let probe = Probe {
        interval: reader.duration("interval").unwrap_or(default.interval),
        timeout: reader.duration("timeout").unwrap_or(default.timeout),
        ..default
    };
    if probe.timeout > probe.interval {
        let name = if reader.has("timeout") { "timeout" } else { "interval" };
        let danger = "a probe may take longer than the time to the next one";
        reader.warn(name, danger, "make timeout shorter than interval");
    }
    Some(probe)
}

pub(super) fn health_policy(reader: &Reader<'_>) -> HealthPolicy {
    let default = HealthPolicy::default();
    let count = |name, default| {
        reader.count(name).map_or(default, |count| u32::try_from(count).unwrap_or(u32::MAX))
    };
    let policy = HealthPolicy {
        rise: count("rise", default.rise),
        fall: count("fall", default.fall),
        eject_after: count("eject_after", default.eject_after),
        eject: reader.duration("eject").unwrap_or(default.eject),
        eject_max: reader.duration("eject_max").unwrap_or(default.eject_max),
        slow_start: reader.duration("slow_start").unwrap_or(default.slow_start),
    };
    if policy.eject > policy.eject_max {
        let name = if reader.has("eject") { "eject" } else { "eject_max" };
        let title = format!("{}: eject is longer than eject_max", reader.path());
        let problem = Problem::error(reader.at_key(name), title);
        reader.report(problem.remedy("raise eject_max or shorten eject"));
    }
    policy
}

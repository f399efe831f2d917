//! Reads `[durable]`.

use longhaul_gateway::config::DurableConfig;

use super::process::to_usize;
use crate::config::forms;
use crate::config::problem::Problem;
use crate::config::read::Reader;

pub(super) fn read(reader: &Reader<'_>) -> DurableConfig {
    let default = DurableConfig::default();
    let credentials = reader.parsed_list("credentials", forms::header_name).unwrap_or_default();
    let config = DurableConfig {
        is_enabled: reader.boolean("enabled").unwrap_or(default.is_enabled),
        grace: reader.duration("grace").unwrap_or(default.grace),
        stall: reader.duration("stall").unwrap_or(default.stall),
        attach: reader.duration("attach").unwrap_or(default.attach),
        heartbeat: reader.duration("heartbeat").unwrap_or(default.heartbeat),
        link_lifetime: reader.duration_or_off("link_lifetime").unwrap_or(default.link_lifetime),
        window_bytes: reader.size("window_bytes").unwrap_or(default.window_bytes),
        window_items: reader.count("window_items").unwrap_or(default.window_items),
        message_bytes_max: reader.size("message_bytes_max").unwrap_or(default.message_bytes_max),
        chunk_bytes: reader.size("chunk_bytes").unwrap_or(default.chunk_bytes),
        sessions_max: reader.count("sessions_max").map_or(default.sessions_max, to_usize),
        memory_bytes_max: reader.size("memory_bytes_max").unwrap_or(default.memory_bytes_max),
        resumes_per_second: reader
            .count("resumes_per_second")
            .map_or(default.resumes_per_second, |count| u32::try_from(count).unwrap_or(u32::MAX)),
        credentials: credentials.into_iter().map(|(name, _)| name).collect(),
    };
    // A thousand chunks and some: a message has at most 1,024, and text may need a few more than
    // its size says.
    if config.chunk_bytes.saturating_mul(1_000) < config.message_bytes_max {
        let title = format!(
            "durable.chunk_bytes = {} is less than a thousandth of message_bytes_max = {}",
            config.chunk_bytes, config.message_bytes_max
        );
        let problem = Problem::error(reader.at_key("chunk_bytes"), title);
        reader.report(problem.remedy("use larger chunks, or smaller messages"));
    }
    config
}

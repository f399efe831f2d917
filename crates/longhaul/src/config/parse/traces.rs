//! Reads `[traces]`.

use longhaul_gateway::config::TraceConfig;

use super::{Sections, tokens};
use crate::config::defaults;

/// `None` without a collector.
pub(super) fn read(sections: &Sections<'_>) -> Option<TraceConfig> {
    let reader = sections.one("traces");
    let name = reader.parsed("service", |text| match text.trim() {
        "" => Err("is empty; remove it for the default".to_owned()),
        name => Ok(name.to_owned()),
    });
    let one_in = reader.count("one_in").and_then(|count| u32::try_from(count).ok());
    let follows = reader.boolean("follow").unwrap_or(true);
    if !reader.has("collector") {
        if reader.has("ca") {
            reader.warn("ca", "has no effect", "say with `collector` where traces go");
        }
        return None;
    }
    Some(TraceConfig {
        collector: tokens::service(sections, &reader, "collector")?,
        one_in: one_in.unwrap_or(defaults::TRACES_ONE_IN),
        follows,
        service_name: name.unwrap_or_else(|| defaults::TRACES_SERVICE.to_owned()),
    })
}

//! Reads `[metrics]`.

use longhaul_gateway::config::MetricsConfig;

use super::{Sections, tokens};
use crate::config::defaults;

/// `None` without a collector.
pub(super) fn read(sections: &Sections<'_>) -> Option<MetricsConfig> {
    let reader = sections.one("metrics");
    let name = |key| {
        reader.parsed(key, |text| match text.trim() {
            "" => Err("is empty; remove it for the default".to_owned()),
            name => Ok(name.to_owned()),
        })
    };
    let (service_name, instance) = (name("service"), name("instance"));
    let interval = reader.duration("interval").unwrap_or(defaults::METRICS_INTERVAL);
    if !reader.has("collector") {
        if reader.has("ca") {
            reader.warn("ca", "has no effect", "say with `collector` where metrics go");
        }
        return None;
    }
    Some(MetricsConfig {
        collector: tokens::service(sections, &reader, "collector")?,
        interval,
        service_name: service_name.unwrap_or_else(|| defaults::TRACES_SERVICE.to_owned()),
        instance,
    })
}

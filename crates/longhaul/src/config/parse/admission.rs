//! Reads `[admission]`, `[cors]` and the same for one route.

use longhaul_gateway::config::{AdmissionPolicy, CorsRules, OriginPattern, OriginRules};

use crate::config::problem::Problem;
use crate::config::read::Reader;
use crate::config::{defaults, forms};

/// What `reader` says, over `base`.
pub(super) fn read(reader: &Reader<'_>, base: &AdmissionPolicy) -> AdmissionPolicy {
    let allow = reader.parsed_list("origins", forms::origin).map(without_places);
    let origins = OriginRules {
        allow: allow.unwrap_or_else(|| base.origins.allow.clone()),
        is_required: reader.boolean("origin_required").unwrap_or(base.origins.is_required),
    };
    if reader.has("origins") && origins.allow.contains(&OriginPattern::Any) {
        let danger = "every page on the web can open WebSockets with the cookies of its visitor";
        reader.warn("origins", danger, "name the origins of your own pages");
    }
    AdmissionPolicy { origins, ..base.clone() }
}

/// The policy with the word of a `cors` table, where there is one.
pub(super) fn with_cors(policy: AdmissionPolicy, reader: Option<&Reader<'_>>) -> AdmissionPolicy {
    match reader {
        Some(reader) => AdmissionPolicy { cors: cors(reader), ..policy },
        None => policy,
    }
}

fn cors(reader: &Reader<'_>) -> Option<CorsRules> {
    let origins = reader.parsed_list("origins", forms::origin).map(without_places);
    let list = |name| reader.parsed_list(name, forms::header_name).map(without_places);
    let rules = CorsRules {
        origins: origins.unwrap_or_default(),
        methods: reader.parsed_list("methods", forms::method).map_or_else(Vec::new, without_places),
        headers: list("headers").unwrap_or_default(),
        expose: list("expose").unwrap_or_default(),
        credentials: reader.boolean("credentials").unwrap_or(false),
        max_age: reader.duration("max_age").unwrap_or(defaults::CORS_MAX_AGE),
    };
    if rules.credentials && rules.origins.contains(&OriginPattern::Any) {
        let title = format!("{}.credentials = true with the origin \"any\"", reader.path());
        let problem = Problem::error(reader.at_key("credentials"), title).note(
            "browsers refuse the pair, since it would show every page what belongs to one user",
        );
        reader.report(problem.remedy("name the origins, or remove `credentials`"));
    }
    (!rules.origins.is_empty()).then_some(rules)
}

fn without_places<T, P>(said: Vec<(T, P)>) -> Vec<T> {
    said.into_iter().map(|(value, _)| value).collect()
}

//! Reads `[admission]`, `[cors]` and the same for one route.

use std::num::NonZeroU32;
use std::time::Duration;

use longhaul_gateway::config::{
    AdmissionLimits, AdmissionPolicy, Allowance, AuthScope, Authority, BreakerPolicy, CorsRules,
    OriginPattern, OriginRules, RefusalStyle,
};

use super::tokens;
use crate::config::problem::Problem;
use crate::config::read::Reader;
use crate::config::units::show_duration;
use crate::config::{defaults, forms};

/// Where a gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Environment {
    Production,
    Staging,
    Development,
}

impl Environment {
    pub(super) fn read(server: &Reader<'_>) -> Self {
        match server.choice("environment") {
            Some("staging") => Self::Staging,
            Some("development") => Self::Development,
            _ => Self::Production,
        }
    }

    /// When an authentication service is left alone that does not answer.
    pub(super) fn breaker(self) -> BreakerPolicy {
        let seconds = Duration::from_secs;
        match self {
            Self::Staging => BreakerPolicy { failures: 2, recovery: seconds(30) },
            Self::Production | Self::Development => {
                BreakerPolicy { failures: 5, recovery: seconds(60) }
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        }
    }

    /// The deadline of admission when nothing else is said, and the longest that may be.
    fn deadlines(self) -> (Duration, Duration) {
        let seconds = Duration::from_secs;
        match self {
            Self::Production => (seconds(2), seconds(15)),
            Self::Staging => (seconds(1), seconds(6)),
            Self::Development => (seconds(2), seconds(8)),
        }
    }
}

/// What policies are read with.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) environment: Environment,
    pub(super) authorities: &'a [Authority],
}

impl About<'_> {
    /// The policy when nothing is said.
    pub(super) fn default_policy(&self) -> AdmissionPolicy {
        let (deadline, _) = self.environment.deadlines();
        AdmissionPolicy { deadline, ..AdmissionPolicy::default() }
    }

    fn deadline(&self, reader: &Reader<'_>) -> Option<Duration> {
        let deadline = reader.duration("deadline")?;
        let (_, longest) = self.environment.deadlines();
        if deadline > longest {
            let (is, environment) = (show_duration(deadline), self.environment.name());
            let title =
                format!("{}.deadline = {is:?} is too long for {environment}", reader.path());
            let most = show_duration(longest);
            let problem = Problem::error(reader.at_key("deadline"), title)
                .note("every client waits for so long while the login does not answer");
            reader.report(
                problem.remedy(format!("use {most} or less, or another server.environment")),
            );
        }
        Some(deadline)
    }
}

/// What `reader` says, over `base`.
pub(super) fn read(
    reader: &Reader<'_>,
    base: &AdmissionPolicy,
    about: &About<'_>,
) -> AdmissionPolicy {
    let allow = reader.parsed_list("origins", forms::origin).map(without_places);
    let origins = OriginRules {
        allow: allow.unwrap_or_else(|| base.origins.allow.clone()),
        is_required: reader.boolean("origin_required").unwrap_or(base.origins.is_required),
    };
    if reader.has("origins") && origins.allow.contains(&OriginPattern::Any) {
        let danger = "every page on the web can open WebSockets with the cookies of its visitor";
        reader.warn("origins", danger, "name the origins of your own pages");
    }
    let refusal = match reader.choice("refusal") {
        Some("close") => RefusalStyle::Close,
        Some(_) => RefusalStyle::Status,
        None => base.refusal,
    };
    let scope = match reader.choice("auth_scope") {
        Some("websockets") => AuthScope::WebSockets,
        Some(_) => AuthScope::Everything,
        None => base.scope,
    };
    let authorities = tokens::named(reader, "auth", about.authorities);
    AdmissionPolicy {
        origins,
        refusal,
        scope,
        authorities: authorities.unwrap_or_else(|| base.authorities.clone()),
        deadline: about.deadline(reader).unwrap_or(base.deadline),
        ..base.clone()
    }
}

/// What `[limits]` says about upgrades and WebSockets.
pub(super) fn limits(reader: &Reader<'_>) -> AdmissionLimits {
    AdmissionLimits {
        everybody: allowance(reader, ["upgrades_per_second", "upgrades_burst", "websockets_max"]),
        client: allowance(
            reader,
            ["client_upgrades_per_second", "client_upgrades_burst", "client_websockets_max"],
        ),
        subject: allowance(
            reader,
            ["subject_upgrades_per_second", "subject_upgrades_burst", "subject_websockets_max"],
        ),
        ..AdmissionLimits::default()
    }
}

/// The policy with the word of a `limits` table of a route, where there is one.
pub(super) fn with_limits(policy: AdmissionPolicy, reader: Option<&Reader<'_>>) -> AdmissionPolicy {
    let Some(reader) = reader else { return policy };
    let names = ["upgrades_per_second", "upgrades_burst", "websockets_max"];
    AdmissionPolicy { limits: allowance(reader, names), ..policy }
}

fn allowance(reader: &Reader<'_>, [rate, burst, open]: [&'static str; 3]) -> Allowance {
    let count = |name| {
        let count = reader.count(name)?;
        NonZeroU32::new(u32::try_from(count).unwrap_or(u32::MAX))
    };
    let allowance =
        Allowance { per_second: count(rate), burst: count(burst), open_max: count(open) };
    if allowance.burst.is_some() && allowance.per_second.is_none() {
        reader.warn(burst, "has no effect without a rate", &format!("set {rate} as well"));
    }
    allowance
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

//! Whom this gateway tells what it sees.

use std::time::Duration;

use super::Service;

/// What a collector is told of single requests, by OTLP over HTTP.
#[derive(Debug, Clone)]
pub struct TraceConfig {
    /// Where it is.
    pub collector: Service,
    /// One in so many requests is traced, of those whose caller does not say. At least 1.
    pub one_in: u32,
    /// Whether a caller's word counts that its request is traced, or is not.
    pub follows: bool,
    /// What this gateway is called in traces.
    pub service_name: String,
}

/// What a collector is told of all metrics, by OTLP over HTTP.
#[derive(Debug, Clone)]
pub struct MetricsConfig {
    /// Where it is.
    pub collector: Service,
    /// How often.
    pub interval: Duration,
    /// What this gateway is called.
    pub service_name: String,
    /// What tells it from others of that name; `None`: the name of its host.
    pub instance: Option<String>,
}

//! Every metric there is, said once: name, kind, labels and what it tells. The page that scrapers
//! get and the reference page are made from here.
//!
//! A label's values come from the configuration, from discovery or from an enum of ours, never from
//! what a client sends: strangers must not be able to make series.

/// One metric with its labels.
#[derive(Debug)]
pub struct Family {
    /// With its unit last. Counters end in `_total`.
    pub name: &'static str,
    /// What kind of numbers it holds.
    pub kind: Kind,
    /// Names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it tells, in one sentence without a full stop.
    pub help: &'static str,
}

/// What kind of numbers a family holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations up to each of these bounds.
    Histogram(&'static [f64]),
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    bounds: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Kind::Histogram(bounds), labels, help }
}

/// From a local answer to R2's worst: seconds until a handshake or a request was answered.
const ANSWER_S: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const PAUSE_S: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The timers found on real paths have bounds of their own (30, 60, 100, 240, 300, 600, 3600 s), so
/// that a proxy that cuts shows as one tall bar.
pub(crate) const LIFE_S: &[f64] = &[
    1.0, 5.0, 15.0, 35.0, 65.0, 105.0, 125.0, 245.0, 305.0, 605.0, 905.0, 1_805.0, 3_605.0,
    14_400.0, 43_200.0, 86_400.0,
];

/// Event loops are late by microseconds when all is well, and by a second when a thread hangs.
const LAG_S: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

pub(crate) static UPGRADES: Family = counter(
    "longhaul_upgrades_total",
    &["route", "outcome", "reason"],
    "WebSocket handshakes by how they went: accepted; answered otherwise by the replica (reason is \
     the class of its status); or refused by this gateway (reason is the cause in the answer)",
);
pub(crate) static UPGRADE_SECONDS: Family = histogram(
    "longhaul_upgrade_duration_seconds",
    ANSWER_S,
    &["route"],
    "From the head of a WebSocket handshake to its answer, whatever it was",
);
pub(crate) static BINARY_UPGRADES: Family = counter(
    "longhaul_binary_upgrades_total",
    &["outcome"],
    "Upgrades of the binary: taken (this process took over), failed (this process went on), \
     rehearsed (by --dry-run)",
);
pub(crate) static UPGRADE_PAUSE_SECONDS: Family = histogram(
    "longhaul_binary_upgrade_pause_seconds",
    PAUSE_S,
    &[],
    "For how long each connection that this process took over stood still",
);
pub(crate) static CONNECTIONS_MOVED: Family = counter(
    "longhaul_connections_moved_total",
    &[],
    "Open connections that this process took over from the one before",
);
pub(crate) static UNCERTAIN_MESSAGES: Family = counter(
    "longhaul_uncertain_messages_total",
    &["route"],
    "Messages of clients that were on their way to a replica when it was lost: nobody knows whether \
     it had read them",
);
pub(crate) static WEBSOCKETS_OPEN: Family = gauge(
    "longhaul_websockets_open",
    &["upstream", "replica"],
    "WebSockets that a replica holds through this gateway",
);
pub(crate) static ROUTE_WEBSOCKETS_OPEN: Family =
    gauge("longhaul_route_websockets_open", &["route"], "WebSockets open on a route");
pub(crate) static WEBSOCKET_SECONDS: Family = histogram(
    "longhaul_websocket_duration_seconds",
    LIFE_S,
    &["route"],
    "How long WebSockets lived, counted at their end and apart from HTTP",
);
pub(crate) static WEBSOCKET_ENDS: Family = counter(
    "longhaul_websocket_ends_total",
    &["route", "closed_by", "cause"],
    "Ended WebSockets by who ended them and why",
);
pub(crate) static WEBSOCKET_DROPS: Family = counter(
    "longhaul_websocket_drops_total",
    &["route", "cause"],
    "WebSockets that ended without a close frame from either peer, and not by a limit or a drain \
     of this gateway",
);
pub(crate) static CLOSE_CODES: Family = counter(
    "longhaul_websocket_close_codes_total",
    &["route", "closed_by", "code"],
    "Close codes by who closed; codes of applications are counted by their range, and a close \
     without a code as 1005",
);
pub(crate) static RECONNECTS: Family = counter(
    "longhaul_websocket_reconnects_total",
    &["route"],
    "WebSockets of a subject (where no token says who it is: from a client address) whose last one \
     on the same route ended less than a minute before",
);
pub(crate) static MESSAGES: Family = counter(
    "longhaul_websocket_messages_total",
    &["route", "direction"],
    "Messages relayed: up goes to the replica, down to the client",
);
pub(crate) static BYTES: Family = counter(
    "longhaul_websocket_bytes_total",
    &["route", "direction"],
    "Bytes of WebSockets received from a leg, frame headers included",
);
pub(crate) static STALLS: Family = counter(
    "longhaul_relay_stalls_total",
    &["route", "leg"],
    "Times a leg of a WebSocket took no more bytes, so that the other was no longer read",
);
pub(crate) static BUFFERED: Family = gauge(
    "longhaul_relay_buffered_bytes",
    &["route"],
    "Bytes held for legs of WebSockets that do not take them now",
);

pub(crate) static REQUESTS: Family = counter(
    "longhaul_http_requests_total",
    &["route", "code"],
    "HTTP requests that were no WebSocket handshakes, by the class of the status they were \
     answered with",
);
pub(crate) static REQUEST_SECONDS: Family = histogram(
    "longhaul_http_request_duration_seconds",
    ANSWER_S,
    &["route"],
    "From the head of an HTTP request to the head of its answer",
);
pub(crate) static REFUSALS: Family = counter(
    "longhaul_refusals_total",
    &["cause"],
    "Requests and handshakes that this gateway answered in its own name, by the cause it gave",
);

pub(crate) static CONNECTIONS_OPEN: Family =
    gauge("longhaul_connections_open", &[], "Client connections open now, of every kind");
pub(crate) static CONNECTIONS_MAX: Family = gauge(
    "longhaul_connections_max",
    &[],
    "Client connections that may be open at once (limits.connections_max, as far as descriptors carry)",
);
pub(crate) static CLIENTS_WAITING: Family = gauge(
    "longhaul_clients_waiting",
    &[],
    "Clients accepted that wait for a place among the connections",
);
pub(crate) static TCP_OPEN: Family =
    gauge("longhaul_tcp_connections_open", &[], "Raw TCP connections open now");
pub(crate) static TCP_ENDS: Family = counter(
    "longhaul_tcp_connections_total",
    &["route", "cause"],
    "Ended raw TCP connections by what ended them",
);
pub(crate) static TCP_SECONDS: Family = histogram(
    "longhaul_tcp_connection_duration_seconds",
    LIFE_S,
    &["route"],
    "How long raw TCP connections lived, counted at their end",
);
pub(crate) static TCP_BYTES: Family = counter(
    "longhaul_tcp_bytes_total",
    &["route", "direction"],
    "Bytes of raw TCP connections, counted at their end",
);
pub(crate) static HANDSHAKES: Family = counter(
    "longhaul_tls_handshakes_total",
    &["outcome"],
    "TLS handshakes of clients: done or failed",
);
pub(crate) static CERTIFICATE_EXPIRY: Family = gauge(
    "longhaul_certificate_expiry_timestamp_seconds",
    &["file"],
    "Last moment of a certificate, in seconds since 1970",
);

pub(crate) static REPLICA_STATE: Family = gauge(
    "longhaul_replica_state",
    &["upstream", "replica", "state"],
    "1 for the state a replica is in: up, starting, unproven, ejected or down",
);
pub(crate) static REPLICA_CHANGES: Family = counter(
    "longhaul_replica_state_changes_total",
    &["upstream", "to"],
    "Times a replica of an upstream went up, went down or was ejected",
);
pub(crate) static TASK_RUNNING: Family = gauge(
    "longhaul_task_running",
    &["task"],
    "1 while a background task runs, 0 while it waits to be restarted",
);
pub(crate) static TASK_RESTARTS: Family = counter(
    "longhaul_task_restarts_total",
    &["task"],
    "Restarts of a background task after an error or a panic",
);
pub(crate) static READY: Family =
    gauge("longhaul_ready", &[], "1 while new work is welcome, as /health/ready says");
pub(crate) static DRAINING: Family =
    gauge("longhaul_draining", &[], "1 once the process is on its way out");

pub(crate) static TRACE_SPANS: Family = counter(
    "longhaul_trace_spans_total",
    &["outcome"],
    "Spans of traced requests: exported, failed (the collector did not take them) or dropped (the \
     queue was full)",
);
pub(crate) static METRIC_PUSHES: Family = counter(
    "longhaul_metric_pushes_total",
    &["outcome"],
    "Times that metrics were sent to a collector: exported, or failed (it did not take them)",
);
pub(crate) static OVERLOAD_LEVEL: Family = gauge(
    "longhaul_overload_level",
    &["resource"],
    "How near the budget of a resource is: 0 calm, 1 strained (80 %, the route that has the most \
     gets no new WebSockets), 2 full (90 %, nothing new is accepted)",
);
pub(crate) static OVERLOAD_REACHED: Family = counter(
    "longhaul_overload_reached_total",
    &["resource", "level"],
    "Times a resource became strained or full",
);
pub(crate) static LOOP_LAG: Family = histogram(
    "longhaul_event_loop_lag_seconds",
    LAG_S,
    &["loop"],
    "How late a timer of an event loop came: what each connection of it waits for",
);
pub(crate) static CPU: Family =
    counter("process_cpu_seconds_total", &[], "Processor time of the process, user and system");
pub(crate) static RESIDENT: Family =
    gauge("process_resident_memory_bytes", &[], "Resident memory of the process");
pub(crate) static DESCRIPTORS: Family =
    gauge("process_open_fds", &[], "Descriptors that the process has open");
pub(crate) static DESCRIPTORS_MAX: Family =
    gauge("process_max_fds", &[], "Descriptors that the process may have open");
pub(crate) static STARTED: Family =
    gauge("process_start_time_seconds", &[], "When the process started, in seconds since 1970");
pub(crate) static MEMORY_USED: Family = gauge(
    "longhaul_memory_used_bytes",
    &[],
    "Memory counted against the limit: the container's without what can be dropped, or the \
     process's where no container limits it",
);
pub(crate) static MEMORY_LIMIT: Family = gauge(
    "longhaul_memory_limit_bytes",
    &[],
    "Memory there is: the container's limit, or the machine's memory",
);
pub(crate) static CPU_LIMIT: Family = gauge(
    "longhaul_cpu_limit_cores",
    &[],
    "Cores there are: the container's quota, or the machine's",
);
pub(crate) static BUILD: Family =
    gauge("longhaul_build_info", &["version"], "Always 1; the label says which build runs");

pub(crate) static SESSIONS_OPEN: Family = gauge(
    "longhaul_sessions_open",
    &["state"],
    "Durable sessions: attached, or detached, which wait for their client",
);
pub(crate) static SESSION_BYTES: Family = gauge(
    "longhaul_session_held_bytes",
    &[],
    "Bytes of messages that durable sessions hold until they are acknowledged",
);
pub(crate) static SESSION_LINKS: Family = counter(
    "longhaul_session_links_total",
    &["outcome"],
    "Links of durable sessions: opened one, resumed one, were told that theirs is over (reset), or \
     were asked to come back (deferred)",
);
pub(crate) static SESSIONS_EXPIRED: Family = counter(
    "longhaul_sessions_expired_total",
    &[],
    "Durable sessions that ended since their client did not come back, or for want of room",
);
pub(crate) static ADMISSIONS: Family = counter(
    "longhaul_admissions_total",
    &["outcome"],
    "Verdicts on those who asked to come in: granted; refused for a token (missing, refused, \
     forbidden, revoked), for its authority (unavailable, timed out), an origin or a limit; and bypasses",
);
pub(crate) static ADMISSION_SECONDS: Family = histogram(
    "longhaul_admission_duration_seconds",
    crate::admission::counters::BOUNDS_S,
    &[],
    "From a request on a route that asks for tokens to the verdict; over 5 s should never happen",
);
pub(crate) static STORE_UP: Family = gauge(
    "longhaul_store_up",
    &[],
    "1 while the store that gateways share is connected and answers; not there without a store",
);
pub(crate) static STORE_OPERATIONS: Family = counter(
    "longhaul_store_operations_total",
    &["operation", "outcome"],
    "Questions to the store (put and take of tickets, ping) by outcome: done, timed_out, failed, or away \
     (it was known to be, and not asked)",
);
pub(crate) static STORE_SECONDS: Family = histogram(
    "longhaul_store_operation_duration_seconds",
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5],
    &["operation"],
    "From a question to the store to its answer, or to the end of patience",
);
pub(crate) static GRANTED_OPEN: Family = gauge(
    "longhaul_granted_websockets_open",
    &[],
    "WebSockets that came by a token and end with it",
);
pub(crate) static AUTH_BREAKER: Family = gauge(
    "longhaul_auth_breaker_state",
    &["authority", "state"],
    "1 for the state of the breaker before an authentication service: closed (asked), open (left \
     alone), half_open (tried by one) or sick (its health check fails)",
);
pub(crate) static AUTH_BREAKER_OPENED: Family = counter(
    "longhaul_auth_breaker_opened_total",
    &["authority"],
    "Times the breaker before an authentication service opened",
);
pub(crate) static AUTH_QUESTIONS: Family = counter(
    "longhaul_auth_questions_total",
    &["authority", "outcome"],
    "Questions to an authentication service: asked (each try), failed, hit (answered from memory), \
     stale (from memory past its time) and prevented (refused at once where a timeout was certain)",
);
pub(crate) static AUTH_WAITING: Family = gauge(
    "longhaul_auth_waiting",
    &["authority"],
    "Questions to an authentication service in line or under way",
);

/// All of them, in the order of the reference page.
pub static FAMILIES: &[&Family] = &[
    &UPGRADES,
    &UPGRADE_SECONDS,
    &WEBSOCKETS_OPEN,
    &ROUTE_WEBSOCKETS_OPEN,
    &WEBSOCKET_SECONDS,
    &WEBSOCKET_ENDS,
    &WEBSOCKET_DROPS,
    &CLOSE_CODES,
    &RECONNECTS,
    &MESSAGES,
    &BYTES,
    &STALLS,
    &BUFFERED,
    &SESSIONS_OPEN,
    &SESSION_BYTES,
    &SESSION_LINKS,
    &SESSIONS_EXPIRED,
    &REQUESTS,
    &REQUEST_SECONDS,
    &REFUSALS,
    &ADMISSIONS,
    &ADMISSION_SECONDS,
    &STORE_UP,
    &STORE_OPERATIONS,
    &STORE_SECONDS,
    &GRANTED_OPEN,
    &AUTH_BREAKER,
    &AUTH_BREAKER_OPENED,
    &AUTH_QUESTIONS,
    &AUTH_WAITING,
    &CONNECTIONS_OPEN,
    &CONNECTIONS_MAX,
    &CLIENTS_WAITING,
    &TCP_OPEN,
    &TCP_ENDS,
    &TCP_SECONDS,
    &TCP_BYTES,
    &HANDSHAKES,
    &CERTIFICATE_EXPIRY,
    &UNCERTAIN_MESSAGES,
    &BINARY_UPGRADES,
    &UPGRADE_PAUSE_SECONDS,
    &CONNECTIONS_MOVED,
    &REPLICA_STATE,
    &REPLICA_CHANGES,
    &TASK_RUNNING,
    &TASK_RESTARTS,
    &READY,
    &DRAINING,
    &TRACE_SPANS,
    &METRIC_PUSHES,
    &OVERLOAD_LEVEL,
    &OVERLOAD_REACHED,
    &LOOP_LAG,
    &CPU,
    &RESIDENT,
    &DESCRIPTORS,
    &DESCRIPTORS_MAX,
    &STARTED,
    &MEMORY_USED,
    &MEMORY_LIMIT,
    &CPU_LIMIT,
    &BUILD,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions_of_scrapers() {
        let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAMILIES.len());
        for family in FAMILIES {
            let is_counter = family.kind == Kind::Counter;
            assert_eq!(family.name.ends_with("_total"), is_counter, "{}", family.name);
            assert!(!family.help.ends_with('.'), "{}", family.name);
            if let Kind::Histogram(bounds) = family.kind {
                assert!(bounds.is_sorted(), "{}", family.name);
            }
        }
    }
}

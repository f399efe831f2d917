//! One page of metrics: what was counted, and what is looked up at this moment.
//!
//! Walks over replicas, routes and workers, but not over connections: scraping costs the same with
//! ten clients and with a hundred thousand.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use longhaul_proto::otlp::metrics::Metric;

use super::families::{self as f, Family};
use super::page::{Format, Page};
use super::tally::Sum;
use super::{Telemetry, process};
use crate::admission::counters::{BOUNDS_S, OUTCOMES};
use crate::overload::Resource;
use crate::shared::Shared;
use crate::supervise::Tasks;
use crate::trace;

/// The whole page.
pub(crate) fn page(shared: &Shared, tasks: &Tasks, format: Format) -> String {
    let mut page = Page::new(format);
    fill(&mut page, shared, tasks);
    page.finish()
}

/// The same for a collector.
pub(crate) fn points(shared: &Shared, tasks: &Tasks) -> Vec<Metric> {
    let mut page = Page::of_points();
    fill(&mut page, shared, tasks);
    page.finish_points()
}

fn fill(page: &mut Page, shared: &Shared, tasks: &Tasks) {
    let telemetry = &shared.telemetry;
    counted(page, telemetry);
    relayed(page, telemetry);
    sessions(page, shared);
    store(page, shared);
    admissions(page, shared);
    connections(page, shared);
    replicas(page, shared);
    watchers(page, tasks);
    state(page, shared);
    traces(page, shared);
    overload(page, shared);
    used(page, shared);
    page.family(&f::BUILD);
    page.sample(&[env!("CARGO_PKG_VERSION")], 1.0);
}

fn counted(page: &mut Page, telemetry: &Telemetry) {
    telemetry.upgrades.write(page);
    telemetry.upgrade_seconds.write(page);
    telemetry.websocket_seconds.write(page);
    telemetry.websocket_ends.write(page);
    telemetry.websocket_drops.write(page);
    telemetry.close_codes.write(page);
    telemetry.reconnects.write(page);
    telemetry.requests.write(page);
    telemetry.request_seconds.write(page);
    telemetry.refusals.write(page);
    telemetry.pushes.write(page);
    telemetry.tcp_ends.write(page);
    telemetry.tcp_seconds.write(page);
    telemetry.tcp_bytes.write(page);
    telemetry.loops.seconds.write(page);
}

fn relayed(page: &mut Page, telemetry: &Telemetry) {
    let sums = telemetry.tallies.sums();
    let mut by_route = |family: &'static Family, number: fn(&Sum) -> u64| {
        page.family(family);
        for (route, sum) in &sums {
            page.sample(&[route], number(sum) as f64);
        }
    };
    by_route(&f::ROUTE_WEBSOCKETS_OPEN, |sum| sum.open);
    by_route(&f::BUFFERED, |sum| sum.buffered);
    let mut both_ways =
        |family: &'static Family, words: [&str; 2], numbers: fn(&Sum) -> [u64; 2]| {
            page.family(family);
            for (route, sum) in &sums {
                for (word, number) in words.into_iter().zip(numbers(sum)) {
                    page.sample(&[route, word], number as f64);
                }
            }
        };
    both_ways(&f::MESSAGES, ["up", "down"], |sum| sum.messages);
    both_ways(&f::BYTES, ["up", "down"], |sum| sum.bytes);
    // What goes up is refused by the replica.
    both_ways(&f::STALLS, ["replica", "client"], |sum| sum.stalls);
}

fn sessions(page: &mut Page, shared: &Shared) {
    let counts = shared.sessions.counts();
    page.family(&f::SESSIONS_OPEN);
    page.sample(&["attached"], counts.open.saturating_sub(counts.detached) as f64);
    page.sample(&["detached"], counts.detached as f64);
    page.single(&f::SESSION_BYTES, counts.bytes as f64);
    page.family(&f::SESSION_LINKS);
    page.sample(&["opened"], counts.opened_total as f64);
    page.sample(&["resumed"], counts.resumed_total as f64);
    page.sample(&["reset"], counts.resets_total as f64);
    page.sample(&["deferred"], counts.deferred_total as f64);
    page.single(&f::SESSIONS_EXPIRED, counts.expired_total as f64);
}

fn store(page: &mut Page, shared: &Shared) {
    let Some(store) = &shared.store else { return };
    page.single(&f::STORE_UP, f64::from(u8::from(store.snapshot().is_answering)));
    store.operations.write(page);
    store.seconds.write(page);
}

fn admissions(page: &mut Page, shared: &Shared) {
    let admission = &shared.admission;
    let counters = &admission.counters;
    page.family(&f::ADMISSIONS);
    for (outcome, name) in OUTCOMES {
        page.sample(&[name], counters.outcome(outcome) as f64);
    }
    page.family(&f::ADMISSION_SECONDS);
    page.histogram(&[], BOUNDS_S, &counters.took(), counters.took_s());
    page.single(&f::GRANTED_OPEN, admission.live.len() as f64);
    let services = admission.services();
    page.family(&f::AUTH_BREAKER);
    for service in &services {
        for state in ["closed", "open", "half_open", "sick"] {
            let is_it = f64::from(u8::from(service.breaker == state));
            page.sample(&[&service.name, state], is_it);
        }
    }
    page.family(&f::AUTH_BREAKER_OPENED);
    for service in &services {
        page.sample(&[&service.name], service.opened as f64);
    }
    page.family(&f::AUTH_QUESTIONS);
    for service in &services {
        for (outcome, count) in [
            ("asked", service.asked),
            ("failed", service.failed),
            ("hit", service.cache_hits),
            ("stale", service.cache_stale),
            ("prevented", service.prevented),
        ] {
            page.sample(&[&service.name, outcome], count as f64);
        }
    }
    page.family(&f::AUTH_WAITING);
    for service in &services {
        page.sample(&[&service.name], service.waiting as f64);
    }
}

fn connections(page: &mut Page, shared: &Shared) {
    let telemetry = &shared.telemetry;
    page.single(&f::CONNECTIONS_OPEN, shared.places.taken() as f64);
    page.single(&f::CONNECTIONS_MAX, shared.config.limits.connections_max as f64);
    page.single(&f::CLIENTS_WAITING, shared.lane.waiting() as f64);
    page.single(&f::TCP_OPEN, shared.streams.len() as f64);
    page.family(&f::HANDSHAKES);
    page.sample(&["done"], telemetry.handshakes.load(Ordering::Relaxed) as f64);
    page.sample(&["failed"], telemetry.handshakes_failed.load(Ordering::Relaxed) as f64);
    page.family(&f::CERTIFICATE_EXPIRY);
    for certificate in shared.certificates.snapshot() {
        let expiry = certificate.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
        page.sample(&[&certificate.file.display().to_string()], expiry.as_secs_f64());
    }
    telemetry.uncertain_messages.write(page);
    telemetry.binary_upgrades.write(page);
    telemetry.upgrade_pause_seconds.write(page);
    let moved = telemetry.connections_moved.load(Ordering::Relaxed);
    page.single(&f::CONNECTIONS_MOVED, moved as f64);
}

fn replicas(page: &mut Page, shared: &Shared) {
    const STATES: [&str; 4] = ["up", "starting", "ejected", "down"];
    let now = Instant::now();
    let upstreams: Vec<_> =
        shared.upstreams.iter().map(|upstream| upstream.snapshot(now)).collect();
    let replicas = || {
        upstreams.iter().flat_map(|upstream| {
            upstream
                .replicas
                .iter()
                .map(move |replica| (upstream.name.as_str(), replica.address.to_string(), replica))
        })
    };
    page.family(&f::WEBSOCKETS_OPEN);
    for (upstream, address, replica) in replicas() {
        page.sample(&[upstream, &address], replica.websockets_open as f64);
    }
    page.family(&f::REPLICA_STATE);
    for (upstream, address, replica) in replicas() {
        for state in STATES {
            let is_it = f64::from(u8::from(replica.state == state));
            page.sample(&[upstream, &address, state], is_it);
        }
    }
    page.family(&f::REPLICA_CHANGES);
    for upstream in &upstreams {
        for (to, number) in upstream.changes {
            page.sample(&[&upstream.name, to], number as f64);
        }
    }
}

fn watchers(page: &mut Page, tasks: &Tasks) {
    let tasks = tasks.snapshot();
    page.family(&f::TASK_RUNNING);
    for task in &tasks {
        page.sample(&[&task.name], f64::from(u8::from(task.is_running)));
    }
    page.family(&f::TASK_RESTARTS);
    for task in &tasks {
        page.sample(&[&task.name], task.restarts as f64);
    }
}

fn state(page: &mut Page, shared: &Shared) {
    let readiness = &shared.readiness;
    page.single(&f::READY, f64::from(u8::from(readiness.is_ready())));
    page.single(&f::DRAINING, f64::from(u8::from(readiness.is_draining())));
}

fn traces(page: &mut Page, shared: &Shared) {
    page.family(&f::TRACE_SPANS);
    let counts = shared.tracer.as_ref().map_or([0; 3], |tracer| tracer.outcomes());
    for (outcome, count) in trace::OUTCOMES.into_iter().zip(counts) {
        page.sample(&[outcome], count as f64);
    }
}

fn overload(page: &mut Page, shared: &Shared) {
    let budgets = Resource::ALL.into_iter().zip(shared.overload.budgets());
    page.family(&f::OVERLOAD_LEVEL);
    for (resource, budget) in budgets {
        page.sample(&[resource.name()], f64::from(budget.level as u8));
    }
    page.family(&f::OVERLOAD_REACHED);
    for (at, resource) in Resource::ALL.into_iter().enumerate() {
        let levels = ["strained", "full"].into_iter().zip(shared.overload.reached(at));
        for (level, times) in levels {
            page.sample(&[resource.name(), level], times as f64);
        }
    }
}

fn used(page: &mut Page, shared: &Shared) {
    let mut known = |family: &'static Family, number: Option<f64>| {
        if let Some(number) = number {
            page.single(family, number);
        }
    };
    let memory = process::memory(shared.config.limits.memory_bytes_max);
    let descriptors = process::descriptors();
    known(&f::CPU, process::cpu_time().map(|time| time.as_secs_f64()));
    known(&f::RESIDENT, process::resident_bytes().map(|bytes| bytes as f64));
    known(&f::DESCRIPTORS, descriptors.map(|(open, _)| open as f64));
    known(&f::DESCRIPTORS_MAX, descriptors.and_then(|(_, max)| max).map(|max| max as f64));
    known(&f::STARTED, started_at(shared.started_at.elapsed()));
    known(&f::MEMORY_USED, memory.map(|memory| memory.used as f64));
    known(&f::MEMORY_LIMIT, memory.map(|memory| memory.limit as f64));
    known(&f::CPU_LIMIT, process::cores());
}

fn started_at(uptime: Duration) -> Option<f64> {
    let at = SystemTime::now().checked_sub(uptime)?.duration_since(UNIX_EPOCH).ok()?;
    Some((at.as_secs_f64() * 1e3).round() / 1e3)
}

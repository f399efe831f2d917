//! From the tree of what was said to settings that are in range: parse once, then trust.
//!
//! Each part reads its sections and reports; only when nobody reported an error do settings exist.

mod admin;
mod admission;
mod app;
mod auth_services;
mod durable;
mod health;
mod listeners;
mod metrics;
mod process;
mod routes;
mod store;
mod tls;
mod tokens;
mod traces;
mod upstreams;
mod websocket;

pub(super) use upstreams::APP;

use std::path::Path;
use std::time::Duration;

use longhaul_gateway::Config;

use super::keys::{SECTIONS, Section};
use super::platforms::GRACE_USUAL;
use super::problem::{Origin, Problem};
use super::read::{Problems, Reader, elsewhere, nearest};
use super::tree::{Kind, Table, Value};
use super::units::show_duration;
use super::{Settings, in_force};
use crate::parent::AppSettings;

/// Reads everything; paths in the file start at `directory`. Returns `None` when any error was reported.
pub(super) fn settings(root: &Table, directory: &Path, problems: &Problems) -> Option<Settings> {
    report_unknown_sections(root, problems);
    let sections = Sections { root, directory, problems };

    let app = app::app(&sections);
    let log = app::log(&sections);
    let process = process::read(&sections);
    let upstreams = upstreams::read(&sections, app.is_some());
    let durable = durable::read(&sections.one("durable"));
    let traces = traces::read(&sections);
    let metrics = metrics::read(&sections);
    let websocket = websocket::read(&sections.one("websocket"), &Default::default());
    let listeners = &process.listeners;
    let authorities = tokens::authorities(&sections, process.environment);
    let tickets = tokens::tickets(&sections);
    let store = store::read(&sections, tickets.is_some());
    let about = admission::About { environment: process.environment, authorities: &authorities };
    let default = about.default_policy();
    let admission = admission::read(&sections.one("admission"), &default, &about);
    let admission = admission::with_cors(admission, Some(&sections.one("cors")));
    let base = routes::Base { websocket, admission, about };
    let routes = routes::read(&sections, listeners, &upstreams, &base, app.is_some());
    warn_of_long_goodbyes(&process, app.as_ref());

    if problems.borrow().iter().any(|problem| problem.is_error) {
        return None;
    }
    let app = app.map(|settings| super::App {
        upstream: upstreams
            .index_of(APP)
            .expect("upstreams::read adds the upstream of the app when there is one"),
        settings,
    });
    let gateway = Config {
        listeners: process.listeners,
        inherited: Vec::new(),
        left: Vec::new(),
        certificates: process.tls.certificates,
        certificate_watch: process.tls.watch,
        workers: process.workers,
        limits: process.limits,
        timeouts: process.timeouts,
        health_paths: process.health_paths,
        trusted_proxies: process.trusted_proxies,
        upstreams: upstreams.configs,
        routes: routes.http,
        tcp_routes: routes.tcp,
        affinity_key: process.affinity_key,
        dns_servers: process.dns_servers,
        durable,
        traces,
        metrics,
        authorities,
        tickets,
        store,
        bypass_key: process.bypass_key,
    };
    let in_force = in_force::all(root);
    let config_watch = process.config_watch;
    Some(Settings { gateway, app, log, config_watch, admin: process.admin, in_force })
}

/// The sections of one file.
struct Sections<'a> {
    root: &'a Table,
    /// Where the file is.
    directory: &'a Path,
    problems: &'a Problems,
}

impl<'a> Sections<'a> {
    /// A section that is there once or not at all.
    fn one(&self, name: &'static str) -> Reader<'a> {
        let section = section(name);
        let value = self.value(name);
        let table = value.and_then(|value| match &value.kind {
            Kind::Table(table) => Some(table),
            other => {
                let title = format!("{name}: expected a table, found {}", other.name());
                let remedy = format!("write it once, as [{name}]");
                self.report(Problem::error(value.at.clone(), title).remedy(remedy));
                None
            }
        });
        Reader::new(section, name, table, self.problems)
    }

    /// A section that repeats.
    fn each(&self, name: &'static str) -> Vec<Reader<'a>> {
        let Some(value) = self.value(name) else { return Vec::new() };
        let wrong = |value: &Value| {
            let title = format!("{name}: expected a list of tables, found {}", value.kind.name());
            let remedy = format!("write [[{name}]], with two brackets, before each");
            self.report(Problem::error(value.at.clone(), title).remedy(remedy));
        };
        let Kind::List(values) = &value.kind else {
            wrong(value);
            return Vec::new();
        };
        let read = |(index, value): (usize, &'a Value)| match &value.kind {
            Kind::Table(table) => {
                let path = format!("{name}[{index}]");
                Some(Reader::new(section(name), path, Some(table), self.problems))
            }
            _ => {
                wrong(value);
                None
            }
        };
        values.iter().enumerate().filter_map(read).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Where a section was first said.
    fn at(&self, name: &str) -> Origin {
        self.value(name).map_or(Origin::Nowhere, |value| value.at.clone())
    }

    fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.root.entries.get(name).map(|entry| &entry.value)
    }
}

fn section(name: &str) -> &'static Section {
    SECTIONS
        .iter()
        .find(|section| section.name == name)
        .expect("readers ask for sections that the table of keys has")
}

fn report_unknown_sections(root: &Table, problems: &Problems) {
    let known = || SECTIONS.iter().map(|section| section.name);
    for (name, entry) in &root.entries {
        if known().any(|known| known == name) {
            continue;
        }
        let remedy = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => elsewhere(name).unwrap_or_else(|| {
                format!("known sections: {}", known().collect::<Vec<_>>().join(", "))
            }),
        };
        let what = if matches!(entry.value.kind, Kind::Table(_)) { "section" } else { "key" };
        let title = format!("unknown {what} `{}`", name.escape_debug());
        let problem = Problem::error(entry.key_at.clone(), title).label("not known here");
        problems.borrow_mut().push(problem.remedy(remedy));
    }
}

/// Platforms kill what has not ended in time: drain and the app's grace come one after the other.
fn warn_of_long_goodbyes(process: &process::Process<'_>, app: Option<&AppSettings>) {
    let grace = app.map_or(Duration::ZERO, |app| app.stop_grace);
    let drain = process.timeouts.drain;
    let total = drain + grace;
    let reader = &process.timeouts_said;
    if total > GRACE_USUAL {
        let with_app = if app.is_some() { " (with app.stop_grace)" } else { "" };
        let danger = format!(
            "the end takes {}{with_app}, longer than most platforms wait before they kill ({}; Cloud \
             Run and Docker 10s)",
            show_duration(total),
            show_duration(GRACE_USUAL),
        );
        reader.warn("drain", &danger, "shorten it, or raise the grace period of the platform");
    } else if drain.is_zero() {
        let danger = "all WebSockets are closed in one moment, and all their clients come back in the \
                      next";
        reader.warn("drain", danger, "use 5s or more");
    }
}

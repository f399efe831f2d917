//! Reads `[[routes]]` and `[[tcp]]`, and makes the route that nobody had to write.

use http::{HeaderName, HeaderValue};
use longhaul_gateway::config::{
    AdmissionPolicy, Listener, Route, RoutePattern, TcpRoute, WebSocketPolicy,
};
use longhaul_policy::route::HostPattern;

use super::upstreams::Upstreams;
use super::{Sections, admission, websocket};
use crate::config::forms;
use crate::config::problem::{Origin, Problem};
use crate::config::read::{Reader, nearest};
use crate::config::tree::Kind;

/// What routes take over that say nothing of their own.
pub(super) struct Base<'a> {
    pub(super) websocket: WebSocketPolicy,
    pub(super) admission: AdmissionPolicy,
    pub(super) about: admission::About<'a>,
}

/// All routes.
pub(super) struct Routes {
    pub(super) http: Vec<Route>,
    pub(super) tcp: Vec<TcpRoute>,
}

pub(super) fn read(
    sections: &Sections<'_>,
    listeners: &[Listener],
    upstreams: &Upstreams,
    base: &Base<'_>,
    has_app: bool,
) -> Routes {
    let readers = sections.each("routes");
    let http: Vec<Route> =
        readers.iter().filter_map(|reader| route(reader, listeners, upstreams, base)).collect();
    report_twins(&readers, &http);
    let tcp_readers = sections.each("tcp");
    let tcp: Vec<TcpRoute> =
        tcp_readers.iter().filter_map(|reader| tcp_route(reader, listeners, upstreams)).collect();
    report_tcp_twins(&tcp_readers, &tcp, listeners);
    let mut routes = Routes { http, tcp };
    leave_to_tcp(&mut routes, listeners.len());
    if !sections.has("routes") && !sections.has("tcp") {
        routes.http.extend(catch_all(sections, upstreams, base, has_app));
    } else if readers.len() == routes.http.len() && tcp_readers.len() == routes.tcp.len() {
        warn_of_unused(sections, upstreams, &routes);
    }
    routes
}

/// HTTP routes that name no listener leave alone those on which a TCP route takes whatever comes:
/// there every connection would wait for its first bytes, and a server that speaks first for ever.
/// When that leaves none, they share.
fn leave_to_tcp(routes: &mut Routes, listeners: usize) {
    let takes_all = |route: &TcpRoute| route.server_names.is_none();
    let tcp: Vec<usize> =
        routes.tcp.iter().filter(|route| takes_all(route)).map(|route| route.listener).collect();
    let free: Vec<usize> = (0..listeners).filter(|listener| !tcp.contains(listener)).collect();
    if tcp.is_empty() || free.is_empty() {
        return;
    }
    for route in routes.http.iter_mut().filter(|route| route.listeners.is_empty()) {
        route.listeners.clone_from(&free);
    }
}

/// With one upstream and no route, everything goes there.
fn catch_all(
    sections: &Sections<'_>,
    upstreams: &Upstreams,
    base: &Base<'_>,
    has_app: bool,
) -> Option<Route> {
    let problem = match upstreams.configs.len() {
        1 => {
            return Some(Route {
                name: upstreams.configs[0].name.clone(),
                pattern: RoutePattern::default(),
                listeners: Vec::new(),
                upstream: 0,
                preserve_host: true,
                websocket: base.websocket.clone(),
                admission: base.admission.clone(),
            });
        }
        0 if sections.has("upstreams") => return None,
        0 => Problem::error(Origin::Nowhere, "nothing says where requests go").remedy(
            "give `--upstream HOST:PORT`, a program after `--`, or [[upstreams]] in a file with \
             `--config FILE`",
        ),
        _ if has_app => Problem::error(
            upstreams.origins[0].clone(),
            "both a program to start and other upstreams, and no route tells which requests go where",
        )
        .remedy("remove one of them, or add [[routes]]; the program's upstream is `app`"),
        many => Problem::error(
            upstreams.origins[1].clone(),
            format!("{many} upstreams, and no route tells which requests go where"),
        )
        .remedy("add [[routes]], each with its `upstream`"),
    };
    sections.report(problem);
    None
}

fn route(
    reader: &Reader<'_>,
    listeners: &[Listener],
    upstreams: &Upstreams,
    base: &Base<'_>,
) -> Option<Route> {
    reader.require();
    let host = reader.parsed("host", forms::host_pattern).unwrap_or_default();
    let path_prefix = reader.parsed("path", forms::path_prefix).unwrap_or_else(|| "/".to_owned());
    let said = reader.parsed("name", forms::name);
    let pattern = RoutePattern { host, path_prefix, headers: headers(reader) };
    let known = |name: &str| index_of(listeners, name);
    let listeners = reader.parsed_list("listeners", known).unwrap_or_default();
    let mut listeners: Vec<usize> = listeners.into_iter().map(|(index, _)| index).collect();
    listeners.sort_unstable();
    listeners.dedup();
    let preserve_host = reader.boolean("preserve_host").unwrap_or(true);
    let websocket = reader
        .child("websocket")
        .map_or_else(|| base.websocket.clone(), |reader| websocket::read(&reader, &base.websocket));
    let admission = reader.child("admission").map_or_else(
        || base.admission.clone(),
        |own| admission::read(&own, &base.admission, &base.about),
    );
    let admission = admission::with_cors(admission, reader.child("cors").as_ref());
    let admission = admission::with_limits(admission, reader.child("limits").as_ref());
    Some(Route {
        upstream: upstreams.resolve(reader, "upstream")?,
        name: said.unwrap_or_else(|| name_of(&pattern)),
        pattern,
        listeners,
        preserve_host,
        websocket,
        admission,
    })
}

/// A name for a route that has none: what it takes.
fn name_of(pattern: &RoutePattern) -> String {
    format!("{}{}", shown(&pattern.host), pattern.path_prefix)
}

/// A pattern as the file says it.
fn shown(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Below(domain) => format!("*.{domain}"),
    }
}

fn headers(reader: &Reader<'_>) -> Vec<(HeaderName, Option<HeaderValue>)> {
    let Some(table) = reader.table("headers") else { return Vec::new() };
    let mut headers: Vec<(HeaderName, Option<HeaderValue>)> = Vec::new();
    for (name, entry) in &table.entries {
        let header = match (&entry.value.kind, forms::header_name(name)) {
            (Kind::Text(text), Ok(header)) => {
                forms::header_value(text).map(|value| (header, value))
            }
            (_, Err(problem)) => Err(problem),
            (other, Ok(_)) => {
                Err(format!("is {}; write its value, or \"*\" for any", other.name()))
            }
        };
        match header {
            Ok((header, _)) if headers.iter().any(|(other, _)| *other == header) => {
                reader.wrong("headers", &entry.value, "names a header twice", "names have no case");
            }
            Ok(header) => headers.push(header),
            Err(problem) => {
                let (problem, remedy) = problem.split_once("; ").unwrap_or((&problem, ""));
                reader.wrong(&format!("headers.{name:?}"), &entry.value, problem, remedy);
            }
        }
    }
    headers
}

fn tcp_route(
    reader: &Reader<'_>,
    listeners: &[Listener],
    upstreams: &Upstreams,
) -> Option<TcpRoute> {
    reader.require();
    let listener = reader.parsed("listener", |name| index_of(listeners, name));
    let upstream = upstreams.resolve(reader, "upstream");
    let server_names = reader.parsed_list("sni", forms::server_name);
    let said = reader.parsed("name", forms::name);
    let server_first = reader.boolean("server_first");
    let idle = reader.duration_or_off("idle");
    let linger = reader.duration("linger");
    if let Some(Some(idle)) = idle
        && idle < std::time::Duration::from_secs(60)
    {
        let danger =
            "ends every connection on which nobody spoke for a moment, WebSockets included";
        reader.warn("idle", danger, "use 10m or more, or \"off\"");
    }
    let listener = listener?;
    let server_names: Option<Vec<HostPattern>> =
        server_names.map(|names| names.into_iter().map(|(name, _)| name).collect());
    if server_names.as_ref().is_some_and(Vec::is_empty) && matches!(reader.list("sni"), Some([])) {
        let title = format!("{}.sni = [] takes no connection", reader.path());
        let problem = Problem::error(reader.at_key("sni"), title);
        reader.report(problem.remedy("name what it takes, or remove it for whatever else arrives"));
    }
    if server_first == Some(true) && server_names.is_some() {
        let danger = "has no effect with `sni`: a TLS client always speaks first";
        reader.warn("server_first", danger, "remove it");
    }
    let name = said.unwrap_or_else(|| match server_names.as_deref() {
        Some([name, ..]) => shown(name),
        _ => listeners[listener].name.clone(),
    });
    let default = TcpRoute::new(name, listener, upstream?);
    Some(TcpRoute {
        server_names,
        server_first: server_first.unwrap_or(default.server_first),
        idle: idle.unwrap_or(default.idle),
        linger: linger.unwrap_or(default.linger),
        ..default
    })
}

fn index_of(listeners: &[Listener], name: &str) -> Result<usize, String> {
    let known = || listeners.iter().map(|listener| listener.name.as_str());
    known().position(|known| known == name).ok_or_else(|| match nearest(name, known()) {
        Some(near) => format!("names no listener; did you mean {near:?}?"),
        None => {
            let known: Vec<&str> = known().collect();
            format!("names no listener; server.listen has {}", known.join(", "))
        }
    })
}

/// Two routes that take the same requests, or have the same name.
fn report_twins(readers: &[Reader<'_>], routes: &[Route]) {
    // A route that could not be read has been reported; indices would not match.
    if readers.len() != routes.len() {
        return;
    }
    for (index, (reader, route)) in readers.iter().zip(routes).enumerate() {
        for (earlier, other) in routes[..index].iter().enumerate() {
            let overlap = route.listeners.is_empty()
                || other.listeners.is_empty()
                || route.listeners.iter().any(|listener| other.listeners.contains(listener));
            if overlap && is_same_pattern(&route.pattern, &other.pattern) {
                let title = format!(
                    "{} takes the same requests as routes[{earlier}]: {}",
                    reader.path(),
                    name_of(&route.pattern)
                );
                let remedy = "remove one, or tell them apart by host, path, headers or listeners";
                reader.report(Problem::error(reader.at(), title).remedy(remedy));
            } else if route.name == other.name {
                let title = format!(
                    "{}: the name {:?} is that of routes[{earlier}]",
                    reader.path(),
                    route.name
                );
                let problem = Problem::error(reader.at_key("name"), title);
                reader.report(problem.remedy("give each route its own `name`"));
            }
        }
    }
}

fn is_same_pattern(a: &RoutePattern, b: &RoutePattern) -> bool {
    // Headers come out of a sorted table, but under names whose case may differ.
    let sorted = |pattern: &RoutePattern| {
        let mut headers = pattern.headers.clone();
        headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        headers
    };
    a.host == b.host && a.path_prefix == b.path_prefix && sorted(a) == sorted(b)
}

fn report_tcp_twins(readers: &[Reader<'_>], routes: &[TcpRoute], listeners: &[Listener]) {
    if readers.len() != routes.len() {
        return;
    }
    for (index, (reader, route)) in readers.iter().zip(routes).enumerate() {
        for (earlier, other) in routes[..index].iter().enumerate() {
            let listener = &listeners[route.listener].name;
            if route.listener == other.listener
                && let Some(shared) = shared_name(route, other)
            {
                let title = format!(
                    "{}: {shared} on listener {listener:?} goes to tcp[{earlier}] already",
                    reader.path()
                );
                let problem = Problem::error(reader.at_key("listener"), title);
                reader.report(
                    problem.remedy("tell them apart by `sni`, or by a listener of its own"),
                );
            } else if route.name == other.name {
                let title = format!(
                    "{}: the name {:?} is that of tcp[{earlier}]",
                    reader.path(),
                    route.name
                );
                let problem = Problem::error(reader.at_key("name"), title);
                reader.report(problem.remedy("give each route its own `name`"));
            }
        }
    }
}

/// What both routes would take on one listener.
fn shared_name(route: &TcpRoute, other: &TcpRoute) -> Option<String> {
    match (&route.server_names, &other.server_names) {
        (None, None) => Some("what no other route takes".to_owned()),
        (Some(names), Some(others)) => {
            names.iter().find(|name| others.contains(name)).map(|name| format!("{:?}", shown(name)))
        }
        (Some(_), None) | (None, Some(_)) => None,
    }
}

fn warn_of_unused(sections: &Sections<'_>, upstreams: &Upstreams, routes: &Routes) {
    for (index, (upstream, at)) in upstreams.configs.iter().zip(&upstreams.origins).enumerate() {
        let is_used = routes.http.iter().any(|route| route.upstream == index)
            || routes.tcp.iter().any(|route| route.upstream == index);
        if !is_used {
            let title = format!("upstream {:?} is not used by any route", upstream.name);
            let problem = Problem::warning(at.clone(), title);
            sections.report(problem.remedy("add a route to it, or remove it"));
        }
    }
}

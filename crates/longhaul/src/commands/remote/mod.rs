//! Verbs that ask a running gateway, or tell it something, by its admin API.

mod client;
mod table;

use std::net::SocketAddr;

pub(crate) use client::Remote;
use client::RemoteError;
use serde_json::{Value, json};

use self::table::Table;
use super::print::print;
use crate::cli::{ConnectionsArgs, ReplicaArgs, UpgradeArgs};
use crate::error_chain;

/// `longhaul status`
pub(super) fn status(remote: &Remote) -> u8 {
    finish(remote, remote.get("/api/v1/overview"), show_status)
}

/// `longhaul connections`
pub(super) fn connections(arguments: &ConnectionsArgs) -> u8 {
    let ConnectionsArgs { remote, route, replica, client, after, limit } = arguments;
    let mut path = format!("/api/v1/connections?after={after}&limit={limit}");
    for (name, value) in
        [("route", route.clone()), ("replica", text(replica)), ("client", text(client))]
    {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", escape(&value)));
        }
    }
    finish(remote, remote.get(&path), show_connections)
}

fn text(value: &Option<impl ToString>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

/// `longhaul ends`
pub(super) fn ends(remote: &Remote) -> u8 {
    finish(remote, remote.get("/api/v1/ends"), show_ends)
}

/// `longhaul close`
pub(super) fn close(remote: &Remote, id: u64) -> u8 {
    let path = format!("/api/v1/connections/{id}");
    finish(remote, remote.change("DELETE", &path, ""), |_| {
        format!("connection {id} was told to end\n")
    })
}

/// `longhaul drain` and `longhaul undrain`
pub(super) fn drain(arguments: &ReplicaArgs, is_drain: bool) -> u8 {
    let ReplicaArgs { replica, upstream, remote } = arguments;
    let (method, said) = match is_drain {
        true => ("POST", "drains"),
        false => ("DELETE", "takes new work again"),
    };
    let told = upstream_of(remote, *replica, upstream.as_deref()).and_then(|upstream| {
        let replica = escape(&replica.to_string());
        let path = format!("/api/v1/upstreams/{upstream}/replicas/{replica}/drain");
        remote.change(method, &path, "")
    });
    finish(remote, told, |_| format!("replica {replica} {said}\n"))
}

/// The upstream that has this replica: the one that was said, or the only one.
fn upstream_of(
    remote: &Remote,
    replica: SocketAddr,
    said: Option<&str>,
) -> Result<String, RemoteError> {
    if let Some(said) = said {
        return Ok(said.to_owned());
    }
    let upstreams = remote.get("/api/v1/upstreams")?;
    let has_it = |upstream: &&Value| {
        list(&upstream["replicas"]).iter().any(|one| one["address"] == replica.to_string())
    };
    let names: Vec<String> =
        list(&upstreams).iter().filter(has_it).map(|upstream| word(&upstream["name"])).collect();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(RemoteError::Refused(format!("no upstream has a replica at {replica}"))),
        many => {
            let many = many.join(", ");
            Err(RemoteError::Refused(format!("{many} have it; say which with --upstream")))
        }
    }
}

/// Brackets of IPv6 addresses are the only characters of ours that a target does not take as they
/// are.
fn escape(text: &str) -> String {
    text.replace('[', "%5B").replace(']', "%5D")
}

/// `longhaul reload`
pub(super) fn reload(remote: &Remote) -> u8 {
    finish(remote, remote.change("POST", "/api/v1/reload", ""), show_reload)
}

/// `longhaul upgrade`
pub(super) fn upgrade(arguments: &UpgradeArgs) -> u8 {
    let UpgradeArgs { binary, dry_run, remote } = arguments;
    let body = json!({ "binary": binary, "dry_run": dry_run }).to_string();
    finish(remote, remote.change_slowly("POST", "/api/v1/upgrade", &body), show_upgrade)
}

fn show_upgrade(upgrade: &Value) -> String {
    let is_rehearsal = upgrade["dry_run"] == true;
    let pause_ms = upgrade["pause_s"].as_f64().unwrap_or_default() * 1000.0;
    let mut text = format!(
        "version {}: {} connections {}, {pause_ms:.1} ms at most\n",
        word(&upgrade["version"]),
        upgrade["moved"],
        if is_rehearsal { "would move" } else { "moved" },
    );
    for (bound, count) in upgrade["stays"].as_object().into_iter().flatten() {
        let stay = if is_rehearsal { "would stay" } else { "stay" };
        text.push_str(&format!("{count} {stay} to be drained: {bound}\n"));
    }
    text
}

fn show_reload(reload: &Value) -> String {
    let changes = list(&reload["changes"]).iter().map(|change| format!("{}\n", word(change)));
    let waiting = list(&reload["after_restart"])
        .iter()
        .map(|change| format!("{} (not before a restart)\n", word(change)));
    let lines: String = changes.chain(waiting).collect();
    if lines.is_empty() { "no difference\n".to_owned() } else { lines }
}

/// `longhaul log-level`
pub(super) fn log_level(remote: &Remote, level: Option<&str>) -> u8 {
    let path = "/api/v1/log-level";
    let answer = match level {
        None => remote.get(path),
        Some(level) => remote.change("PUT", path, &json!({ "level": level }).to_string()),
    };
    finish(remote, answer, |answer| format!("{}\n", word(&answer["level"])))
}

/// Prints an answer, or why there is none.
fn finish(
    remote: &Remote,
    answer: Result<Value, RemoteError>,
    show: impl FnOnce(&Value) -> String,
) -> u8 {
    match answer {
        Ok(answer) if remote.json => print(&format!("{answer:#}\n")),
        Ok(answer) => print(&show(&answer)),
        Err(error) => {
            eprintln!("longhaul: {}", error_chain(&error));
            1
        }
    }
}

fn show_status(status: &Value) -> String {
    let state = match (status["draining"].as_bool(), status["ready"].as_bool()) {
        (Some(true), _) => "draining",
        (_, Some(true)) => "ready",
        _ => "not ready",
    };
    let mut page = format!(
        "{state}, version {}, up for {}\n{} WebSockets open, {} since the start; {} connections\n\n",
        word(&status["version"]),
        table::duration(&status["uptime_s"]),
        status["websockets_open"],
        status["upgrades_accepted"],
        status["connections_open"],
    );
    let mut replicas =
        Table::new(&["UPSTREAM", "REPLICA", "STATE", "WEBSOCKETS", "REQUESTS", "WHY"]);
    for upstream in list(&status["upstreams"]) {
        for replica in list(&upstream["replicas"]) {
            let state = match replica["draining"].as_str() {
                Some(why) => format!("{}, draining ({why})", word(&replica["state"])),
                None => word(&replica["state"]),
            };
            replicas.row([
                word(&upstream["name"]),
                word(&replica["address"]),
                state,
                word(&replica["websockets_open"]),
                word(&replica["requests_open"]),
                word(&replica["probe_failure"]),
            ]);
        }
    }
    page.push_str(&replicas.text());
    for finding in list(&status["findings"]) {
        page.push_str(&format!(
            "\n{} ({}x): {}\n  {}\n",
            word(&finding["hop"]),
            finding["count"],
            word(&finding["what"]),
            word(&finding["remedy"]),
        ));
    }
    for reason in list(&status["degraded"]) {
        page.push_str(&format!("\ndegraded: {}\n", word(reason)));
    }
    if let Some(address) = status["store"]["address"].as_str() {
        let (state, time) =
            (word(&status["store"]["state"]), table::duration(&status["store"]["for_s"]));
        page.push_str(&format!("\nstore {address}: {state} for {time}\n"));
    }
    let troubled = list(&status["tasks"]).iter().filter(|task| task["restarts"] != 0);
    for task in troubled {
        page.push_str(&format!(
            "\ntask {} is {} after {} restarts: {}\n",
            word(&task["name"]),
            word(&task["state"]),
            task["restarts"],
            word(&task["last_error"]),
        ));
    }
    page
}

fn show_connections(page: &Value) -> String {
    let mut table = Table::new(&["ID", "KIND", "ROUTE", "CLIENT", "REPLICA", "OPEN", "UP", "DOWN"]);
    for open in list(&page["connections"]) {
        table.row([
            word(&open["id"]),
            word(&open["kind"]),
            word(&open["route"]),
            word(&open["client"]),
            word(&open["replica"]),
            table::duration(&open["open_s"]),
            word(&open["messages_up"]),
            word(&open["messages_down"]),
        ]);
    }
    let mut text = table.text();
    if let Some(next) = page["next"].as_u64() {
        text.push_str(&format!("more of {}: --after {next}\n", page["total"]));
    }
    text
}

fn show_ends(ends: &Value) -> String {
    let mut table = Table::new(&["ID", "ROUTE", "CLIENT", "REPLICA", "LIVED", "CODE", "WHY"]);
    for end in list(ends) {
        table.row([
            word(&end["id"]),
            word(&end["route"]),
            word(&end["client"]),
            word(&end["replica"]),
            table::duration(&end["duration_s"]),
            word(&end["code"]),
            word(&end["reason"]),
        ]);
    }
    table.text()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as a cell: nothing for null, text without quotes.
fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => crate::logs::escape_control(text),
        other => other.to_string(),
    }
}

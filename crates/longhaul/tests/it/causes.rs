//! Every end of a WebSocket has one cause, and all who tell of it tell the same.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::logs::{field, lines};
use crate::support::admin::{Admin, TOKEN};
use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::{clients, frames, s, wait_until};

/// An end: its route, who closed, why, and with which code.
type End = (String, String, String, u64);

fn end(one: &Value) -> End {
    let text = |name: &str| field(one, name).as_str().expect("it is there").to_owned();
    (text("route"), text("closed_by"), text("cause"), field(one, "code").as_u64().expect("a code"))
}

#[test]
fn log_metrics_api_and_dashboard_tell_the_same_causes() {
    let (stays, mut goes) = (App::start("echo_ws.mjs", "one"), App::start("echo_ws.mjs", "two"));
    let upstream = |name: &str, app: &App| {
        format!("[[upstreams]]\nname = \"{name}\"\nreplicas = [\"{}\"]\n", app.address)
    };
    let route = |name: &str, path: &str, upstream: &str, terms: &str| {
        let route = format!("name = \"{name}\"\npath = \"{path}\"\nupstream = \"{upstream}\"\n");
        format!("[[routes]]\n{route}[routes.websocket]\n{terms}\n")
    };
    let mut gateway = Gateway::with_config(
        &[
            "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n".to_owned(),
            format!("admin_token = \"{TOKEN}\"\n"),
            upstream("stays", &stays),
            upstream("goes", &goes),
            route("chat", "/", "stays", ""),
            route("short", "/short", "stays", "lifetime = \"1s\""),
            route("quiet", "/quiet", "stays", "idle = \"1s\""),
            route("small", "/small", "stays", "message_bytes_max = \"1KiB\""),
            route("fleeting", "/fleeting", "goes", ""),
            route(
                "again",
                "/again",
                "goes",
                "on_replica_loss = \"redial\"\nredial_give_up = \"1s\"",
            ),
        ]
        .concat(),
    );
    let admin = Admin::of(&mut gateway);
    let open = |path: &str| frames::open(gateway.address(), path);

    let mut polite = open("/echo");
    polite.send(frames::close_from_client(1000, ""));
    drop(open("/echo"));
    let mut told = open("/close?code=4001");
    told.send(frames::from_client(frames::TEXT, b"now"));
    let (mut aged, mut idle, mut large) = (open("/short"), open("/quiet"), open("/small"));
    large.send(frames::from_client(frames::BINARY, &[0; 2000]));
    let (mut lost, mut given_up) = (open("/fleeting"), open("/again"));
    frames::echo(&mut lost, "still there");
    goes.process.kill();
    let mut ordered = open("/echo");
    let page = admin.json("/api/v1/connections?route=chat");
    let last = page["connections"].as_array().and_then(|all| all.last()).expect("it is open");
    let path = format!("/api/v1/connections/{}", last["id"]);
    assert_eq!(admin.change("DELETE", &path, "").status, 204);
    let expected = [
        ("again", "replica", "redial_gave_up", frames::close_code(&mut given_up).unwrap()),
        ("chat", "client", "client_closed", frames::close_code(&mut polite).unwrap()),
        ("chat", "client", "client_gone", 1012),
        ("chat", "gateway", "ordered", frames::close_code(&mut ordered).unwrap()),
        ("chat", "replica", "replica_closed", frames::close_code(&mut told).unwrap()),
        ("fleeting", "replica", "replica_gone", frames::close_code(&mut lost).unwrap()),
        ("quiet", "gateway", "idle_limit", frames::close_code(&mut idle).unwrap()),
        ("short", "gateway", "lifetime_limit", frames::close_code(&mut aged).unwrap()),
        ("small", "gateway", "message_too_large", frames::close_code(&mut large).unwrap()),
    ];
    drop((polite, told, aged, idle, large, lost, given_up, ordered));
    let expected = expected.map(|(route, by, cause, code)| {
        (route.to_owned(), by.to_owned(), cause.to_owned(), u64::from(code))
    });
    let count = expected.len();
    wait_until("all ends are logged", s(60), || lines(&gateway, "websocket closed").len() == count);
    let mut logged: Vec<End> = lines(&gateway, "websocket closed").iter().map(end).collect();
    logged.sort();
    assert_eq!(logged, expected);

    let mut ends = admin.json("/api/v1/ends").as_array().expect("a list").clone();
    let mut told: Vec<End> = ends.iter().map(end).collect();
    told.sort();
    assert_eq!(told, expected);
    let overview = admin.json("/api/v1/overview");
    assert_eq!(overview["ends_total"].as_u64(), Some(count as u64));

    let mut counted = BTreeMap::new();
    for (route, by, cause, _) in &logged {
        let labels = format!("route=\"{route}\",closed_by=\"{by}\",cause=\"{cause}\"");
        *counted.entry(format!("longhaul_websocket_ends_total{{{labels}}}")).or_insert(0.0) += 1.0;
    }
    let page = admin.get("/metrics").text();
    let series = page.lines().filter(|line| line.starts_with("longhaul_websocket_ends_total{"));
    let series = series.filter_map(|line| line.rsplit_once(' '));
    let series: BTreeMap<String, f64> =
        series.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect();
    assert_eq!(series, counted);

    // What the page shows: the reason in words, as in the log, and the code.
    ends.sort_by_key(|end| end["id"].as_u64());
    let row = |one: &Value| {
        let text = |name: &str| field(one, name).as_str().unwrap_or_default().to_owned();
        [text("reason"), field(one, "code").to_string(), text("route")]
    };
    let mut closed = lines(&gateway, "websocket closed");
    closed.sort_by_key(|line| field(line, "id").as_u64());
    let mut rows: Vec<[String; 3]> = closed.iter().map(row).collect();
    assert_eq!(ends.iter().map(row).collect::<Vec<_>>(), rows);
    let said = clients::run("ends.mjs", &[&format!("http://{}", admin.0)], s(120));
    let mut shown: Vec<[String; 3]> =
        said.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    shown.sort();
    rows.sort();
    assert_eq!(shown, rows);
}

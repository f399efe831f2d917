//! What operators see of a running gateway, and what they can tell it.

use std::io::{Seek, Write};
use std::process::Command;

use crate::support::admin::{Admin, TOKEN};
use crate::support::apps::App;
use crate::support::gateway::{Gateway, longhaul};
use crate::support::raw::Raw;
use crate::support::{artefact, clients, frames, s, wait_until};

/// A gateway in front of an echo, with an admin API.
fn begin() -> (App, Gateway, Admin) {
    let app = App::start("echo_ws.mjs", "one");
    let mut gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\nadmin_token = \"{TOKEN}\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n\
         [[routes]]\nname = \"chat\"\nupstream = \"app\"\n",
        app.address
    ));
    let admin = Admin::of(&mut gateway);
    (app, gateway, admin)
}

#[test]
fn metrics_say_what_became_of_upgrades_messages_and_connections() {
    let (app, gateway, admin) = begin();
    let mut polite = frames::open(gateway.address(), "/echo");
    let mut rude = frames::open(gateway.address(), "/echo");
    for n in 0..10 {
        frames::echo(&mut polite, &format!("message {n}"));
    }
    frames::echo(&mut rude, "only one");
    let replica = app.address;
    let messages = "longhaul_websocket_messages_total{route=\"chat\",direction=\"up\"}";
    assert_eq!(admin.metric(messages), 11.0);
    // Each is masked on its way up: two bytes of header, four of mask.
    let bytes = "longhaul_websocket_bytes_total{route=\"chat\",direction=\"up\"}";
    assert_eq!(admin.metric(bytes), (10 * (6 + 9) + 6 + 8) as f64);
    let open = format!("longhaul_websockets_open{{upstream=\"app\",replica=\"{replica}\"}}");
    assert_eq!(admin.metric(&open), 2.0);
    assert_eq!(admin.metric("longhaul_route_websockets_open{route=\"chat\"}"), 2.0);

    polite.send(frames::close_from_client(1000, ""));
    assert_eq!(frames::close_code(&mut polite).unwrap(), 1000);
    drop(rude);
    wait_until("both are gone", s(30), || admin.metric(&open) == 0.0);
    let ends = |by: &str, cause: &str| {
        let labels = format!("route=\"chat\",closed_by=\"{by}\",cause=\"{cause}\"");
        admin.metric(&format!("longhaul_websocket_ends_total{{{labels}}}"))
    };
    wait_until("both ends are counted", s(30), || {
        ends("client", "client_closed") + ends("client", "client_gone") == 2.0
    });
    let drops = "longhaul_websocket_drops_total{route=\"chat\",cause=\"client_gone\"}";
    assert_eq!(admin.metric(drops), 1.0);
    let codes = "longhaul_websocket_close_codes_total";
    let code = format!("{codes}{{route=\"chat\",closed_by=\"client\",code=\"1000\"}}");
    assert_eq!(admin.metric(&code), 1.0);
    let lived = "longhaul_websocket_duration_seconds_count{route=\"chat\"}";
    assert_eq!(admin.metric(lived), 2.0);

    // The same address comes back: somebody reconnects.
    drop(frames::open(gateway.address(), "/echo"));
    assert_eq!(admin.metric("longhaul_websocket_reconnects_total{route=\"chat\"}"), 1.0);
    let upgrades = |outcome: &str, reason: &str| {
        let labels = format!("route=\"chat\",outcome=\"{outcome}\",reason=\"{reason}\"");
        admin.metric(&format!("longhaul_upgrades_total{{{labels}}}"))
    };
    assert_eq!(upgrades("accepted", ""), 3.0);
    drop(app);
    let mut refused = Raw::connect(gateway.address());
    refused.send(frames::handshake("/echo", ""));
    assert_eq!(refused.response().status, 502);
    assert_eq!(upgrades("refused", "replica_unreachable"), 1.0);
    assert_eq!(admin.metric("longhaul_refusals_total{cause=\"replica_unreachable\"}"), 1.0);
}

#[test]
fn the_dashboard_shows_what_the_api_says_and_which_hop_ends_connections() {
    let (_app, gateway, admin) = begin();
    let _open: Vec<Raw> = (0..300).map(|_| frames::open(gateway.address(), "/echo")).collect();
    for _ in 0..12 {
        frames::echo(&mut frames::open(gateway.address(), "/echo"), "gone without a goodbye");
    }
    wait_until("those that left are gone", s(30), || {
        admin.json("/api/v1/overview")["drops"].as_u64() == Some(12)
    });
    let pictures = artefact("");
    let arguments = [&format!("http://{}", admin.0), TOKEN, pictures.to_str().unwrap()];
    clients::run("dashboard.mjs", &arguments, s(120));
}

#[test]
fn the_command_line_shows_and_tells_what_the_api_does() {
    let (app, gateway, admin) = begin();
    let mut open = [(); 2].map(|()| frames::open(gateway.address(), "/echo"));
    let ask = |arguments: &[&str]| {
        let mut command = longhaul();
        command.args(arguments).env("LONGHAUL_ADMIN", admin.0.to_string());
        command.env("LONGHAUL_ADMIN_TOKEN", TOKEN).output().unwrap()
    };
    let said = |arguments: &[&str]| {
        let output = ask(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    let status = said(&["status"]);
    assert!(
        status.starts_with("ready, version") && status.contains("2 WebSockets open"),
        "{status}"
    );
    assert!(status.contains(&app.address.to_string()), "{status}");
    let list = said(&["connections", "--limit", "1"]);
    assert!(list.contains("websocket") && list.contains("more of 2: --after"), "{list}");
    let list: serde_json::Value = serde_json::from_str(&said(&["connections", "--json"])).unwrap();
    let id = list["connections"][1]["id"].to_string();
    assert!(said(&["close", &id]).contains("told to end"));
    assert_eq!(frames::close_code(&mut open[1]).unwrap(), 1001);
    wait_until("its end is shown", s(30), || said(&["ends"]).contains("ended by an operator"));
    assert_eq!(said(&["reload"]), "no difference\n");
    assert_eq!(said(&["log-level", "warn"]), "warn\n");
    assert_eq!(said(&["log-level"]), "warn\n");

    let replica = app.address.to_string();
    assert!(said(&["drain", &replica]).contains("drains"));
    let state = || admin.json("/api/v1/upstreams")[0]["replicas"][0]["draining"].clone();
    wait_until("it drains", s(30), || state() == "asked");
    assert!(said(&["undrain", &replica]).contains("takes new work again"));
    wait_until("it drains no more", s(30), || state().is_null());

    let refused = ask(&["close", "999999"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no open connection has this id"));
    let mut command = longhaul();
    let unreached = command.args(["status", "--admin", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(unreached.status.code(), Some(1));
    let told = String::from_utf8_lossy(&unreached.stderr).into_owned();
    assert!(told.contains("127.0.0.1:1") && told.contains("--admin"), "{told}");
}

/// What Prometheus' own tool says about the page.
#[test]
fn the_page_of_metrics_follows_the_conventions_of_prometheus() {
    let (_app, gateway, admin) = begin();
    let mut client = frames::open(gateway.address(), "/echo");
    frames::echo(&mut client, "something to count");
    let file = tempfile::tempfile().unwrap();
    (&file).write_all(&admin.get("/metrics").body).unwrap();
    (&file).rewind().unwrap();
    let checked = Command::new("promtool").args(["check", "metrics"]).stdin(file).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}");
}

/// Labels come from closed sets: what strangers send must not make series.
#[test]
fn ten_thousand_paths_hosts_and_agents_add_no_series() {
    let (_app, gateway, admin) = begin();
    let series = || admin.get("/metrics").text().lines().count();
    let mut client = Raw::connect(gateway.address());
    let mut ask = |n: usize| {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: h{n}.example\r\nUser-Agent: {n}\r\n\r\n"));
        client.response().status
    };
    ask(0);
    let before = series();
    for n in 0..10_000 {
        ask(n);
    }
    assert_eq!(series(), before);
    assert!(admin.metric("longhaul_http_requests_total{route=\"chat\",code=\"2xx\"}") > 9_999.0);
}

#[test]
fn open_connections_are_listed_by_page_and_filter_and_can_be_ended() {
    let (app, gateway, admin) = begin();
    let mut open: Vec<Raw> = (0..5).map(|_| frames::open(gateway.address(), "/echo")).collect();
    frames::echo(&mut open[2], "hello");
    // The client may have its echo a moment before that is counted.
    wait_until("the echo is counted", s(30), || {
        let page = admin.json("/api/v1/connections");
        let connections = page["connections"].as_array().unwrap();
        connections.iter().any(|connection| connection["messages_down"] == 1)
    });
    let page = admin.json("/api/v1/connections?limit=2");
    assert_eq!((page["connections"].as_array().unwrap().len(), &page["total"]), (2, &5.into()));
    let rest = format!("/api/v1/connections?after={}", page["next"]);
    let rest = admin.json(&rest);
    assert_eq!((rest["connections"].as_array().unwrap().len(), &rest["next"]), (3, &().into()));
    let talker = &rest["connections"][0];
    assert_eq!((&talker["messages_up"], &talker["messages_down"]), (&1.into(), &1.into()));
    let count =
        |filter: &str| admin.json(&format!("/api/v1/connections?{filter}"))["total"].clone();
    assert_eq!(count(&format!("replica={}&route=chat&client=127.0.0.1", app.address)), 5);
    assert_eq!(count("client=127.0.0.2"), 0);
    assert_eq!(count("route=other"), 0);

    let path = format!("/api/v1/connections/{}", talker["id"]);
    assert_eq!(admin.json(&path)["replica"], app.address.to_string());
    assert_eq!(admin.change("DELETE", &path, "").status, 204);
    assert_eq!(frames::close_code(&mut open[2]).unwrap(), 1001);
    wait_until("it is gone", s(30), || admin.get(&path).status == 404);
    assert_eq!(admin.change("DELETE", &path, "").status, 404);
    let end = &admin.json("/api/v1/ends")[0];
    assert_eq!((&end["cause"], &end["closed_by"]), (&"ordered".into(), &"gateway".into()));
    frames::echo(&mut open[0], "the others go on");
}

#[test]
fn the_configuration_in_force_is_shown_without_secrets() {
    let (_app, _gateway, admin) = begin();
    let config = admin.json("/api/v1/config");
    assert_eq!(config["server"]["admin_token"]["value"], "***");
    assert_eq!(config["timeouts"]["head"]["from"], "default");
    assert!(!config.to_string().contains(TOKEN));
    assert_eq!(admin.json("/api/v1/routes")[0]["name"], "chat");
}

#[test]
fn what_is_logged_can_be_changed_while_it_runs() {
    let (_app, gateway, admin) = begin();
    let noise = |gateway: &Gateway| {
        let mut client = Raw::connect(gateway.address());
        client.send("GET / HTTP/1.1\r\n\r\n");
        assert_eq!(client.response().status, 400);
        gateway.process.lines().iter().any(|line| line.contains("request refused"))
    };
    assert!(!noise(&gateway), "it was logged at info");
    let answer = admin.change("PUT", "/api/v1/log-level", "{\"level\":\"loud\"}");
    assert_eq!(answer.status, 400, "{}", answer.text());
    let answer = admin.change("PUT", "/api/v1/log-level", "{\"level\":\"debug\"}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_until("refusals are logged", s(30), || noise(&gateway));
    assert_eq!(admin.json("/api/v1/log-level")["level"], "debug");
}

//! What a collector is told of metrics.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};

use serde_json::Value;

use crate::support::admin::Admin;
use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::{frames, s, wait_until};

fn gateway(app: &App, collector: SocketAddr) -> Gateway {
    Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
         [metrics]\ncollector = \"http://{collector}/v1/metrics\"\ninterval = \"1s\"\n\
         service = \"edge\"\ninstance = \"edge-1\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n\
         [[routes]]\nname = \"chat\"\nupstream = \"app\"\n",
        app.address
    ))
}

/// All series that the collector has heard of, the last ones last.
fn told(collector: &App) -> Vec<Value> {
    let lines = collector.process.lines();
    let lines = lines.iter().filter_map(|line| serde_json::from_str(line).ok());
    lines.filter(|line: &Value| line["metric"].is_string()).collect()
}

#[test]
fn a_collector_is_told_what_a_scraper_would_read() {
    let (app, collector) =
        (App::start("echo_ws.mjs", "one"), App::start("otlp_collector.py", "collector"));
    let mut gateway = gateway(&app, collector.address);
    let admin = Admin::of(&mut gateway);
    let mut client = frames::open(gateway.address(), "/echo");
    for _ in 0..3 {
        frames::echo(&mut client, "hello");
    }
    let series = |name: &str, label: &str, value: &str| {
        let mut all = told(&collector);
        all.retain(|one| one["metric"] == name && one["labels"][label] == value);
        all.pop()
    };
    wait_until("the collector knows of the messages", s(60), || {
        series("longhaul_websocket_messages_total", "direction", "up")
            .is_some_and(|one| one["value"] == 3.0 && one["kind"] == "sum")
    });
    let open = series("longhaul_route_websockets_open", "route", "chat").unwrap();
    assert_eq!((&open["value"], &open["kind"]), (&1.0.into(), &"gauge".into()));
    assert_eq!(open["who"]["service.name"], "edge");
    assert_eq!(open["who"]["service.instance.id"], "edge-1");
    let took = series("longhaul_upgrade_duration_seconds", "route", "chat").unwrap();
    assert_eq!((&took["count"], &took["kind"]), (&1.into(), &"histogram".into()));
    assert!(took["sum"].as_f64().unwrap() > 0.0);

    // The page has the same families, and no others; some begin with their first event.
    let scraped = || -> BTreeSet<String> {
        let page = admin.get("/metrics").text();
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
    };
    let pushed = || -> BTreeSet<String> {
        let names = told(&collector).into_iter().flat_map(|one| {
            let name = one["metric"].as_str().unwrap().to_owned();
            let parts = ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}"));
            if one["kind"] == "histogram" { parts.to_vec() } else { vec![name] }
        });
        names.collect()
    };
    wait_until("both have heard the same", s(60), || scraped() == pushed());
    assert!(scraped().len() > 30);
}

#[test]
fn a_collector_that_takes_no_metrics_delays_nobody() {
    let app = App::start("echo_ws.mjs", "one");
    // It lets connect, and never reads.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut gateway = gateway(&app, collector.local_addr().unwrap());
    let admin = Admin::of(&mut gateway);
    let mut client = frames::open(gateway.address(), "/echo");
    let failed = "longhaul_metric_pushes_total{outcome=\"failed\"}";
    wait_until("what was not taken is counted", s(60), || {
        frames::echo(&mut client, "as ever");
        admin.metric(failed) >= 1.0
    });
    let said = || {
        let lines = gateway.process.lines();
        lines.iter().filter(|line| line.contains("metrics are not taken")).count()
    };
    wait_until("it is said", s(30), || said() > 0);
    assert_eq!(said(), 1);
}

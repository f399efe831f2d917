//! What is in `deploy/` for Prometheus and Grafana, with the real Prometheus.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::admin::Admin;
use crate::support::apps::{self, App};
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::raw::{self, Raw};
use crate::support::{frames, s, wait_until};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[track_caller]
fn promtool(arguments: &[&str], directory: &Path) {
    let output = Command::new("promtool").args(arguments).current_dir(directory).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

/// Every expression of the Grafana dashboard.
fn expressions() -> Vec<String> {
    let text = fs::read_to_string(root().join("deploy/grafana/longhaul.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions: Vec<String> =
        targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(expressions.len() > 15, "{expressions:?}");
    expressions
}

#[test]
fn rules_and_panels_are_sound_and_name_only_what_is_counted() {
    let directory = root().join("deploy/alerts");
    promtool(&["check", "rules", "longhaul.yml"], &directory);
    promtool(&["test", "rules", "longhaul.test.yml"], &directory);

    // A panel's expression is one that Prometheus takes as a rule, once Grafana's variables are out.
    let panels = tempfile::tempdir().unwrap();
    let plain = |text: &String| {
        text.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")
    };
    let mut rules = String::from("groups:\n- name: panels\n  rules:\n");
    for (place, expression) in expressions().iter().map(plain).enumerate() {
        rules.push_str(&format!("  - record: panel:{place}\n    expr: {expression:?}\n"));
    }
    fs::write(panels.path().join("panels.yml"), &rules).unwrap();
    promtool(&["check", "rules", "panels.yml"], panels.path());

    let reference = fs::read_to_string(root().join("docs/reference/metrics.md")).unwrap();
    let alerts = fs::read_to_string(directory.join("longhaul.yml")).unwrap();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    for text in [&alerts, &rules] {
        let words = text.split(|c| !is_name(c));
        for word in
            words.filter(|word| word.starts_with("longhaul_") || word.starts_with("process_"))
        {
            let family = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix))
                .unwrap_or(word);
            assert!(reference.contains(&format!("`{family}`")), "nothing is counted as {word}");
        }
    }
}

/// A real Prometheus with the rules of `deploy/`, an hour of them in a minute.
struct Prometheus {
    _process: Process,
    _directory: tempfile::TempDir,
    address: SocketAddr,
}

impl Prometheus {
    fn watching(admin: Admin) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let rules = fs::read_to_string(root().join("deploy/alerts/longhaul.yml")).unwrap();
        let mut quick = rules.replace("[5m]", "[5s]").replace("[10m]", "[10s]");
        for wait in ["1m", "2m", "5m", "10m"] {
            quick = quick.replace(&format!("for: {wait}\n"), "for: 0s\n");
        }
        fs::write(directory.path().join("longhaul.yml"), quick).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms }}\n\
             rule_files: [longhaul.yml]\n\
             scrape_configs:\n- job_name: longhaul\n  static_configs: [{{ targets: [\"{}\"] }}]\n",
            admin.0
        );
        fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        let address = apps::free_address();
        let mut command = Command::new("prometheus");
        command.current_dir(directory.path());
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", &mut command);
        let prometheus = Self { _process: process, _directory: directory, address };
        wait_until("Prometheus is ready", s(60), || {
            Raw::try_connect(address).is_ok() && raw::get(address, "/-/ready").status == 200
        });
        prometheus
    }

    fn ask(&self, path: &str) -> Value {
        serde_json::from_slice(&raw::get(self.address, path).body).unwrap()
    }

    /// Names of the alerts that fire now.
    fn firing(&self) -> Vec<String> {
        let alerts = self.ask("/api/v1/alerts");
        let alerts = alerts["data"]["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn an_incident_fires_the_alerts_that_name_it_and_they_end_with_it() {
    let mut app = App::start("echo_ws.mjs", "one");
    let mut gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"localhost:0\"\n\
         [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n\
         probe = {{ kind = \"tcp\", interval = \"500ms\", timeout = \"500ms\" }}\n\
         [[routes]]\nname = \"chat\"\nupstream = \"app\"\n",
        app.address
    ));
    let prometheus = Prometheus::watching(Admin::of(&mut gateway));
    let knock = || {
        let mut client = Raw::connect(gateway.address());
        client.send(frames::handshake("/echo", ""));
        client.response().status
    };
    wait_until("it is scraped", s(60), || {
        knock();
        let found = prometheus.ask("/api/v1/query?query=longhaul_upgrades_total");
        !found["data"]["result"].as_array().unwrap().is_empty()
    });
    // Those who knock leave without a goodbye, which is an alert of its own.
    const EXPECTED: [&str; 2] = ["LonghaulNoReplica", "LonghaulUpgradesFail"];
    let fires = |name: &str| prometheus.firing().iter().any(|firing| firing == name);
    assert!(!EXPECTED.iter().any(|name| fires(name)));

    app.process.kill();
    for expected in EXPECTED {
        wait_until(expected, s(60), || {
            knock();
            fires(expected)
        });
    }
    let _back = App::start_on("echo_ws.mjs", "one", app.address.port());
    wait_until("the alerts end", s(60), || {
        knock();
        !EXPECTED.iter().any(|name| fires(name))
    });
}

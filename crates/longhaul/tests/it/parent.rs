//! The gateway as the parent of the application: starting, dying, signals, and the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::apps::script;
use crate::support::gateway::{Gateway, longhaul};
use crate::support::process::{Process, Signal, state};
use crate::support::{e2e, frames, raw, s, wait_until};

/// The command that starts `tests/e2e/apps/child.py`, which does as it is told.
fn child() -> Vec<String> {
    let command = script(&e2e().join("apps/child.py"));
    let program = command.get_program().to_owned();
    std::iter::once(program.as_os_str())
        .chain(command.get_args())
        .map(|text| text.to_str().expect("the checkout's path is UTF-8").to_owned())
        .collect()
}

/// `longhaul run [FLAGS] -- CMD`, not started yet.
fn run(flags: &[&str], app: &[&str]) -> Command {
    let mut command = longhaul();
    command.args(["run", "--listen", "127.0.0.1:0"]).args(flags).arg("--").args(app);
    command
}

/// A gateway that listens, with the child behind it, which may still be starting. Both get the
/// environment, the gateway its settings by it.
fn start(environment: &[(&str, &str)]) -> Gateway {
    let child = child();
    let child: Vec<&str> = child.iter().map(String::as_str).collect();
    let prepare = |command: &mut Command| {
        command.envs(environment.iter().copied());
    };
    Gateway::as_parent(prepare, &child)
}

/// What the child says about itself.
fn facts(gateway: &Gateway) -> Value {
    let response = raw::get(gateway.address(), "/");
    assert_eq!(response.status, 200, "{}", response.head);
    serde_json::from_slice(&response.body).expect("the child answers in JSON")
}

fn number(value: &Value) -> i32 {
    i32::try_from(value.as_i64().expect("a number")).expect("it fits")
}

/// A set of signals in the status of a process.
fn signals(pid: &Value, set: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(set)).expect("there is such a set");
    u64::from_str_radix(line.trim(), 16).expect("it is a number")
}

fn exists(path: &Path) {
    std::fs::write(path, "").expect("a file can be made");
}

fn has_line(process: &Process, text: &str) -> bool {
    process.lines().iter().any(|line| line.contains(text))
}

#[test]
fn until_the_app_answers_everything_but_health_is_503() {
    let directory = tempfile::tempdir().unwrap();
    let gate: PathBuf = directory.path().join("listen");
    let gateway = start(&[("WAIT_FOR", gate.to_str().unwrap())]);
    let at = gateway.address();
    wait_until("the child has started", s(20), || has_line(&gateway.process, "started"));
    let early = raw::get(at, "/");
    assert_eq!(early.status, 503);
    assert!(early.header("retry-after").is_some(), "{}", early.head);
    assert!(early.text().contains("the first answer of the app"), "{}", early.text());
    let upgrade = frames::try_open(at, "/ws", "").unwrap().1;
    assert_eq!(upgrade.status, 503, "upgrades wait as well");
    assert_eq!(raw::get(at, "/health/live").status, 200);
    assert_eq!(raw::get(at, "/health/startup").status, 503);
    assert_eq!(raw::get(at, "/health/ready").status, 503);

    exists(&gate);
    gateway.wait_ready();
    assert_eq!(raw::get(at, "/").status, 200);
    assert_eq!(raw::get(at, "/health/startup").status, 200);
}

#[test]
fn the_app_gets_its_port_its_own_group_and_nothing_of_ours() {
    let mut child = child();
    child.extend(["--port={port}".to_owned(), "{port}0".to_owned()]);
    let child: Vec<&str> = child.iter().map(String::as_str).collect();
    let prepare = |command: &mut Command| {
        command.env("PORT", "1").env("KEPT", "kept");
        command.env("LONGHAUL_AFFINITY_KEY", "5e".repeat(32));
    };
    let gateway = Gateway::as_parent(prepare, &child);
    gateway.wait_ready();
    let facts = facts(&gateway);
    let environment = facts["environment"].as_object().unwrap();
    let port = environment["PORT"].as_str().unwrap();
    assert_ne!(port, "1", "our PORT is not the child's");
    assert_eq!(environment["LONGHAUL_APP_PORT"], port);
    assert_eq!(facts["arguments"][0], format!("--port={port}"));
    assert_eq!(facts["arguments"][1], format!("{port}0"));
    assert_eq!(environment["KEPT"], "kept");
    let ours = environment.keys().filter(|name| name.starts_with("LONGHAUL_")).count();
    assert_eq!(ours, 1, "{environment:?}");
    assert_eq!(facts["group"], facts["pid"]);
    assert_eq!(signals(&facts["pid"], "SigBlk:"), 0, "we hold signals back, and it must not");
    assert_eq!(number(&facts["parent"]), i32::try_from(gateway.process.id()).unwrap());
}

#[test]
fn a_dead_app_is_started_again_and_503_meanwhile() {
    let gateway = start(&[]);
    gateway.wait_ready();
    let first = number(&facts(&gateway)["pid"]);
    let stubborn: i32 = raw::get(gateway.address(), "/stubborn").text().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(first).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    wait_until("it is missed", s(5), || raw::get(gateway.address(), "/").status == 503);
    let missed = raw::get(gateway.address(), "/");
    if missed.status == 503 {
        assert!(missed.header("retry-after").is_some(), "{}", missed.head);
        assert_eq!(raw::get(gateway.address(), "/health/live").status, 200);
    }
    gateway.wait_ready();
    assert_ne!(number(&facts(&gateway)["pid"]), first);
    assert_eq!(state(stubborn), None, "what the dead one left behind is gone");
    assert_eq!(raw::get(gateway.address(), "/health/startup").status, 200);
}

#[test]
fn an_app_that_dies_at_once_is_given_up_with_its_code() {
    let mut gateway = Process::start(
        "longhaul",
        &mut run(&["--app-quick-deaths-max", "2"], &["sh", "-c", "exit 7"]),
    );
    assert_eq!(gateway.end(s(20)).code(), Some(7));
    assert!(has_line(&gateway, "the app died again and again; giving up"));
    let deaths = gateway.lines().iter().filter(|line| line.contains("exit code 7")).count();
    assert_eq!(deaths, 2, "{:#?}", gateway.lines());

    let mut gateway = Process::start(
        "longhaul",
        &mut run(&["--app-quick-deaths-max", "1"], &["sh", "-c", "exit 0"]),
    );
    assert_eq!(gateway.end(s(20)).code(), Some(1), "giving up is no success");
}

#[test]
fn an_app_that_never_listens_is_told_and_given_up() {
    let flags = ["--app-start-deadline", "1s", "--app-quick-deaths-max", "2"];
    let mut gateway = Process::start("longhaul", &mut run(&flags, &["sleep", "600"]));
    assert_eq!(gateway.end(s(30)).code(), Some(128 + 15));
    assert!(has_line(&gateway, "did not answer in time"), "{:#?}", gateway.lines());
}

#[test]
fn a_missing_program_is_told_at_once() {
    for (program, words) in [
        ("no-such-program-7f", "no program"),
        ("/no/such/program", "is not there"),
        ("/etc/passwd", "is not executable"),
    ] {
        let mut gateway = Process::start("longhaul", &mut run(&[], &[program]));
        assert_eq!(gateway.end(s(10)).code(), Some(1));
        assert!(has_line(&gateway, words) && has_line(&gateway, program), "{:#?}", gateway.lines());
    }
}

#[test]
fn the_end_has_the_apps_exit_code() {
    for (on_term, signal, code) in [
        // It does not catch the signal: dying of it is ending well.
        ("", Signal::TERM, 0),
        ("5", Signal::TERM, 5),
        ("0", Signal::INT, 0),
        ("ignore", Signal::TERM, 137),
    ] {
        let mut gateway = start(&[("ON_TERM", on_term), ("LONGHAUL_APP_STOP_GRACE", "1s")]);
        gateway.wait_ready();
        let pid = number(&facts(&gateway)["pid"]);
        gateway.process.signal(signal);
        let ended = gateway.process.end(s(20));
        assert_eq!(ended.code(), Some(code), "{on_term:?} {:#?}", gateway.process.lines());
        assert_eq!(state(pid), None);
        let name = if signal == Signal::INT { "got SIGINT" } else { "got SIGTERM" };
        assert_eq!(has_line(&gateway.process, name), !on_term.is_empty());
    }
}

#[test]
fn websockets_end_before_the_app_does() {
    let app = e2e().join("apps/echo_ws.mjs");
    let quickly = |command: &mut Command| {
        command.env("LONGHAUL_DRAIN", "5s");
    };
    let mut gateway = Gateway::as_parent(quickly, &["node", app.to_str().unwrap()]);
    gateway.wait_ready();
    let mut client = frames::open(gateway.address(), "/echo");
    frames::echo(&mut client, "hello");
    gateway.process.signal(Signal::TERM);
    assert_eq!(frames::close_code(&mut client).unwrap(), 1012);
    drop(client);
    assert_eq!(gateway.process.end(s(10)).code(), Some(0));
    // The app lived to see the close frame, with the code that it was sent.
    assert!(has_line(&gateway.process, "closed 1"), "{:#?}", gateway.process.lines());
}

#[test]
fn a_second_signal_ends_everything_at_once() {
    let mut gateway = start(&[("ON_TERM", "ignore"), ("LONGHAUL_APP_STOP_GRACE", "10m")]);
    gateway.wait_ready();
    let pid = number(&facts(&gateway)["pid"]);
    let stubborn: i32 = raw::get(gateway.address(), "/stubborn").text().parse().unwrap();
    gateway.process.signal(Signal::TERM);
    wait_until("the app was asked", s(10), || has_line(&gateway.process, "got SIGTERM"));
    // Signals in the same moment count once; this one comes later.
    wait_until("it is asked again", s(5), || {
        if gateway.process.is_running() {
            gateway.process.signal(Signal::INT);
        }
        has_line(&gateway.process, "asked again") || !gateway.process.is_running()
    });
    assert_eq!(gateway.process.end(s(5)).code(), Some(130));
    wait_until("the whole group is gone", s(5), || {
        [pid, stubborn].iter().all(|pid| matches!(state(*pid), None | Some('Z')))
    });
}

#[test]
fn signals_that_are_not_for_us_reach_the_app() {
    let gateway = start(&[]);
    gateway.wait_ready();
    for (signal, name) in [
        (Signal::HUP, "got SIGHUP"),
        (Signal::USR1, "got SIGUSR1"),
        (Signal::USR2, "got SIGUSR2"),
        (Signal::QUIT, "got SIGQUIT"),
        (Signal::WINCH, "got SIGWINCH"),
    ] {
        gateway.process.signal(signal);
        wait_until(name, s(5), || has_line(&gateway.process, name));
    }
    assert_eq!(raw::get(gateway.address(), "/").status, 200);
}

#[test]
fn signals_without_an_app_harm_nothing() {
    let gateway = Gateway::before(&[([127, 0, 0, 1], 9).into()]);
    for signal in [Signal::HUP, Signal::USR1, Signal::WINCH] {
        gateway.process.signal(signal);
    }
    wait_until("HUP is answered", s(30), || has_line(&gateway.process, "configuration reloaded"));
    assert_eq!(raw::get(gateway.address(), "/health/live").status, 200);
}

/// As with nohup, and in the background of a shell that has no jobs.
#[test]
fn signals_that_were_ignored_at_the_start_are_heard_and_not_ignored_by_the_app() {
    let child = child().join(" ");
    let program = longhaul().get_program().to_string_lossy().into_owned();
    let run = format!("exec {program} run --listen 127.0.0.1:0 -- {child}");
    let mut gateway = Gateway::by_shell(&format!("trap '' HUP INT QUIT USR1; {run}"));
    let facts = facts(&gateway);
    let ignored = signals(&facts["pid"], "SigIgn:");
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1] {
        assert_eq!(ignored & 1 << (signal.as_raw() - 1), 0, "{signal:?}");
    }
    gateway.process.signal(Signal::HUP);
    wait_until("HUP is passed on", s(30), || has_line(&gateway.process, "got SIGHUP"));
    gateway.process.signal(Signal::INT);
    assert_eq!(gateway.process.end(s(30)).code(), Some(0));
}

#[test]
fn output_passes_unchanged() {
    let bytes = "a\\000b\\377\\033[31mred\\r\\n\\tno newline at the end";
    let print = format!("printf '{bytes}'; printf 'to stderr' >&2; exit 3");
    let output = run(&["--app-quick-deaths-max", "1"], &["sh", "-c", &print])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"a\0b\xff\x1b[31mred\r\n\tno newline at the end");
    assert!(String::from_utf8_lossy(&output.stderr).contains("to stderr"));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn the_app_has_the_descriptor_limit_it_would_have_without_us() {
    let gateway = run(&["--app-quick-deaths-max", "1"], &["sh", "-c", "ulimit -Sn"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 300; exec \"$0\" \"$@\""]);
    command.arg(gateway.get_program()).args(gateway.get_args()).env_remove("PORT");
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "300\n");
}

#[test]
fn orphans_are_reaped() {
    let gateway = start(&[]);
    gateway.wait_ready();
    let orphans: Vec<i32> =
        (0..5).map(|_| raw::get(gateway.address(), "/orphan").text().parse().unwrap()).collect();
    wait_until("no orphan is left, nor its corpse", s(10), || {
        orphans.iter().all(|pid| state(*pid).is_none())
    });
    assert_eq!(
        raw::get(gateway.address(), "/").status,
        200,
        "the app itself was not taken for one"
    );
}

#[test]
fn a_killed_gateway_does_not_leave_the_app_behind() {
    let mut gateway = start(&[]);
    gateway.wait_ready();
    let pid = number(&facts(&gateway)["pid"]);
    gateway.process.kill();
    wait_until("the app is gone", s(5), || matches!(state(pid), None | Some('Z')));
}

#[test]
fn the_stop_during_a_restart_pause_is_heard() {
    let mut gateway = start(&[("ON_TERM", "ignore")]);
    gateway.wait_ready();
    // Each death doubles the pause: after the third it lasts two seconds.
    for _ in 0..3 {
        gateway.wait_ready();
        let mut client = raw::Raw::connect(gateway.address());
        client.send("GET /die?9 HTTP/1.1\r\nHost: app\r\n\r\n");
        let _ = client.try_response();
        wait_until("it is down", s(5), || {
            raw::get(gateway.address(), "/health/ready").status == 503
        });
    }
    gateway.process.signal(Signal::TERM);
    assert_eq!(gateway.process.end(s(10)).code(), Some(9), "{:#?}", gateway.process.lines());
}

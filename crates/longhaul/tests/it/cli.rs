//! The command line and the configuration, as operators and containers meet them.

use std::net::TcpListener;
use std::process::{Command, Output};

use crate::support::apps::App;
use crate::support::gateway::{Gateway, longhaul};
use crate::support::process::Process;
use crate::support::{raw, s};

#[track_caller]
fn output(command: &mut Command) -> Output {
    command.output().expect("the binary was built")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn check_tells_every_problem_with_its_place_and_fails() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[server]\nlistn = \"x\"\n[timeouts]\nhead = \"5 weeks\"\n")
        .unwrap();
    let output = output(longhaul().arg("check").arg(file.path()));
    assert_eq!(output.status.code(), Some(2));
    let told = told(&output);
    for words in ["did you mean `listen`?", ":2:1", "unknown unit", ":4:8", "3 errors"] {
        assert!(told.contains(words), "no {words:?} in\n{told}");
    }
    assert!(!told.contains('\x1b'), "colours are for terminals: {told:?}");
}

#[test]
fn check_passes_what_run_would_take_with_its_warnings() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text =
        "[[upstreams]]\nname = \"a\"\nreplicas = [\"127.0.0.1:9\"]\n[websocket]\nping = \"2m\"\n";
    std::fs::write(file.path(), text).unwrap();
    let output = output(longhaul().arg("check").arg(file.path()));
    assert_eq!(output.status.code(), Some(0));
    let told = told(&output);
    assert!(told.contains("Cloudflare after 100s") && told.contains("fine, 1 warning"), "{told}");
}

#[test]
fn mistakes_in_flags_and_variables_are_told_by_their_names() {
    let mut command = longhaul();
    command.args(["run", "--upstream", "nowhere", "--drain", "forever"]);
    command.env("LONGHAUL_PING", "25").env("PORT", "eighty");
    let output = output(&mut command);
    assert_eq!(output.status.code(), Some(2));
    let told = told(&output);
    for name in ["--upstream: ", "--drain: ", "LONGHAUL_PING: ", "PORT: "] {
        assert!(told.contains(name), "no {name:?} in\n{told}");
    }
}

#[test]
fn without_anything_to_serve_it_says_what_to_give() {
    let output = output(longhaul().arg("run"));
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("give `--upstream HOST:PORT`"), "{}", told(&output));
}

#[test]
fn an_environment_alone_runs_a_gateway() {
    let app = App::start("echo_ws.mjs", "one");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = longhaul();
    command.arg("run");
    command.env("PORT", free.port().to_string()).env("LONGHAUL_UPSTREAM", app.address.to_string());
    // Set to nothing, as container files do.
    command.env("LONGHAUL_CONFIG", "").env("LONGHAUL_PING", "");
    let mut gateway = Process::start("longhaul", &mut command);
    gateway.line("it listens on PORT, on all interfaces", s(20), |line| {
        line.contains(&format!("listening on 0.0.0.0:{}", free.port())).then_some(())
    });
    assert_eq!(raw::get(free, "/").text(), "one");
}

#[test]
fn a_flag_wins_over_its_variable_and_that_over_the_file() {
    let apps = ["file", "variable", "flag"].map(|name| App::start("echo_ws.mjs", name));
    let replica = |index: usize| apps[index].address.to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("[[upstreams]]\nname = \"a\"\nreplicas = [\"{}\"]\n", replica(0));
    std::fs::write(file.path(), text).unwrap();
    let answer = |flag: bool, variable: bool| {
        let mut command = longhaul();
        command.args(["run", "--listen", "127.0.0.1:0", "--config"]).arg(file.path());
        if variable {
            command.env("LONGHAUL_UPSTREAM", replica(1));
        }
        if flag {
            command.args(["--upstream", &replica(2)]);
        }
        let mut gateway = Process::start("longhaul", &mut command);
        let address = gateway.line("it listens", s(20), |line| {
            let rest = line.split_once("listening on ")?.1;
            rest.split('"').next()?.parse().ok()
        });
        raw::get(address, "/").text()
    };
    assert_eq!(answer(false, false), "file");
    assert_eq!(answer(false, true), "variable");
    assert_eq!(answer(true, true), "flag");
}

#[test]
fn a_taken_address_is_told_and_nothing_is_left_running() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin"] {
        let mut command = longhaul();
        command.args(["run", "--upstream", "127.0.0.1:9", flag, &address]);
        if flag == "--admin" {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut gateway = Process::start("longhaul", &mut command);
        assert_eq!(gateway.end(s(10)).code(), Some(1));
        let lines = gateway.lines().join("\n");
        assert!(lines.contains(&format!("cannot listen on {address}")), "{lines}");
        assert!(lines.contains("Address already in use"), "{lines}");
    }
}

#[test]
fn a_second_gateway_on_the_same_port_does_not_share_it() {
    let first = Gateway::before(&[([127, 0, 0, 1], 9).into()]);
    let address = first.address().to_string();
    let mut command = longhaul();
    command.args(["run", "--upstream", "127.0.0.1:9", "--listen", &address]);
    let mut second = Process::start("longhaul", &mut command);
    assert_eq!(second.end(s(10)).code(), Some(1), "{:#?}", second.lines());
}

#[test]
fn what_is_generated_goes_to_standard_output() {
    for (arguments, words) in [
        (&["schema"][..], "\"$schema\""),
        (&["reference"], "# Configuration reference"),
        (&["reference", "cli"], "# Command line reference"),
        (&["completions", "bash"], "complete -F"),
        (&["--version"], concat!("longhaul ", env!("CARGO_PKG_VERSION"))),
    ] {
        let output = output(longhaul().args(arguments));
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains(words), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {}", told(&output));
    }
}

//! Signals that come while one program becomes another wait for it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use rustix::process::Pid;

use super::{Upgradable, parent_of};
use crate::support::apps::script;
use crate::support::gateway::longhaul;
use crate::support::process::{Process, Signal, state};
use crate::support::raw::Raw;
use crate::support::{e2e, frames, s, wait_until};

/// What a gateway that is the parent of an app has no use for itself.
const SIGNALS_OF_APPS: [(Signal, &str); 5] = [
    (Signal::HUP, "SIGHUP"),
    (Signal::QUIT, "SIGQUIT"),
    (Signal::USR1, "SIGUSR1"),
    (Signal::USR2, "SIGUSR2"),
    (Signal::WINCH, "SIGWINCH"),
];

/// A gateway with an app on its way to become the new binary: it is a shell now, which waits at a gate
/// before it becomes that. The heir serves.
struct BetweenPrograms {
    upgradable: Upgradable,
    gate: PathBuf,
    opened: Option<File>,
    heir: i32,
    app: i32,
}

impl BetweenPrograms {
    #[track_caller]
    fn upgrade(upgradable: Upgradable) -> Self {
        Self::upgrade_to(upgradable, "\"$@\"")
    }

    /// To one with these arguments in the second hop.
    #[track_caller]
    fn upgrade_to(upgradable: Upgradable, arguments: &str) -> Self {
        let children = || -> Vec<i32> {
            upgradable.children().split_whitespace().map(|id| id.parse().unwrap()).collect()
        };
        let [app] = children()[..] else { panic!("one app: {:?}", children()) };
        let gate = upgradable.directory.path().join("gate");
        assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
        // In the shell's own words alone: where it starts a program, it clears the mask of signals.
        let wait = format!(
            "case \"$LONGHAUL_HANDOFF\" in\n\
             back:*) : > {0}.here; read go < {0}; exec {1} {arguments} ;;\n\
             *) exec {1} \"$@\" ;;\nesac",
            gate.display(),
            longhaul().get_program().display()
        );
        let program = upgradable.program("waits", &wait);
        let (is_done, said) = upgradable.ask(&["upgrade", "--binary", &program]);
        assert!(is_done, "{said}");
        wait_until("it waits at the gate", s(60), || gate.with_extension("here").exists());
        let heir = children().into_iter().find(|&id| id != app).expect("an heir serves");
        Self { upgradable, gate, opened: None, heir, app }
    }

    fn signal(&self, signal: Signal) {
        self.upgradable.gateway.process.signal(signal);
    }

    /// Lets it become the new binary, if it still waits.
    fn open(&mut self) {
        let mut gate = OpenOptions::new().read(true).write(true).open(&self.gate).unwrap();
        gate.write_all(b"go\n").unwrap();
        self.opened = Some(gate);
    }

    /// Waits for the end of all three. The exit code.
    #[track_caller]
    fn end(mut self) -> Option<i32> {
        let status = self.upgradable.gateway.process.end(s(60));
        for id in [self.heir, self.app] {
            // Whoever inherits it may take a moment to bury it.
            assert!(matches!(state(id), None | Some('Z')), "{id} was left behind");
        }
        status.code()
    }
}

/// As the command of an app.
fn app(file: &str) -> Vec<String> {
    let command = script(&e2e().join("apps").join(file));
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_str().expect("the checkout's path is UTF-8").to_owned())
        .collect()
}

fn parent_of_file(file: &str) -> Upgradable {
    let app = app(file);
    parent_of(&app.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_process_that_is_asked_to_end_between_two_programs_ends_in_good_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let upgradable = parent_of_file("echo_ws.mjs");
        let mut client = frames::open(upgradable.address(), "/echo");
        client.patience(s(60));
        frames::echo(&mut client, "before");
        let mut between = BetweenPrograms::upgrade(upgradable);
        between.signal(signal);
        frames::echo(&mut client, "served by the heir");
        between.open();
        assert_eq!(frames::close_code(&mut client).unwrap(), 1012);
        drop(client);
        assert_eq!(between.end(), Some(0), "{signal:?}");
    }
}

/// As Ctrl-C does it, and whoever signals a whole group.
#[test]
fn heir_and_parent_that_are_asked_to_end_at_once_both_do() {
    let upgradable = parent_of_file("echo_ws.mjs");
    let mut client = frames::open(upgradable.address(), "/echo");
    client.patience(s(60));
    let mut between = BetweenPrograms::upgrade(upgradable);
    between.signal(Signal::INT);
    let heir = Pid::from_raw(between.heir).unwrap();
    rustix::process::kill_process(heir, Signal::INT).unwrap();
    assert_eq!(frames::close_code(&mut client).unwrap(), 1012);
    drop(client);
    between.open();
    assert_eq!(between.end(), Some(0));
}

#[test]
fn what_was_signalled_between_two_programs_is_passed_on_to_the_app() {
    let mut between = BetweenPrograms::upgrade(parent_of_file("child.py"));
    for (signal, _) in SIGNALS_OF_APPS {
        between.signal(signal);
    }
    between.open();
    for (_, name) in SIGNALS_OF_APPS {
        wait_until(name, s(60), || between.upgradable.logged(&format!("got {name}")) == 1);
    }
    wait_until("both hops are done", s(60), || {
        between.upgradable.logged("took over from the process before") == 2
            && state(between.heir).is_none()
    });
    between.signal(Signal::TERM);
    assert_eq!(between.end(), Some(0));
}

#[test]
fn what_is_signalled_while_the_old_process_finishes_is_passed_on_to_the_app() {
    let mut upgradable = parent_of_file("child.py");
    // The old process waits for the rest of it, as long as it drains.
    let mut half = Raw::connect(upgradable.address());
    half.send("GET / HTTP/1.1\r\n");
    let (is_done, said) = upgradable.ask(&["upgrade"]);
    assert!(is_done, "{said}");
    for (signal, _) in SIGNALS_OF_APPS {
        upgradable.gateway.process.signal(signal);
    }
    for (_, name) in SIGNALS_OF_APPS {
        wait_until(name, s(60), || upgradable.logged(&format!("got {name}")) == 1);
    }
    upgradable.gateway.process.signal(Signal::TERM);
    assert_eq!(upgradable.gateway.process.end(s(60)).code(), Some(0));
}

#[test]
fn what_cannot_become_the_new_binary_passes_signals_on_all_the_same() {
    let upgradable = parent_of_file("child.py");
    let mut between = BetweenPrograms::upgrade_to(upgradable, "run --config /no/such/file");
    between.signal(Signal::USR1);
    between.open();
    wait_until("the app hears it", s(60), || between.upgradable.logged("got SIGUSR1") == 1);
    wait_until("it keeps its place", s(60), || {
        between.upgradable.logged("this one keeps its place") == 1
    });
    between.signal(Signal::TERM);
    assert_eq!(between.end(), Some(0));
}

#[test]
fn every_thread_holds_signals_back() {
    let upgradable = parent_of_file("child.py");
    upgradable.gateway.wait_ready();
    let id = upgradable.gateway.process.id();
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let mut seen = 0;
    for thread in threads.map(|entry| entry.unwrap().path().join("status")) {
        // Threads come and go.
        let Ok(status) = std::fs::read_to_string(thread) else { continue };
        let held = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        let held = u64::from_str_radix(held.trim(), 16).unwrap();
        for signal in
            [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2]
        {
            assert_ne!(held & 1 << (signal.as_raw() - 1), 0, "{signal:?}: {status}");
        }
        seen += 1;
    }
    assert!(seen > 2, "{seen} threads");
}

#[test]
fn whenever_it_is_asked_to_end_clients_are_told_so_and_nobody_is_left_behind() {
    thread::scope(|scope| {
        for (at, moment) in MOMENTS.into_iter().enumerate() {
            scope.spawn(move || end_in_upgrade(moment, at % 2 == 1));
            scope.spawn(move || end_in_upgrade(moment, at % 2 == 0));
        }
    });
}

/// How far an upgrade has come, by what was logged so often.
const MOMENTS: [(&str, usize); 5] = [
    ("listening on", 1),
    ("listening on", 2),
    ("took over from the process before", 1),
    ("the new binary serves", 1),
    ("took over from the process before", 2),
];

fn end_in_upgrade(moment: (&str, usize), is_whole_group: bool) {
    let mut upgradable = parent_of_file("echo_ws.mjs");
    let app = upgradable.children().trim().parse().unwrap();
    let mut client = frames::open(upgradable.address(), "/echo");
    client.patience(s(60));
    frames::echo(&mut client, "before");
    let directory = upgradable.directory.path().display().to_string();
    let mut ask = longhaul();
    ask.args(["upgrade", "--admin", &format!("unix:{directory}/admin")]);
    let mut ask = Process::start("longhaul upgrade", &mut ask);
    let (words, times) = moment;
    wait_until(words, s(60), || upgradable.logged(words) >= times);
    if is_whole_group {
        let children = upgradable.children();
        let ids = children.split_whitespace().map(|id| id.parse().unwrap());
        for heir in ids.filter(|id| *id != app).filter_map(Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(heir, Signal::TERM);
        }
    }
    upgradable.gateway.process.signal(Signal::TERM);
    let close = frames::close_code(&mut client);
    drop(client);
    assert!(matches!(close, Ok(1012)), "{moment:?}: {close:?}");
    assert_eq!(upgradable.gateway.process.end(s(60)).code(), Some(0), "{moment:?}");
    ask.end(s(60));
    assert!(matches!(state(app), None | Some('Z')), "{moment:?}: the app was left behind");
    // One that was killed may take a moment.
    wait_until("nobody is left behind", s(30), || with_environment(&directory).is_empty());
}

/// The processes in whose environment this is.
fn with_environment(text: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let is_one = |path: &PathBuf| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(text)
    };
    processes.map(|one| one.path()).filter(is_one).map(|path| path.display().to_string()).collect()
}

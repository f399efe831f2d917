//! Real backends, each on a free loopback port.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use super::process::Process;
use super::{e2e, s, wait_until};

/// A backend that runs.
pub(crate) struct App {
    /// The process, to be stopped, killed or asked what it printed.
    pub(crate) process: Process,
    /// Where it accepts.
    pub(crate) address: SocketAddr,
    _directory: Option<tempfile::TempDir>,
}

impl App {
    /// Starts one of `tests/e2e/apps` on a free port; `replica` is its name in answers.
    #[track_caller]
    pub(crate) fn start(file: &str, replica: &str) -> Self {
        Self::start_on(file, replica, 0)
    }

    /// The same with more in its environment.
    #[track_caller]
    pub(crate) fn start_with(file: &str, environment: &[(&str, &str)]) -> Self {
        Self::launch(file, "one", 0, environment)
    }

    /// The same on a port of one's choice, to come back where a replica was before.
    #[track_caller]
    pub(crate) fn start_on(file: &str, replica: &str, port: u16) -> Self {
        Self::launch(file, replica, port, &[])
    }

    #[track_caller]
    fn launch(file: &str, replica: &str, port: u16, environment: &[(&str, &str)]) -> Self {
        let mut command = script(&e2e().join("apps").join(file));
        command.env("REPLICA", replica).env("PORT", port.to_string());
        command.envs(environment.iter().copied());
        let mut process = Process::start(format!("{file} ({replica})"), &mut command);
        let port: u16 = process.line("listening PORT", s(90), |line| {
            line.strip_prefix("listening ").and_then(|port| port.parse().ok())
        });
        Self { process, address: ([127, 0, 0, 1], port).into(), _directory: None }
    }

    /// Starts Chainlit with the app of `tests/e2e/apps/chainlit` in a directory of its own.
    #[track_caller]
    pub(crate) fn chainlit(replica: &str) -> Self {
        Self::chainlit_on(replica, free_address())
    }

    /// The same where a replica was before.
    #[track_caller]
    pub(crate) fn chainlit_on(replica: &str, address: SocketAddr) -> Self {
        let directory = chainlit_directory();
        let mut command = chainlit();
        command.args(["run", "app.py", "--headless", "--port", &address.port().to_string()]);
        command.current_dir(directory.path()).env("REPLICA", replica);
        let mut process = Process::start(format!("chainlit ({replica})"), &mut command);
        wait_until("Chainlit accepts", s(120), || {
            assert!(process.is_running(), "Chainlit ended: {:#?}", process.lines());
            TcpStream::connect(address).is_ok()
        });
        Self { process, address, _directory: Some(directory) }
    }
}

/// The `chainlit` program of the tests' own Python.
pub(crate) fn chainlit() -> Command {
    Command::new(e2e().join(".cache/python/bin/chainlit"))
}

/// A directory with the app, which Chainlit fills with files of its own.
pub(crate) fn chainlit_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let app = e2e().join("apps/chainlit/app.py");
    std::fs::copy(app, directory.path().join("app.py")).expect("the app is checked in");
    directory
}

/// A command that runs a script by its kind.
pub(crate) fn script(path: &std::path::Path) -> Command {
    let mut command = match path.extension().and_then(OsStr::to_str) {
        Some("py") => Command::new(e2e().join(".cache/python/bin/python")),
        Some("pl") => Command::new("perl"),
        _ => Command::new("node"),
    };
    command.arg(path).env("PYTHONUNBUFFERED", "1");
    command
}

/// A loopback address that is free for TCP and UDP, for programs that cannot pick one themselves.
///
/// Below the range that the system gives to outgoing connections and to port 0, and never the same
/// twice in one run, so that no other story takes it between this moment and its use.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 100) as u16 * 100;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

//! The real `longhaul` binary.

use std::net::SocketAddr;
use std::process::Command;

use super::process::Process;
use super::raw;
use super::{s, wait_until};

/// A gateway that listens.
pub(crate) struct Gateway {
    /// The process, to be signalled or asked what it logged.
    pub(crate) process: Process,
    /// Its listeners, in the order of the configuration.
    pub(crate) listeners: Vec<SocketAddr>,
    config: Option<tempfile::NamedTempFile>,
}

impl Gateway {
    /// In front of these replicas, with defaults, once it is ready.
    #[track_caller]
    pub(crate) fn before(replicas: &[SocketAddr]) -> Self {
        Self::with_flags(replicas, &[])
    }

    /// In front of these replicas with more flags.
    #[track_caller]
    pub(crate) fn with_flags(replicas: &[SocketAddr], flags: &[&str]) -> Self {
        let gateway = Self::with_flags_unready(replicas, flags);
        gateway.wait_ready();
        gateway
    }

    /// The same without waiting for readiness, where plain HTTP cannot ask for it.
    #[track_caller]
    pub(crate) fn with_flags_unready(replicas: &[SocketAddr], flags: &[&str]) -> Self {
        let mut command = longhaul();
        command.args(["run", "--listen", "127.0.0.1:0"]);
        for replica in replicas {
            command.args(["--upstream", &replica.to_string()]);
        }
        Self::start(command.args(flags), 1, None)
    }

    /// By a configuration file, in which listeners have port 0, once it is ready.
    #[track_caller]
    pub(crate) fn with_config(text: &str) -> Self {
        let gateway = Self::with_config_unready(text);
        gateway.wait_ready();
        gateway
    }

    /// The same with more in its environment.
    #[track_caller]
    pub(crate) fn with_config_and(text: &str, environment: &[(&str, &str)]) -> Self {
        let gateway = Self::launch(text, environment);
        gateway.wait_ready();
        gateway
    }

    /// The same without waiting for readiness.
    #[track_caller]
    pub(crate) fn with_config_unready(text: &str) -> Self {
        Self::launch(text, &[])
    }

    /// The same with more in its environment.
    #[track_caller]
    pub(crate) fn with_config_and_unready(text: &str, environment: &[(&str, &str)]) -> Self {
        Self::launch(text, environment)
    }

    #[track_caller]
    fn launch(text: &str, environment: &[(&str, &str)]) -> Self {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file can be made");
        std::fs::write(file.path(), text).expect("a file can be written");
        let listeners = text.matches("127.0.0.1:0").count();
        let mut command = longhaul();
        command.arg("run").arg("--config").arg(file.path()).envs(environment.iter().copied());
        Self::start(&mut command, listeners, Some(file))
    }

    /// By a shell that prepares something first and then becomes the gateway.
    #[track_caller]
    pub(crate) fn by_shell(script: &str) -> Self {
        let mut command = Command::new("sh");
        let gateway = Self::start(command.args(["-c", script]), 1, None);
        gateway.wait_ready();
        gateway
    }

    /// As the parent of an app; `{port}` in the command is the app's port.
    #[track_caller]
    pub(crate) fn as_parent(prepare: impl FnOnce(&mut Command), app: &[&str]) -> Self {
        let mut command = longhaul();
        command.args(["run", "--listen", "127.0.0.1:0", "--"]).args(app);
        prepare(&mut command);
        Self::start(&mut command, 1, None)
    }

    /// By a command of one's own, with so many listeners.
    #[track_caller]
    pub(crate) fn with_command(command: &mut Command, listeners: usize) -> Self {
        Self::start(command, listeners, None)
    }

    /// `longhaul demo` on a free port, to be met at the address that it gives to people.
    #[track_caller]
    pub(crate) fn demo() -> Self {
        let mut command = longhaul();
        let mut demo = Self::start(command.args(["demo", "--listen", "127.0.0.1:0"]), 1, None);
        let chat = demo.process.line("the address of the chat", s(60), |line| {
            line.trim().strip_prefix("chat      http://")?.strip_suffix('/')?.parse().ok()
        });
        demo.listeners.insert(0, chat);
        demo
    }

    fn start(command: &mut Command, count: usize, config: Option<tempfile::NamedTempFile>) -> Self {
        let mut process = Process::start("longhaul", command);
        let mut listeners = Vec::new();
        wait_until("the addresses of all listeners are logged", s(60), || {
            let lines = process.lines();
            listeners = lines.iter().filter_map(|line| listener_in(line)).collect();
            assert!(process.is_running(), "the gateway ended: {lines:#?}");
            listeners.len() >= count
        });
        Self { process, listeners, config }
    }

    /// Replaces its configuration file, whole and at once.
    pub(crate) fn rewrite_config(&self, text: &str) {
        let path = self.config.as_ref().expect("it runs by a file").path();
        let next = path.with_extension("next");
        std::fs::write(&next, text).expect("a file can be written");
        std::fs::rename(&next, path).expect("a file can take another one's name");
    }

    /// Its first listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listeners[0]
    }

    /// `http://…` of its first listener.
    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `ws://…` of its first listener.
    pub(crate) fn ws(&self) -> String {
        format!("ws://{}", self.address())
    }

    /// Waits until it takes work.
    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        wait_until("the gateway is ready", s(90), || {
            raw::get(self.address(), "/health/ready").status == 200
        });
    }
}

/// The address in a log line that says where clients are listened for.
fn listener_in(line: &str) -> Option<SocketAddr> {
    if !line.contains("listening") || line.contains("admin") {
        return None;
    }
    let start = line.find("127.0.0.1:")?;
    let rest = &line[start..];
    let end =
        rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The binary under test, deaf to the developer's own environment.
pub(crate) fn longhaul() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LONGHAUL_")) {
        command.env_remove(name);
    }
    command.env_remove("PORT").env_remove("RUST_LOG");
    command
}

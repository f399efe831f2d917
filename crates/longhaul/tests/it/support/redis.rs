//! A real Redis, on a port that stays the same when it is started again.

use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;

use super::apps::free_address;
use super::process::Process;
use super::{s, wait_until};

/// What redis-server is told about its port and what it asks of clients.
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    arguments: Vec<String>,
    process: Option<Process>,
    directory: tempfile::TempDir,
}

impl Redis {
    /// One that does not run yet. `more` are further arguments of redis-server.
    pub(crate) fn planned(more: &[&str]) -> Self {
        let arguments = more.iter().map(ToString::to_string).collect();
        let directory = tempfile::tempdir().unwrap();
        Self { address: free_address(), arguments, process: None, directory }
    }

    /// One that runs and answers.
    #[track_caller]
    pub(crate) fn start(more: &[&str]) -> Self {
        let mut redis = Self::planned(more);
        redis.begin();
        redis
    }

    /// Starts it, without anything it knew before.
    #[track_caller]
    pub(crate) fn begin(&mut self) {
        let port = self.address.port().to_string();
        // With TLS that is the port for it, and there is no other.
        let is_tls = self.arguments.iter().any(|argument| argument == "--tls-cert-file");
        let (plain, secure) = if is_tls { ("0", &*port) } else { (&*port, "0") };
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", plain, "--tls-port", secure])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.arguments);
        let mut process = Process::start("redis-server", &mut command);
        process.line("Ready to accept connections", s(30), |line| {
            line.contains("Ready to accept connections").then_some(())
        });
        self.process = Some(process);
    }

    /// Ends it at once. Nothing listens at its address then.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Has it accept connections and say nothing: what a store looks like that is too slow.
    #[track_caller]
    pub(crate) fn pause(&self) {
        let process = self.process.as_ref().expect("it was started");
        process.signal(Signal::STOP);
        wait_until("it stands still", s(30), || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id()));
            stat.is_ok_and(|stat| {
                stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
            })
        });
    }

    /// Has it go on.
    pub(crate) fn resume(&self) {
        self.process.as_ref().expect("it was started").signal(Signal::CONT);
    }

    /// What redis-cli says to a command.
    #[track_caller]
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let port = self.address.port().to_string();
        let mut cli = Command::new("redis-cli");
        let output =
            cli.args(["-p", &port]).args(command).output().expect("redis-cli is installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

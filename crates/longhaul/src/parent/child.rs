//! One life of the application: a process group of its own, started, signalled and reaped.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus};

use super::{AppSettings, exec};
use crate::systemd;

/// Why the application cannot be started at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("no program {program:?} in PATH; check its name, or give its full path")]
    NotInPath { program: String },
    #[error("program {path:?} is not there; check its path (relative ones start at {directory:?})")]
    NotThere { path: PathBuf, directory: PathBuf },
    #[error("program {path:?} is not executable; chmod +x it, or name its interpreter first")]
    NotExecutable { path: PathBuf },
    #[error("no free port on 127.0.0.1 for the app")]
    Port(#[source] io::Error),
    #[error("cannot watch for the end of the app")]
    Watch(#[source] io::Error),
    #[error("cannot start {program:?}")]
    Spawn {
        program: String,
        #[source]
        source: io::Error,
    },
}

/// A running application: the leader of a process group. Dropping it ends the group at once.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    is_reaped: bool,
}

/// How an application ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    Code(u8),
    Signal(i32),
}

impl Death {
    /// The exit code by which shells would report it.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    /// Of a program that was asked to end: to die of the very signal is the way to end well for one that
    /// does not catch it.
    pub(super) fn exit_code_when_asked(self, asked: Signal) -> u8 {
        if self == Self::Signal(asked.as_raw()) { 0 } else { self.exit_code() }
    }

    /// In words, for the log.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Code(code) => format!("exit code {code}"),
            Self::Signal(signal) => format!("signal {signal}"),
        }
    }
}

impl Child {
    /// Starts the program with `{port}` filled in. The calling thread must live as long as the
    /// gateway: the kernel takes its end for the end of the parent.
    pub(super) fn start(command: &[String], address: SocketAddr) -> Result<Self, StartError> {
        let port = address.port().to_string();
        let program = command.first().map(String::as_str).unwrap_or_default();
        let mut shim = Command::new(own_program());
        // PORT is what frameworks look for; the other name is for those where PORT means us.
        // Our own variables are not the application's business, and one of them is a key.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("LONGHAUL_") || systemd::VARIABLES.contains(&&*text) {
                shim.env_remove(name);
            }
        }
        let child = shim
            .arg(exec::NAME)
            .arg(std::process::id().to_string())
            .arg(nofile_at_start().to_string())
            .args(command.iter().map(|argument| argument.replace("{port}", &port)))
            .env("PORT", &port)
            .env("LONGHAUL_APP_PORT", &port)
            // Outside the terminal's foreground group, reading from it would stop the program.
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|source| StartError::Spawn { program: program.to_owned(), source })?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("the system gives out process ids that fit and are not 0");
        Ok(Self { pid, is_reaped: false })
    }

    /// The program that this process has started before it became another binary.
    pub(super) fn adopt(pid: i32) -> Option<Self> {
        Some(Self { pid: Pid::from_raw(pid)?, is_reaped: false })
    }

    /// Leaves it alone from now on: whoever this process becomes looks after it.
    pub(super) fn pass_on(&mut self) -> i32 {
        self.is_reaped = true;
        self.id()
    }

    pub(super) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal to the program alone, which knows what it means for its children.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.is_reaped {
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }

    /// Sends a signal to the program and everything it started in its group.
    pub(super) fn signal_group(&self, signal: Signal) {
        if !self.is_reaped {
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
    }

    /// Reaps whatever has ended: orphans that became ours, and the program, whose death it returns.
    ///
    /// Nothing else in this process waits for children; tokio's own would miss theirs.
    pub(super) fn reap(&mut self) -> Option<Death> {
        let mut death = None;
        let has_ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if let Ok(Some(_)) = rustix::process::waitid(WaitId::Pid(self.pid), has_ended) {
            // What it left behind would hold its port and its files. As long as the leader is not
            // reaped, the group's id cannot belong to anybody else.
            self.signal_group(Signal::KILL);
            if let Ok(Some((_, status))) =
                rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG)
            {
                self.is_reaped = true;
                death = Some(Self::death(status));
            }
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            // It may have ended since it was asked for above.
            if pid == self.pid {
                let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
                self.is_reaped = true;
                death = Some(Self::death(status));
            }
        }
        death
    }

    fn death(status: WaitStatus) -> Death {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Death::Code(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, Some(signal)) => Death::Signal(signal),
            (None, None) => Death::Code(1),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal_group(Signal::KILL);
    }
}

/// Ends the program that this process has started before it became another binary, which has no settings
/// to look after it by. The exit code, unless it had to be killed.
pub(crate) async fn end_adopted(pid: i32, signal: Signal) -> Option<u8> {
    const LOOK: Duration = Duration::from_millis(20);
    let mut child = Child::adopt(pid)?;
    child.signal_group(signal);
    let ended = async {
        loop {
            if let Some(death) = child.reap() {
                return death.exit_code_when_asked(signal);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    // What is left of its group is killed when it is dropped.
    tokio::time::timeout(AppSettings::default().stop_grace, ended).await.ok()
}

/// Orphans of the application become our children, also when we are not the first process.
pub(super) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Reaps orphans while there is no application.
pub(super) fn reap_orphans() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

/// Whether the program can be found and started, so that a typing mistake is told at once.
pub(super) fn check(program: &str) -> Result<(), StartError> {
    if program.contains('/') {
        let path = PathBuf::from(program);
        return match is_executable(&path) {
            Some(true) => Ok(()),
            Some(false) => Err(StartError::NotExecutable { path }),
            None => {
                let directory = std::env::current_dir().unwrap_or_default();
                Err(StartError::NotThere { path, directory })
            }
        };
    }
    let paths = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let is_found = std::env::split_paths(&paths)
        .any(|directory| is_executable(&directory.join(program)) == Some(true));
    if is_found { Ok(()) } else { Err(StartError::NotInPath { program: program.to_owned() }) }
}

/// `None` when there is no such file.
fn is_executable(path: &Path) -> Option<bool> {
    let metadata = path.metadata().ok()?;
    Some(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The running program, even when its file was replaced by an upgrade meanwhile.
fn own_program() -> PathBuf {
    if cfg!(target_os = "linux") {
        return "/proc/self/exe".into();
    }
    std::env::current_exe().unwrap_or_else(|_| "longhaul".into())
}

/// The limit the application would have had without us.
fn nofile_at_start() -> u64 {
    crate::descriptors::at_start()
        .or_else(|| rustix::process::getrlimit(Resource::Nofile).current)
        .unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_be_started_is_told_apart() {
        assert!(check("sh").is_ok());
        assert!(check("/bin/sh").is_ok());
        assert!(matches!(check("no-such-program-7f"), Err(StartError::NotInPath { .. })));
        assert!(matches!(check("./no-such-program"), Err(StartError::NotThere { .. })));
        assert!(matches!(check("/etc/passwd"), Err(StartError::NotExecutable { .. })));
        assert!(matches!(check("/etc/"), Err(StartError::NotExecutable { .. })));
    }

    #[test]
    fn deaths_have_the_codes_of_shells() {
        assert_eq!(Death::Code(3).exit_code(), 3);
        assert_eq!(Death::Signal(9).exit_code(), 137);
        assert_eq!(Death::Signal(15).exit_code_when_asked(Signal::TERM), 0);
        assert_eq!(Death::Signal(9).exit_code_when_asked(Signal::TERM), 137);
        assert_eq!(Death::Code(3).exit_code_when_asked(Signal::TERM), 3);
    }
}

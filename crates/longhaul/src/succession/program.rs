//! The program that this process was started from, and how it is started again.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{APP, BACK, Heir, OVER, ROLE};
use crate::parent::AppState;
use crate::{descriptors, systemd};

/// A program with the arguments of this process.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The file that this process was started from, by the name it was started by: that may be a link
    /// to another version by the time it is started again.
    pub(crate) fn own() -> Self {
        let mut arguments = std::env::args_os();
        let name = PathBuf::from(arguments.next().unwrap_or_default());
        let path = find(&name).or_else(|| std::env::current_exe().ok()).unwrap_or(name);
        Self { path, arguments: arguments.collect() }
    }

    /// The same arguments for another file, if there is one.
    ///
    /// # Errors
    /// When it is not there, in words.
    pub(super) fn or(&self, path: Option<PathBuf>) -> Result<Self, String> {
        let path = path.unwrap_or_else(|| self.path.clone());
        if !path.is_file() {
            return Err(format!("no file {}; check the path of the new binary", path.display()));
        }
        Ok(Self { path, arguments: self.arguments.clone() })
    }

    /// Starts it as the one that takes over.
    ///
    /// # Errors
    /// When it cannot be executed, in words.
    pub(super) fn start_heir(&self, socket: UnixStream) -> Result<Heir, String> {
        let mut command = self.command(socket);
        // It inherits that signals are held back, so it hears those of its very first moment, too. Systemd
        // follows this process, and this one becomes the new binary in the end.
        command.env_remove("NOTIFY_SOCKET").env(ROLE, OVER);
        let child = command
            .spawn()
            .map_err(|error| format!("cannot execute {}: {error}", self.path.display()))?;
        Ok(Heir::of(i32::try_from(child.id()).expect("process ids fit")))
    }

    /// Becomes it: the process stays, with its children. Returns only when it could not.
    pub(crate) fn become_it(
        &self,
        socket: UnixStream,
        heir: &Heir,
        app: Option<&AppState>,
    ) -> io::Error {
        let mut command = self.command(socket);
        command.env(ROLE, format!("{BACK}{}", heir.id()));
        if let Some(app) = app.and_then(|app| serde_json::to_string(app).ok()) {
            command.env(APP, app);
        }
        // The application is to have the limit that this process was started with.
        descriptors::lower();
        // Signals stay held back meanwhile: `exec` keeps their mask, and what waits behind it.
        let error = command.exec();
        descriptors::raise();
        error
    }

    fn command(&self, socket: UnixStream) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).stdin(OwnedFd::from(socket)).env_remove(APP);
        // Sockets of systemd's come by way of the other process now.
        for name in systemd::LISTEN_VARIABLES {
            command.env_remove(name);
        }
        command
    }
}

/// The file that a shell would start by this name, whole, since the working directory may change.
fn find(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return std::path::absolute(name).ok();
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|directory| directory.join(name)).find(|path| path.is_file())
}

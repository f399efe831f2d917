//! What runs in the child before the program does: `longhaul __exec PARENT NOFILE PROGRAM ARGS…`.
//!
//! Some things can only be set by the process itself, and this crate has no unsafe code to run
//! between fork and exec. So the gateway starts itself under this name, which sets them and then
//! becomes the program, with the same process id.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal};

/// The first argument that leads here. Not shown in the help.
pub(crate) const NAME: &str = "__exec";

/// Exit codes as shells have them.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
pub(crate) const NOT_FOUND: u8 = 127;

/// Becomes the program. Returns an exit code when it cannot.
pub(crate) fn exec(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let mut number = || arguments.next().and_then(|text| text.to_str()?.parse::<u64>().ok());
    let (Some(parent), Some(nofile)) = (number(), number()) else { return NOT_EXECUTABLE };
    let Some(program) = arguments.next() else { return NOT_FOUND };

    // A killed gateway takes the program with it: TERM and not KILL, so that it can end its own
    // children. Best effort: an old kernel may refuse, and then the program merely lives on.
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
        // The gateway may have died before the line above.
        let is_orphan = rustix::process::getppid().map(Pid::as_raw_nonzero)
            != i32::try_from(parent).ok().and_then(std::num::NonZero::new);
        if is_orphan {
            return NOT_EXECUTABLE;
        }
    }
    // The gateway raised its own limit; programs that close or select all descriptors suffer from
    // a high one.
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let limit = Rlimit { current: Some(nofile), maximum: limit.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);

    crate::signals::release();
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("longhaul: cannot start {}: {error}", program.display());
    if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
}

//! One file for each verb of the command line. Each returns the exit code of the process.

mod bypass;
mod cert;
mod check;
pub(crate) mod demo;
mod print;
pub(crate) mod remote;
mod run;

use crate::cli::Verb;

/// Wrong command line or configuration, as clap has it too.
const EXIT_USAGE: u8 = 2;

/// Does what was asked.
pub(crate) fn dispatch(verb: Verb) -> u8 {
    match verb {
        Verb::Run(arguments) => run::run(arguments),
        Verb::Bypass(arguments) => bypass::bypass(&arguments),
        Verb::Check { diff, file } => check::check(diff.as_deref(), &file),
        Verb::Status(remote) => remote::status(&remote),
        Verb::Connections(arguments) => remote::connections(&arguments),
        Verb::Ends(remote) => remote::ends(&remote),
        Verb::Close { id, remote } => remote::close(&remote, id),
        Verb::Drain(arguments) => remote::drain(&arguments, true),
        Verb::Undrain(arguments) => remote::drain(&arguments, false),
        Verb::Reload { remote } => remote::reload(&remote),
        Verb::Upgrade(arguments) => remote::upgrade(&arguments),
        Verb::LogLevel { level, remote } => remote::log_level(&remote, level.as_deref()),
        Verb::Cert(arguments) => cert::cert(&arguments),
        Verb::Demo { listen } => demo::demo(listen),
        Verb::Schema => print::schema(),
        Verb::Reference { page } => print::reference(page),
        Verb::Completions { shell } => print::completions(shell),
    }
}

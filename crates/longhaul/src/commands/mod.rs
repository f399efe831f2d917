//! One file for each verb of the command line. Each returns the exit code of the process.

mod bypass;
mod cert;
mod check;
pub(crate) mod demo;
mod print;
mod run;

use crate::cli::Verb;

/// Wrong command line or configuration, as clap has it too.
const EXIT_USAGE: u8 = 2;

/// Does what was asked.
pub(crate) fn dispatch(verb: Verb) -> u8 {
    match verb {
        Verb::Run(arguments) => run::run(arguments),
        Verb::Check { file } => check::check(&file),
        Verb::Bypass(arguments) => bypass::bypass(&arguments),
        Verb::Cert(arguments) => cert::cert(&arguments),
        Verb::Demo { listen } => demo::demo(listen),
        Verb::Schema => print::schema(),
        Verb::Reference { page } => print::reference(page),
        Verb::Completions { shell } => print::completions(shell),
    }
}

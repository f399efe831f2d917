//! The command line. Flags that name keys of the configuration come from its table of keys.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
    ValueEnum,
};

use crate::commands::remote::Remote;
use crate::config::{Override, Source, keys};

const EXIT_CODES: &str = "\
Exit codes:
  0        ended as asked, or nothing wrong found
  1        could not start, or had to give up
  2        wrong command line or configuration
  130,143  a second INT or TERM ended it at once
  With `-- CMD`, the program's own code, or 128 + the signal that ended it; 0 when that was the
  signal with which the gateway was asked to end.";

/// A WebSocket gateway: a WebSocket that is up stays up.
#[derive(Debug, Parser)]
#[command(name = "longhaul", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the gateway, by flags, environment or file; with `-- CMD` also the program behind it.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// List all problems of a configuration file at once.
    Check {
        /// Also say what is different from this file, and when each difference takes effect in a
        /// gateway that runs by it.
        #[arg(long, value_name = "OLD")]
        diff: Option<PathBuf>,
        /// The file.
        file: PathBuf,
    },
    /// Run a chat on two replicas behind a gateway, with buttons to cut, kill and upgrade.
    Demo {
        /// Where to listen; by default 127.0.0.1:8080 or the next free port.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
    },
    /// Show a running gateway: its state, replicas and what is wrong.
    Status(Remote),
    /// List the open connections of a running gateway, oldest first.
    Connections(ConnectionsArgs),
    /// Show how the last WebSockets of a running gateway ended, and why.
    Ends(Remote),
    /// End one connection of a running gateway; a WebSocket gets 1001.
    Close {
        /// Its id, as lists and log lines show it.
        id: u64,
        #[command(flatten)]
        remote: Remote,
    },
    /// Drain a replica of a running gateway: nothing new goes there, and its WebSockets leave.
    Drain(ReplicaArgs),
    /// Let a replica that was drained have new work again.
    Undrain(ReplicaArgs),
    /// Have a running gateway read its configuration again; with an error in it nothing changes.
    Reload {
        #[command(flatten)]
        remote: Remote,
    },
    /// Move a running gateway and its open connections to a new binary; if that fails, it goes on.
    Upgrade(UpgradeArgs),
    /// Show or change what a running gateway logs, until the next change or restart.
    LogLevel {
        /// A level, or levels by target: info,longhaul_gateway=debug
        level: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Make a certificate to try TLS out with.
    Cert(CertArgs),
    /// Make a token by which an end-to-end test comes in without a login; not for production.
    Bypass(BypassArgs),
    /// Print the JSON Schema of the configuration file.
    Schema,
    /// Print a page of the reference.
    Reference {
        /// Which one.
        #[arg(value_enum, default_value_t = Page::Config)]
        page: Page,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Which replica is meant.
#[derive(Debug, Args)]
pub(crate) struct ReplicaArgs {
    /// Its address and port, as `longhaul status` shows it.
    pub(crate) replica: SocketAddr,
    /// Its upstream, where more than one has this replica.
    #[arg(long, value_name = "NAME")]
    pub(crate) upstream: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Which connections to list.
#[derive(Debug, Args)]
pub(crate) struct ConnectionsArgs {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Only on this route.
    #[arg(long, value_name = "NAME")]
    pub(crate) route: Option<String>,
    /// Only at this replica.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) replica: Option<SocketAddr>,
    /// Only of this client.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<IpAddr>,
    /// Only with a larger id: the next page.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub(crate) after: u64,
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

/// What to move to.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    /// The new binary, as the gateway finds it; by default the file that it was started from. Over the
    /// Unix socket of the admin API alone.
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
    /// Start the new binary and do everything but the last step; say what would move and what not.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct CertArgs {
    /// Write cert.pem and key.pem here, signed by nobody else.
    #[arg(long, value_name = "DIR")]
    pub(crate) self_signed: PathBuf,
    /// A host or address it is for; repeat it for more [default: localhost, 127.0.0.1, ::1]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// How many days it is valid.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// Replace what is there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// For whom, and for how long.
#[derive(Debug, Args)]
pub(crate) struct BypassArgs {
    /// Who the test claims to be.
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: String,
    /// How long the token holds.
    #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub(crate) minutes: u64,
    /// The key that the gateway has as server.bypass_key, as 64 hexadecimal digits.
    #[arg(
        long,
        value_name = "HEX",
        env = "LONGHAUL_BYPASS_KEY",
        hide_env_values = true,
        hide = true
    )]
    pub(crate) key: String,
}

/// A page that is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    /// All keys of the configuration.
    Config,
    /// The command line.
    Cli,
    /// A configuration file with every key.
    Toml,
    /// All metrics.
    Metrics,
    /// The admin API, as OpenAPI.
    Api,
}

const RUN_EXAMPLES: &str = "\
Examples:
  longhaul run --upstream 127.0.0.1:9000
  longhaul run --listen 0.0.0.0:8080 --upstream 10.0.0.1:9000 --upstream 10.0.0.2:9000
  longhaul run --listen 0.0.0.0:8000 -- chainlit run app.py --port {port} --headless
  longhaul run --config longhaul.toml

A flag wins over its environment variable, that over the file, the file over the default.
LONGHAUL_AFFINITY_KEY and LONGHAUL_ADMIN_TOKEN set server.affinity_key and server.admin_token, which
have no flags because they are secrets.
PORT, as platforms set it, means --listen 0.0.0.0:$PORT when nothing else says where to listen.";

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Configuration file.
    #[arg(long, value_name = "FILE", env = "LONGHAUL_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<OsString>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Program to start and to be in front of; {port} is replaced by the port it is to listen on.
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// Keys of the configuration that flags and environment have set.
#[derive(Debug, Default)]
pub(crate) struct Overrides(pub(crate) Vec<Override>);

impl Args for Overrides {
    fn augment_args(command: Command) -> Command {
        keys::flags().into_iter().filter(|(_, _, flag, _)| !flag.is_env_only).fold(
            command,
            |command, (_, _, flag, help)| {
                let arg = Arg::new(flag.long)
                    .long(flag.long.trim_start_matches('-'))
                    .env(flag.env)
                    .hide_env_values(true)
                    .value_name(flag.value)
                    .help(help)
                    .action(if flag.is_repeated { ArgAction::Append } else { ArgAction::Set });
                command.arg(if flag.is_repeated { arg.value_delimiter(',') } else { arg })
            },
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Overrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut overrides = Vec::new();
        for (section, key, flag, _) in keys::flags() {
            let (source, values) = if flag.is_env_only {
                (Source::Env(flag.env), std::env::var(flag.env).ok().into_iter().collect())
            } else {
                let source = match matches.value_source(flag.long) {
                    Some(ValueSource::EnvVariable) => Source::Env(flag.env),
                    _ => Source::Flag(flag.long),
                };
                let values = matches.get_many::<String>(flag.long).into_iter().flatten();
                (source, values.cloned().collect::<Vec<_>>())
            };
            // Container files set variables to nothing when they mean that they are not set.
            let is_unset = matches!(source, Source::Env(_)) && values.iter().all(String::is_empty);
            if !values.is_empty() && !is_unset {
                let is_list = flag.is_repeated;
                overrides.push(Override { section, key, source, values, is_list });
            }
        }
        Ok(Self(overrides))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `docs/reference/cli.md`: the help of every verb.
pub(crate) fn page() -> String {
    let mut page = String::from(
        "# Command line reference\n\nGenerated by `longhaul reference cli`; a test fails when this \
         page and the program disagree.\n",
    );
    let mut command = Cli::command().term_width(100);
    command.build();
    let help = command.render_long_help().to_string();
    page.push_str(&format!("\n```text\n{}\n```\n", trim_lines(&help)));
    for verb in command.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
        let name = verb.get_name().to_owned();
        let help = verb.render_help().to_string();
        page.push_str(&format!("\n## `longhaul {name}`\n\n```text\n{}\n```\n", trim_lines(&help)));
    }
    page
}

fn trim_lines(text: &str) -> String {
    text.trim_end().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(arguments: &[&str]) -> Vec<Override> {
        let cli = Cli::try_parse_from([&["longhaul", "run"], arguments].concat()).unwrap();
        match cli.verb {
            Verb::Run(run) => run.overrides.0,
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_name_keys_of_the_configuration() {
        let said = overrides(&["--listen", "127.0.0.1:1,127.0.0.1:2", "--ping", "20s"]);
        let keys: Vec<(&str, &str, usize)> =
            said.iter().map(|said| (said.section, said.key, said.values.len())).collect();
        assert_eq!(keys, [("server", "listen", 2), ("websocket", "ping", 1)]);
    }

    #[test]
    fn what_follows_two_dashes_is_the_program_with_its_own_flags() {
        let cli = Cli::try_parse_from(["longhaul", "run", "--", "app", "--listen", "{port}"]);
        let Verb::Run(run) = cli.unwrap().verb else { panic!("not run") };
        assert_eq!(run.command, ["app", "--listen", "{port}"]);
        assert!(run.overrides.0.is_empty());
    }
}

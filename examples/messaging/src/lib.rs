//! A messaging service as teams write them: rooms, a history, sequence numbers, several replicas.
//!
//! It knows of no gateway. `server` accepts and ends, `site` answers HTTP, `visitor` is one WebSocket,
//! `hall` has the rooms of this replica, `rooms` is what was said in them, and `log` is the file by which
//! replicas agree on that. What is said on a WebSocket stands in the README.
//!
//! Start at [`main`].

mod hall;
mod log;
mod rooms;
mod server;
mod site;
mod visitor;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tracing::error;

pub use server::serve;
pub use site::{PAGE, is_same_origin};

/// How one replica is started.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where to listen; port 0 takes any free one, which is then logged.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        env = "MESSAGING_LISTEN"
    )]
    pub listen: SocketAddr,
    /// The directory by which replicas share their rooms; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "messaging-data", env = "MESSAGING_DATA")]
    pub data: PathBuf,
    /// What this replica is called.
    #[arg(long, value_name = "NAME", default_value = "messaging", env = "MESSAGING_NAME")]
    pub name: String,
    /// How many seconds conversations have to end after TERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, env = "MESSAGING_GRACE")]
    pub grace: u64,
}

impl Options {
    fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

/// Serves until TERM or INT. `page` is [`PAGE`], or one with more in it.
pub fn main(options: Options, page: &'static str) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let served = runtime.and_then(|runtime| runtime.block_on(serve(options, page)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

//! The replicas of the demo: processes that can be killed, and come back after a while as on a platform.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Parser;
use serde::Serialize;
use tokio::process::Child;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::{child, stage};

/// The first argument by which this program is a replica. Not shown in the help.
pub(crate) const NAME: &str = "__replica";

/// Long enough to see that one is gone.
const BACK_AFTER: Duration = Duration::from_secs(3);

/// Both replicas.
#[derive(Debug)]
pub(super) struct Cluster {
    program: PathBuf,
    /// By which they share their rooms.
    data: PathBuf,
    replicas: Vec<Replica>,
    keepers: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Replica {
    name: &'static str,
    address: SocketAddr,
    /// Its process id, while it runs.
    pid: Mutex<Option<u32>>,
    kill: Notify,
}

/// A replica as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ReplicaSummary {
    name: &'static str,
    pid: Option<u32>,
}

/// What such a process is told.
#[derive(Debug, Parser)]
#[command(name = NAME)]
struct Cli {
    #[command(flatten)]
    options: messaging::Options,
    /// Serve the demo's page, for which there is a stage.
    #[arg(long)]
    staged: bool,
}

/// Is a replica of the messaging service. `arguments` begin with [`NAME`].
pub(crate) fn be_one(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Cli { options, staged } = Cli::parse_from(arguments);
    crate::logs::start(&crate::logs::LogSettings::default());
    messaging::main(options, if staged { stage::page() } else { messaging::PAGE })
}

impl Cluster {
    /// Starts one replica for each name, on free loopback ports. They are kept until [`Cluster::end`].
    ///
    /// # Errors
    /// When there is no free port.
    pub(super) fn start(
        program: &Path,
        directory: &Path,
        names: &[&'static str],
    ) -> io::Result<Arc<Self>> {
        let replica = |&name: &&'static str| {
            let address = child::free_address()?;
            Ok(Replica { name, address, pid: Mutex::new(None), kill: Notify::new() })
        };
        let cluster = Arc::new(Self {
            program: program.to_owned(),
            data: directory.join("rooms"),
            replicas: names.iter().map(replica).collect::<io::Result<_>>()?,
            keepers: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        for index in 0..names.len() {
            cluster.keepers.spawn(Arc::clone(&cluster).keep(index));
        }
        Ok(cluster)
    }

    /// Where the replicas are, in the order of their names.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(|replica| replica.address).collect()
    }

    /// The replicas as they are now.
    pub(super) fn summary(&self) -> Vec<ReplicaSummary> {
        let summarise =
            |replica: &Replica| ReplicaSummary { name: replica.name, pid: *replica.pid() };
        self.replicas.iter().map(summarise).collect()
    }

    /// Has the replica of this name killed; false if there is none, or it does not run.
    pub(super) fn kill(&self, name: &str) -> bool {
        let replica = self.replicas.iter().find(|replica| replica.name == name);
        let Some(replica) = replica else { return false };
        // From here on it does not run: another wish must not be kept for the next process.
        let was_running = replica.pid().take().is_some();
        if was_running {
            replica.kill.notify_one();
        }
        was_running
    }

    /// Ends all of them.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.keepers.close();
        self.keepers.wait().await;
    }

    /// Starts a replica, and again whenever it is gone.
    async fn keep(self: Arc<Self>, index: usize) {
        let replica = &self.replicas[index];
        while !self.stop.is_cancelled() {
            match self.launch(replica) {
                Ok(process) => self.attend(replica, process).await,
                Err(error) => warn!(%error, "cannot start replica {}", replica.name),
            }
            self.stop.run_until_cancelled(sleep(BACK_AFTER)).await;
        }
    }

    /// Stays with a replica until it is gone, for whichever reason.
    async fn attend(&self, replica: &Replica, mut process: Child) {
        *replica.pid() = process.id();
        tokio::select! {
            status = process.wait() => warn!(?status, "replica {} ended", replica.name),
            () = replica.kill.notified() => {
                // As a crash: its connections break, without a close frame.
                let _ = process.kill().await;
            }
            () = self.stop.cancelled() => drop(child::end(&mut process).await),
        }
        *replica.pid() = None;
    }

    fn launch(&self, replica: &Replica) -> io::Result<Child> {
        let address = replica.address.to_string();
        let said = [NAME, "--staged", "--grace", "2", "--name", replica.name, "--listen", &address];
        let arguments =
            said.iter().map(OsStr::new).chain([OsStr::new("--data"), self.data.as_os_str()]);
        child::start(&self.program, arguments)
    }
}

impl Replica {
    fn pid(&self) -> MutexGuard<'_, Option<u32>> {
        self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

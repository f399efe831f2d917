//! The demo's gateway: `longhaul run`, as anybody would start it, and `longhaul upgrade` for it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::child;

const LOOK: Duration = Duration::from_millis(50);
/// For one question whether it is ready.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// For both hops of an upgrade and the drain in between, and then some.
const UPGRADE_MAX: Duration = Duration::from_secs(60);
/// More than an answer whether it is ready has.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The running gateway.
#[derive(Debug)]
pub(super) struct GatewayProcess {
    process: Child,
    address: SocketAddr,
    config: PathBuf,
    operator: Operator,
}

/// What it takes to ask the gateway for something.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    program: PathBuf,
    admin: String,
    pid: Option<u32>,
}

impl GatewayProcess {
    /// Starts it before these replicas. Paths below /demo belong to the stage.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start(
        program: &Path,
        directory: &Path,
        replicas: &[SocketAddr],
        stage: SocketAddr,
    ) -> io::Result<Self> {
        let address = child::free_address()?;
        let admin = format!("unix:{}", directory.join("admin").display());
        let config = directory.join("longhaul.toml");
        std::fs::write(&config, settings(address, &admin, replicas, stage))?;
        let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        let process = child::start(program, arguments)?;
        let operator = Operator { program: program.to_owned(), admin, pid: process.id() };
        Ok(Self { process, address, config, operator })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    pub(super) fn admin(&self) -> &str {
        &self.operator.admin
    }

    pub(super) fn operator(&self) -> Operator {
        self.operator.clone()
    }

    /// Waits until it takes work; false when it ends before.
    pub(super) async fn ready(&mut self) -> bool {
        loop {
            tokio::select! {
                is_ready = timeout(ANSWER_MAX, is_ready(self.address)) => {
                    if is_ready.unwrap_or(false) {
                        return true;
                    }
                }
                _ = self.process.wait() => return false,
            }
            sleep(LOOK).await;
        }
    }

    /// Waits for its end, which nobody asked for.
    pub(super) async fn ended(&mut self) {
        let _ = self.process.wait().await;
    }

    /// Ends it. The exit code of the demo.
    pub(super) async fn end(mut self) -> u8 {
        let code = child::end(&mut self.process).await;
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }
}

impl Operator {
    /// The gateway's process id, which it keeps through upgrades.
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Has the gateway upgraded to the very binary that it is, once it is done with the upgrade before.
    /// Says how it went.
    ///
    /// # Errors
    /// Why it was not, in words.
    pub(super) async fn upgrade(&self) -> Result<String, String> {
        let upgraded = async {
            loop {
                match self.ask_for_upgrade().await {
                    Err(reason) if reason.contains("under way") => sleep(LOOK).await,
                    answered => return answered,
                }
            }
        };
        timeout(UPGRADE_MAX, upgraded).await.unwrap_or_else(|_| Err("not in time".to_owned()))
    }

    async fn ask_for_upgrade(&self) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(["upgrade", "--admin", &self.admin]).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|error| error.to_string())?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().replace('\n', "; ");
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }
}

/// The file that the gateway runs by: what the demo needs, and defaults.
pub(super) fn settings(
    address: SocketAddr,
    admin: &str,
    replicas: &[SocketAddr],
    stage: SocketAddr,
) -> String {
    let replicas: Vec<String> = replicas.iter().map(ToString::to_string).collect();
    format!(
        r#"# The gateway of `longhaul demo`.
[server]
listen = ["{address}"]
admin = "{admin}"

# Few enough for the descriptor limit of any machine.
[limits]
connections_max = 1000

# Nobody at a demo wants to wait for an end that is spread over half a minute.
[timeouts]
drain = "2s"

[[upstreams]]
name = "chat"
replicas = {replicas:?}

# What the buttons of the page ask.
[[upstreams]]
name = "stage"
replicas = ["{stage}"]

[[routes]]
upstream = "chat"
[routes.websocket]
on_replica_loss = "redial"
uncertain = "at_least_once"

[[routes]]
path = "/demo"
upstream = "stage"
"#
    )
}

async fn is_ready(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /health/ready HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask.await.unwrap_or(false)
}

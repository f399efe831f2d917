//! Processes of the demo's: this program under other verbs. They end with the demo, even when it is killed.

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Resource, Signal, getrlimit};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::parent::exec;

/// Below those that systems give to outgoing connections, one of which might hold the port of a replica that is
/// to be started again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORTS_TRIED: usize = 200;

/// From the wish to end to the kill: the gateway is done by then, with a drain and an upgrade.
const END_MAX: Duration = Duration::from_secs(12);

/// Starts this program with these arguments. In a process group of its own: Ctrl-C is for the demo alone.
pub(super) fn start<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> io::Result<Child> {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let mut command = Command::new(program);
    command
        .arg(exec::NAME)
        .args([u64::from(std::process::id()), descriptors].map(|number| number.to_string()))
        .arg(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    // The demo is the same whatever the environment says to gateways and services of one's own.
    let is_said = |name: &str| name.starts_with("LONGHAUL_") || name.starts_with("MESSAGING_");
    for (name, _) in std::env::vars_os() {
        if name == "PORT" || name.to_str().is_some_and(is_said) {
            command.env_remove(name);
        }
    }
    command.spawn()
}

/// Asks it to end, and kills it if it does not. `None`: it had to be killed.
pub(super) async fn end(child: &mut Child) -> Option<i32> {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        // Not yet reaped, so the id is still its own.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    match timeout(END_MAX, child.wait()).await {
        Ok(Ok(status)) => status.code(),
        _ => {
            let _ = child.kill().await;
            None
        }
    }
}

/// An address on loopback that is free now.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    let mut last = None;
    for _ in 0..PORTS_TRIED {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let port = PORTS.start + u16::from_ne_bytes(random) % (PORTS.end - PORTS.start);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return listener.local_addr(),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("at least one was tried"))
}

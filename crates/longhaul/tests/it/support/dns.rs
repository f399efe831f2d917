//! A real DNS server (dnsmasq) whose records a story changes.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use super::apps::free_address;
use super::process::Process;
use super::wait_until;

/// A running server; dropping it leaves the port dead.
pub(crate) struct Dns {
    _process: Process,
    pub(crate) address: SocketAddr,
}

impl Dns {
    /// Serves these records, as dnsmasq's options say them: `host-record=…`, `srv-host=…`.
    #[track_caller]
    pub(crate) fn start(records: &[String]) -> Self {
        // dnsmasq takes port 0 for "no DNS", and another program may be faster at any other.
        let start = || Self::try_start_on(free_address(), records);
        std::iter::repeat_with(start).take(5).flatten().next().expect("one of five ports is free")
    }

    /// The same where a server was before.
    #[track_caller]
    pub(crate) fn start_on(address: SocketAddr, records: &[String]) -> Self {
        Self::try_start_on(address, records).expect("the port is free")
    }

    #[track_caller]
    fn try_start_on(address: SocketAddr, records: &[String]) -> Option<Self> {
        let program = ["/usr/sbin/dnsmasq", "/usr/bin/dnsmasq"];
        let program = program.iter().find(|path| std::path::Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or(&"dnsmasq"));
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
        ]);
        command.args(["--bind-interfaces", "--listen-address=127.0.0.1", "--local-ttl=1"]);
        command.args(["--log-facility=-", "--user=", "--pid-file=", "--local=/test/", "--no-ping"]);
        command.arg(format!("--port={}", address.port()));
        command.args(records.iter().map(|record| format!("--{record}")));
        let mut process = Process::start("dnsmasq", &mut command);
        let mut is_taken = false;
        wait_until("dnsmasq has bound its port", Duration::from_secs(30), || {
            if !process.is_running() {
                process.end(Duration::from_secs(30));
                let in_use = |line: &String| line.contains("already in use");
                is_taken = process.lines().iter().any(in_use);
                assert!(is_taken, "dnsmasq ended: {:#?}", process.lines());
            }
            is_taken || UdpSocket::bind(address).is_err()
        });
        (!is_taken).then_some(Self { _process: process, address })
    }
}

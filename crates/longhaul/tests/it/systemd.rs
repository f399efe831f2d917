//! What systemd tells the process and hears from it, over sockets of the story's own.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;

use crate::support::apps::script;
use crate::support::gateway::{Gateway, longhaul};
use crate::support::process::{Process, Signal};
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{e2e, s, wait_until};

/// The next message, whole.
fn heard(socket: &UnixDatagram) -> String {
    let mut message = [0; 4096];
    let len = socket.recv(&mut message).expect("systemd is told in time");
    String::from_utf8_lossy(&message[..len]).into_owned()
}

#[test]
fn systemd_is_told_of_start_reload_and_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(s(60))).unwrap();
    let one = Recorder::start(|_| Answer::text("one"));
    let program = longhaul().get_program().to_string_lossy().into_owned();
    let mut gateway = Gateway::by_shell(&format!(
        "NOTIFY_SOCKET={} exec {program} run --listen 127.0.0.1:0 --upstream {} --drain 1s",
        path.display(),
        one.address
    ));
    assert_eq!(heard(&socket), "READY=1");
    gateway.process.signal(Signal::HUP);
    let reloading = heard(&socket);
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("it says since when");
    assert!(since.parse::<u64>().is_ok_and(|since| since > 0), "{reloading}");
    assert_eq!(heard(&socket), "READY=1\nSTATUS=serving");
    gateway.process.signal(Signal::TERM);
    assert_eq!(heard(&socket), "STOPPING=1");
    assert!(gateway.process.end(s(60)).success());
}

#[test]
fn nobody_is_refused_while_the_service_restarts_on_a_socket_that_is_held() {
    let one = Recorder::start(|_| Answer::text("one"));
    let mut command = script(&e2e().join("apps/socket_holder.py"));
    command.arg(longhaul().get_program()).env("APP", one.address.to_string());
    let mut holder = Process::start("socket holder", &mut command);
    let port: u16 =
        holder.line("the socket", s(60), |line| line.strip_prefix("holding ")?.parse().ok());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let started = |holder: &Process| -> Vec<i32> {
        let lines = holder.lines();
        lines.iter().filter_map(|line| line.strip_prefix("started ")?.parse().ok()).collect()
    };
    assert_eq!(raw::get(address, "/").text(), "one");
    for restarts in 1..=3 {
        let running = *started(&holder).last().expect("it was started");
        let running = rustix::process::Pid::from_raw(running).expect("ids are not 0");
        // Asked for before the end, answered after the start.
        rustix::process::kill_process(running, Signal::TERM).expect("it is our grandchild");
        wait_until("it is started again", s(60), || {
            Raw::try_connect(address).expect("nobody is refused");
            started(&holder).len() > restarts
        });
        assert_eq!(raw::get(address, "/").text(), "one");
    }
    let last = *started(&holder).last().expect("it was started");
    holder.kill();
    let last = rustix::process::Pid::from_raw(last).expect("ids are not 0");
    rustix::process::kill_process(last, Signal::KILL).expect("it is our grandchild");
}

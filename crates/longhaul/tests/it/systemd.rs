//! What systemd tells the process and hears from it, over sockets of the story's own.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;

use crate::support::apps::{free_address, script};
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

#[test]
fn listeners_outlive_a_crash_in_the_descriptor_store() {
    let one = Recorder::start(|_| Answer::text("one"));
    let (first, second) = (free_address(), free_address());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("longhaul.toml");
    let listen_at = |address: SocketAddr| {
        let new = directory.path().join("new");
        let upstream = format!("[[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n", one.address);
        // Read again when it is told to, and not before.
        let server =
            format!("[server]\nlisten = [\"{address}\"]\nworkers = 2\nconfig_watch = \"off\"\n");
        std::fs::write(&new, server + &upstream).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    listen_at(first);
    let mut command = script(&e2e().join("apps/service_manager.py"));
    command.arg(longhaul().get_program()).arg("run").arg("--config").arg(&file);
    let manager = Process::start("service manager", &mut command);
    let count = |what: &str| manager.lines().iter().filter(|line| **line == *what).count();
    let wait_for = |what: &str, times| wait_until(what, s(60), || count(what) == times);
    let running = || {
        let lines = manager.lines();
        let last =
            lines.iter().filter_map(|line| line.strip_prefix("started ")?.parse().ok()).next_back();
        rustix::process::Pid::from_raw(last.expect("it was started")).expect("ids are not 0")
    };
    let kill =
        || rustix::process::kill_process(running(), Signal::KILL).expect("it is our grandchild");
    let names =
        |address: SocketAddr| [0, 1].map(|at| format!("longhaul-{address}-{at}").replace(':', "."));
    wait_for("READY=1", 1);
    names(first).iter().for_each(|name| wait_for(&format!("stored {name}"), 1));

    for crashes in 1..=2 {
        // While nobody is there to take them.
        manager.signal(Signal::STOP);
        kill();
        let mut early: Vec<Raw> = (0..8).map(|_| Raw::connect(first)).collect();
        early.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        manager.signal(Signal::CONT);
        wait_for("READY=1", 1 + crashes);
        // Whichever of the two sockets they wait at.
        early.iter_mut().for_each(|client| assert_eq!(client.response().text(), "one"));
    }
    assert_eq!(count(&format!("stored {}", names(first)[0])), 1, "it is there already");

    listen_at(second);
    rustix::process::kill_process(running(), Signal::HUP).expect("it is our grandchild");
    for (gone, come) in names(first).iter().zip(&names(second)) {
        wait_for(&format!("removed {gone}"), 1);
        wait_for(&format!("stored {come}"), 1);
    }
    assert_eq!(raw::get(second, "/").text(), "one");
    wait_until("nobody waits at the old address", s(60), || TcpStream::connect(first).is_err());

    // What comes back and is wanted no more must not keep clients waiting.
    listen_at(first);
    kill();
    wait_for("READY=1 STATUS=serving", 1);
    wait_for("READY=1", 4);
    assert_eq!(raw::get(first, "/").text(), "one");
    names(second).iter().for_each(|name| wait_for(&format!("removed {name}"), 1));
    wait_until("nobody waits at the other one", s(60), || TcpStream::connect(second).is_err());
    names(first).iter().for_each(|name| wait_for(&format!("stored {name}"), 2));
}

//! Another binary takes the place of the running one, and nobody who is connected notices.

pub(crate) mod ahead;
mod bulk;
mod legs;
mod pause;
mod signals;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::admission::authority::{Authority, bearer};
use crate::support::apps::{App, script};
use crate::support::gateway::{Gateway, longhaul};
use crate::support::process::{Process, Signal, state};
use crate::support::raw::{self, Raw};
use crate::support::tls;
use crate::support::{e2e, frames, s, wait_until};

/// A gateway with a Unix socket for its operators.
pub(crate) struct Upgradable {
    pub(crate) gateway: Gateway,
    directory: TempDir,
}

impl Upgradable {
    #[track_caller]
    pub(crate) fn start(more: &str) -> Self {
        let upgradable = Self::start_unready(more);
        upgradable.gateway.wait_ready();
        upgradable
    }

    /// The same where plain HTTP cannot ask whether it is ready.
    #[track_caller]
    fn start_unready(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin");
        let gateway = Gateway::with_config_unready(&format!(
            "[server]\nlisten = [\"main=127.0.0.1:0\"]\nadmin = \"unix:{}\"\nworkers = 2\n{more}",
            socket.display()
        ));
        Self { gateway, directory }
    }

    fn before(replica: SocketAddr) -> Self {
        Self::start(&upstream(replica))
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = longhaul();
        let admin = format!("unix:{}", self.directory.path().join("admin").display());
        let output = command.args(arguments).args(["--admin", &admin]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let (is_done, said) = self.ask(&[arguments, &["--json"]].concat());
        assert!(is_done, "{said}");
        serde_json::from_str(&said).expect("it is JSON")
    }

    pub(crate) fn logged(&self, words: &str) -> usize {
        let lines = self.gateway.process.lines();
        lines.iter().filter(|line| line.contains(words)).count()
    }

    /// Waits until so many upgrades are over, both hops of each.
    #[track_caller]
    pub(crate) fn wait_settled(&self, upgrades: usize) {
        wait_until("both hops are done", s(90), || {
            self.logged("took over from the process before") >= 2 * upgrades
                && self.children().is_empty()
        });
        // The last word on it comes a moment later.
        wait_until("it may be upgraded again", s(60), || self.ask(&["upgrade", "--dry-run"]).0);
    }

    /// Upgrades it to itself.
    #[track_caller]
    pub(crate) fn upgrade(&self, before: usize) -> String {
        let (is_done, said) = self.ask(&["upgrade"]);
        assert!(is_done, "{said}");
        self.wait_settled(before + 1);
        said
    }

    fn children(&self) -> String {
        let pid = self.gateway.process.id();
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
    }

    fn metrics(&self) -> String {
        self.request("GET", "/metrics")
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> String {
        let mut stream = UnixStream::connect(self.directory.path().join("admin")).unwrap();
        let head = "Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n";
        write!(stream, "{method} {path} HTTP/1.1\r\n{head}Content-Length: 0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// A program that is to be upgraded to.
    pub(crate) fn program(&self, name: &str, script: &str) -> String {
        let path: PathBuf = self.directory.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }
}

fn upstream(replica: SocketAddr) -> String {
    format!("[[upstreams]]\nname = \"app\"\nreplicas = [\"{replica}\"]\n")
}

/// Sends numbers until told to stop, and expects each back once and in order.
fn talk(mut client: Raw, stop: &AtomicBool, count: &AtomicUsize) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) || number == 0 {
        // Several under way at once, so that some are always between two sockets.
        let texts: Vec<String> = (number..number + 8).map(|number| number.to_string()).collect();
        let bytes: Vec<u8> = texts
            .iter()
            .flat_map(|text| frames::from_client(frames::TEXT, text.as_bytes()))
            .collect();
        client.send(bytes);
        for text in texts {
            let frame = loop {
                let frame = frames::read(&mut client).expect("every number comes back");
                if frame.opcode != frames::PING {
                    break frame;
                }
            };
            assert_eq!(String::from_utf8_lossy(&frame.payload), text);
        }
        number += 8;
        count.fetch_add(8, Ordering::Relaxed);
    }
}

#[test]
fn websockets_go_on_under_another_binary_while_they_talk() {
    const CLIENTS: usize = 12;
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::before(echo.address);
    let pid = upgradable.gateway.process.id();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let talkers: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = frames::open(upgradable.address(), "/echo");
            let (stop, count) = (stop.clone(), count.clone());
            thread::spawn(move || talk(client, &stop, &count))
        })
        .collect();
    let descriptors = upgradable.gateway.process.descriptors();
    let before = upgradable.json(&["connections"]);
    for upgrades in 0..3 {
        let said = upgradable.upgrade(upgrades);
        assert!(said.contains(&format!("{CLIENTS} connections moved")), "{said}");
        let seen = count.load(Ordering::Relaxed);
        wait_until("they talk on", s(60), || count.load(Ordering::Relaxed) > seen + 100);
        frames::echo(&mut frames::open(upgradable.address(), "/echo"), "a new one");
        wait_until("the new one has left", s(60), || {
            let page = upgradable.json(&["connections"]);
            page["connections"].as_array().map(Vec::len) == Some(CLIENTS)
        });
    }
    let after = upgradable.json(&["connections"]);
    for (before, after) in pairs(&before, &after) {
        assert_eq!((&before["id"], &before["client"]), (&after["id"], &after["client"]));
        assert!(after["messages_up"].as_u64() > before["messages_up"].as_u64());
        assert!(after["open_s"].as_f64() > before["open_s"].as_f64());
    }
    stop.store(true, Ordering::Relaxed);
    for talker in talkers {
        talker.join().expect("every number came back once, in order");
    }
    assert_eq!(upgradable.gateway.process.id(), pid);
    wait_until("nothing is left behind", s(60), || {
        upgradable.gateway.process.descriptors() <= descriptors
    });
    assert_eq!(upgradable.logged("cannot"), 0);
}

fn pairs<'a>(before: &'a Value, after: &'a Value) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    let list = |page: &'a Value| page["connections"].as_array().expect("a list").iter();
    assert_eq!(list(before).count(), list(after).count());
    list(before).zip(list(after))
}

#[test]
fn half_a_frame_and_a_slow_reader_go_over_as_they_are() {
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::before(echo.address);
    let mut half = frames::open(upgradable.address(), "/echo");
    let message = frames::from_client(frames::TEXT, b"sent in two halves");
    half.send(&message[..9]);
    let mut control = frames::open(upgradable.address(), "/echo");
    let ping = frames::from_client(frames::PING, b"a ping in two halves");
    control.send(&ping[..7]);
    // More than all buffers on the way take, and nobody reads.
    let mut slow = frames::open(upgradable.address(), "/echo");
    let large = vec![b'x'; 200_000];
    let mut writer = slow.writer();
    let frame = frames::from_client(frames::BINARY, &large);
    let sender = thread::spawn(move || {
        for _ in 0..60 {
            writer.send(&frame);
        }
    });
    wait_until("bytes wait in the gateway", s(60), || {
        let page = upgradable.metrics();
        page.lines().any(|line| {
            let is_it = line.starts_with("longhaul_relay_buffered_bytes");
            is_it && !line.ends_with(" 0")
        })
    });
    upgradable.upgrade(0);

    half.send(&message[9..]);
    assert_eq!(frames::read(&mut half).unwrap().payload, b"sent in two halves");
    control.send(&ping[7..]);
    let pong = frames::read(&mut control).unwrap();
    assert_eq!((pong.opcode, pong.payload), (frames::PONG, b"a ping in two halves".to_vec()));
    for _ in 0..60 {
        let frame = frames::read(&mut slow).expect("nothing was lost");
        assert!(frame.payload == large, "{} bytes", frame.payload.len());
    }
    sender.join().unwrap();
}

#[test]
fn raw_tcp_goes_over_whoever_speaks_first_and_however_much_flows() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let replica = server.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            thread::spawn(move || {
                stream.write_all(b"hello first")?;
                let mut from = stream.try_clone()?;
                std::io::copy(&mut from, &mut stream)?;
                stream.shutdown(std::net::Shutdown::Write)
            });
        }
    });
    let upgradable = Upgradable::start_unready(&format!(
        "{}[[tcp]]\nlistener = \"main\"\nupstream = \"app\"\nserver_first = true\n",
        upstream(replica)
    ));
    let open = || {
        let mut client = TcpStream::connect(upgradable.address()).unwrap();
        client.set_read_timeout(Some(s(60))).unwrap();
        let mut greeting = [0; 11];
        client.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"hello first");
        client
    };
    let (mut idle, mut busy) = (open(), open());
    let sent: Vec<u8> = (0..24_000_000u32).map(|at| (at / 7) as u8).collect();
    let (mut writer, expected) = (busy.try_clone().unwrap(), sent.clone());
    let (half, rest) = (sent[..8_000_000].to_vec(), sent[8_000_000..].to_vec());
    // It waits for nobody to read what comes back.
    let sender = thread::spawn(move || {
        writer.write_all(&half)?;
        writer.write_all(&rest)?;
        writer.shutdown(std::net::Shutdown::Write)
    });
    upgradable.upgrade(0);
    upgradable.upgrade(1);
    idle.write_all(b"still here").unwrap();
    let mut answer = [0; 10];
    idle.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"still here");
    let mut received = Vec::new();
    busy.read_to_end(&mut received).unwrap();
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
    sender.join().unwrap().unwrap();
}

#[test]
fn a_binary_that_fails_in_any_way_leaves_the_old_one_where_it_was() {
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::before(echo.address);
    let mut client = frames::open(upgradable.address(), "/echo");
    frames::echo(&mut client, "before");
    let other = "{\"format\":99,\"version\":\"9.9.9\"}";
    let head = format!("\\000\\000\\000\\{:03o}\\000\\000\\000\\000", other.len());
    let heir = e2e().join("apps/failing_heir.py");
    let failing = format!("exec python3 {}", heir.canonicalize().unwrap().display());
    for (name, script, why) in [
        ("ends", "exit 3".to_owned(), "it ended with exit code 3"),
        ("other", format!("printf '{head}{other}' >&0; exec sleep 600"), "format 99"),
        ("speechless", format!("{failing} standing"), "it has ended"),
        ("dropping", format!("{failing} ahead"), "it has ended"),
        ("forgetful", format!("{failing} still"), "it has ended"),
        ("undecided", format!("{failing} fitted"), "it has ended"),
    ] {
        let program = upgradable.program(name, &script);
        let (is_done, said) = upgradable.ask(&["upgrade", "--binary", &program]);
        assert!(!is_done && said.contains(why), "{name}: {said}");
        frames::echo(&mut client, name);
        frames::echo(&mut frames::open(upgradable.address(), "/echo"), name);
        assert_eq!(upgradable.children(), "", "{name}");
    }
    let (is_done, said) = upgradable.ask(&["upgrade", "--binary", "/no/such/file"]);
    assert!(!is_done && said.contains("no file /no/such/file"), "{said}");
    upgradable.upgrade(0);
    frames::echo(&mut client, "after all");
}

#[test]
fn a_binary_that_hangs_is_ended_in_time() {
    let echo = App::start("echo_ws.mjs", "one");
    let config = format!("[timeouts]\nupgrade_start = \"500ms\"\n{}", upstream(echo.address));
    let upgradable = Upgradable::start(&config);
    let mut client = frames::open(upgradable.address(), "/echo");
    let program = upgradable.program("hangs", "exec sleep 600");
    let (is_done, said) = upgradable.ask(&["upgrade", "--binary", &program]);
    assert!(!is_done && said.contains("did not answer in time"), "{said}");
    assert_eq!(upgradable.children(), "");
    frames::echo(&mut client, "after");
}

#[test]
fn a_gateway_that_is_to_end_calls_its_upgrade_off_and_leaves_nobody_behind() {
    let echo = App::start("echo_ws.mjs", "one");
    let mut upgradable = Upgradable::before(echo.address);
    let here = upgradable.directory.path().join("here");
    let script = format!("echo $$ > {0}.part; mv {0}.part {0}; exec sleep 600", here.display());
    let program = upgradable.program("hangs", &script);
    thread::scope(|scope| {
        let asked = scope.spawn(|| upgradable.ask(&["upgrade", "--binary", &program]));
        wait_until("it is under way", s(60), || here.exists());
        upgradable.gateway.process.signal(Signal::TERM);
        assert!(!asked.join().unwrap().0);
    });
    assert_eq!(upgradable.gateway.process.end(s(60)).code(), Some(0));
    let heir = fs::read_to_string(&here).unwrap();
    let heir = heir.trim().parse().unwrap();
    // Whoever inherits it may take a moment to bury it.
    wait_until("the new process is gone", s(30), || matches!(state(heir), None | Some('Z')));
}

#[test]
fn a_rehearsal_changes_nothing_and_a_second_upgrade_at_once_is_refused() {
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::before(echo.address);
    let mut client = frames::open(upgradable.address(), "/echo");
    let (is_done, said) = upgradable.ask(&["upgrade", "--dry-run"]);
    assert!(is_done && said.contains("1 connections would move"), "{said}");
    assert_eq!(upgradable.children(), "");
    frames::echo(&mut client, "after the rehearsal");
    assert_eq!(upgradable.logged("took over"), 0);

    let gate = upgradable.directory.path().join("gate");
    let program = upgradable.program(
        "slow",
        &format!("touch {0}.here; while [ ! -e {0} ]; do sleep 0.05; done", gate.display()),
    );
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| upgradable.ask(&["upgrade", "--binary", &program]));
        wait_until("it is under way", s(60), || gate.with_extension("here").exists());
        let second = upgradable.ask(&["upgrade"]);
        fs::write(&gate, "").unwrap();
        (first.join().unwrap(), second)
    });
    assert!(!second.0 && second.1.contains("another upgrade is under way"), "{second:?}");
    assert!(!first.0, "{first:?}");
    upgradable.gateway.process.signal(Signal::USR2);
    upgradable.wait_settled(1);
    frames::echo(&mut client, "after the signal");
}

#[test]
fn a_rehearsal_counts_what_cannot_move_and_the_upgrade_has_it_come_back() {
    let (echo, authority) = (App::start("echo_ws.mjs", "one"), tls::Authority::new("home"));
    let files = authority.issue("a", &["localhost"]);
    let upgradable = Upgradable::start(&format!(
        "[timeouts]\ndrain = \"2s\"\n[tls]\nmode = \"off\"\n[[certificates]]\n{}\
         [[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n[listeners.tls]\nmode = \"on\"\n\
         [[listeners]]\nname = \"streams\"\naddress = \"127.0.0.1:0\"\nh2c = true\n{}",
        files.toml(),
        upstream(echo.address)
    ));
    let mut plain = [(); 3].map(|()| frames::open(upgradable.address(), "/echo"));
    let secure_at = upgradable.gateway.listeners[1];
    let mut secure = [(); 2].map(|()| {
        let mut client = tls::connect(secure_at, "localhost", &authority.client()).unwrap();
        client.write_all(frames::handshake("/echo", "").as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        client
    });
    let mut streams = script(&e2e().join("clients/http2.py"));
    let streams_at = upgradable.gateway.listeners[2].port().to_string();
    let mut in_stream =
        Process::start("http2.py talk", streams.args(["talk", "127.0.0.1", &streams_at]));
    in_stream.line("it talks", s(60), |line| line.starts_with("heard ").then_some(()));
    let (is_done, said) = upgradable.ask(&["upgrade", "--dry-run"]);
    assert!(is_done && said.contains("3 connections would move"), "{said}");
    assert!(said.contains("\n1 would stay to be drained: http2\n"), "{said}");
    assert!(said.contains("\n2 would stay to be drained: tls\n"), "{said}");
    in_stream.signal(Signal::USR1);
    in_stream.line("it talks on", s(60), |line| (line == "heard 1").then_some(()));
    in_stream.kill();
    for client in &mut secure {
        // Nothing has happened to it.
        client.write_all(&frames::from_client(frames::TEXT, b"on")).unwrap();
        let mut echo = [0; 4];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"\x81\x02on");
    }
    wait_until("the one in a stream has left", s(60), || {
        let page = upgradable.json(&["connections"]);
        page["connections"].as_array().map(Vec::len) == Some(5)
    });
    let said = upgradable.upgrade(0);
    assert!(said.contains("3 connections moved"), "{said}");
    assert!(said.contains("\n2 stay to be drained: tls\n"), "{said}");
    for client in &mut secure {
        let mut close = [0; 4];
        client.read_exact(&mut close).unwrap();
        assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 1012));
    }
    plain.iter_mut().for_each(|client| frames::echo(client, "moved"));
}

#[test]
fn requests_under_way_are_answered_and_nobody_is_refused() {
    let echo = App::start("echo_ws.mjs", "one");
    let upgradable = Upgradable::before(echo.address);
    let address = upgradable.address();
    let mut kept = Raw::connect(address);
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(kept.response().text(), "one");
    // It has connected, and does not say yet what for.
    let mut silent = Raw::connect(address);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let askers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut asked = 0;
                    while !stop.load(Ordering::Relaxed) || asked < 10 {
                        assert_eq!(raw::get(address, "/").text(), "one");
                        asked += 1;
                    }
                })
            })
            .collect();
        let (is_done, said) = upgradable.ask(&["upgrade"]);
        assert!(is_done, "{said}");
        for (client, words) in [(&mut kept, "what it asks next"), (&mut silent, "what it asks")] {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let last = client.response();
            let seen = (last.text(), last.header("connection").map(str::to_owned));
            assert_eq!(seen, ("one".to_owned(), Some("close".to_owned())), "{words}");
        }
        upgradable.wait_settled(1);
        upgradable.upgrade(1);
        stop.store(true, Ordering::Relaxed);
        for asker in askers {
            asker.join().expect("every request is answered");
        }
    });
}

#[test]
fn what_was_learnt_and_told_holds_under_the_new_binary() {
    let (one, two) = (App::start("echo_ws.mjs", "one"), App::start("echo_ws.mjs", "two"));
    let replicas = format!("replicas = [\"{}\", \"{}\"]\n", one.address, two.address);
    let config = format!("[[upstreams]]\nname = \"app\"\n{replicas}");
    let upgradable = Upgradable::start(&config);
    let cookie = || {
        let answer = raw::get(upgradable.address(), "/");
        (answer.header("set-cookie").map(str::to_owned), answer.text())
    };
    let drain = format!("/api/v1/upstreams/app/replicas/{}/drain", one.address);
    assert!(upgradable.request("POST", &drain).starts_with("HTTP/1.1 20"));
    assert_eq!(cookie().1, "two");
    upgradable.upgrade(0);
    for _ in 0..4 {
        assert_eq!(cookie().1, "two", "the other one still drains");
    }
}

#[test]
fn who_is_asked_about_again_is_asked_about_under_the_new_binary_too() {
    let (echo, authority) = (App::start("echo_ws.mjs", "one"), Authority::start());
    let upgradable = Upgradable::start(&format!(
        "{}[[auth_services]]\nname = \"login\"\nkind = \"forward\"\nurl = \"http://{}/forward\"\n\
         cache = \"off\"\nhealth = \"off\"\nrevalidate = \"2s\"\n[admission]\nauth = \"login\"\n",
        upstream(echo.address),
        authority.address()
    ));
    // What such a service judges is the whole head, which has to move as well.
    let fields = bearer("good-ann") + "X-Name: \u{e9}\r\n";
    let (mut client, answer) =
        frames::try_open(upgradable.address(), "/echo?a=b", &fields).unwrap();
    assert_eq!(answer.status, 101);
    upgradable.upgrade(0);
    let asked = authority.asked("/forward");
    wait_until("it is asked again", s(60), || authority.asked("/forward") >= asked + 2);
    frames::echo(&mut client, "still welcome");
    authority.set("deny");
    assert_eq!(frames::close_code(&mut client).unwrap(), 4401);
    assert!(!upgradable.gateway.process.lines().join("\n").contains("good-ann"));
}

#[test]
fn systemd_sees_one_process_that_is_ready_again() {
    let echo = App::start("echo_ws.mjs", "one");
    let directory = tempfile::tempdir().unwrap();
    let notify = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    notify.set_read_timeout(Some(s(90))).unwrap();
    let program = longhaul().get_program().to_string_lossy().into_owned();
    let at = directory.path().display().to_string();
    let gateway = Gateway::by_shell(&format!(
        "NOTIFY_SOCKET={at}/notify exec {program} run --listen 127.0.0.1:0 --upstream {} --drain 2s \
         --admin unix:{at}/admin",
        echo.address
    ));
    let upgradable = Upgradable { gateway, directory };
    let mut client = frames::open(upgradable.address(), "/echo");
    upgradable.upgrade(0);
    frames::echo(&mut client, "after");
    upgradable.gateway.process.signal(Signal::TERM);
    let heard = || {
        let mut message = [0; 4096];
        let len = notify.recv(&mut message).expect("systemd is told in time");
        String::from_utf8_lossy(&message[..len]).into_owned()
    };
    assert_eq!([heard(), heard(), heard()], ["READY=1", "READY=1", "STOPPING=1"]);
}

/// As in a container: process 1 cannot go without taking everybody along.
#[test]
fn process_1_of_a_container_stays_process_1() {
    let echo = App::start("echo_ws.mjs", "one");
    let directory = tempfile::tempdir().unwrap();
    let program = longhaul().get_program().to_string_lossy().into_owned();
    let run = format!(
        "exec unshare --user --map-root-user --pid --fork --kill-child {program} run --listen 127.0.0.1:0 \
         --upstream {} --drain 2s --admin unix:{}/admin",
        echo.address,
        directory.path().display()
    );
    let upgradable = Upgradable { gateway: Gateway::by_shell(&run), directory };
    let process_1 = upgradable.children();
    let mut client = frames::open(upgradable.address(), "/echo");
    let id: i32 = process_1.trim().parse().expect("one process");
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")));
    let heir = format!("/proc/{id}/task/{id}/children");
    for upgrades in 0..2 {
        let (is_done, said) = upgradable.ask(&["upgrade"]);
        assert!(is_done, "{said}");
        wait_until("both hops are done", s(90), || {
            upgradable.logged("took over from the process before") >= 2 * (upgrades + 1)
                && fs::read_to_string(&heir).is_ok_and(|children| children.is_empty())
        });
        wait_until("it can be upgraded again", s(60), || {
            upgradable.ask(&["upgrade", "--dry-run"]).0
        });
        frames::echo(&mut client, "after");
    }
    assert_eq!(upgradable.children(), process_1);
}

/// A gateway that is the parent of this program.
#[track_caller]
fn parent_of(app: &[&str]) -> Upgradable {
    let directory = tempfile::tempdir().unwrap();
    let admin = format!("unix:{}/admin", directory.path().display());
    let prepare = |command: &mut Command| {
        command.env("LONGHAUL_ADMIN", admin).env("LONGHAUL_DRAIN", "4s");
    };
    let gateway = Gateway::as_parent(prepare, app);
    gateway.wait_ready();
    Upgradable { gateway, directory }
}

#[test]
fn the_app_of_one_container_lives_through_it() {
    let echo = e2e().join("apps/child.py");
    let mut upgradable = parent_of(&["python3", &echo.display().to_string()]);
    let app = |upgradable: &Upgradable| upgradable.children().trim().to_owned();
    let before = app(&upgradable);
    assert!(!before.is_empty());
    let (is_done, said) = upgradable.ask(&["upgrade"]);
    assert!(is_done, "{said}");
    wait_until("both hops are done", s(90), || {
        upgradable.logged("took over from the process before") >= 2 && app(&upgradable) == before
    });
    assert_eq!(raw::get(upgradable.address(), "/").status, 200);
    assert_eq!(upgradable.logged("the app is starting"), 1);
    upgradable.gateway.process.signal(Signal::TERM);
    assert_eq!(upgradable.gateway.process.end(s(60)).code(), Some(0));
}

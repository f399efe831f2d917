//! Layer 4: TLS passed through by name, bulk, half-closed and idle connections, health, affinity.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::apps::{App, free_address};
use crate::support::gateway::Gateway;
use crate::support::pair::Pair;
use crate::support::process::Process;
use crate::support::raw::{self, Raw};
use crate::support::recorder::{Answer, Recorder};
use crate::support::{Random, frames, s, wait_until};

const HELLO: &[u8] = include_bytes!("../../../../fuzz/seeds/client_hello/openssl-tls13");
/// The same name, cut into records as no browser does, but as the standard allows.
const HELLO_IN_RECORDS: &[u8] = include_bytes!("../../../../fuzz/seeds/client_hello/three-records");

/// A TLS server with a certificate of its own, which says every line backwards.
struct TlsServer {
    address: SocketAddr,
    pair: Pair,
    _process: Process,
}

impl TlsServer {
    #[track_caller]
    fn start(name: &str) -> Self {
        let pair = Pair::make(name);
        let address = free_address();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-rev", "-accept", &address.to_string()]);
        command.arg("-cert").arg(&pair.certificate).arg("-key").arg(&pair.key);
        let mut process = Process::start(format!("openssl s_server ({name})"), &mut command);
        wait_until("the TLS server accepts", s(20), || {
            assert!(process.is_running(), "{:#?}", process.lines());
            TcpStream::connect(address).is_ok()
        });
        Self { address, pair, _process: process }
    }
}

/// What a client that trusts this one certificate, and asks for this name, sees and gets back.
fn tls_client(address: SocketAddr, name: &str, trusted: &Path, line: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-servername", name]);
    command.args(["-verify_return_error", "-verify_hostname", name, "-ign_eof", "-CAfile"]);
    command.arg(trusted).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().expect("openssl is installed");
    // The server ends a connection when it reads CLOSE.
    let _ = write!(client.stdin.take().unwrap(), "{line}\nCLOSE\n");
    let output = client.wait_with_output().unwrap();
    [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

#[test]
fn two_names_on_one_port_meet_their_own_certificates() {
    let (first, second) = (TlsServer::start("a.example"), TlsServer::start("deep.b.example"));
    let web = Recorder::start(|_| Answer::text("web"));
    let gateway = Gateway::with_config(&format!(
        "[server]\nlisten = [\"public=127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"web\"\nreplicas = [\"{}\"]\n\
         [[upstreams]]\nname = \"a\"\nreplicas = [\"{}\"]\n\
         [[upstreams]]\nname = \"b\"\nreplicas = [\"{}\"]\n\
         [[routes]]\nupstream = \"web\"\n\
         [[tcp]]\nlistener = \"public\"\nupstream = \"a\"\nsni = \"a.example\"\n\
         [[tcp]]\nlistener = \"public\"\nupstream = \"b\"\nsni = [\"*.b.example\"]\n",
        web.address, first.address, second.address
    ));
    for (name, server) in [("a.example", &first), ("deep.b.example", &second)] {
        let seen = tls_client(gateway.address(), name, &server.pair.certificate, "hello");
        assert!(seen.contains("Verify return code: 0 (ok)"), "{seen}");
        assert!(seen.contains("olleh"), "{seen}");
    }
    let crossed = tls_client(gateway.address(), "a.example", &second.pair.certificate, "hello");
    assert!(crossed.contains("verify error") && !crossed.contains("olleh"), "{crossed}");
    assert_eq!(raw::get(gateway.address(), "/").text(), "web");
}

#[test]
fn a_name_that_nobody_serves_is_told_so() {
    let server = TlsServer::start("a.example");
    let gateway = Gateway::with_config_unready(&format!(
        "[server]\nlisten = [\"public=127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"a\"\nreplicas = [\"{}\"]\n\
         [[tcp]]\nlistener = \"public\"\nupstream = \"a\"\nsni = \"a.example\"\n",
        server.address
    ));
    let seen = tls_client(gateway.address(), "c.example", &server.pair.certificate, "hello");
    assert!(seen.contains("unrecognized name"), "{seen}");
    wait_until("the log names it", s(10), || {
        let lines = gateway.process.lines();
        lines.iter().any(|line| line.contains("c.example") && line.contains("sni"))
    });
    // What is neither TLS nor HTTP that somebody serves is closed without a word.
    for bytes in ["EHLO a.example\r\n", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"] {
        let mut client = Raw::connect(gateway.address());
        client.send(bytes);
        client.assert_closed();
    }
}

/// `examples/hybrid.toml` as it is, but for the addresses.
#[test]
fn the_hybrid_example_does_what_it_says() {
    let (web, vault) =
        (Recorder::start(|_| Answer::text("web")), TlsServer::start("vault.example"));
    let chat = App::start("echo_ws.mjs", "chat");
    let (postgres, listener) = one_server();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hybrid.toml");
    let mut text = std::fs::read_to_string(path).unwrap();
    for (written, real) in [
        ("0.0.0.0:8443", "127.0.0.1:0".to_owned()),
        ("0.0.0.0:5432", "127.0.0.1:0".to_owned()),
        ("127.0.0.1:9000", web.address.to_string()),
        ("127.0.0.1:9001\", \"127.0.0.1:9002", chat.address.to_string()),
        ("127.0.0.1:8200", vault.address.to_string()),
        ("127.0.0.1:5433", postgres.to_string()),
    ] {
        assert!(text.contains(written), "no {written} in the example");
        text = text.replace(written, &real);
    }
    let gateway = Gateway::with_config(&text);
    let [public, database] = gateway.listeners[..] else { panic!("{:?}", gateway.listeners) };
    assert_eq!(raw::get(public, "/").text(), "web");
    frames::echo(&mut frames::open(public, "/ws/echo"), "hello");
    // A client of ours gets a durable session on the same path, and its grace by the policy.
    let durable = "Sec-WebSocket-Protocol: longhaul.v1\r\n";
    let (mut link, answer) = frames::try_open(public, "/ws/echo", durable).unwrap();
    assert_eq!(answer.header("sec-websocket-protocol"), Some("longhaul.v1"));
    let hello = r#"{"t":"hello","v":1,"sdk":"by hand","win":[4194304,4096]}"#;
    link.send(frames::from_client(frames::TEXT, hello.as_bytes()));
    let welcome = String::from_utf8(frames::read(&mut link).unwrap().payload).unwrap();
    assert!(welcome.contains(r#""t":"welcome""#) && welcome.contains("120"), "{welcome}");
    let seen = tls_client(public, "vault.example", &vault.pair.certificate, "hello");
    assert!(seen.contains("Verify return code: 0 (ok)") && seen.contains("olleh"), "{seen}");
    let mut client = connect(database);
    client.write_all(b"hello").unwrap();
    // Its probes arrive as well, and say nothing.
    let said_hello = |mut server: TcpStream| server.read_exact(&mut [0; 5]).is_ok();
    wait_until("the database is reached", s(20), || said_hello(accept(&listener)));
}

/// A server that takes one connection at a time and leaves it to the story.
pub(crate) fn one_server() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap(), listener)
}

/// A port of its own for raw TCP.
fn port(replica: SocketAddr, more: &str) -> Gateway {
    Gateway::with_config_unready(&format!(
        "[server]\nlisten = [\"port=127.0.0.1:0\"]\n\
         [timeouts]\nhead = \"100ms\"\nkeep_alive = \"1s\"\nbody_stall = \"1s\"\ndetect = \"10ms\"\n\
         [[upstreams]]\nname = \"tcp\"\nreplicas = [\"{replica}\"]\n\
         connect_deadline = \"1s\"\nconnect_attempt = \"500ms\"\n\
         response_head = \"1s\"\nupgrade_answer = \"1s\"\nidle_connection = \"1s\"\n\
         [[tcp]]\nlistener = \"port\"\nupstream = \"tcp\"\n{more}\n"
    ))
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(s(60))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(s(60))).unwrap();
    stream
}

#[test]
fn a_hello_in_pieces_and_what_follows_arrive_untouched() {
    let (replica, listener) = one_server();
    let gateway = Gateway::with_config_unready(&format!(
        "[server]\nlisten = [\"public=127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"tls\"\nreplicas = [\"{replica}\"]\n\
         [[tcp]]\nlistener = \"public\"\nupstream = \"tls\"\nsni = \"chat.example\"\n"
    ));
    let mut random = Random::new();
    for (hello, piece) in [(HELLO, 1), (HELLO_IN_RECORDS, 1), (HELLO, 100_000)] {
        let sent = [hello, &random.bytes(100_000)].concat();
        let mut client = connect(gateway.address());
        for piece in sent[..hello.len()].chunks(piece) {
            client.write_all(piece).unwrap();
        }
        client.write_all(&sent[hello.len()..]).unwrap();
        let mut server = accept(&listener);
        let mut arrived = vec![0; sent.len()];
        server.read_exact(&mut arrived).unwrap();
        assert!(arrived == sent);
        let answer = random.bytes(100_000);
        server.write_all(&answer).unwrap();
        let mut came = vec![0; answer.len()];
        client.read_exact(&mut came).unwrap();
        assert!(came == answer);
    }
}

#[test]
fn a_hello_that_does_not_end_is_given_up() {
    let (replica, listener) = one_server();
    listener.set_nonblocking(true).unwrap();
    let gateway = Gateway::with_config_unready(&format!(
        "[server]\nlisten = [\"public=127.0.0.1:0\"]\n[timeouts]\nhead = \"300ms\"\n\
         [[upstreams]]\nname = \"tls\"\nreplicas = [\"{replica}\"]\n\
         [[tcp]]\nlistener = \"public\"\nupstream = \"tls\"\nsni = \"*\"\n"
    ));
    // One that stops halfway, and one that says it will be longer than any hello.
    let endless = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff\x03\x03";
    for bytes in [&HELLO[..HELLO.len() / 2], endless] {
        let started = Instant::now();
        let mut client = Raw::connect(gateway.address());
        client.send(bytes);
        client.assert_closed();
        assert!(started.elapsed() < s(5));
    }
    let nobody = listener.accept().expect_err("the replica is not bothered");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn either_side_may_end_its_direction_first() {
    let (replica, listener) = one_server();
    let gateway = port(replica, "");
    for client_first in [true, false] {
        let client = connect(gateway.address());
        let server = accept(&listener);
        let (mut first, mut second) =
            if client_first { (client, server) } else { (server, client) };
        first.write_all(b"that is all").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        second.read_to_string(&mut text).unwrap();
        assert_eq!(text, "that is all");
        second.write_all(b"not for me").unwrap();
        second.shutdown(Shutdown::Write).unwrap();
        text.clear();
        first.read_to_string(&mut text).unwrap();
        assert_eq!(text, "not for me");
    }
    wait_until("both ends are logged", s(10), || {
        let lines = gateway.process.lines();
        lines.iter().filter(|line| line.contains("tcp connection closed")).count() == 2
    });
    let lines = gateway.process.lines();
    let closed = lines.iter().filter(|line| line.contains("tcp connection closed"));
    assert!(closed.into_iter().all(|line| line.contains("ended")), "{lines:#?}");
}

/// Writes so much of a block over and over; the block's length is no power of two, so that a piece
/// in the wrong place is noticed.
pub(crate) fn send_bulk(mut stream: TcpStream, block: &[u8], mut left: usize) {
    while left > 0 {
        let piece = &block[..block.len().min(left)];
        stream.write_all(piece).unwrap();
        left -= piece.len();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Reads the same from one place of the stream to another.
pub(crate) fn receive_bulk(mut stream: &TcpStream, block: &[u8], from: usize, to: usize) {
    let mut buffer = vec![0; 128 * 1024];
    let mut at = from;
    while at < to {
        let wanted = buffer.len().min(to - at);
        let len = stream.read(&mut buffer[..wanted]).unwrap();
        assert!(len > 0, "it ends at {at} of {to}");
        let mut piece = &buffer[..len];
        while !piece.is_empty() {
            let rest = &block[at % block.len()..];
            let same = rest.len().min(piece.len());
            assert!(rest[..same] == piece[..same], "wrong bytes within {same} of {at}");
            at += same;
            piece = &piece[same..];
        }
    }
}

#[track_caller]
pub(crate) fn assert_ended(mut stream: &TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "there is more");
}

#[test]
fn bulk_in_both_directions_at_once_arrives_byte_for_byte() {
    const TOTAL: usize = 256 << 20;
    let (replica, listener) = one_server();
    let gateway = port(replica, "");
    // What the first connection leaves behind belongs to the worker; it is there before we count.
    let before = gateway.process.descriptors();
    let client = connect(gateway.address());
    let server = accept(&listener);
    let block = Random::new().bytes(1_000_003);
    thread::scope(|scope| {
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let block = &block;
            scope.spawn(move || send_bulk(from, block, TOTAL));
            scope.spawn(move || {
                receive_bulk(&to, block, 0, TOTAL);
                assert_ended(&to);
            });
        }
    });
    wait_until("the end is logged with its bytes", s(10), || {
        let lines = gateway.process.lines();
        lines
            .iter()
            .any(|line| line.contains("tcp connection closed") && line.contains("268435456"))
    });
    let memory_mib = gateway.process.memory_max_kib() / 1024;
    assert!(memory_mib < 100, "{memory_mib} MiB for a stream of bytes");
    // Two sockets are gone; a worker may keep four pipes, of two ends each, for the next burst.
    let workers = thread::available_parallelism().unwrap().get();
    let after = gateway.process.descriptors();
    println!(
        "{before} descriptors before, {after} after; a pipe that was kept shows that bytes were spliced"
    );
    assert!(after <= before + 8 * workers, "{before} descriptors before, {after} after");
}

#[test]
fn bulk_that_its_reader_refuses_is_held_back_and_not_stored() {
    let (replica, listener) = one_server();
    let gateway = port(replica, "");
    let mut client = connect(gateway.address());
    let server = accept(&listener);
    let before = gateway.process.memory_kib();
    client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let block = vec![7; 1 << 20];
    let mut taken = 0;
    // The kernel's buffers of two connections and one pipe, and not a byte more.
    while let Ok(len) = client.write(&block) {
        taken += len;
        assert!(taken < 64 << 20, "somebody stores what nobody reads");
    }
    let grown = gateway.process.memory_kib().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB more");
    drop((client, server));
    wait_until("both are gone", s(10), || {
        gateway.process.lines().iter().any(|line| line.contains("tcp connection closed"))
    });
}

/// No timeout of the gateway's is longer than a second here, and none of them is the stream's.
#[test]
fn an_idle_connection_outlives_every_timeout_of_the_others() {
    let (replica, listener) = one_server();
    let gateway = port(replica, "");
    let mut client = connect(gateway.address());
    let mut server = accept(&listener);
    let idle_since = Instant::now();
    while idle_since.elapsed() < Duration::from_millis(2500) {
        thread::sleep(Duration::from_millis(100));
    }
    client.write_all(b"still").unwrap();
    let mut buffer = [0; 5];
    server.read_exact(&mut buffer).unwrap();
    server.write_all(b"there").unwrap();
    client.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"there");
}

#[test]
fn an_idle_limit_ends_a_connection_when_one_is_set() {
    let (replica, listener) = one_server();
    let gateway = port(replica, "idle = \"1s\"");
    let mut client = connect(gateway.address());
    let _server = accept(&listener);
    let started = Instant::now();
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    assert!(started.elapsed() > Duration::from_millis(900));
    wait_until("the cause is logged", s(10), || {
        gateway.process.lines().iter().any(|line| line.contains("idle_limit"))
    });
}

/// Takes connections and keeps them; counts them.
struct Keeper {
    address: SocketAddr,
    kept: std::sync::Arc<std::sync::Mutex<Vec<TcpStream>>>,
}

impl Keeper {
    fn start() -> Self {
        let (address, listener) = one_server();
        let kept = std::sync::Arc::<std::sync::Mutex<Vec<TcpStream>>>::default();
        let all = kept.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                all.lock().unwrap().push(stream);
            }
        });
        Self { address, kept }
    }

    fn count(&self) -> usize {
        self.kept.lock().unwrap().len()
    }
}

fn pair(first: &Keeper, second: &Keeper, upstream: &str) -> Gateway {
    Gateway::with_config_unready(&format!(
        "[server]\nlisten = [\"port=127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"tcp\"\nreplicas = [\"{}\", \"{}\"]\n{upstream}\n\
         [[tcp]]\nlistener = \"port\"\nupstream = \"tcp\"\n",
        first.address, second.address
    ))
}

#[test]
fn connections_go_where_the_fewest_are() {
    let (first, second) = (Keeper::start(), Keeper::start());
    let gateway = pair(&first, &second, "");
    let mut clients = Vec::new();
    for count in 1..=10 {
        clients.push(connect(gateway.address()));
        wait_until("a replica has it", s(10), || first.count() + second.count() == count);
    }
    assert_eq!((first.count(), second.count()), (5, 5));
}

#[test]
fn one_address_goes_back_to_one_replica_where_affinity_says_so() {
    let (first, second) = (Keeper::start(), Keeper::start());
    let gateway = pair(&first, &second, "affinity = \"address\"");
    let mut clients = Vec::new();
    for count in 1..=10 {
        clients.push(connect(gateway.address()));
        wait_until("a replica has it", s(10), || first.count() + second.count() == count);
    }
    let mut counts = [first.count(), second.count()];
    counts.sort_unstable();
    assert_eq!(counts, [0, 10]);
}

/// As a WebSocket does: its client is better off connecting elsewhere than waiting for a dead one.
#[test]
fn a_connection_ends_when_its_replica_is_found_down() {
    let (replica, listener) = one_server();
    let gateway = Gateway::with_config_unready(&format!(
        "[server]\nlisten = [\"port=127.0.0.1:0\"]\n\
         [[upstreams]]\nname = \"tcp\"\nreplicas = [\"{replica}\"]\n\
         [upstreams.probe]\nkind = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\n\
         [[tcp]]\nlistener = \"port\"\nupstream = \"tcp\"\n"
    ));
    let mut client = connect(gateway.address());
    client.write_all(b"hello").unwrap();
    // Probes arrive as well, and say nothing.
    let _server = loop {
        let mut server = accept(&listener);
        let mut hello = [0; 5];
        if server.read_exact(&mut hello).is_ok() {
            break server;
        }
    };
    // The connection itself stays; only nobody takes new ones.
    drop(listener);
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    wait_until("the cause is logged", s(10), || {
        gateway.process.lines().iter().any(|line| line.contains("replica_lost"))
    });
}

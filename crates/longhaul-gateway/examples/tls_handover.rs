//! Can an open TLS session go on in another process? Asked for docs/decisions/0018; no part of the gateway.
//!
//! ```console
//! cargo run -p longhaul-gateway --example tls_handover
//! ```
//!
//! A client that knows of nothing talks to a server of rustls. In the middle of it the server takes the
//! secrets out of rustls, passes them with the socket to a second process, and that goes on with a record
//! layer of its own: a hundred lines, TLS 1.3 alone. In the end the client changes its keys.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ExtractedSecrets, RootCertStore,
    ServerConfig, ServerConnection,
};
use serde_json::{Value, json};

const MESSAGES: usize = 1000;
const MESSAGE_BYTES: usize = 64;
const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("take") {
        return take(std::io::stdin().as_fd().try_clone_to_owned().unwrap().into());
    }
    let ulps = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    let has_tls = ulps.split_whitespace().any(|one| one == "tls");
    println!("kernel TLS: {}", if has_tls { "there" } else { "not in this kernel" });

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, client) = configs();
    let address = listener.local_addr().unwrap();
    let talking = thread::spawn(move || talk(TcpStream::connect(address).unwrap(), client));
    let (mut socket, _) = listener.accept().unwrap();
    socket.set_nodelay(true).unwrap();
    let mut tls = ServerConnection::new(server).unwrap();
    for _ in 0..MESSAGES {
        let mut message = [0; MESSAGE_BYTES];
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        stream.read_exact(&mut message).unwrap();
        stream.write_all(&message).unwrap();
    }
    // Between two records, with nothing read ahead and nothing owed: the client waits for nobody.
    assert!(!tls.wants_write());
    give(tls, &socket);
    drop(socket);
    talking.join().unwrap();
}

/// The client: its library does not notice. Prints how long it waited at most.
fn talk(mut socket: TcpStream, config: Arc<ClientConfig>) {
    socket.set_nodelay(true).unwrap();
    let mut tls =
        ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut round = |tls: &mut ClientConnection, number: usize| {
        let message = [number as u8; MESSAGE_BYTES];
        let mut stream = rustls::Stream::new(tls, &mut socket);
        let began = Instant::now();
        stream.write_all(&message)?;
        let mut answer = [0; MESSAGE_BYTES];
        stream.read_exact(&mut answer)?;
        assert_eq!(message, answer);
        std::io::Result::Ok(began.elapsed())
    };
    let times: Vec<Duration> =
        (0..2 * MESSAGES).map(|number| round(&mut tls, number).unwrap()).collect();
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort();
        times[times.len() / 2]
    };
    println!("{} echoes by rustls, median {:?}", MESSAGES, median(&times[1..MESSAGES]));
    println!("the first one in the other process {:?}", times[MESSAGES]);
    println!("{} more by hand, median {:?}", MESSAGES - 1, median(&times[MESSAGES + 1..]));
    tls.refresh_traffic_keys().unwrap();
    match round(&mut tls, 0) {
        Ok(_) => println!("after a change of keys: goes on"),
        Err(error) => println!("after a change of keys: the session ends ({})", error.kind()),
    }
}

/// Takes the session apart and sends it. There is no way back: rustls gives itself up for it.
fn give(tls: ServerConnection, socket: &TcpStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut taker = command.arg("take").stdin(OwnedFd::from(theirs)).spawn().unwrap();
    let began = Instant::now();
    let ExtractedSecrets { tx, rx } = tls.dangerous_extract_secrets().unwrap();
    let message = json!({ "tx": written(tx), "rx": written(rx) }).to_string();
    println!("taken out of rustls in {:?}, {} bytes", began.elapsed(), message.len());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let descriptors = [socket.as_fd()];
    assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(&ours, &[IoSlice::new(message.as_bytes())], &mut beside, SendFlags::empty()).unwrap();
    taker.wait().unwrap();
}

fn written((seq, secrets): (u64, ConnectionTrafficSecrets)) -> Value {
    let (name, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => ("aes128", key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => ("aes256", key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => ("chacha20", key, iv),
        _ => panic!("a cipher that TLS 1.3 does not have"),
    };
    json!({ "cipher": name, "key": key.as_ref(), "iv": iv.as_ref(), "seq": seq })
}

/// The other process: echoes until the session ends or cannot be followed.
fn take(from: UnixStream) {
    let mut message = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut message)];
    let count = recvmsg(&from, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
    let state: Value = serde_json::from_slice(&message[..count]).unwrap();
    let passed = beside.drain().find_map(|one| match one {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let mut socket = TcpStream::from(passed.expect("the socket comes with it"));
    let (mut tx, mut rx) = (Direction::read(&state["tx"]), Direction::read(&state["rx"]));
    while let Some((kind, message)) = rx.open(&mut socket) {
        match kind {
            APPLICATION_DATA => tx.seal(&mut socket, &message),
            // Its secret is not among those that rustls gives away: only what was derived from it.
            HANDSHAKE => return println!("the client changes its keys: cannot be followed"),
            _ => return,
        }
    }
}

/// One direction of the record layer (RFC 8446 §5.2, §5.3).
struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
    seq: u64,
}

impl Direction {
    fn read(state: &Value) -> Self {
        let bytes =
            |name: &str| -> Vec<u8> { serde_json::from_value(state[name].clone()).unwrap() };
        let algorithm = match state["cipher"].as_str().unwrap() {
            "aes128" => &AES_128_GCM,
            "aes256" => &AES_256_GCM,
            _ => &CHACHA20_POLY1305,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &bytes("key")).unwrap());
        Self { key, iv: bytes("iv").try_into().unwrap(), seq: state["seq"].as_u64().unwrap() }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.seq.to_be_bytes()).for_each(|(at, byte)| *at ^= byte);
        self.seq += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&mut self, socket: &mut TcpStream, message: &[u8]) {
        let mut inner = [message, &[APPLICATION_DATA]].concat();
        let head = head(inner.len() + self.key.algorithm().tag_len());
        let nonce = self.nonce();
        self.key.seal_in_place_append_tag(nonce, Aad::from(head), &mut inner).unwrap();
        socket.write_all(&[&head[..], &inner].concat()).unwrap();
    }

    /// The kind of the next record, and what is in it; `None` at the end.
    fn open(&mut self, socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        socket.read_exact(&mut head).ok()?;
        let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        socket.read_exact(&mut record).ok()?;
        let nonce = self.nonce();
        let inner = self.key.open_in_place(nonce, Aad::from(head), &mut record).ok()?;
        let end = inner.iter().rposition(|byte| *byte != 0)?;
        Some((inner[end], inner[..end].to_vec()))
    }
}

fn head(len: usize) -> [u8; 5] {
    let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
    [APPLICATION_DATA, 3, 3, high, low]
}

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = &[&rustls::version::TLS13];
    let server = ServerConfig::builder_with_provider(provider.clone());
    let server = server.with_protocol_versions(versions).unwrap().with_no_client_auth();
    let mut server = server.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    server.enable_secret_extraction = true;
    let client = ClientConfig::builder_with_provider(provider);
    let client = client.with_protocol_versions(versions).unwrap();
    (Arc::new(server), Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

//! Requests changed at random: whatever becomes of them, the backend sees only what is in order, an
//! answer or an end comes soon, and the gateway lives on.

use std::thread;
use std::time::{Duration, Instant};

use super::harmless;
use crate::support::gateway::Gateway;
use crate::support::raw::{self, Raw};
use crate::support::{Random, frames, s};

const INPUTS: usize = 4000;
const THREADS: usize = 4;

/// What may be put in, or in the place of something: each has broken a parser somewhere.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    "\0",
    "\x0b",
    "\x7f",
    "\u{ff}",
    ":",
    ",",
    ";",
    "/",
    "#",
    "?",
    "%0d%0a",
    "0",
    "5",
    "-1",
    "+5",
    "0x5",
    "99999999999999999999",
    "chunked",
    "identity",
    "close",
    "upgrade",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Host: u\r\n",
    " folded\r\n",
    "Connection: upgrade\r\n",
    "Upgrade: websocket\r\n",
    "Expect: 100-continue\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
];

fn templates() -> [Vec<u8>; 4] {
    [
        "GET /path?query=1 HTTP/1.1\r\nHost: t\r\nAccept: */*\r\nCookie: a=b\r\n\r\n".into(),
        "POST /form HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\nContent-Type: text/plain\r\n\r\nhello world".into(),
        "POST /up HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n".into(),
        frames::handshake("/ws", "Origin: http://t\r\n").into_bytes(),
    ]
}

/// One to four changes: a byte, a piece more, a stretch less, a stretch twice.
fn mutate(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        let end = (at + 1 + random.below(20)).min(bytes.len());
        let piece = PIECES[random.below(PIECES.len())].bytes();
        match random.below(4) {
            0 => drop(bytes.splice(at..(at + 1).min(bytes.len()), [random.next() as u8])),
            1 => drop(bytes.splice(at..at, piece)),
            2 => drop(bytes.drain(at..end)),
            _ => {
                let stretch = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, stretch));
            }
        }
    }
    bytes
}

#[test]
fn requests_changed_at_random_break_nothing_behind_the_gateway() {
    let recorder = harmless();
    let gateway = Gateway::before(&[recorder.address]);
    let address = gateway.address();
    let mut random = Random::new();
    let inputs: Vec<Vec<u8>> =
        (0..INPUTS).map(|number| mutate(templates()[number % 4].clone(), &mut random)).collect();
    thread::scope(|scope| {
        for part in inputs.chunks(INPUTS.div_ceil(THREADS)) {
            scope.spawn(|| part.iter().for_each(|input| survives(address, input)));
        }
    });
    assert_eq!(recorder.faults(), [""; 0]);
    assert!(recorder.seen().len() > INPUTS / 20, "hardly a request got through: no test at all");
    assert_eq!(raw::get(address, "/after").text(), "ok");
    // The control: without the gateway the same backend does find fault.
    let bare = harmless();
    inputs[..200].iter().for_each(|input| survives(bare.address, input));
    assert!(!bare.faults().is_empty(), "the backend would find fault with nothing");
}

/// Sends it, says that no more will come, and expects the end before any timer could bring it.
fn survives(address: std::net::SocketAddr, input: &[u8]) {
    let started = Instant::now();
    let mut client = Raw::connect(address);
    client.patience(s(10));
    client.send_anyway(input);
    client.finish();
    let answer = loop {
        match client.read_some() {
            Ok(bytes) if bytes.is_empty() => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    let shown = String::from_utf8_lossy(input);
    assert!(answer.is_ok(), "{answer:?} after {shown:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?} for {shown:?}", started.elapsed());
}

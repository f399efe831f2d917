//! How a WebSocket is kept: pings, limits, pressure, and its end, with both legs in the story's hands.

use std::io::{Read, Write};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::support::frames::{self, Frame};
use crate::support::gateway::Gateway;
use crate::support::raw::Raw;
use crate::support::recorder::{Answer, Recorder};
use crate::support::{s, wait_until};

/// One WebSocket through a gateway, with the raw ends of both legs.
struct Pair {
    gateway: Gateway,
    client: Raw,
    backend: Raw,
}

impl Pair {
    /// Opens it with these lines under `[websocket]`.
    #[track_caller]
    fn open(websocket: &str) -> Self {
        let (to, from) = mpsc::channel();
        let to = Mutex::new(to);
        let recorder = Recorder::start(move |_| {
            let to = to.lock().unwrap().clone();
            Answer::Take(Box::new(move |mut raw| {
                raw.send(frames::accepted());
                to.send(raw).expect("the story waits for it");
            }))
        });
        let gateway = Gateway::with_config(&format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[websocket]\n{websocket}\n\
             [[upstreams]]\nname = \"app\"\nreplicas = [\"{}\"]\n",
            recorder.address
        ));
        let client = frames::open(gateway.address(), "/");
        let backend = from.recv_timeout(s(10)).expect("the backend has its leg");
        backend.patience(s(15));
        Self { gateway, client, backend }
    }

    /// What its close line says.
    #[track_caller]
    fn cause(&self) -> String {
        let mut found = None;
        wait_until("the close is logged", s(10), || {
            let lines = self.gateway.process.lines();
            let line = lines.iter().find(|line| line.contains("websocket closed"));
            let parsed = line.and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            found = parsed.and_then(|line| line["cause"].as_str().map(str::to_owned));
            found.is_some()
        });
        found.unwrap_or_default()
    }
}

/// A frame of the backend.
fn from_backend(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frames::encode(0x80 | opcode, None, payload)
}

#[test]
fn both_legs_are_pinged_and_neither_hears_of_the_others_pongs() {
    let mut pair = Pair::open("ping = \"1s\"");
    for _ in 0..3 {
        let ping = frames::read(&mut pair.client).unwrap();
        assert_eq!(ping.opcode, frames::PING);
        pair.client.send(frames::from_client(frames::PONG, &ping.payload));
        let ping = frames::read(&mut pair.backend).unwrap();
        assert_eq!(ping.opcode, frames::PING);
        pair.backend.send(from_backend(frames::PONG, &ping.payload));
    }
    // Everything said so far is behind these: had a pong been passed on, it would come first.
    pair.client.send(frames::from_client(frames::TEXT, b"from the client"));
    pair.backend.send(from_backend(frames::TEXT, b"from the backend"));
    for (leg, text) in
        [(&mut pair.backend, "from the client"), (&mut pair.client, "from the backend")]
    {
        let frame = next_but_pings(leg);
        assert_eq!((frame.opcode, frame.payload), (frames::TEXT, text.as_bytes().to_vec()));
    }
}

fn next_but_pings(leg: &mut Raw) -> Frame {
    loop {
        let frame = frames::read(leg).expect("a frame comes");
        if frame.opcode != frames::PING {
            return frame;
        }
    }
}

#[test]
fn pings_of_the_application_pass_through_and_come_back() {
    let mut pair = Pair::open("ping = \"off\"");
    pair.client.send(frames::from_client(frames::PING, b"mine"));
    let ping = frames::read(&mut pair.backend).unwrap();
    assert_eq!((ping.opcode, ping.payload.as_slice()), (frames::PING, &b"mine"[..]));
    pair.backend.send(from_backend(frames::PONG, b"mine"));
    let pong = frames::read(&mut pair.client).unwrap();
    assert_eq!((pong.opcode, pong.payload.as_slice()), (frames::PONG, &b"mine"[..]));
}

#[test]
fn a_client_that_answers_no_ping_is_dead_and_the_backend_is_rid_of_it() {
    let mut pair = Pair::open("ping = \"1s\"\npings_missed_max = 2\nlinger = \"1s\"");
    let started = Instant::now();
    // The backend answers its pings; the client lies dead.
    while let Ok(frame) = frames::read(&mut pair.backend) {
        assert_eq!(frame.opcode, frames::PING);
        pair.backend.send_anyway(from_backend(frames::PONG, &frame.payload));
    }
    assert!(started.elapsed() < s(6), "found dead after {:?}", started.elapsed());
    assert_eq!(pair.cause(), "client_silent");
}

#[test]
fn a_backend_that_answers_no_ping_is_dead_and_the_client_may_come_again() {
    let mut pair = Pair::open("ping = \"1s\"\npings_missed_max = 1\nlinger = \"1s\"");
    loop {
        let frame = frames::read(&mut pair.client).expect("the client is told in a frame");
        match frame.opcode {
            frames::PING => pair.client.send(frames::from_client(frames::PONG, &frame.payload)),
            frames::CLOSE => break assert_eq!(frame.close_code(), 1012),
            other => panic!("opcode {other}"),
        }
    }
    assert_eq!(pair.cause(), "replica_silent");
}

#[test]
fn idle_and_lifetime_end_it_with_1001() {
    for (limit, cause) in [("idle = \"1s\"", "idle_limit"), ("lifetime = \"1s\"", "lifetime_limit")]
    {
        let mut pair = Pair::open(limit);
        let started = Instant::now();
        assert_eq!(frames::close_code(&mut pair.client).unwrap(), 1001, "{limit}");
        let took = started.elapsed();
        assert!(took > Duration::from_millis(500) && took < s(4), "{limit} after {took:?}");
        pair.client.send(frames::close_from_client(1001, ""));
        pair.backend.read_to_end();
        assert_eq!(pair.cause(), cause);
    }
}

#[test]
fn messages_keep_an_idle_limit_away() {
    let mut pair = Pair::open("idle = \"2s\"");
    for number in 0..8 {
        std::thread::sleep(Duration::from_millis(500));
        pair.client.send(frames::from_client(frames::TEXT, &[b'0' + number]));
        assert_eq!(frames::read(&mut pair.backend).unwrap().payload, [b'0' + number]);
    }
}

/// Both may be in the middle of something when the other ends: what was sent before arrives.
#[test]
fn what_was_sent_before_a_close_arrives_before_it() {
    let mut pair = Pair::open("");
    let large = vec![7; 4 << 20];
    pair.client.send(frames::close_from_client(3000, "done"));
    pair.backend.send(
        [
            from_backend(frames::BINARY, &large),
            from_backend(frames::CLOSE, &3000_u16.to_be_bytes()),
        ]
        .concat(),
    );
    let frame = frames::read(&mut pair.client).unwrap();
    assert!(frame.payload == large, "{} of {} bytes", frame.payload.len(), large.len());
    assert_eq!(frames::close_code(&mut pair.client).unwrap(), 3000);
    assert_eq!(frames::close_code(&mut pair.backend).unwrap(), 3000);
}

#[test]
fn an_end_without_a_close_frame_is_passed_on_at_once() {
    let mut pair = Pair::open("linger = \"1s\"");
    let Pair { client, backend, .. } = &mut pair;
    client.stream.shutdown(std::net::Shutdown::Both).unwrap();
    let started = Instant::now();
    backend.read_to_end();
    assert!(started.elapsed() < s(1), "passed on after {:?}", started.elapsed());
    assert_eq!(pair.cause(), "client_gone");
}

/// A reset must not wait for any timer.
#[test]
fn a_reset_is_passed_on_at_once() {
    let mut pair = Pair::open("");
    // Closing with unread bytes makes Linux send RST.
    pair.backend.send(from_backend(frames::TEXT, b"unread"));
    frames_wait(&pair.client);
    let Pair { client, mut backend, gateway: _gateway } = pair;
    drop(client);
    let started = Instant::now();
    backend.read_to_end();
    assert!(started.elapsed() < s(1), "passed on after {:?}", started.elapsed());
}

/// Waits until bytes lie unread in the client's socket.
fn frames_wait(client: &Raw) {
    let mut byte = [0];
    client.stream.peek(&mut byte).expect("bytes come");
}

/// A reader that stops must stop the writer, not fill the gateway.
#[test]
fn a_slow_reader_slows_the_writer_and_costs_a_bounded_buffer() {
    let mut pair = Pair::open("ping = \"off\"\nwrite_stall = \"60s\"");
    let before = pair.gateway.process.memory_kib();
    pair.backend.stream.set_write_timeout(Some(s(1))).unwrap();
    let frame = from_backend(frames::BINARY, &vec![1; 1 << 20]);
    let mut written = 0;
    // Until the kernel's buffers on all legs are full.
    let refused = loop {
        match pair.backend.stream.write(&frame[written % frame.len()..]) {
            Ok(count) => written += count,
            Err(error) => break error,
        }
        assert!(written < 256 << 20, "nothing ever pushed back");
    };
    assert!(matches!(
        refused.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    ));
    let grown = pair.gateway.process.memory_kib().saturating_sub(before);
    assert!(grown < 2048, "{grown} KiB for one slow reader, {written} bytes written");
    // It reads again and gets every byte.
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    while read < written {
        let count = pair.client.stream.read(&mut buffer).expect("the rest comes");
        assert!(count > 0, "ended after {read} of {written}");
        read += count;
    }
}

#[test]
fn a_reader_that_never_reads_is_given_up() {
    let mut pair = Pair::open("ping = \"off\"\nwrite_stall = \"1s\"\nlinger = \"1s\"");
    let frame = from_backend(frames::BINARY, &vec![1; 1 << 20]);
    pair.backend.stream.set_write_timeout(Some(s(10))).unwrap();
    let started = Instant::now();
    while pair.backend.stream.write_all(&frame).is_ok() {
        assert!(started.elapsed() < s(12), "still taken after {:?}", started.elapsed());
    }
    assert_eq!(pair.cause(), "client_stalled");
}

/// Frames that cannot be followed (RFC 6455 §5): whoever sent them is told 1002.
#[test]
fn broken_frames_end_it_on_both_sides() {
    for (name, bytes) in [
        ("unmasked", frames::encode(0x81, None, b"hello")),
        ("fragmented ping", frames::encode(0x09, Some([1; 4]), b"hello")),
        ("long ping", frames::encode(0x89, Some([1; 4]), &[0; 126])),
        ("length with its highest bit", [vec![0x82, 0xff], vec![0xff; 8], vec![1; 4]].concat()),
    ] {
        let mut pair = Pair::open("linger = \"1s\"");
        pair.client.send(bytes);
        let code = frames::close_code(&mut pair.client);
        assert_eq!(code.unwrap_or_else(|error| panic!("{name}: {error}")), 1002, "{name}");
        // The backend is told that the client is gone, and gets nothing of the broken frame.
        let frame =
            frames::read(&mut pair.backend).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((frame.opcode, frame.close_code()), (frames::CLOSE, 1001), "{name}");
        pair.backend.assert_closed();
        assert_eq!(pair.cause(), "client_fault", "{name}");
    }
}

/// What a frame means is for the two ends to judge: extensions may give these a meaning.
#[test]
fn frames_of_unknown_meaning_pass_unchanged() {
    let mut pair = Pair::open("");
    for first in [0x83, 0x80, 0xb1, 0x8b] {
        let frame = frames::encode(first, Some([9, 8, 7, 6]), b"hello");
        pair.client.send(&frame);
        assert_eq!(pair.backend.read_exact(frame.len()).unwrap(), frame, "{first:#x}");
    }
}

#[test]
fn a_backend_that_masks_is_a_bad_gateway() {
    let mut pair = Pair::open("linger = \"1s\"");
    pair.backend.send(frames::from_client(frames::TEXT, b"masked"));
    assert_eq!(frames::close_code(&mut pair.client).unwrap(), 1014);
    assert_eq!(pair.cause(), "replica_fault");
}

//! Echoes through the gateway: every size, kind, fragment, extension and close code, both ways.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket, accept_with_config};

use crate::support::apps::App;
use crate::support::gateway::Gateway;
use crate::support::raw::Raw;
use crate::support::recorder::{Answer, Recorder};
use crate::support::{Random, clients, frames, s, wait_until};

const SIZES: [usize; 9] = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20, 64 << 20];
const CODES: [u16; 14] =
    [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999];

#[track_caller]
fn both_clients_are_echoed_by(file: &str) {
    let app = App::start(file, "one");
    let gateway = Gateway::before(&[app.address]);
    for client in ["echo.py", "echo.mjs"] {
        clients::run(client, &[&gateway.ws()], s(180));
    }
    // What the clients sent is what the server received: it prints each close frame.
    let wanted: BTreeSet<String> =
        CODES.iter().map(|code| format!("closed {code} client{code}")).collect();
    wait_until("the server saw every close code twice", s(10), || {
        let lines = app.process.lines();
        wanted.iter().all(|line| lines.iter().filter(|seen| *seen == line).count() == 2)
    });
}

#[test]
fn both_clients_are_echoed_by_fastapi_under_uvicorn() {
    both_clients_are_echoed_by("echo_fastapi.py");
}

#[test]
fn both_clients_are_echoed_by_ws_on_node() {
    both_clients_are_echoed_by("echo_ws.mjs");
}

#[test]
fn both_clients_are_echoed_by_websockets_on_python() {
    both_clients_are_echoed_by("echo_websockets.py");
}

fn generous() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(None).max_frame_size(None)
}

/// A tungstenite server that echoes, and closes with the number it is sent as `close NUMBER`.
fn tungstenite_server() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut socket = accept_with_config(stream, Some(generous())).ok()?;
                while let Ok(message) = socket.read() {
                    let wanted =
                        message.to_text().ok().and_then(|text| text.strip_prefix("close "));
                    if let Some(code) = wanted.and_then(|code| code.parse::<u16>().ok()) {
                        let reason = format!("server{code}").into();
                        socket.close(Some(CloseFrame { code: code.into(), reason })).ok()?;
                    } else if message.is_text() || message.is_binary() {
                        socket.send(message).ok()?;
                    }
                }
                Some(())
            });
        }
    });
    address
}

fn tungstenite_client(address: SocketAddr) -> WebSocket<std::net::TcpStream> {
    let stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(s(60))).unwrap();
    let url = format!("ws://{address}/echo");
    tungstenite::client::client_with_config(url, stream, Some(generous())).unwrap().0
}

#[track_caller]
fn closed_by_peer(socket: &mut WebSocket<std::net::TcpStream>) -> CloseFrame {
    loop {
        if let Message::Close(frame) = socket.read().expect("a close frame comes") {
            return frame.expect("it has a code");
        }
    }
}

#[test]
fn tungstenite_speaks_to_tungstenite_and_to_ws() {
    let node = App::start("echo_ws.mjs", "one");
    let mut random = Random::new();
    let everything = random.bytes(64 << 20);
    for replica in [tungstenite_server(), node.address] {
        // This client answers pings only while it reads, and making 64 MiB of text takes a while.
        let gateway = Gateway::with_flags(&[replica], &["--ping", "off"]);
        let mut socket = tungstenite_client(gateway.address());
        for size in SIZES {
            let payload = &everything[..size];
            socket.send(Message::binary(payload.to_vec())).unwrap();
            // Not `assert_eq!`: nobody reads 64 MiB of difference.
            assert!(socket.read().unwrap().into_data() == payload, "{size} binary");
            let text: String = payload.iter().map(|byte| char::from(byte % 96 + 32)).collect();
            socket.send(Message::text(text.clone())).unwrap();
            assert!(socket.read().unwrap().into_text().unwrap() == text.as_str(), "{size} text");
        }
    }
}

#[test]
fn tungstenite_keeps_every_close_code_both_ways() {
    let gateway = Gateway::before(&[tungstenite_server()]);
    for code in CODES.into_iter().filter(|code| CloseCode::from(*code).is_allowed()) {
        let mut socket = tungstenite_client(gateway.address());
        socket.send(Message::text(format!("close {code}"))).unwrap();
        let seen = closed_by_peer(&mut socket);
        assert_eq!((u16::from(seen.code), seen.reason.as_str()), (code, &*format!("server{code}")));

        let mut socket = tungstenite_client(gateway.address());
        socket.close(Some(CloseFrame { code: code.into(), reason: "bye".into() })).unwrap();
        assert_eq!(u16::from(closed_by_peer(&mut socket).code), code);
    }
}

/// Frames of every shape, compressed-looking ones included, cut anywhere on their way.
#[test]
fn frames_pass_byte_for_byte_wherever_they_are_cut() {
    let (to, from) = std::sync::mpsc::channel();
    let to = std::sync::Mutex::new(to);
    let recorder = Recorder::start(move |_| {
        let to = to.lock().unwrap().clone();
        Answer::Take(Box::new(move |mut raw| {
            raw.send(frames::accepted());
            while let Ok(bytes) = raw.read_some() {
                if bytes.is_empty() || to.send(bytes).is_err() {
                    return;
                }
            }
        }))
    });
    // On a busy machine this takes longer than a leg may be silent: no ping may come between.
    let gateway = Gateway::with_flags(&[recorder.address], &["--ping", "off"]);
    let mut random = Random::new();
    let mut client = frames::open(gateway.address(), "/bytes");
    let mut sent = Vec::new();
    for _ in 0..200 {
        let pieces = 1 + random.below(4);
        for piece in 0..pieces {
            let opcode = if piece == 0 { 1 + random.below(2) as u8 } else { frames::CONTINUATION };
            // RSV1 marks a compressed message on its first frame (RFC 7692 §6.1).
            let rsv1 = if piece == 0 && random.below(2) == 0 { 0x40 } else { 0 };
            let fin = if piece + 1 == pieces { 0x80 } else { 0 };
            let key = (random.next() as u32).to_be_bytes();
            let length = [0, 1, 125, 126, 300, 65535, 65536, 70000][random.below(8)];
            let payload = random.bytes(length);
            sent.extend(frames::encode(fin | rsv1 | opcode, Some(key), &payload));
        }
    }
    let mut rest = &sent[..];
    while !rest.is_empty() {
        let cut = (1 + random.below(3000)).min(rest.len());
        client.send(&rest[..cut]);
        rest = &rest[cut..];
    }
    let mut received = Vec::new();
    while received.len() < sent.len() {
        received.extend(from.recv_timeout(s(20)).expect("the bytes arrive"));
    }
    let differs = received.iter().zip(&sent).position(|(a, b)| a != b);
    assert_eq!((received.len(), differs), (sent.len(), None));
}

/// No part of the gateway waits for the end of a message, so none needs room for one.
#[test]
fn a_message_of_a_gib_passes_without_being_held() {
    const LENGTH: usize = 1 << 30;
    let recorder = Recorder::start(|_| {
        Answer::Take(Box::new(|mut raw: Raw| {
            raw.send(frames::accepted());
            let mut left = LENGTH + 14;
            while left > 0 {
                left -= raw.read_some().expect("the message goes on").len();
            }
            raw.send(frames::encode(0x80 | frames::TEXT, None, b"all of it"));
            let _ = raw.read_some();
        }))
    });
    let gateway = Gateway::with_flags(&[recorder.address], &["--ping", "off"]);
    let mut client = frames::open(gateway.address(), "/");
    // FIN and binary; masked, with a length of 64 bits; then the mask.
    client.send([&[0x82, 0xff][..], &(LENGTH as u64).to_be_bytes(), &[1, 2, 3, 4]].concat());
    let piece = vec![7; 1 << 20];
    for _ in 0..LENGTH / piece.len() {
        client.send(&piece);
    }
    assert_eq!(frames::read(&mut client).unwrap().payload, b"all of it");
    let most = gateway.process.memory_max_kib();
    assert!(most < 64 * 1024, "the gateway took {most} KiB");
}

#[test]
fn a_frame_right_behind_the_101_is_delivered() {
    let recorder = Recorder::start(|_| {
        Answer::Take(Box::new(|mut raw: Raw| {
            let greeting = frames::encode(0x80 | frames::TEXT, None, b"hello at once");
            raw.send([frames::accepted().into_bytes(), greeting].concat());
            let _ = raw.read_some();
        }))
    });
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = frames::open(gateway.address(), "/");
    assert_eq!(frames::read(&mut client).unwrap().payload, b"hello at once");
}

#[test]
fn many_small_messages_are_answered_in_order() {
    let app = App::start("echo_ws.mjs", "one");
    let gateway = Gateway::before(&[app.address]);
    let mut client = frames::open(gateway.address(), "/echo");
    let mut writer = Raw::from_parts(client.stream.try_clone().unwrap(), Vec::new());
    let count = 20_000_u32;
    let sender = thread::spawn(move || {
        for number in 0..count {
            writer.send(frames::from_client(frames::BINARY, &number.to_be_bytes()));
        }
    });
    for number in 0..count {
        assert_eq!(frames::read(&mut client).unwrap().payload, number.to_be_bytes());
    }
    sender.join().unwrap();
}

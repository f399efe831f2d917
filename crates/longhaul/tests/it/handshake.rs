//! The opening of a WebSocket, however it is cut and spelled: the short way in and the long one.

use std::sync::{Mutex, mpsc};

use crate::support::frames::{self, ACCEPT, TEXT};
use crate::support::gateway::Gateway;
use crate::support::raw::Raw;
use crate::support::recorder::{Answer, Recorder};
use crate::support::{s, wait_until};

const ODD: &str = "hOsT: odd.example\r\nuPGRADE: websocket\r\nCONNECTION: keep-alive, Upgrade\r\n\
    x-Own-Field: 1\r\nSEC-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-WEBSOCKET-version: 13\r\n";

/// A backend that answers every handshake with these pieces, one write each.
fn answering(pieces: &'static [&'static str]) -> (Recorder, mpsc::Receiver<Raw>) {
    let (to, from) = mpsc::channel();
    let to = Mutex::new(to);
    let recorder = Recorder::start(move |_| {
        let to = to.lock().unwrap().clone();
        Answer::Take(Box::new(move |mut raw| {
            for piece in pieces {
                raw.send(piece);
                // Another write is another segment, since Nagle's algorithm is off.
                std::thread::yield_now();
            }
            to.send(raw).expect("the story waits for it");
        }))
    });
    (recorder, from)
}

/// Both legs carry a message each way.
#[track_caller]
fn talk(client: &mut Raw, backend: &mut Raw) {
    client.send(frames::from_client(TEXT, b"up"));
    assert_eq!(next(backend), b"up");
    backend.send(frames::encode(0x81, None, b"down"));
    assert_eq!(next(client), b"down");
}

/// The payload of the next frame.
#[track_caller]
fn next(leg: &mut Raw) -> Vec<u8> {
    frames::read(leg).expect("a frame comes").payload
}

#[test]
fn names_go_on_as_they_were_spelled_and_others_are_added_plainly() {
    let (recorder, from) = answering(&[
        "HTTP/1.1 101 Fine By Me\r\nuPgRaDe: websocket\r\nCONNECTION: Upgrade\r\nX-OWN: 2\r\n",
        "SEC-websocket-ACCEPT: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    ]);
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    client.send(format!("GET /odd?a=%20b HTTP/1.1\r\n{ODD}\r\n"));
    let answer = client.response();
    assert_eq!(answer.status, 101);
    for line in ["X-OWN: 2", &format!("SEC-websocket-ACCEPT: {ACCEPT}")] {
        assert!(answer.head.lines().any(|found| found == line), "{line} in {}", answer.head);
    }
    talk(&mut client, &mut from.recv_timeout(s(30)).unwrap());
    let seen = recorder.seen().remove(0);
    assert_eq!(seen.line(), "GET /odd?a=%20b HTTP/1.1");
    for line in ["hOsT: odd.example", "x-Own-Field: 1", "x-forwarded-for: 127.0.0.1"] {
        assert!(seen.head.lines().any(|found| found == line), "{line} in {}", seen.head);
    }
    assert_eq!(seen.headers("connection"), ["Upgrade"]);
    assert_eq!(recorder.faults(), [""; 0]);
}

#[test]
fn a_handshake_may_come_in_pieces_on_either_side_with_frames_right_behind() {
    // The answer in more pieces than the short way has patience for, the last with a frame behind.
    let (recorder, from) = answering(&[
        "HTTP/1.1 1",
        "01 X\r\nUpgrade: web",
        "socket\r\nConnection: ",
        "Upgrade\r\n",
        "A: 1\r\n",
        "B: 1\r\n",
        "C: 1\r\n",
        "D: 1\r\n",
        "E: 1\r\n",
        "F: 1\r\n",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\u{1}\u{2}he",
    ]);
    let gateway = Gateway::before(&[recorder.address]);
    let head = frames::handshake("/", "");
    for cut in [0, 1, head.len() / 2, head.len() - 1] {
        let mut client = Raw::connect(gateway.address());
        client.send(&head[..cut]);
        // Time enough, mostly, for the first piece to be read alone.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let frame = frames::from_client(TEXT, b"early");
        client.send([&head.as_bytes()[cut..], &frame].concat());
        assert_eq!(client.response().status, 101, "cut at {cut}");
        let mut backend = from.recv_timeout(s(30)).unwrap();
        assert_eq!(next(&mut backend), b"early", "cut at {cut}");
        assert_eq!(next(&mut client), b"he", "cut at {cut}");
        backend.send(frames::encode(0x80, None, b"llo"));
        assert_eq!(next(&mut client), b"llo", "cut at {cut}");
        talk(&mut client, &mut backend);
    }
}

#[test]
fn a_refusal_of_the_app_comes_through_whole_and_ends_the_connection() {
    let (recorder, _from) = answering(&[
        "HTTP/1.1 403 Forbidden\r\nX-Why: you\r\nContent-Length: 9\r\n\r\n",
        "not ",
        "today",
    ]);
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    client.send(frames::handshake("/", ""));
    client.send_anyway(frames::from_client(TEXT, b"for nobody"));
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (403, "not today"));
    assert_eq!(answer.header("x-why"), Some("you"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.read_to_end().is_empty());
}

#[test]
fn a_client_that_leaves_before_its_answer_takes_the_replicas_connection_along() {
    let (recorder, from) = answering(&[]);
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    client.send(frames::handshake("/", ""));
    let mut backend = from.recv_timeout(s(30)).unwrap();
    drop(client);
    assert!(backend.read_to_end().is_empty());
}

#[test]
fn an_upgrade_behind_an_ordinary_request_is_one_as_well() {
    let recorder = Recorder::start(|seen| {
        if seen.line().starts_with("GET /ws ") {
            return Answer::Take(Box::new(|mut raw| {
                raw.send(frames::accepted());
                let message = next(&mut raw);
                raw.send(frames::encode(0x81, None, &message));
                let _ = raw.read_to_end();
            }));
        }
        Answer::text("a page")
    });
    let gateway = Gateway::before(&[recorder.address]);
    let mut client = Raw::connect(gateway.address());
    client.send("GET /page HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.response().text(), "a page");
    client.send(frames::handshake("/ws", ""));
    assert_eq!(client.response().status, 101);
    client.send(frames::from_client(TEXT, b"hello"));
    assert_eq!(next(&mut client), b"hello");
}

#[test]
fn a_replica_that_is_gone_costs_a_handshake_nothing_but_the_next_replica() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (recorder, from) =
        answering(&["HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"]);
    let gateway = Gateway::before(&[gone, recorder.address]);
    for _ in 0..4 {
        let mut client = frames::open(gateway.address(), "/");
        talk(&mut client, &mut from.recv_timeout(s(30)).unwrap());
    }
    wait_until("all came by the other", s(30), || recorder.seen().len() == 4);
}

//! Counts the instructions that one step of the codec or the session machine takes.
//!
//! Instructions, not time: they are the same on a busy machine, so a few more of them are a change of
//! the code's and not of the weather's. Each case is run under callgrind (Debian package `valgrind`)
//! twice, with different counts, and the difference is what a step takes.
//!
//! Start at [`CASES`].

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_proto::http1::switching::{self, Start};
use longhaul_proto::http1::{Limits, Screen, Step};
use longhaul_proto::session::{Bounds, Output, Session, SessionPolicy, Side};
use longhaul_proto::websocket::handshake::{self, Offer};
use longhaul_proto::websocket::{Found, Role, Scanner, mask};

/// What was counted when the code was last changed on purpose. `check` fails beyond a tenth more.
const BASELINE: &str = include_str!("../baseline.txt");
const TOLERANCE: f64 = 1.10;
/// Steps of the two runs.
const COUNTS: [u64; 2] = [1_000, 5_000];

/// A name, and what runs so many steps.
type Case = (&'static str, fn(u64));

const CASES: [Case; 8] = [
    ("scan: a read with one frame of 64 B", |count| scan(&client_frame(64), count)),
    ("scan: a read with 100 frames of 64 B", |count| scan(&client_frame(64).repeat(100), count)),
    ("scan: a read of 64 KiB within a frame", |count| scan(&client_frame(65536), count)),
    ("session: a message of 64 B there and back", echo),
    ("session: a ping and its pong on both legs", ping),
    ("handshake: a request through the screen", request),
    ("handshake: a 101 read and judged", answer),
    ("mask: 1 KiB", |count| {
        let mut payload = vec![7; 1024];
        for at in 0..count {
            mask::apply(black_box(&mut payload), [1, 2, 3, at as u8], 0);
        }
    }),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["steps", case, count] => match (find(case), count.parse()) {
            (Some(run), Ok(count)) => {
                run(count);
                ExitCode::SUCCESS
            }
            _ => ExitCode::FAILURE,
        },
        ["count"] | ["check"] => report(words[0] == "check"),
        _ => {
            eprintln!("longhaul-micro count   prints instructions per step");
            eprintln!(
                "longhaul-micro check   the same, and fails where they are a tenth above the baseline"
            );
            ExitCode::FAILURE
        }
    }
}

fn report(is_check: bool) -> ExitCode {
    let mut is_worse = false;
    for (name, _) in CASES {
        let counted = COUNTS.map(|count| instructions(name, count));
        let [Ok(less), Ok(more)] = counted else {
            eprintln!("{name}: {}", counted.into_iter().find_map(Result::err).unwrap_or_default());
            return ExitCode::FAILURE;
        };
        let each = (more - less) / (COUNTS[1] - COUNTS[0]) as f64;
        let before = BASELINE.lines().find_map(|line| {
            let (count, of) = line.split_once(' ')?;
            (of == name).then(|| count.parse::<f64>().ok()).flatten()
        });
        println!("{each:.0} {name}");
        if is_check && before.is_none_or(|before| each > before * TOLERANCE) {
            eprintln!(
                "  the baseline is {before:?}; mend it, or change bench/micro/baseline.txt on purpose"
            );
            is_worse = true;
        }
    }
    ExitCode::from(u8::from(is_worse))
}

/// Instructions of this program when it runs so many steps of a case.
fn instructions(case: &str, count: u64) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["steps", case, &count.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}; install the package of this name"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected =
        said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.ok_or_else(|| said.into_owned())
}

fn find(name: &str) -> Option<fn(u64)> {
    CASES.iter().find(|(case, _)| *case == name).map(|(_, run)| *run)
}

/// A binary frame as a client sends it.
fn client_frame(len: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match len {
        0..126 => frame.push(0x80 | len as u8),
        _ => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([1, 2, 3, 4]);
    frame.resize(frame.len() + len, 5);
    frame
}

fn scan(read: &[u8], count: u64) {
    let mut scanner = Scanner::new(Role::Client);
    for _ in 0..count {
        let mut rest = black_box(read);
        while !rest.is_empty() {
            match scanner.next(rest).expect("the frames are good") {
                Found::Data(len) => rest = &rest[len..],
                Found::Control { consumed, .. } => rest = &rest[consumed..],
                Found::Held => return,
            }
        }
    }
    black_box(scanner.messages());
}

fn session(now: Instant) -> Session {
    let policy = SessionPolicy {
        ping: Some(Duration::from_secs(25)),
        pings_missed_max: 2,
        idle: None,
        linger: Duration::from_secs(5),
        write_stall: Duration::from_secs(60),
        minds_backend: true,
        bounds: Bounds::default(),
    };
    Session::new(Arc::new(policy), None, 42, now)
}

fn echo(count: u64) {
    let now = Instant::now();
    let mut session = session(now);
    let up = client_frame(64);
    let down = [&[0x82, 64][..], &[5; 64]].concat();
    for _ in 0..count {
        for (from, bytes) in [(Side::Client, &up), (Side::Backend, &down)] {
            let step = session.receive(from, black_box(bytes), now);
            assert_eq!(step.forward.len(), bytes.len());
            session.note_pressure(from.other(), false, true, now);
            black_box(session.poll());
        }
    }
}

fn ping(count: u64) {
    let mut now = Instant::now();
    let mut session = session(now);
    for _ in 0..count {
        now += Duration::from_secs(25);
        session.deadline_reached(now);
        while let Output::Send { to, frame } = session.poll() {
            let mut pong = frame.as_bytes().to_vec();
            pong[0] = 0x8a;
            if to == Side::Client {
                // A client masks; with a key of zeros the payload stays as it is.
                pong[1] |= 0x80;
                pong.splice(2..2, [0; 4]);
            } else {
                let key = [pong[2], pong[3], pong[4], pong[5]];
                pong[1] &= 0x7f;
                pong.drain(2..6);
                mask::apply(&mut pong[2..], key, 0);
            }
            let step = session.receive(to, &pong, now);
            assert!(step.forward.is_empty(), "the gateway's own pong goes no further");
        }
    }
}

const HEAD: &[u8] =
    b"GET /ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: chat.example\r\n\
    Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://chat.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\nCookie: a=b; c=d\r\n\r\n";

fn request(count: u64) {
    for _ in 0..count {
        let mut screen = Screen::new(Limits::default());
        let step = screen.feed(black_box(HEAD));
        assert!(matches!(step, Step::Head { len, .. } if len == HEAD.len()));
        assert!(screen.is_held());
    }
}

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\nServer: example\r\n\r\n";

fn answer(count: u64) {
    let offer = Offer {
        extensions: vec![b"permessage-deflate"],
        ..Offer::plain(b"dGhlIHNhbXBsZSBub25jZQ==")
    };
    for _ in 0..count {
        let start = switching::judge(black_box(ANSWER), &Limits::default());
        assert_eq!(start, Start::Switching { len: ANSWER.len() });
        let fields: Vec<_> = switching::fields(ANSWER).collect();
        handshake::validate_response(101, fields.iter().copied(), &offer).expect("it is good");
    }
}

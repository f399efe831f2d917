//! However a stranger's bytes are cut into reads, the verdict is the same.
//!
//! Byte strings are built from pieces that are each meaningful to the parser under test, then
//! spoilt here and there: purely random bytes would be refused at the first one.

use longhaul_proto::client_hello::{self, Hello};
use longhaul_proto::detect::{self, Protocol};
use longhaul_proto::http1::{Limits, Screen, Step};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const LIMITS: Limits = Limits { head_bytes_max: 300, fields_max: 6 };

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const SIZED: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";

/// Heads, bodies and lines of requests, right and wrong.
const HTTP_PIECES: &[&str] = &[
    // Whole heads often, or bodies would seldom be reached.
    CHUNKED,
    CHUNKED,
    CHUNKED,
    CHUNKED,
    SIZED,
    SIZED,
    SIZED,
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\n",
    "POST /a?b HTTP/1.1\r\n",
    "HEAD / HTTP/1.0\r\n",
    "GET http://a/ HTTP/1.1\r\n",
    "PRI * HTTP/2.0\r\n",
    "SSH-2.0-x\r\n",
    "GET /\r\n",
    "Host: a\r\n",
    "Host: a\r\n\r\n",
    "Content-Length: 5\r\n\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Upgrade: websocket\r\nConnection: upgrade\r\n",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
    "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
    "X : y\r\n",
    " folded\r\n",
    "\r\n",
    "\n",
    "hello",
    "5\r\nhello\r\n",
    "5;a=\"b\"\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nT: v\r\n\r\n",
    "\x16\x03\x01",
];

/// One request that must pass, and where its head ends.
fn request() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let body = vec(any::<u8>(), 1..40);
    prop_oneof![
        Just(b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec()).prop_map(|head| {
            let len = head.len();
            (head, len)
        }),
        body.clone().prop_map(|body| {
            let head = format!(
                "POST /b HTTP/1.1\r\nhost:[::1]:80\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            ([head.as_bytes(), &body].concat(), head.len())
        }),
        vec(body, 0..4).prop_map(|chunks| {
            let head = "PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut bytes = head.as_bytes().to_vec();
            for chunk in chunks {
                bytes.extend(format!("{:x};e\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\nTrailer: 1\r\n\r\n");
            (bytes, head.len())
        }),
    ]
}

fn spoilt(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), any::<u8>()), 0..3);
    (vec(select(pieces), 1..12), changes).prop_map(|(pieces, changes)| {
        let mut bytes = pieces.concat().into_bytes();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes
    })
}

/// Cuts bytes at these places.
fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect::<Vec<_>>();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// What comes of bytes: what passed, how long each head was, and the end, if it came to one.
#[derive(Debug, PartialEq)]
struct Screened {
    passed: Vec<u8>,
    heads: Vec<usize>,
    end: Option<Step>,
    is_head_request: bool,
}

fn screen<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Screened {
    let mut screen = Screen::new(LIMITS);
    let mut outcome =
        Screened { passed: Vec::new(), heads: Vec::new(), end: None, is_head_request: false };
    'pieces: for mut piece in pieces {
        while !piece.is_empty() {
            let passed = match screen.feed(piece) {
                Step::Kept => break,
                Step::Head { kept, len } => {
                    outcome.heads.push(kept.len() + len);
                    outcome.passed.extend(kept);
                    len
                }
                Step::Body { len } => {
                    assert_ne!(len, 0, "a step must get somewhere");
                    len
                }
                end @ (Step::Held | Step::Refused(_)) => {
                    outcome.end = Some(end);
                    break 'pieces;
                }
            };
            outcome.passed.extend(&piece[..passed]);
            piece = &piece[passed..];
        }
    }
    outcome.is_head_request = screen.is_head_request();
    outcome
}

fn hello(name: &str, padding: usize) -> Vec<u8> {
    let vector = |bytes: &[u8]| {
        [&u16::try_from(bytes.len()).expect("a record is short").to_be_bytes()[..], bytes].concat()
    };
    let name = vector(&vector(&[&[0][..], &vector(name.as_bytes())].concat()));
    let padding = vector(&vec![0; padding]);
    let extensions = vector(&[&[0, 0][..], &name, &[0, 21], &padding].concat());
    let body = [&[3; 34][..], &[0, 0, 2, 0x13, 1, 1, 0], &extensions].concat();
    let len = u32::try_from(body.len()).expect("a hello is short").to_be_bytes();
    let message = [&[1][..], &len[1..], &body].concat();
    message.chunks(4096).flat_map(|record| [&[0x16, 3, 1][..], &vector(record)].concat()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn clean_requests_pass_unchanged(
        requests in vec(request(), 1..6),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let bytes = requests.iter().flat_map(|(bytes, _)| bytes.clone()).collect::<Vec<_>>();
        let heads = requests.iter().map(|(_, head)| *head).collect();
        let expected = Screened { passed: bytes.clone(), heads, end: None, is_head_request: false };
        prop_assert_eq!(screen(cut(&bytes, &cuts)), expected);
    }

    #[test]
    fn the_screen_does_not_care_about_cuts(
        bytes in spoilt(HTTP_PIECES),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let at_once = screen([&bytes[..]]);
        prop_assert!(bytes.starts_with(&at_once.passed), "the screen must not rewrite");
        prop_assert_eq!(&screen(cut(&bytes, &cuts)), &at_once);
        prop_assert_eq!(&screen(bytes.chunks(1)), &at_once);
    }

    #[test]
    fn detection_never_changes_its_mind(bytes in spoilt(HTTP_PIECES)) {
        let mut verdict = Protocol::NeedMore;
        for len in 0..=bytes.len() {
            let next = detect::classify(&bytes[..len]);
            prop_assert!(verdict == Protocol::NeedMore || verdict == next);
            prop_assert!(next != Protocol::NeedMore || len < 64);
            verdict = next;
        }
    }

    #[test]
    fn a_hello_is_read_the_same_as_soon_as_it_is_certain(
        padding in 0..9000_usize,
        changes in vec((any::<Index>(), any::<u8>()), 0..2),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let mut bytes = hello("chat.example", padding);
        for (index, byte) in &changes {
            // Lengths and names are at the front; zeros behind them change little.
            let index = index.index(bytes.len().min(90));
            bytes[index] = *byte;
        }
        let whole = client_hello::read(&bytes);
        if changes.is_empty() {
            let server_name = Some("chat.example".to_owned());
            prop_assert_eq!(&whole, &Ok(Hello::Whole { server_name }));
        }
        let mut len = 0;
        for piece in cut(&bytes, &cuts) {
            len += piece.len();
            let verdict = client_hello::read(&bytes[..len]);
            prop_assert!(verdict == Ok(Hello::Partial) || verdict == whole, "{:?} at {}", verdict, len);
        }
    }
}

//! What the screen passes, the parser behind it must read in the same way: where each request
//! begins, how its body is framed, where it ends. And cuts between reads must change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longhaul_proto::http1::{Limits, Screen, Step};

/// A head that the screen passed, or a piece of body.
#[derive(Debug, PartialEq)]
enum Passed {
    Head(Vec<u8>),
    Body(Vec<u8>),
}

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (passed, end) = screen(bytes.chunks(bytes.len().max(1)));
    let again = screen(bytes.chunks(usize::from(cut).max(1)));
    assert_eq!((&passed, &end), (&again.0, &again.1), "cut into pieces of {cut}");

    let mut passed = passed.iter().peekable();
    while let Some(item) = passed.next() {
        let Passed::Head(head) = item else { panic!("a body without a head") };
        let framing = read_head(head);
        let body = match passed.peek() {
            Some(Passed::Body(body)) => {
                passed.next();
                body.as_slice()
            }
            _ => &[],
        };
        let is_last = passed.peek().is_none();
        match framing {
            Framing::Upgrade => assert!(is_last && body.is_empty()),
            Framing::Length(length) if is_last => assert!(body.len() as u64 <= length),
            Framing::Length(length) => assert_eq!(body.len() as u64, length),
            Framing::Chunked => match read_chunks(body) {
                Some(len) => assert_eq!(len, body.len(), "the body ends elsewhere"),
                None => assert!(is_last, "the next head begins inside a body"),
            },
        }
    }
});

/// Joins pieces of body, so that the outcome does not depend on how they were cut.
fn screen<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Passed>, Option<Step>) {
    let mut screen = Screen::new(Limits { head_bytes_max: 512, fields_max: 8 });
    let mut passed = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let len = match screen.feed(piece) {
                Step::Kept => break,
                Step::Head { mut kept, len } => {
                    kept.extend(&piece[..len]);
                    passed.push(Passed::Head(kept));
                    len
                }
                Step::Body { len } => {
                    assert_ne!(len, 0);
                    match passed.last_mut() {
                        Some(Passed::Body(body)) => body.extend(&piece[..len]),
                        _ => passed.push(Passed::Body(piece[..len].to_vec())),
                    }
                    len
                }
                end @ (Step::Held | Step::Refused(_)) => return (passed, Some(end)),
            };
            piece = &piece[len..];
        }
    }
    (passed, None)
}

enum Framing {
    Length(u64),
    Chunked,
    Upgrade,
}

/// Reads a head with the parser that hyper uses, and holds it to the rules that parser leaves out.
fn read_head(head: &[u8]) -> Framing {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut fields);
    let status = request.parse(head).expect("the parser behind the screen refuses this head");
    assert_eq!(status, httparse::Status::Complete(head.len()), "the head ends elsewhere");
    let target = request.path.expect("the head is complete");
    http::Uri::try_from(target).expect("the library behind the screen refuses this target");
    let method = request.method.expect("the head is complete");
    assert!(method != "CONNECT" && method != "TRACE");
    let values = |name: &str| {
        let of_name = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        of_name.map(|field| field.value.trim_ascii().to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let is_http11 = request.version == Some(1);
    let hosts = values("host");
    assert!(hosts.len() == 1 || (hosts.is_empty() && !is_http11));
    let (lengths, encodings) = (values("content-length"), values("transfer-encoding"));
    assert!(lengths.len() + encodings.len() <= 1, "two ways to frame one body");
    let names_websocket = |value: &Vec<u8>| {
        value.split(|&byte| byte == b',').any(|it| it.trim_ascii() == b"websocket")
    };
    if is_http11 && values("upgrade").iter().any(names_websocket) {
        return Framing::Upgrade;
    }
    if let Some(encoding) = encodings.first() {
        assert_eq!(encoding, b"chunked");
        assert!(is_http11);
        return Framing::Chunked;
    }
    let length = lengths.first().map_or("0", |length| str::from_utf8(length).expect("digits"));
    Framing::Length(length.parse().expect("digits that fit"))
}

/// The length of a chunked body, read in the plainest way; `None` when it is cut off.
fn read_chunks(body: &[u8]) -> Option<usize> {
    let line_end = |at: usize| Some(at + body[at..].windows(2).position(|it| it == b"\r\n")?);
    let mut at = 0;
    loop {
        let end = line_end(at)?;
        let line = str::from_utf8(&body[at..end]).unwrap_or("");
        let digits = line.split(';').next().unwrap_or("");
        let size = u64::from_str_radix(digits, 16).ok().or_else(|| {
            // An extension may hold bytes that are no text; the size never does.
            let semicolon = body[at..end].iter().position(|&byte| byte == b';')?;
            u64::from_str_radix(str::from_utf8(&body[at..][..semicolon]).ok()?, 16).ok()
        });
        let size = size.expect("the screen passed a chunk size that is none");
        assert!(!digits.starts_with('+'));
        at = end + 2;
        if size == 0 {
            break;
        }
        let after = at.checked_add(usize::try_from(size).ok()?)?;
        if body.len() < after + 2 {
            return None;
        }
        assert_eq!(&body[after..after + 2], b"\r\n");
        at = after + 2;
    }
    loop {
        let end = line_end(at)?;
        if end == at {
            return Some(end + 2);
        }
        assert!(body[at..end].contains(&b':'));
        at = end + 2;
    }
}

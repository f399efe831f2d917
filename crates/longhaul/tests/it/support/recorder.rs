//! A backend that parses strictly what reaches it, keeps it, and answers as it is told.
//!
//! It stands for the least forgiving server behind the gateway: whatever it cannot parse by the
//! letter of RFC 9112 is a fault of the gateway, kept in [`Recorder::faults`].

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::raw::{Raw, values};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Start line and fields as they came.
    pub(crate) head: String,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
    /// Which connection brought it, from 0.
    pub(crate) connection: usize,
}

impl Seen {
    /// Method and target.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// All values of a field.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        values(&self.head, name)
    }
}

/// What happens after a request.
pub(crate) enum Answer {
    /// These bytes, then the next request.
    Bytes(Vec<u8>),
    /// These bytes, then the end.
    Last(Vec<u8>),
    /// The connection is handed over, with what was read ahead.
    Take(Box<dyn FnOnce(Raw) + Send>),
}

impl Answer {
    /// 200 with this text.
    pub(crate) fn text(text: &str) -> Self {
        Self::Bytes(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into(),
        )
    }
}

/// The backend. Its threads end with the process.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// Accepts on a free port and answers each request with what `answer` makes of it.
    pub(crate) fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), answer)
    }

    /// The same at an address of one's choice.
    pub(crate) fn start_at(
        address: SocketAddr,
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let (seen, faults) = (Arc::default(), Arc::default());
        let recorder = Self { address, seen: Arc::clone(&seen), faults: Arc::clone(&faults) };
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (seen, faults, answer) = (seen.clone(), faults.clone(), answer.clone());
                std::thread::spawn(move || {
                    if let Err(fault) = serve(stream, connection, &seen, &*answer) {
                        faults.lock().unwrap().push(fault.to_string());
                    }
                });
            }
        });
        recorder
    }

    /// Requests in the order they were complete.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// What a strict server could not accept.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    connection: usize,
    seen: &Mutex<Vec<Seen>>,
    answer: &(dyn Fn(&Seen) -> Answer + Send + Sync),
) -> io::Result<()> {
    let mut raw = Raw::from_parts(stream, Vec::new());
    // Idle pooled connections are no fault; the gateway closes them long before.
    raw.patience(Duration::from_secs(120));
    loop {
        let head = match raw.read_head() {
            Ok(head) => head,
            // Between requests a connection may end; the gateway's probes end at once.
            Err(_) => return Ok(()),
        };
        check_head(&head)?;
        let has = |name| !values(&head, name).is_empty();
        let framed = has("content-length") || has("transfer-encoding");
        if has("expect") {
            raw.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        // An aborted upload is no fault of framing: it never became a request.
        let Ok(body) = (if framed { raw.body(&head) } else { Ok(Vec::new()) }) else {
            return Ok(());
        };
        let request = Seen { head, body, connection };
        seen.lock().unwrap().push(request.clone());
        match answer(&request) {
            Answer::Bytes(bytes) => raw.send_anyway(bytes),
            Answer::Last(bytes) => {
                raw.send_anyway(bytes);
                return Ok(());
            }
            Answer::Take(take) => {
                take(raw);
                return Ok(());
            }
        }
    }
}

/// RFC 9112 §2.2, §3, §5 and §6.3 to the letter.
fn check_head(head: &str) -> io::Result<()> {
    let fault = |what: &str| Err(io::Error::other(format!("{what}: {head:?}")));
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    if words.len() != 3 || words[2] != "HTTP/1.1" || words.iter().any(|word| word.is_empty()) {
        return fault("request line");
    }
    if head.chars().any(|c| c.is_control() && c != '\r' && c != '\n' && c != '\t') {
        return fault("control byte");
    }
    let token = |name: &str| {
        let others = "!#$%&'*+-.^_`|~";
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    for field in lines {
        if field.contains('\n') || field.contains('\r') {
            return fault("bare CR or LF");
        }
        match field.split_once(':') {
            Some((name, _)) if token(name) => {}
            _ => return fault("field"),
        }
    }
    let count = |name| values(head, name).len();
    if count("host") != 1 {
        return fault("Host");
    }
    if count("content-length") + count("transfer-encoding") > 1 {
        return fault("two framings");
    }
    Ok(())
}

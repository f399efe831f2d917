//! A client that sends exactly the bytes it is told to.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// One TCP connection with what was read ahead. Every read ends after 15 s at the latest.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    ahead: Vec<u8>,
}

/// One HTTP answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Start line and fields as they came, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a field that must be there at most once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers(name);
        assert!(found.len() <= 1, "{name} twice in {}", self.head);
        found.first().copied()
    }

    /// All values of a field.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        values(&self.head, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// All values of a field of a head, in order.
pub(crate) fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    fields(head).filter(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1).collect()
}

/// The fields of a head, in order.
pub(crate) fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.split("\r\n").skip(1).filter_map(|line| line.split_once(':')).map(|(n, v)| (n, v.trim()))
}

impl Raw {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address)
            .unwrap_or_else(|error| panic!("connecting to {address}: {error}"))
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(15)))?;
        stream.set_write_timeout(Some(Duration::from_secs(15)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    /// Takes over a connection, with bytes already read from it.
    pub(crate) fn from_parts(stream: TcpStream, ahead: Vec<u8>) -> Self {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(15)));
        Self { stream, ahead }
    }

    /// The same connection for another thread, whose writes may wait for long.
    pub(crate) fn writer(&self) -> Self {
        let stream = self.stream.try_clone().expect("there are descriptors");
        stream.set_write_timeout(Some(Duration::from_secs(120))).expect("it is positive");
        Self { stream, ahead: Vec::new() }
    }

    /// Changes how long one read may take.
    pub(crate) fn patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a positive timeout can be set");
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the peer reads");
    }

    /// Sends and does not mind a peer that has closed: it may rightly have had enough.
    pub(crate) fn send_anyway(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Ends the direction to the peer.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads into what is ahead; false at the end of the stream or a reset.
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.ahead.extend_from_slice(&buffer[..count]);
                Ok(count > 0)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Exactly so many bytes, or an error when the stream ends or stalls before.
    pub(crate) fn read_exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.ahead.split_off(count);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    /// At least one byte, whatever is there; empty at the end.
    pub(crate) fn read_some(&mut self) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    /// Everything until the peer closes.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill().expect("the peer closes within the deadline") {}
        std::mem::take(&mut self.ahead)
    }

    /// Whether the peer closes without another byte.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Start line and fields up to the empty line, which is taken off.
    pub(crate) fn read_head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let rest = self.ahead.split_off(end + 4);
                let mut head = std::mem::replace(&mut self.ahead, rest);
                head.truncate(end);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// One answer to a request that was not HEAD.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.try_response().expect("an answer comes within the deadline")
    }

    pub(crate) fn try_response(&mut self) -> io::Result<Response> {
        let mut response = self.response_head()?;
        if response.status != 101 && response.status != 204 && response.status != 304 {
            response.body = self.body(&response.head)?;
        }
        Ok(response)
    }

    /// The head of one answer; its body stays to be read.
    pub(crate) fn response_head(&mut self) -> io::Result<Response> {
        let head = self.read_head()?;
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not an answer: {head:?}")))?;
        Ok(Response { status, head, body: Vec::new() })
    }

    /// A body as its head frames it: chunked, by length, or to the end.
    pub(crate) fn body(&mut self, head: &str) -> io::Result<Vec<u8>> {
        if values(head, "transfer-encoding") == ["chunked"] {
            let mut body = Vec::new();
            loop {
                let chunk = self.chunk()?;
                if chunk.is_empty() {
                    return Ok(body);
                }
                body.extend(chunk);
            }
        }
        match values(head, "content-length").first() {
            Some(length) => self.read_exact(length.parse().map_err(io::Error::other)?),
            None => {
                while self.fill()? {}
                Ok(std::mem::take(&mut self.ahead))
            }
        }
    }

    /// One chunk; the last is empty, with its trailers read.
    pub(crate) fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        if size == 0 {
            while !self.line()?.is_empty() {}
            return Ok(Vec::new());
        }
        let chunk = self.read_exact(size)?;
        let end = self.line()?;
        if end.is_empty() { Ok(chunk) } else { Err(io::Error::other("no CRLF after a chunk")) }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = self.read_exact(end + 2)?;
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// One request on a connection of its own, closed afterwards.
#[track_caller]
pub(crate) fn get(address: SocketAddr, target: &str) -> Response {
    request(address, target, "")
}

/// The same with more fields, each ended by CRLF.
#[track_caller]
pub(crate) fn request(address: SocketAddr, target: &str, fields: &str) -> Response {
    let mut client = Raw::connect(address);
    client
        .send(format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{fields}\r\n"));
    client.response()
}

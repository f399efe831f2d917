//! One WebSocket to the gateway: opened, read and written in whole messages.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use longhaul_proto::durable::{Form, Head, SUBPROTOCOL, code};
use longhaul_proto::websocket::frame::FrameHead;
use longhaul_proto::websocket::handshake::{self, Offer};
use longhaul_proto::websocket::messages::{Event, Messages};
use longhaul_proto::websocket::{CloseCode, Opcode, Role, mask};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::options::{Options, Target};

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What is read at once.
const READ_BYTES: usize = 16 << 10;
/// Longest message of a link: control and chunks are far below it.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// Frames that may wait for the peer.
const FRAMES_MAX: usize = 64;

/// What carries a link.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One WebSocket.
pub(crate) struct Link {
    io: Box<dyn Io>,
    messages: Messages,
    read_ahead: Bytes,
    queue: VecDeque<Bytes>,
    is_closing: bool,
}

/// What a read brought.
pub(crate) enum Read {
    Message(Form, Bytes),
    Closed(Option<CloseCode>),
    Fault(CloseCode),
}

/// Opens a WebSocket that speaks the subprotocol.
///
/// # Errors
/// A code when there is no point in trying again.
pub(crate) async fn open(options: Arc<Options>) -> Result<Link, Option<CloseCode>> {
    let target = &options.target;
    let io = connect(target).await.map_err(|_| None)?;
    shake_hands(io, &options).await
}

async fn connect(target: &Target) -> io::Result<Box<dyn Io>> {
    let host = target.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, target.port)).await?;
    stream.set_nodelay(true)?;
    if !target.is_tls {
        return Ok(Box::new(stream));
    }
    let name =
        rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    Ok(Box::new(connector.connect(name, stream).await?))
}

async fn shake_hands(mut io: Box<dyn Io>, options: &Options) -> Result<Link, Option<CloseCode>> {
    let key = handshake::new_key(fastrand::u128(..).to_be_bytes());
    io.write_all(request(options, &key).as_bytes()).await.map_err(|_| None)?;
    io.flush().await.map_err(|_| None)?;
    let mut answer = BytesMut::new();
    let end = loop {
        if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if answer.len() > HEAD_BYTES_MAX || io.read_buf(&mut answer).await.unwrap_or(0) == 0 {
            return Err(None);
        }
    };
    let head = answer.split_to(end);
    let head = std::str::from_utf8(&head).map_err(|_| None)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse::<u16>().ok());
    let fields: Vec<(&str, &[u8])> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim().as_bytes()))
        .collect();
    match status {
        Some(101) => {}
        Some(401 | 403) => return Err(Some(code::LOGIN_REFUSED)),
        Some(408 | 425 | 429) => return Err(None),
        Some(400..=499) => return Err(Some(code::REFUSED)),
        _ => return Err(None),
    }
    let mut subprotocols = vec![SUBPROTOCOL.as_bytes()];
    subprotocols.extend(options.protocols.iter().map(|name| name.as_bytes()));
    let offer = Offer { key: key.as_bytes(), subprotocols, extensions: Vec::new() };
    let chosen = handshake::validate_response(101, fields.iter().copied(), &offer);
    // Another choice means that no gateway is there; its next answer would be the same.
    if chosen != Ok(Some(SUBPROTOCOL.as_bytes())) {
        return Err(Some(code::REFUSED));
    }
    Ok(Link {
        io,
        messages: Messages::new(Role::Server, MESSAGE_BYTES_MAX),
        read_ahead: answer.freeze(),
        queue: VecDeque::new(),
        is_closing: false,
    })
}

fn request(options: &Options, key: &str) -> String {
    let Target { host, port, path, is_tls } = &options.target;
    let default_port = if *is_tls { 443 } else { 80 };
    let host = if *port == default_port { host.clone() } else { format!("{host}:{port}") };
    let mut protocols = SUBPROTOCOL.to_owned();
    for name in &options.protocols {
        protocols += ", ";
        protocols += name;
    }
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Protocol: {protocols}\r\n"
    );
    for (name, value) in &options.headers {
        request += &format!("{name}: {value}\r\n");
    }
    request + "\r\n"
}

impl Link {
    /// Puts one message behind everything before it.
    pub(crate) fn send(&mut self, form: Form, head: &Head, payload: &[u8]) {
        let opcode = match form {
            Form::Text => Opcode::TEXT,
            Form::Binary => Opcode::BINARY,
        };
        self.frame(opcode, &[head.as_bytes(), payload]);
    }

    /// Closes behind everything before; nothing is sent after it.
    pub(crate) fn close(&mut self, code: CloseCode) {
        self.frame(Opcode::CLOSE, &[&code.0.to_be_bytes()]);
        self.is_closing = true;
    }

    fn frame(&mut self, opcode: Opcode, parts: &[&[u8]]) {
        if self.is_closing {
            return;
        }
        let len = parts.iter().map(|part| part.len()).sum();
        let key = fastrand::u32(..).to_be_bytes();
        let head = FrameHead::new(opcode, len, Some(key));
        let mut frame = BytesMut::with_capacity(head.as_bytes().len() + len);
        frame.extend_from_slice(head.as_bytes());
        for part in parts {
            frame.extend_from_slice(part);
        }
        mask::apply(&mut frame[head.as_bytes().len()..], key, 0);
        self.queue.push_back(frame.freeze());
    }

    /// Whether so much waits for the peer that no more should be put behind it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.queue.len() >= FRAMES_MAX
    }

    /// Writes what waits, as far as the peer takes it.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(front) = self.queue.front_mut() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, front))?;
            front.advance(written);
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// The next message, or the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        loop {
            while !self.read_ahead.is_empty() {
                let event = match self.messages.feed(&self.read_ahead) {
                    Ok((used, event)) => {
                        self.read_ahead.advance(used);
                        event
                    }
                    Err(fault) => return Poll::Ready(Read::Fault(fault)),
                };
                match event {
                    Some(Event::Text(text)) => return Poll::Ready(Read::Message(Form::Text, text)),
                    Some(Event::Binary(bytes)) => {
                        return Poll::Ready(Read::Message(Form::Binary, bytes));
                    }
                    Some(Event::Ping(payload)) => self.frame(Opcode::PONG, &[&payload]),
                    Some(Event::Close(code, _)) => return Poll::Ready(Read::Closed(code)),
                    // Some events are of readers that take messages as they come.
                    Some(Event::Pong | Event::Masked { .. } | Event::Pieces { .. }) | None => {}
                }
            }
            let mut bytes = vec![0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
            let len = buffer.filled().len();
            if read.is_err() || len == 0 {
                return Poll::Ready(Read::Closed(None));
            }
            bytes.truncate(len);
            self.read_ahead = bytes.into();
        }
    }
}

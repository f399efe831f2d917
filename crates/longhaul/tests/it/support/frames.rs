//! WebSocket frames (RFC 6455 §5.2) written and read as plainly as possible, on a raw connection.
//!
//! An independent second opinion on the gateway's own codec: it shares no code with it.

use std::io;
use std::net::SocketAddr;

use super::raw::{Raw, Response};

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The key every raw handshake sends, and what a server must answer (RFC 6455 §1.3).
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// One frame as it stood on the wire, unmasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Close code of a close frame; 1005 when it has none.
    pub(crate) fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE, "{self:?} is not a close frame");
        self.payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]))
    }
}

/// The bytes of one frame; `first` holds FIN, RSV and opcode as on the wire.
pub(crate) fn encode(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => bytes.push(bit | short as u8),
        middle @ 126..=65535 => {
            bytes.push(bit | 126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(bit | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(mask.into_iter().flatten());
    let key = mask.unwrap_or([0; 4]);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A whole message from a client.
pub(crate) fn from_client(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(0x80 | opcode, Some([0x11, 0x22, 0x33, 0x44]), payload)
}

/// A close frame from a client.
pub(crate) fn close_from_client(code: u16, reason: &str) -> Vec<u8> {
    from_client(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// The handshake of a client, with more fields that each end in CRLF.
pub(crate) fn handshake(target: &str, fields: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{fields}\r\n"
    )
}

/// The answer of a server that accepts [`KEY`].
pub(crate) fn accepted() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
}

/// Opens a WebSocket.
#[track_caller]
pub(crate) fn open(address: SocketAddr, target: &str) -> Raw {
    let (client, response) = try_open(address, target, "").expect("the gateway answers");
    assert_eq!(response.status, 101, "{}\n{}", response.head, response.text());
    client
}

/// Sends a handshake and returns the answer, whatever it is.
pub(crate) fn try_open(
    address: SocketAddr,
    target: &str,
    fields: &str,
) -> io::Result<(Raw, Response)> {
    let mut client = Raw::try_connect(address)?;
    client.send_anyway(handshake(target, fields));
    let response = client.try_response()?;
    Ok((client, response))
}

/// Reads one frame.
pub(crate) fn read(client: &mut Raw) -> io::Result<Frame> {
    let start = client.read_exact(2)?;
    let length = match start[1] & 0x7f {
        126 => u16::from_be_bytes(array(&client.read_exact(2)?)).into(),
        127 => u64::from_be_bytes(array(&client.read_exact(8)?)),
        short => short.into(),
    };
    let key: [u8; 4] = if start[1] & 0x80 != 0 { array(&client.read_exact(4)?) } else { [0; 4] };
    let mut payload = client.read_exact(length as usize)?;
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Ok(Frame { fin: start[0] & 0x80 != 0, opcode: start[0] & 0x0f, payload })
}

/// Reads until a close frame comes and returns its code; other frames are skipped.
pub(crate) fn close_code(client: &mut Raw) -> io::Result<u16> {
    loop {
        let frame = read(client)?;
        if frame.opcode == CLOSE {
            return Ok(frame.close_code());
        }
    }
}

/// Sends a text and expects it back; the gateway's pings may come between.
#[track_caller]
pub(crate) fn echo(client: &mut Raw, text: &str) {
    client.send(from_client(TEXT, text.as_bytes()));
    let frame = loop {
        let frame = read(client).expect("the echo comes");
        if frame.opcode != PING {
            break frame;
        }
    };
    assert_eq!((frame.opcode, frame.payload), (TEXT, text.as_bytes().to_vec()));
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("as many were asked for")
}

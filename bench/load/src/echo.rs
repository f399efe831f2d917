//! The backend: answers every WebSocket handshake and echoes every message. Not measured, so it is
//! written for clarity; it must only keep up.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: ";

/// Serves until the process is ended.
pub(crate) fn serve(address: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            // A client that leaves ends its connection, and nothing else.
            tokio::spawn(async move { drop(echo(stream).await) });
        }
    })
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
    // Every client here sends the same key; see `stream`.
    let answer = [ANSWER, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"].concat();
    stream.write_all(&answer).await?;
    // Freed until the first message, so that idle connections cost the measured machine little.
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let mut out = Vec::new();
        while let Some(taken) = echo_frame(&bytes, &mut out) {
            bytes.drain(..taken);
        }
        stream.write_all(&out).await?;
        if bytes.is_empty() {
            bytes = Vec::new();
        }
    }
}

/// Turns the first whole client frame into a server frame; returns how many bytes it took.
fn echo_frame(bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let &[first, second, ..] = bytes else { return None };
    let (len, at) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize, 10),
        len => (usize::from(len), 2),
    };
    let key: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    let payload = bytes.get(at + 4..at + 4 + len)?;
    // A ping is answered with a pong; everything else comes back as it is.
    out.push(if first == 0x89 { 0x8a } else { first });
    out.push(second & 0x7f);
    out.extend_from_slice(&bytes[2..at]);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Some(at + 4 + len)
}

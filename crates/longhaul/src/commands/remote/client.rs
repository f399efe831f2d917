//! Asks a running gateway by its admin API: one request, one answer, one deadline.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

/// A reload waits for new upstreams to be looked up and probed; everything else answers at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// A new binary may be given ten minutes to start (`timeouts.upgrade_start`).
const PATIENCE_LONG: Duration = Duration::from_secs(660);
/// Ten times a page of 1,000 connections.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Which gateway to ask, and how to print the answer.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// Its admin API: ADDRESS:PORT, or unix:PATH.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "LONGHAUL_ADMIN",
        hide_env_values = true,
        default_value = "127.0.0.1:9090"
    )]
    admin: String,
    /// File with the admin token; otherwise it is taken from LONGHAUL_ADMIN_TOKEN.
    #[arg(long, value_name = "FILE", env = "LONGHAUL_ADMIN_TOKEN_FILE", hide_env_values = true)]
    admin_token_file: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error(
        "cannot reach the admin API at {address}; is it on (--admin), and is this its address?"
    )]
    Unreached {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the admin token from {}", path.display())]
    Token {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{address} does not answer like an admin API of Longhaul")]
    Garbled { address: String },
    /// In its own words.
    #[error("{0}")]
    Refused(String),
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Remote {
    /// Reads something.
    pub(crate) fn get(&self, path: &str) -> Result<Value, RemoteError> {
        self.ask("GET", path, "", PATIENCE)
    }

    /// Changes something. `body` is JSON, or nothing.
    pub(crate) fn change(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Value, RemoteError> {
        self.ask(method, path, body, PATIENCE)
    }

    /// Changes something that may take minutes.
    pub(crate) fn change_slowly(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Value, RemoteError> {
        self.ask(method, path, body, PATIENCE_LONG)
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        body: &str,
        patience: Duration,
    ) -> Result<Value, RemoteError> {
        let token = match self.token()? {
            Some(token) => format!("Authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let address = || self.admin.clone();
        let answer = self
            .exchange(request.as_bytes(), patience)
            .map_err(|source| RemoteError::Unreached { address: address(), source })?;
        let (status, body) =
            read(&answer).ok_or_else(|| RemoteError::Garbled { address: address() })?;
        if body.is_empty() && (200..300).contains(&status) {
            return Ok(Value::Null);
        }
        let value: Value = serde_json::from_slice(body)
            .map_err(|_| RemoteError::Garbled { address: address() })?;
        if (200..300).contains(&status) {
            return Ok(value);
        }
        let reason = value["error"].as_str().map(str::to_owned);
        Err(RemoteError::Refused(reason.unwrap_or_else(|| format!("answered {status}"))))
    }

    fn token(&self) -> Result<Option<String>, RemoteError> {
        if let Some(path) = &self.admin_token_file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| RemoteError::Token { path: path.clone(), source })?;
            return Ok(Some(text.trim().to_owned()));
        }
        Ok(std::env::var("LONGHAUL_ADMIN_TOKEN").ok().filter(|token| !token.is_empty()))
    }

    fn exchange(&self, request: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
        let mut stream = self.connect(patience)?;
        stream.write_all(request)?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn connect(&self, patience: Duration) -> io::Result<Box<dyn Stream>> {
        if let Some(path) = self.admin.strip_prefix("unix:") {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            return Ok(Box::new(stream));
        }
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in self.admin.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(patience))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    return Ok(Box::new(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Status and body of an answer that was read to its end.
fn read(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(read(answer), Some((404, &b"{}"[..])));
        for other in [&b"SSH-2.0-OpenSSH\r\n\r\n"[..], b"HTTP/1.1 ok\r\n\r\n", b"", b"HTTP/1.1 200"]
        {
            assert_eq!(read(other), None);
        }
    }
}

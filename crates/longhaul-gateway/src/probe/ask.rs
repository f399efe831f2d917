//! Puts one question to one replica: does it accept, answer, or upgrade?

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response, StatusCode, Uri, Version as HttpVersion, header};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use longhaul_proto::proxy_protocol::encode;
use longhaul_proto::websocket::CloseCode;
use longhaul_proto::websocket::frame::OwnFrame;
use longhaul_proto::websocket::handshake::{self, HandshakeFault, Offer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::{Probe, ProbeKind, UpstreamConfig};
use crate::dial::{Unreached, reach};
use crate::supervise::AbortOnDrop;
use crate::tls::Alpn;
use crate::transport::Transport;

/// Bytes of an answer's head. The body is not read.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a replica may take to answer the close frame. Whether it does changes nothing; waiting
/// spares it an error in its log.
const CLOSE_MAX: Duration = Duration::from_millis(500);

/// Why a probe failed, as the log and the API say it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeFault {
    #[error("no answer within {within:?}")]
    TimedOut { within: Duration },
    #[error(transparent)]
    Unreached(#[from] Unreached),
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("cannot ask: {0}")]
    Request(#[from] http::Error),
    #[error("answered {got}, expected {expected}")]
    Status { got: StatusCode, expected: String },
    #[error("answered {got} to a WebSocket upgrade")]
    NoUpgrade { got: StatusCode },
    #[error("answered a WebSocket upgrade wrongly: {0}")]
    Handshake(#[from] HandshakeFault),
    #[error("the connection broke at once: {0}")]
    Broken(#[source] io::Error),
}

impl ProbeFault {
    /// Whether the replica is there and says that it is not ready.
    pub(super) fn says_unready(&self) -> bool {
        let (Self::Status { got, .. } | Self::NoUpgrade { got }) = self else { return false };
        *got == StatusCode::SERVICE_UNAVAILABLE
    }
}

/// Asks once, within the probe's total deadline. A future dropped midway closes the connection.
///
/// Where replicas want the PROXY protocol, the header says that the gateway speaks for itself. HTTP
/// is asked in the version that requests are passed on in.
pub(super) async fn ask(
    probe: &Probe,
    replica: SocketAddr,
    config: &UpstreamConfig,
) -> Result<(), ProbeFault> {
    let asked = async {
        let proxy_protocol = config.proxy_protocol;
        let header = proxy_protocol.map_or_else(Vec::new, |version| encode(version, None));
        let is_http = matches!(probe.kind, ProbeKind::Http { .. });
        let by_http2 = config.http2.is_some() && is_http;
        let alpn = if by_http2 { Alpn::Http2 } else { Alpn::Http1 };
        let stream = reach(replica, &header, config.tls.as_ref(), alpn, b"").await?;
        // Behind TLS it is the replica that chooses.
        let by_http2 = by_http2 && (config.tls.is_none() || stream.protocol() == Some(b"h2"));
        match &probe.kind {
            ProbeKind::Tcp => Ok(()),
            ProbeKind::Http { path, host, status } => {
                let request = request(path, host.as_deref(), replica);
                let (answer, _connection) = match by_http2 {
                    true => exchange_by_http2(stream, request, config.tls.is_some()).await?,
                    false => exchange(stream, request).await?,
                };
                judge(answer.status(), *status)
            }
            ProbeKind::WebSocket { path, host } => {
                upgrade(stream, path, host.as_deref(), replica).await
            }
        }
    };
    let within = probe.timeout;
    tokio::time::timeout(within, asked).await.unwrap_or(Err(ProbeFault::TimedOut { within }))
}

fn judge(got: StatusCode, expected: Option<StatusCode>) -> Result<(), ProbeFault> {
    match expected {
        Some(expected) if got == expected => Ok(()),
        None if got.is_success() || got.is_redirection() => Ok(()),
        Some(expected) => Err(ProbeFault::Status { got, expected: expected.to_string() }),
        None => Err(ProbeFault::Status { got, expected: "2xx or 3xx".to_owned() }),
    }
}

async fn upgrade(
    stream: Transport,
    path: &str,
    host: Option<&str>,
    replica: SocketAddr,
) -> Result<(), ProbeFault> {
    let key = handshake::new_key(fastrand::u128(..).to_be_bytes());
    let request = request(path, host, replica)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key);
    let (answer, _connection) = exchange(stream, request).await?;
    let got = answer.status();
    if got != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ProbeFault::NoUpgrade { got });
    }
    let fields: Vec<_> =
        answer.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    handshake::validate_response(
        got.as_u16(),
        fields.iter().copied(),
        &Offer::plain(key.as_bytes()),
    )?;
    let mut socket = TokioIo::new(hyper::upgrade::on(answer).await?);
    let mask = fastrand::u32(..).to_be_bytes();
    let close = OwnFrame::close(CloseCode::NORMAL, "", Some(mask));
    socket.write_all(close.as_bytes()).await.map_err(ProbeFault::Broken)?;
    socket.flush().await.map_err(ProbeFault::Broken)?;
    let mut answer = [0; 256];
    let until_the_end =
        async { while socket.read(&mut answer).await.is_ok_and(|read| read > 0) {} };
    let _ = tokio::time::timeout(CLOSE_MAX, until_the_end).await;
    Ok(())
}

fn request(path: &str, host: Option<&str>, replica: SocketAddr) -> http::request::Builder {
    let host = host.map_or_else(|| replica.to_string(), str::to_owned);
    Request::get(path).header(header::HOST, host).header(header::USER_AGENT, "longhaul-probe")
}

/// Sends a request and returns the head of the answer, with what keeps its connection open.
async fn exchange(
    stream: Transport,
    request: http::request::Builder,
) -> Result<(Response<Incoming>, AbortOnDrop<hyper::Result<()>>), ProbeFault> {
    let request = request.body(Empty::<Bytes>::new())?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDrop(tokio::spawn(connection.with_upgrades()));
    let answer = sender.send_request(request).await?;
    Ok((answer, connection))
}

/// The same by HTTP/2, where the host and the scheme have fields of their own.
async fn exchange_by_http2(
    stream: Transport,
    request: http::request::Builder,
    is_tls: bool,
) -> Result<(Response<Incoming>, AbortOnDrop<hyper::Result<()>>), ProbeFault> {
    let mut request = request.version(HttpVersion::HTTP_2).body(Empty::<Bytes>::new())?;
    let host = request.headers_mut().remove(header::HOST);
    let host = host.as_ref().map_or(&b""[..], |host| host.as_bytes());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::builder()
        .scheme(if is_tls { "https" } else { "http" })
        .authority(host)
        .path_and_query(path)
        .build()?;
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .handshake(TokioIo::new(stream))
        .await?;
    let connection = AbortOnDrop(tokio::spawn(connection));
    let answer = sender.send_request(request).await?;
    Ok((answer, connection))
}

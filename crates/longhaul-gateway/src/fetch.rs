//! Asks a service of the operator's over HTTP: an authentication service, an issuer's keys.
//!
//! Connections are kept and used again. Nothing here has a deadline of its own: whoever asks has one
//! for everything, from the lookup of the name to the last byte. Dropping a request closes its
//! connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::tls::{self, Alpn, UpstreamTls};
use crate::transport::Transport;

/// Kept connections are closed by then; below what servers commonly grant.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// How long an address is believed before the name is looked up again.
const LOOKUP_MAX_AGE: Duration = Duration::from_secs(30);
/// Header fields of an answer.
const ANSWER_FIELDS_MAX: usize = 100;

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to by TLS; `None`: it is not.
    pub tls: Option<UpstreamTls>,
    /// Path and query of what is asked.
    pub path: String,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        // A query may hold a key.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}:{}{path}", self.host, self.port)
    }
}

/// Why a service gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("cannot look up {host}")]
    Lookup {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Tls(String),
    #[error("no whole answer: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("the answer is longer than {0} bytes, or breaks off")]
    Body(usize),
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What asks one service.
#[derive(Debug)]
pub(crate) struct Fetch {
    service: Service,
    idle_max: usize,
    idle: Mutex<Vec<(SendRequest<Full<Bytes>>, Instant)>>,
    found: Mutex<Option<(Vec<SocketAddr>, Instant)>>,
}

impl Fetch {
    pub(crate) fn new(service: Service, idle_max: usize) -> Self {
        Self { service, idle_max, idle: Mutex::default(), found: Mutex::default() }
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// A request for what the service's address says.
    pub(crate) fn get(&self) -> Result<Request<Full<Bytes>>, FetchError> {
        Ok(Request::get(&self.service.path).body(Full::default())?)
    }

    /// Posts a message in protobuf, and has it taken or learns why it was not. The caller has the deadline.
    ///
    /// # Errors
    /// In words for the log.
    pub(crate) async fn post_protobuf(&self, body: Vec<u8>) -> Result<(), String> {
        const ANSWER_BYTES_MAX: usize = 64 << 10;
        let request = Request::post(&self.service.path)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let answer = self.send(request, ANSWER_BYTES_MAX).await;
        let status = answer.map_err(|error| error.to_string())?.status;
        if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
    }

    /// Sends a request, by a kept connection if there is one, and reads the answer. A request that a
    /// kept connection lost is sent once more: the service was closing it at that moment.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        body_bytes_max: usize,
    ) -> Result<Fetched, FetchError> {
        let Service { host, port, tls, .. } = &self.service;
        let is_usual = *port == if tls.is_some() { 443 } else { 80 };
        let host = if is_usual { host.clone() } else { format!("{host}:{port}") };
        if !request.headers().contains_key(HOST) {
            request
                .headers_mut()
                .insert(HOST, HeaderValue::try_from(host).map_err(http::Error::from)?);
        }
        if let Some(sender) = self.take_idle() {
            let again = request.clone();
            match self.exchange(sender, request, body_bytes_max).await {
                Err(FetchError::Exchange(error)) if error.is_canceled() || is_cut(&error) => {
                    request = again;
                }
                answered => return answered,
            }
        }
        let sender = self.connect().await?;
        self.exchange(sender, request, body_bytes_max).await
    }

    async fn exchange(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
        body_bytes_max: usize,
    ) -> Result<Fetched, FetchError> {
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, body_bytes_max).collect().await;
        let body = body.map_err(|_| FetchError::Body(body_bytes_max))?.to_bytes();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max && !sender.is_closed() {
            idle.push((sender, Instant::now()));
        }
        Ok(Fetched { status: head.status, headers: head.headers, body })
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_MAX);
        let ready = idle.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(idle.swap_remove(ready).0)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, FetchError> {
        let mut failure = None;
        for address in self.addresses().await? {
            match self.reach(address).await {
                Ok(stream) => {
                    let (sender, connection) = http1::Builder::new()
                        .max_headers(ANSWER_FIELDS_MAX)
                        .handshake(TokioIo::new(stream))
                        .await?;
                    // Ends when the sender is dropped or the service closes; a failure shows in the
                    // exchange that waits for it.
                    drop(tokio::spawn(async move { drop(connection.await) }));
                    return Ok(sender);
                }
                Err(error) => failure = Some(error),
            }
        }
        // Addresses that nobody answers at are looked up anew.
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Err(failure.unwrap_or_else(|| FetchError::Connect(io::ErrorKind::NotFound.into())))
    }

    async fn reach(&self, address: SocketAddr) -> Result<Transport, FetchError> {
        let stream = TcpStream::connect(address).await.map_err(FetchError::Connect)?;
        // A socket that refuses the option is broken and will say so when it is used.
        let _ = stream.set_nodelay(true);
        match &self.service.tls {
            None => Ok(stream.into()),
            Some(tls) => {
                let connected = tls.connect(stream, address, Alpn::Http1).await;
                connected.map_err(|error| FetchError::Tls(tls::explain(&error)))
            }
        }
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, FetchError> {
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((addresses, at)) = &known
            && at.elapsed() < LOOKUP_MAX_AGE
        {
            return Ok(addresses.clone());
        }
        let Service { host, port, .. } = &self.service;
        let name = host.trim_start_matches('[').trim_end_matches(']');
        match tokio::net::lookup_host((name, *port)).await {
            Ok(found) => {
                let found: Vec<SocketAddr> = found.collect();
                let kept = (found.clone(), Instant::now());
                *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
                Ok(found)
            }
            // A resolver that fails for a while does not make the service move.
            Err(source) => match known {
                Some((addresses, _)) => Ok(addresses),
                None => Err(FetchError::Lookup { host: host.clone(), source }),
            },
        }
    }
}

/// Whether a connection ended under a request.
fn is_cut(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_closed() || error.is_body_write_aborted()
}

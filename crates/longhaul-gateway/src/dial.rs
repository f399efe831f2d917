//! Reaches a replica: picks one, connects, tries the next, all within one deadline.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use longhaul_proto::proxy_protocol::{Ends, encode};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::answer::Refusal;
use crate::http::failure::Failure;
use crate::tls::{self, Alpn, UpstreamTls};
use crate::transport::Transport;
use crate::upstream::{NoReplica, Replica, Upstream};

/// One attempt to have one piece of work taken by some replica of an upstream.
#[derive(Debug)]
pub(crate) struct Dial<'a> {
    pub(crate) upstream: &'a Arc<Upstream>,
    head: Option<&'a Parts>,
    client: IpAddr,
    deadline: Instant,
    /// Sent first on each connection: nothing, or a PROXY protocol header.
    header: Vec<u8>,
    tried: Vec<SocketAddr>,
    /// What the last connect failed with, for when no replica is left.
    failure: Option<Failure>,
}

impl<'a> Dial<'a> {
    /// Starts the clock of the upstream's connect deadline. `head` is `None` for raw TCP; `ends` are
    /// announced to replicas that want to know.
    pub(crate) fn new(
        upstream: &'a Arc<Upstream>,
        head: Option<&'a Parts>,
        client: IpAddr,
        ends: Ends,
    ) -> Self {
        let config = upstream.config();
        let version = config.proxy_protocol;
        Self {
            header: version.map_or_else(Vec::new, |version| encode(version, Some(ends))),
            upstream,
            head,
            client,
            deadline: Instant::now() + config.connect_deadline,
            tried: Vec::new(),
            failure: None,
        }
    }

    /// Counts these replicas as tried.
    pub(crate) fn avoid(&mut self, replicas: &[SocketAddr]) {
        self.tried.extend_from_slice(replicas);
    }

    /// The next replica that was not tried yet.
    ///
    /// # Errors
    /// Why there is none: what the last connect failed with, or that the upstream is empty.
    pub(crate) fn pick(&mut self) -> Result<Arc<Replica>, Failure> {
        let now = Instant::now();
        if self.deadline <= now {
            return Err(self.failure.take().unwrap_or(Refusal::ConnectTimeout.into()));
        }
        match self.upstream.pick(self.head, self.client, &self.tried, now) {
            Ok(replica) => {
                self.tried.push(replica.address());
                Ok(replica)
            }
            Err(NoReplica::Empty { .. } | NoReplica::Draining { .. }) => {
                Err(self.failure.take().unwrap_or(Refusal::NoReplica.into()))
            }
            Err(NoReplica::Exhausted { .. }) => {
                Err(self.failure.take().unwrap_or(Refusal::Unreachable.into()))
            }
        }
    }

    /// Connects to `replica`; `None` means: pick the next.
    pub(crate) async fn connect(&mut self, replica: &Arc<Replica>) -> Option<Transport> {
        let alpn = if self.head.is_some() { Alpn::Http1 } else { Alpn::Nothing };
        self.connect_offering(replica, alpn).await
    }

    /// The same, with a choice of protocols behind TLS.
    pub(crate) async fn connect_offering(
        &mut self,
        replica: &Arc<Replica>,
        alpn: Alpn,
    ) -> Option<Transport> {
        self.connect_and_say(replica, alpn, b"").await
    }

    /// The same, and sends `words` as soon as the replica can take them.
    pub(crate) async fn connect_and_say(
        &mut self,
        replica: &Arc<Replica>,
        alpn: Alpn,
        words: &[u8],
    ) -> Option<Transport> {
        let attempt = self.attempt();
        let address = replica.address();
        let config = self.upstream.config();
        let tls = config.tls.as_ref();
        let failure = match timeout(attempt, reach(address, &self.header, tls, alpn, words)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(Unreached::Connect(error))) => Refusal::Unreachable.of(address, error),
            Ok(Err(Unreached::Tls(reason))) => Refusal::ReplicaTls.of(address, reason),
            Err(_) => {
                Refusal::ConnectTimeout.of(address, format_args!("no connection in {attempt:?}"))
            }
        };
        replica.note_failure(Instant::now());
        self.fail(failure);
        None
    }

    /// Says why the last replica did not work out, for when no other is left.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    /// The time for one attempt at one replica.
    pub(crate) fn attempt(&self) -> Duration {
        self.upstream.config().connect_attempt.min(self.remaining())
    }

    /// What is left of the deadline.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Why a replica could not be spoken to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    /// It took no connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// TLS with it failed. In words, with the remedy.
    #[error("{0}")]
    Tls(String),
}

/// Connects to a replica the way its upstream wants it: `header` first, TLS around the rest, which
/// begins with `words`. Waits as long as the replica does; the caller has the deadline.
///
/// # Errors
/// [`Unreached`], with what the system said.
pub(crate) async fn reach(
    replica: SocketAddr,
    header: &[u8],
    tls: Option<&UpstreamTls>,
    alpn: Alpn,
    words: &[u8],
) -> Result<Transport, Unreached> {
    let Some(tls) = tls else {
        let stream = match (header, words) {
            ([], first) | (first, []) => connect(replica, first).await?,
            both => connect(replica, &[both.0, both.1].concat()).await?,
        };
        return Ok(stream.into());
    };
    let stream = connect(replica, header).await?;
    let connected = tls.connect(stream, replica, alpn).await;
    let mut stream = connected.map_err(|error| Unreached::Tls(tls::explain(&error)))?;
    stream.write_all(words).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Connects, and sends `first`.
async fn connect(address: SocketAddr, first: &[u8]) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    // Small messages must not wait for the acknowledgement of earlier ones. A socket that refuses
    // the option is already broken and will say so when used.
    let _ = socket.set_tcp_nodelay(true);
    match socket.connect(&address.into()) {
        Err(error) if !is_in_progress(&error) => return Err(error),
        _ => {}
    }
    // A replica on this machine is connected by now and takes its bytes at once, which spares the
    // wait and the question how the connect went. Any other does not, yet.
    let sent = match first {
        [] => None,
        first => match socket.send(first) {
            Ok(sent) => Some(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => return Err(error),
        },
    };
    let mut stream = TcpStream::from_std(socket.into())?;
    if sent.is_none() {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    stream.write_all(&first[sent.unwrap_or(0)..]).await?;
    Ok(stream)
}

fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
        || error.kind() == io::ErrorKind::WouldBlock
}

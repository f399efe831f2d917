//! One connection to the store: reaches it, logs in, and has it show that it can do what it is asked.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value, cmd};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::config::{StoreAddress, StoreConfig};
use crate::tls::{self, Alpn, UpstreamTls};
use crate::transport::Transport;

/// How long what is written on trial is kept, should it not be taken back.
const TRIAL_LIFE: Duration = Duration::from_secs(10);

/// One connection, which any number may use at once. Cheap to clone; the last one closes it.
#[derive(Debug, Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    /// Cancelled when the connection is gone.
    pub(super) ended: CancellationToken,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkFault {
    #[error("its name is not found: {0}")]
    Lookup(io::Error),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Tls(String),
    #[error("{0}")]
    Refused(String),
    #[error("it does not keep what it is given: is it a replica, or older than Redis 6.2?")]
    Forgetful,
}

impl Link {
    /// Connects. The caller has the deadline; dropping this closes what was begun.
    pub(super) async fn open(config: &StoreConfig) -> Result<Self, LinkFault> {
        let link = match &config.address {
            StoreAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(LinkFault::Connect)?;
                Self::over(stream, config).await?
            }
            StoreAddress::Tcp { host, port, tls } => {
                let stream = reach(host, *port, tls.as_ref()).await?;
                Self::over(stream, config).await?
            }
        };
        link.prove(config).await?;
        Ok(link)
    }

    /// Logs in over a stream, and spawns what reads from it.
    async fn over<S>(stream: S, config: &StoreConfig) -> Result<Self, LinkFault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Saying what library this is would be one more command that its user has to be allowed.
        let who = RedisConnectionInfo::default().set_skip_set_lib_name();
        let mut who = who.set_db(i64::from(config.database));
        if let Some(user) = &config.user {
            who = who.set_username(user);
        }
        if let Some(password) = &config.password {
            who = who.set_password(password.reveal());
        }
        // Whoever asks has a deadline of the configuration's.
        let terms = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, work) = MultiplexedConnection::new_with_config(&who, stream, terms)
            .await
            .map_err(|error| LinkFault::Refused(in_words(&error)))?;
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        // Ends with the last clone of the link, or when the store closes; a panic tells `ended` too.
        drop(tokio::spawn(async move {
            work.await;
            drop(guard);
        }));
        Ok(Self { connection, ended })
    }

    /// Has it keep something and give it back, as tickets will be: what may only read, or is too old,
    /// shows now and not to the first client.
    async fn prove(&self, config: &StoreConfig) -> Result<(), LinkFault> {
        let mut random = [0; 16];
        let _ = getrandom::fill(&mut random);
        let key = format!("{}trial:{}", config.prefix, URL_SAFE_NO_PAD.encode(random));
        let refused = |error: RedisError| LinkFault::Refused(in_words(&error));
        self.send(&put(&key, b"1", TRIAL_LIFE)).await.map_err(refused)?;
        match self.send(&take(&key)).await.map_err(refused)? {
            Value::BulkString(kept) if kept == b"1" => Ok(()),
            _ => Err(LinkFault::Forgetful),
        }
    }

    /// Sends a command and waits for its answer. The caller has the deadline.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        let answer = self.connection.clone().send_packed_command(command).await?;
        answer.extract_error()
    }
}

/// Keeps a value under a key that is free, for so long.
pub(super) fn put(key: &str, value: &[u8], life: Duration) -> Cmd {
    let life_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1);
    cmd("SET").arg(key).arg(value).arg("NX").arg("PX").arg(life_ms).take()
}

/// Gives a value and removes it, in one step.
pub(super) fn take(key: &str) -> Cmd {
    cmd("GETDEL").arg(key).take()
}

pub(super) fn ping() -> Cmd {
    cmd("PING")
}

async fn reach(host: &str, port: u16, tls: Option<&UpstreamTls>) -> Result<Transport, LinkFault> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(LinkFault::Lookup)?;
    let mut fault = LinkFault::Lookup(io::ErrorKind::NotFound.into());
    for address in found {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => {
                fault = LinkFault::Connect(error);
                continue;
            }
        };
        // A socket that refuses the option is broken and will say so when it is used.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return Ok(stream.into()) };
        match tls.connect(stream, address, Alpn::Nothing).await {
            Ok(transport) => return Ok(transport),
            Err(error) => fault = LinkFault::Tls(tls::explain(&error)),
        }
    }
    Err(fault)
}

/// What an error says, for the log: mostly the store's own words, in which there is no secret.
pub(super) fn in_words(error: &RedisError) -> String {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return "it does not take the user and password; see store.url and store.password"
            .to_owned();
    }
    if error.is_connection_dropped() {
        return "it closed the connection".to_owned();
    }
    match (error.code(), error.detail()) {
        (Some(code), detail) => format!("{code} {}", detail.unwrap_or_default()),
        (None, _) => error.to_string(),
    }
}

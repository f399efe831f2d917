//! The PROXY protocol on sockets: learns from a load balancer who the client is. What a header says
//! is read by `longhaul_proto`; whether its sender may say it, and by when, is settled here.
//!
//! Start at [`receive`].

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use ipnet::IpNet;
use longhaul_proto::proxy_protocol::{self, Header, HeaderFault};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::connection::Connection;

/// Bytes asked for at once: enough for a header and the client's first request.
const READ_BYTES: usize = 1024;

/// Why a connection is closed before a byte of the client's was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHeader {
    /// Somebody else's connection, or a load balancer that nobody named.
    #[error("the peer is not in proxy_protocol_from of this listener")]
    Untrusted,
    /// A trusted peer sent something else, or something broken.
    #[error("{0}; let the peer send one, or set proxy_protocol = \"off\" for this listener")]
    Fault(#[from] HeaderFault),
    /// A trusted peer sent nothing, or not all of it.
    #[error("no PROXY protocol header within {0:?} (timeouts.head); does the peer send one?")]
    Late(Duration),
    /// A trusted peer closed: how load balancers ask whether the port is open.
    #[error("closed before a PROXY protocol header")]
    Closed,
    /// The connection broke.
    #[error("reading the PROXY protocol header: {0}")]
    Broken(#[from] io::Error),
}

/// Reads the header where this listener wants one, and puts what it announces in the place of the
/// connection's own ends. Bytes behind it stay in `prefix`.
///
/// # Errors
/// [`NoHeader`]; the connection must be closed then.
pub(crate) async fn receive(
    stream: &mut TcpStream,
    prefix: &mut BytesMut,
    connection: &mut Connection,
) -> Result<(), NoHeader> {
    let config = &connection.shared.config;
    let Some(senders) = &config.listeners[connection.listener].proxy_senders else { return Ok(()) };
    if !is_among(senders, connection.peer.ip()) {
        return Err(NoHeader::Untrusted);
    }
    let within = config.timeouts.head;
    let ends =
        timeout(within, header(stream, prefix)).await.unwrap_or(Err(NoHeader::Late(within)))?;
    if let Some(ends) = ends {
        (connection.peer, connection.local) = (ends.client, ends.local);
    }
    Ok(())
}

impl NoHeader {
    /// Logs it once. Strangers can cause a few of these, so theirs are thinned out.
    pub(crate) fn log(&self, connection: &Connection) {
        let shared = &connection.shared;
        let listener = &shared.config.listeners[connection.listener].name;
        let peer = connection.peer;
        match self {
            Self::Closed | Self::Broken(_) => {
                debug!(listener, %peer, reason = %self, "connection refused");
            }
            Self::Untrusted | Self::Fault(_) | Self::Late(_) => {
                if shared.telemetry.may_log_refused_peer() {
                    warn!(listener, %peer, reason = %self, "connection refused");
                }
            }
        }
    }
}

async fn header(
    stream: &mut TcpStream,
    prefix: &mut BytesMut,
) -> Result<Option<proxy_protocol::Ends>, NoHeader> {
    loop {
        prefix.reserve(READ_BYTES);
        if stream.read_buf(prefix).await? == 0 {
            return Err(NoHeader::Closed);
        }
        if let Header::Whole { ends, len } = proxy_protocol::read(prefix)? {
            prefix.advance(len);
            return Ok(ends);
        }
    }
}

fn is_among(networks: &[IpNet], address: IpAddr) -> bool {
    // An IPv4 peer of a socket for both families arrives in IPv6 clothes.
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

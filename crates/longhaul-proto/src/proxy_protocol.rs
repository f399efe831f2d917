//! The PROXY protocol, versions 1 and 2: the line or block by which a proxy says, before anything
//! else, for whom it made a connection (the specification is HAProxy's `proxy-protocol.txt`).
//!
//! Whoever can send a header can claim any address; whether a peer may is its caller's decision, and
//! so is the deadline. Our own reader and not a crate's: it is shorter than an adapter with the
//! bounds, the checksum and the lengths of the extensions, which must all be checked here.
//!
//! Start at [`read`] and [`encode`].

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Caps a version 1 line with its CRLF: what the longest two addresses need (section 2.1).
const LINE_BYTES_MAX: usize = 107;
/// Caps a version 2 block. Senders stay within 536 bytes unless they add certificates' names.
pub const HEADER_BYTES_MAX: usize = 4096;
const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;
const CHECKSUM: u8 = 3;

/// Which of the two forms to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// One line of text.
    V1,
    /// A binary block.
    V2,
}

/// The two ends of the connection that a proxy speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Who connected.
    pub client: SocketAddr,
    /// Where to.
    pub local: SocketAddr,
}

/// How far a header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Not all of it arrived.
    Partial,
    /// All of it arrived.
    Whole {
        /// For whom the connection was made. `None` when the proxy made it for itself, as for a
        /// health check, or will not or cannot say: then the connection's own ends count.
        ends: Option<Ends>,
        /// Bytes of the header; the client's begin behind it.
        len: usize,
    },
}

/// What is wrong with a header. The right answer is to close: who sent it is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// The bytes are something else.
    #[error("the connection does not begin with a PROXY protocol header")]
    Absent,
    /// Over 107 bytes in version 1, over [`HEADER_BYTES_MAX`] in version 2.
    #[error("the PROXY protocol header is too long")]
    TooLong,
    /// A field or a length is not what the specification allows.
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    /// It carries a checksum, and it is not the right one.
    #[error("the checksum of the PROXY protocol header is wrong")]
    Checksum,
}

/// Reads the header that `bytes`, all that arrived so far, begin with. Bytes behind it are ignored;
/// more bytes never change a verdict.
///
/// # Errors
/// [`HeaderFault`], as soon as it is certain.
pub fn read(bytes: &[u8]) -> Result<Header, HeaderFault> {
    let begins = |start: &[u8]| {
        let len = bytes.len().min(start.len());
        bytes[..len] == start[..len]
    };
    if begins(LINE_START) {
        read_line(bytes)
    } else if begins(SIGNATURE) {
        read_block(bytes)
    } else {
        Err(HeaderFault::Absent)
    }
}

/// Writes the header for `ends`, or for a connection of the sender's own: `UNKNOWN` in version 1,
/// `LOCAL` in version 2.
pub fn encode(version: Version, ends: Option<Ends>) -> Vec<u8> {
    let ends = ends.map(same_family);
    match version {
        Version::V1 => line(ends),
        Version::V2 => block(ends),
    }
}

fn read_line(bytes: &[u8]) -> Result<Header, HeaderFault> {
    let looked_at = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = looked_at.iter().position(|&byte| byte == b'\n') else {
        let is_full = looked_at.len() == LINE_BYTES_MAX;
        return if is_full { Err(HeaderFault::TooLong) } else { Ok(Header::Partial) };
    };
    let line = looked_at.get(LINE_START.len()..end).and_then(|line| line.strip_suffix(b"\r"));
    let line =
        line.and_then(|line| std::str::from_utf8(line).ok()).ok_or(HeaderFault::Malformed)?;
    Ok(Header::Whole { ends: ends_of_line(line)?, len: end + 1 })
}

/// Reads what stands between `PROXY ` and CRLF (section 2.1).
fn ends_of_line(line: &str) -> Result<Option<Ends>, HeaderFault> {
    if !line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(HeaderFault::Malformed);
    }
    // Whatever follows UNKNOWN must be ignored.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(None);
    }
    let fields: Vec<&str> = line.split(' ').collect();
    let &[family, client, local, client_port, local_port] = fields.as_slice() else {
        return Err(HeaderFault::Malformed);
    };
    let end = |address, port| {
        let address: IpAddr = match family {
            "TCP4" => std::net::Ipv4Addr::from_str(address).ok()?.into(),
            "TCP6" => Ipv6Addr::from_str(address).ok()?.into(),
            _ => return None,
        };
        Some(SocketAddr::new(address.to_canonical(), self::port(port)?))
    };
    match (end(client, client_port), end(local, local_port)) {
        (Some(client), Some(local)) => Ok(Some(Ends { client, local })),
        _ => Err(HeaderFault::Malformed),
    }
}

/// Decimal digits without sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_canonical = text == "0" || !text.starts_with(['0', '+']);
    is_canonical.then(|| text.parse().ok()).flatten()
}

fn read_block(bytes: &[u8]) -> Result<Header, HeaderFault> {
    let Some((fixed, behind)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Header::Partial);
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderFault::Malformed),
    };
    let body_len = usize::from(u16::from_be_bytes([high, low]));
    let len = FIXED_BYTES + body_len;
    if len > HEADER_BYTES_MAX {
        return Err(HeaderFault::TooLong);
    }
    let Some(body) = behind.get(..body_len) else { return Ok(Header::Partial) };
    // Family and body of LOCAL must be ignored (section 2.2).
    let ends = if is_local { None } else { ends_of_block(&bytes[..len], family, body)? };
    Ok(Header::Whole { ends, len })
}

fn ends_of_block(header: &[u8], family: u8, body: &[u8]) -> Result<Option<Ends>, HeaderFault> {
    let (kind, transport) = (family >> 4, family & 0xf);
    let addresses_len = match kind {
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => return Err(HeaderFault::Malformed),
    };
    if transport > 2 {
        return Err(HeaderFault::Malformed);
    }
    let (addresses, extensions) =
        body.split_at_checked(addresses_len).ok_or(HeaderFault::Malformed)?;
    check_extensions(header, extensions)?;
    // Unspecified, UNIX sockets and datagrams say nothing about a TCP connection.
    if transport != 1 {
        return Ok(None);
    }
    Ok(match addresses.len() {
        12 => ends_of::<4>(addresses),
        36 => ends_of::<16>(addresses),
        _ => None,
    })
}

/// Two addresses of `N` bytes, then two ports.
fn ends_of<const N: usize>(bytes: &[u8]) -> Option<Ends>
where
    IpAddr: From<[u8; N]>,
{
    let (client, rest) = bytes.split_first_chunk::<N>()?;
    let (local, ports) = rest.split_first_chunk::<N>()?;
    let &[client_high, client_low, local_high, local_low] = ports else { return None };
    let end = |address: [u8; N], port| {
        SocketAddr::new(IpAddr::from(address).to_canonical(), u16::from_be_bytes(port))
    };
    Some(Ends {
        client: end(*client, [client_high, client_low]),
        local: end(*local, [local_high, local_low]),
    })
}

/// Walks the extensions, whose lengths must fit exactly; of their contents only a checksum is used.
fn check_extensions(header: &[u8], mut extensions: &[u8]) -> Result<(), HeaderFault> {
    while !extensions.is_empty() {
        let &[kind, high, low, ref behind @ ..] = extensions else {
            return Err(HeaderFault::Malformed);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = behind.split_at_checked(len).ok_or(HeaderFault::Malformed)?;
        if kind == CHECKSUM {
            let expected = <[u8; 4]>::try_from(value).map_err(|_| HeaderFault::Malformed)?;
            let at = header.len() - rest.len() - len;
            let zeroed = header.iter().enumerate();
            let zeroed =
                zeroed.map(|(i, &byte)| if (at..at + len).contains(&i) { 0 } else { byte });
            if crc32c(zeroed) != u32::from_be_bytes(expected) {
                return Err(HeaderFault::Checksum);
            }
        }
        extensions = rest;
    }
    Ok(())
}

/// The Castagnoli checksum (RFC 4960 appendix B); bit by bit, since it runs once per connection.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !bytes.fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 }
        })
    })
}

/// Both ends in one family: the forms have no room for two.
fn same_family(ends: Ends) -> Ends {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let (client, local) = (canonical(ends.client), canonical(ends.local));
    let mapped = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    if client.is_ipv4() == local.is_ipv4() {
        Ends { client, local }
    } else {
        Ends { client: mapped(client), local: mapped(local) }
    }
}

fn line(ends: Option<Ends>) -> Vec<u8> {
    let Some(Ends { client, local }) = ends else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (client.port(), local.port());
    format!("PROXY {family} {} {} {from} {to}\r\n", client.ip(), local.ip()).into_bytes()
}

fn block(ends: Option<Ends>) -> Vec<u8> {
    let mut block = SIGNATURE.to_vec();
    let Some(Ends { client, local }) = ends else {
        block.extend([0x20, 0, 0, 0]);
        return block;
    };
    match (client.ip(), local.ip()) {
        (IpAddr::V4(client), IpAddr::V4(local)) => {
            block.extend([0x21, 0x11, 0, 12]);
            block.extend(client.octets());
            block.extend(local.octets());
        }
        (client, local) => {
            let octets = |ip| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            block.extend([0x21, 0x21, 0, 36]);
            block.extend(octets(client));
            block.extend(octets(local));
        }
    }
    block.extend(client.port().to_be_bytes());
    block.extend(local.port().to_be_bytes());
    block
}

#[cfg(test)]
mod tests;

//! Reads the server name out of a TLS ClientHello, so that a connection can be routed without
//! being decrypted (RFC 8446 §4.1.2, RFC 6066 §3).
//!
//! Nothing of the hello is trusted or kept. Start at [`read`].

/// Caps the bytes of a hello with its record headers. Hellos with post-quantum keys are about
/// 2 KiB; nobody's is near this.
pub const HELLO_BYTES_MAX: usize = 18 * 1024;
/// A hello cut into more records than this is an attack on our patience.
const RECORDS_MAX: usize = 64;
const RECORD_HEADER_BYTES: usize = 5;
const RECORD_BYTES_MAX: usize = 16 * 1024;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// How far a ClientHello has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// Not all of it arrived.
    Partial,
    /// All of it arrived.
    Whole {
        /// The name that the client wants, in lower case; `None` when it gives none.
        server_name: Option<String>,
    },
}

/// What is wrong with a ClientHello. The right answer is to close: nothing was agreed yet that an
/// alert could be sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloFault {
    /// Not a handshake record of TLS 1.x with a ClientHello.
    #[error("not a TLS ClientHello")]
    NotAHello,
    /// Over [`HELLO_BYTES_MAX`], or in too many pieces.
    #[error("the TLS ClientHello is too long")]
    TooLong,
    /// A length in it does not fit what it is in.
    #[error("the TLS ClientHello is malformed")]
    Malformed,
    /// The server name is there twice, is of an unknown kind, or is no DNS name.
    #[error("the server name in the TLS ClientHello is malformed")]
    ServerName,
}

/// Reads the hello that `bytes`, all that arrived so far, begin with. Bytes behind it are ignored.
///
/// # Errors
/// [`HelloFault`], as soon as it is certain.
pub fn read(bytes: &[u8]) -> Result<Hello, HelloFault> {
    // What lies behind the limit is not looked at, so that the verdict does not depend on how the
    // bytes were cut into reads.
    let Some(message) = join_records(&bytes[..bytes.len().min(HELLO_BYTES_MAX)])? else {
        return Ok(Hello::Partial);
    };
    let server_name = server_name(&message)?;
    Ok(Hello::Whole { server_name })
}

/// The body of the handshake message, out of as many records as it takes.
fn join_records(bytes: &[u8]) -> Result<Option<Vec<u8>>, HelloFault> {
    let mut rest = bytes;
    let mut message = Vec::new();
    for _ in 0..RECORDS_MAX {
        let Some((header, behind)) = rest.split_at_checked(RECORD_HEADER_BYTES) else {
            return partial(bytes, rest);
        };
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        // The version of a record must be ignored (RFC 8446 §5.1), beyond that it is TLS at all.
        let is_handshake = header[0] == 0x16 && header[1] == 3;
        if !is_handshake || !(1..=RECORD_BYTES_MAX).contains(&len) {
            return Err(HelloFault::NotAHello);
        }
        let available = &behind[..len.min(behind.len())];
        message.extend_from_slice(available);
        let total = message_bytes(&message)?;
        if available.len() < len {
            return partial(bytes, &[]);
        }
        match total {
            Some(total) if message.len() == total => {
                message.drain(..4);
                return Ok(Some(message));
            }
            // No message may follow a hello in the same record: the server has to speak first.
            Some(total) if message.len() > total => return Err(HelloFault::Malformed),
            _ => rest = &behind[len..],
        }
    }
    Err(HelloFault::TooLong)
}

/// Length of the handshake message with its header, once that much is known.
fn message_bytes(message: &[u8]) -> Result<Option<usize>, HelloFault> {
    match message {
        [] => Ok(None),
        [1, high, middle, low, ..] => {
            let total = 4 + u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if total > HELLO_BYTES_MAX { Err(HelloFault::TooLong) } else { Ok(Some(total)) }
        }
        [1, ..] => Ok(None),
        _ => Err(HelloFault::NotAHello),
    }
}

/// `cut` is a record header of which some bytes are missing.
fn partial(bytes: &[u8], cut: &[u8]) -> Result<Option<Vec<u8>>, HelloFault> {
    let is_wrong = |index: usize, expected| cut.get(index).is_some_and(|&byte| byte != expected);
    if is_wrong(0, 0x16) || is_wrong(1, 3) {
        return Err(HelloFault::NotAHello);
    }
    if bytes.len() >= HELLO_BYTES_MAX {
        return Err(HelloFault::TooLong);
    }
    Ok(None)
}

fn server_name(message: &[u8]) -> Result<Option<String>, HelloFault> {
    let mut hello = Reader(message);
    let _version_and_random = hello.take(2 + 32)?;
    let session_id = hello.vector8()?;
    let cipher_suites = hello.vector16()?;
    let compressions = hello.vector8()?;
    if session_id.len() > 32
        || cipher_suites.is_empty()
        || cipher_suites.len() % 2 != 0
        || compressions.is_empty()
    {
        return Err(HelloFault::Malformed);
    }
    // TLS 1.2 clients may leave the extensions out.
    if hello.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = Reader(hello.vector16()?);
    if !hello.0.is_empty() {
        return Err(HelloFault::Malformed);
    }
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let data = extensions.vector16()?;
        if kind == SERVER_NAME && name.replace(host_name(data)?).is_some() {
            return Err(HelloFault::ServerName);
        }
    }
    Ok(name)
}

/// The one name of a server_name extension (RFC 6066 §3).
fn host_name(extension: &[u8]) -> Result<String, HelloFault> {
    let mut extension = Reader(extension);
    let mut list = Reader(extension.vector16()?);
    let kind = list.take(1)?[0];
    let name = list.vector16()?;
    if kind != HOST_NAME || !list.0.is_empty() || !extension.0.is_empty() || !is_dns_name(name) {
        return Err(HelloFault::ServerName);
    }
    Ok(name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect())
}

fn is_dns_name(name: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.iter().all(allowed)
    };
    name.len() <= 253 && name.split(|&byte| byte == b'.').all(is_label)
}

/// What is left of a structure.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], HelloFault> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(HelloFault::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, HelloFault> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Result<&'a [u8], HelloFault> {
        let len = self.take(1)?[0];
        self.take(len.into())
    }

    fn vector16(&mut self) -> Result<&'a [u8], HelloFault> {
        let len = self.u16()?;
        self.take(len.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector16(bytes: &[u8]) -> Vec<u8> {
        let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&len[..], bytes].concat()
    }

    fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector16(data)].concat()
    }

    fn server_name_extension(name: &str) -> Vec<u8> {
        let entry = [&[HOST_NAME][..], &vector16(name.as_bytes())].concat();
        extension(SERVER_NAME, &vector16(&entry))
    }

    fn message(extensions: &[u8]) -> Vec<u8> {
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[2, 0, 0],
            &vector16(&[0x13, 0x01]),
            &[1, 0],
            &vector16(extensions),
        ]
        .concat();
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1][..], &len[1..], &body].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |piece: &[u8]| [&[0x16, 3, 1][..], &vector16(piece)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn hello(extensions: &[u8]) -> Vec<u8> {
        records(&message(extensions), RECORD_BYTES_MAX)
    }

    fn named(name: &str) -> Result<Hello, HelloFault> {
        Ok(Hello::Whole { server_name: Some(name.into()) })
    }

    #[test]
    fn the_name_is_found_once_the_hello_is_whole() {
        let extensions = [extension(0x2b, &[2, 3, 4]), server_name_extension("Chat.Example")];
        let whole = message(&extensions.concat());
        for size in [2, 3, 16, whole.len()] {
            let bytes = records(&whole, size);
            for len in 0..bytes.len() {
                assert_eq!(read(&bytes[..len]), Ok(Hello::Partial), "{len} of {}", bytes.len());
            }
            assert_eq!(read(&bytes), named("chat.example"));
            assert_eq!(read(&[&bytes[..], b"early data"].concat()), named("chat.example"));
        }
    }

    #[test]
    fn a_hello_may_name_nobody() {
        assert_eq!(read(&hello(&[])), Ok(Hello::Whole { server_name: None }));
        let mut old = message(&[]);
        old.truncate(old.len() - 2);
        old[3] -= 2;
        assert_eq!(read(&records(&old, 99)), Ok(Hello::Whole { server_name: None }));
    }

    #[test]
    fn a_bad_name_is_refused() {
        for name in ["", ".", "a..b", "a.", "a b", "a/b", "ü", "a\0", &"a".repeat(64)] {
            let bytes = hello(&server_name_extension(name));
            assert_eq!(read(&bytes), Err(HelloFault::ServerName), "{name:?}");
        }
        let twice = server_name_extension("a").repeat(2);
        assert_eq!(read(&hello(&twice)), Err(HelloFault::ServerName));
        let two = [&[HOST_NAME][..], &vector16(b"a"), &[HOST_NAME], &vector16(b"b")].concat();
        let two = extension(SERVER_NAME, &vector16(&two));
        assert_eq!(read(&hello(&two)), Err(HelloFault::ServerName));
        let other_kind = extension(SERVER_NAME, &vector16(&[9, 0, 1, b'a']));
        assert_eq!(read(&hello(&other_kind)), Err(HelloFault::ServerName));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let good = message(&server_name_extension("a.example"));
        // Each length field, made one too large and one too small.
        for index in [38, 42, 45, 48, 52, 54, 57] {
            for change in [1, u8::MAX] {
                let mut bad = good.clone();
                bad[index] = bad[index].wrapping_add(change);
                let verdict = read(&records(&bad, RECORD_BYTES_MAX));
                assert!(verdict.is_err(), "byte {index}: {verdict:?}");
            }
        }
        assert_eq!(read(&records(&[&good[..], &[0]].concat(), 999)), Err(HelloFault::Malformed));
    }

    #[test]
    fn what_is_no_hello_is_known_early() {
        for bytes in [
            &b"G"[..],
            b"\x16\x02",
            b"\x17\x03\x03\0\x01\0",
            b"\x16\x03\x01\0\0",
            b"\x16\x03\x01\0\x04\x02",
        ] {
            assert_eq!(read(bytes), Err(HelloFault::NotAHello), "{bytes:?}");
        }
    }

    #[test]
    fn size_and_pieces_are_bounded() {
        assert_eq!(read(b"\x16\x03\x01\0\x04\x01\x01\0\0"), Err(HelloFault::TooLong));
        let many = records(&message(&server_name_extension("a.example")), 1);
        assert_eq!(read(&many), Err(HelloFault::TooLong));
    }
}

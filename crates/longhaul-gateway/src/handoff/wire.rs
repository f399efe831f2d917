//! Messages with descriptors over a Unix socket, each within a deadline.
//!
//! A message is its length, the number of its descriptors, these, and JSON. Both ends are processes of
//! one program and one user, but of two versions: what cannot be read is an error, never a guess.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Linux passes at most 253 descriptors at once.
const AT_ONCE: usize = 240;
/// A batch of connections, each with as much as may wait for a leg, stays far below.
const BODY_BYTES_MAX: u32 = 256 << 20;
/// Two for each connection of a batch, or the sockets of all listeners.
const DESCRIPTORS_MAX: u32 = 64 * 1024;

/// Why nothing more can be said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("it has ended")]
    Ended,
    #[error("it did not answer in time")]
    Late,
    #[error("it cannot be understood: {0}")]
    Garbled(String),
    #[error("the system refused")]
    Io(#[source] io::Error),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Self::Ended,
            _ => Self::Io(error),
        }
    }
}

/// One end of the conversation.
#[derive(Debug)]
pub(crate) struct Wire(UnixStream);

impl Wire {
    pub(crate) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        Ok(Self(socket))
    }

    /// The socket, for who goes on with it in another way.
    ///
    /// # Errors
    /// When the system has no descriptor left for it.
    pub(crate) fn socket(&self) -> io::Result<UnixStream> {
        self.0.try_clone()
    }

    /// Says something.
    ///
    /// # Errors
    /// When the other side has ended, or does not listen until `deadline`.
    pub(crate) fn send(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<(), WireError> {
        let body = serde_json::to_vec(message).map_err(|e| WireError::Garbled(e.to_string()))?;
        let len = u32::try_from(body.len()).ok().filter(|len| *len <= BODY_BYTES_MAX);
        let len = len.ok_or_else(|| WireError::Garbled("the message is too long".to_owned()))?;
        let count = u32::try_from(descriptors.len()).unwrap_or(u32::MAX);
        self.0.set_write_timeout(Some(left(deadline)?))?;
        self.0.write_all(&[len.to_be_bytes(), count.to_be_bytes()].concat())?;
        for batch in descriptors.chunks(AT_ONCE) {
            self.pass(batch)?;
        }
        self.0.set_write_timeout(Some(left(deadline)?))?;
        Ok(self.0.write_all(&body)?)
    }

    /// Hears something, and the descriptors with it.
    ///
    /// # Errors
    /// When the other side has ended, says nothing until `deadline`, or something else.
    pub(crate) fn receive<T: DeserializeOwned>(
        &mut self,
        deadline: Instant,
    ) -> Result<(T, Vec<OwnedFd>), WireError> {
        let mut head = [0; 8];
        self.read(&mut head, deadline)?;
        let [a, b, c, d, e, f, g, h] = head;
        let len = u32::from_be_bytes([a, b, c, d]);
        let count = u32::from_be_bytes([e, f, g, h]);
        if len > BODY_BYTES_MAX || count > DESCRIPTORS_MAX {
            return Err(WireError::Garbled("a message of impossible size".to_owned()));
        }
        let mut descriptors = Vec::with_capacity(count as usize);
        while descriptors.len() < count as usize {
            self.0.set_read_timeout(Some(left(deadline)?))?;
            self.take(&mut descriptors)?;
        }
        let mut body = vec![0; len as usize];
        self.read(&mut body, deadline)?;
        let message = serde_json::from_slice(&body);
        Ok((message.map_err(|error| WireError::Garbled(error.to_string()))?, descriptors))
    }

    fn read(&mut self, bytes: &mut [u8], deadline: Instant) -> Result<(), WireError> {
        let mut at = 0;
        while at < bytes.len() {
            // Each read anew: one byte now and then must not stretch the deadline.
            self.0.set_read_timeout(Some(left(deadline)?))?;
            match self.0.read(&mut bytes[at..]) {
                Ok(0) => return Err(WireError::Ended),
                Ok(count) => at += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Passes one batch, beside one byte that means nothing.
    fn pass(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(WireError::Garbled("too many descriptors at once".to_owned()));
        }
        loop {
            let slices = [IoSlice::new(&[0])];
            match sendmsg(self.0.as_fd(), &slices, &mut ancillary, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                sent => return sent.map(drop).map_err(|error| io::Error::from(error).into()),
            }
        }
    }

    fn take(&self, descriptors: &mut Vec<OwnedFd>) -> Result<(), WireError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let mut slices = [IoSliceMut::new(&mut byte)];
            match recvmsg(self.0.as_fd(), &mut slices, &mut ancillary, flags) {
                Err(rustix::io::Errno::INTR) => {}
                received => break received.map_err(io::Error::from)?,
            }
        };
        if received.bytes == 0 {
            return Err(WireError::Ended);
        }
        let before = descriptors.len();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                descriptors.extend(passed);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() == before {
            return Err(WireError::Garbled(
                "descriptors were lost: the limit is too low".to_owned(),
            ));
        }
        Ok(())
    }
}

fn left(deadline: Instant) -> Result<Duration, WireError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(WireError::Late) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Wire, Wire) {
        let (one, other) = UnixStream::pair().unwrap();
        (Wire::new(one).unwrap(), Wire::new(other).unwrap())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn messages_keep_their_descriptors_however_many() {
        let (mut one, mut other) = pair();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let sender = std::thread::spawn(move || {
            let many = vec![socket.as_fd(); 500];
            one.send(&"many", &many, soon()).unwrap();
            one.send(&"none", &[], soon()).unwrap();
            one.send(&"long".repeat(100_000), &[], soon()).unwrap();
        });
        let (word, many): (String, _) = other.receive(soon()).unwrap();
        assert_eq!((word.as_str(), many.len()), ("many", 500));
        for passed in many {
            assert_eq!(std::net::TcpListener::from(passed).local_addr().unwrap(), address);
        }
        let (word, none): (String, _) = other.receive(soon()).unwrap();
        assert_eq!((word.as_str(), none.len()), ("none", 0));
        assert_eq!(other.receive::<String>(soon()).unwrap().0.len(), 400_000);
        sender.join().unwrap();
        assert!(matches!(other.receive::<String>(soon()), Err(WireError::Ended)));
    }

    #[test]
    fn silence_and_nonsense_are_told_apart() {
        let (mut one, mut other) = pair();
        let now = Instant::now() + Duration::from_millis(20);
        assert!(matches!(other.receive::<String>(now), Err(WireError::Late)));
        one.send(&7, &[], soon()).unwrap();
        assert!(matches!(other.receive::<String>(soon()), Err(WireError::Garbled(_))));
        one.0.write_all(&[0xff; 8]).unwrap();
        assert!(matches!(other.receive::<String>(soon()), Err(WireError::Garbled(_))));
    }
}

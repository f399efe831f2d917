//! What a socket has sent and its peer's system has not confirmed.
//!
//! A replica that is gone takes with it what it had not confirmed, so a client's message is
//! acknowledged only once this says that it arrived.

use std::os::fd::AsFd;

use tokio::net::TcpStream;

/// Bytes written to this socket that its peer's system has not confirmed; 0 where the system cannot
/// say.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(super) fn unconfirmed_bytes(socket: &TcpStream) -> usize {
    use rustix::ioctl::{Getter, ioctl};

    /// `SIOCOUTQ`, which is `TIOCOUTQ` (linux/sockios.h, asm-generic/ioctls.h).
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;

    // SAFETY: the kernel writes one `int` through the pointer for this request and nothing else
    // (tcp(7)), which is what `Getter` gives it room for. The descriptor is borrowed for the call.
    let unconfirmed = unsafe { ioctl(socket.as_fd(), Getter::<SIOCOUTQ, core::ffi::c_int>::new()) };
    unconfirmed.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0))
}

/// The system cannot say: what is written counts as arrived.
#[cfg(not(target_os = "linux"))]
pub(super) fn unconfirmed_bytes(_: &TcpStream) -> usize {
    0
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_no_reader_takes_stays_unconfirmed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_peer, _) = listener.accept().await.unwrap();
        assert_eq!(unconfirmed_bytes(&socket), 0);
        let piece = vec![0; 1 << 20];
        let mut written = 0;
        // Until the peer's window and this side's buffer are both full.
        while let Ok(Ok(count)) =
            tokio::time::timeout(std::time::Duration::from_millis(200), socket.write(&piece)).await
        {
            written += count;
        }
        let left = unconfirmed_bytes(&socket);
        assert!((1..=written).contains(&left), "{left} of {written}");
    }
}

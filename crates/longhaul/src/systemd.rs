//! The words that systemd and this process have for each other: sd_notify(3) and sd_listen_fds(3).
//!
//! Nothing here is needed to serve: without systemd there is nobody to tell and nothing to take
//! over, and a message that does not arrive is not missed.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// Variables that are for this process and for no program that it starts.
pub(crate) const VARIABLES: [&str; 4] =
    ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Those that name sockets.
pub(crate) const LISTEN_VARIABLES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The first descriptor that is passed.
const FIRST: RawFd = 3;
/// More are nobody's listeners.
const COUNT_MAX: RawFd = 256;

/// Clients can connect.
pub(crate) fn ready() {
    tell("READY=1");
}

/// The configuration is read again. [`reloaded`] must follow.
pub(crate) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let now_us = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
}

/// The configuration was read, and this came of it.
pub(crate) fn reloaded(status: &str) {
    // One line: the next one would be a message of its own.
    let status = status.lines().next().unwrap_or_default();
    tell(&format!("READY=1\nSTATUS={status}"));
}

/// The process is on its way out.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

fn tell(message: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(&socket, message) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let name = socket.as_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // Whoever does not read must not hold us up.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message.as_bytes(), &address).map(drop)
}

/// Listeners that were opened for this process. Called once, before anything else opens a file.
pub(crate) fn listeners() -> Vec<TcpListener> {
    let number = |name| env::var(name).ok()?.parse::<RawFd>().ok();
    let is_ours = number("LISTEN_PID") == i32::try_from(std::process::id()).ok();
    let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0).clamp(0, COUNT_MAX);
    (FIRST..FIRST + count).filter_map(take).collect()
}

fn take(descriptor: RawFd) -> Option<TcpListener> {
    if !std::path::Path::new(&format!("/proc/self/fd/{descriptor}")).exists() {
        eprintln!("longhaul: LISTEN_FDS counts descriptor {descriptor}, which is not there");
        return None;
    }
    // SAFETY: by LISTEN_PID and LISTEN_FDS, whoever started this process passed exactly these
    // descriptors to it; that this one is open was just seen. Nobody else owns it: this is called
    // once, before anything in this process has opened a file that stays open.
    #[allow(unsafe_code)]
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let is_listener = rustix::net::sockopt::socket_acceptconn(&owned).unwrap_or(false)
        && rustix::net::getsockname(&owned)
            .is_ok_and(|name| std::net::SocketAddr::try_from(name).is_ok());
    if !is_listener {
        // The warning comes before logging has begun, so it goes where logs go.
        eprintln!("longhaul: descriptor {descriptor} is no TCP listener; it is closed");
        return None;
    }
    // A program that we start must not hold our listeners open.
    let kept = rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC);
    kept.is_ok().then(|| TcpListener::from(owned))
}

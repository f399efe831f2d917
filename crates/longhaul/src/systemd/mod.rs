//! The words that systemd and this process have for each other: sd_notify(3), sd_listen_fds(3) and the
//! descriptor [`store`].
//!
//! Nothing here is needed to serve: without systemd there is nobody to tell and nothing to take
//! over, and a message that does not arrive is not missed.

mod store;

use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};
use rustix::time::{ClockId, clock_gettime};

pub(crate) use self::store::Store;

/// Variables that are for this process and for no program that it starts.
pub(crate) const VARIABLES: [&str; 5] =
    ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "FDSTORE"];

/// Those that name sockets.
pub(crate) const LISTEN_VARIABLES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The first descriptor that is passed.
const FIRST: RawFd = 3;
/// More are nobody's listeners.
const COUNT_MAX: RawFd = 1024;

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
    tell_with(message, &[]);
}

fn tell_with(message: &str, descriptors: &[BorrowedFd<'_>]) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(&socket, message, descriptors) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

fn send(socket: &OsStr, message: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let name = socket.as_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(name)?,
    };
    let sender = UnixDatagram::unbound()?;
    // Whoever does not read must not hold us up.
    sender.set_nonblocking(true)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let message = [IoSlice::new(message.as_bytes())];
    sendmsg_addr(&sender, &address, &message, &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A listener that was opened before this process was there.
#[derive(Debug)]
pub(crate) struct Passed {
    /// By which systemd knows it: its unit's, or the one that it was stored by.
    name: String,
    pub(crate) listener: TcpListener,
}

/// Listeners that were opened for this process. Called once, before anything else opens a file.
pub(crate) fn listeners() -> Vec<Passed> {
    let number = |name| env::var(name).ok()?.parse::<RawFd>().ok();
    let is_ours = number("LISTEN_PID") == i32::try_from(std::process::id()).ok();
    let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0).clamp(0, COUNT_MAX);
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    let passed = (FIRST..FIRST + count).zip(names);
    let passed =
        passed.filter_map(|(descriptor, name)| Some(Passed { name, listener: take(descriptor)? }));
    // One of a socket unit may be in the store as well; it is the same socket.
    let mut seen = HashSet::new();
    let is_new =
        move |one: &Passed| rustix::fs::fstat(&one.listener).is_ok_and(|at| seen.insert(at.st_ino));
    passed.filter(is_new).collect()
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

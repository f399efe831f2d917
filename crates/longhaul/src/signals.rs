//! What the system and the operator tell this process.
//!
//! Signals are held back before the first thread starts ([`hold`]) and read from a descriptor. So one
//! that comes while this process becomes another program, or while a thread starts, waits in the kernel
//! for who reads next; handlers would be gone, and with them what they had heard.

#[cfg(test)]
mod tests;

use std::io;
use std::io::IsTerminal;
use std::num::NonZero;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

/// Wrappers such as timeout(1) signal their child and then their whole group: one wish, told twice.
/// Nobody types that fast.
const ECHO: Duration = Duration::from_millis(100);

/// All that this process takes.
const TAKEN: [(Number, Signal); 7] = [
    (Number::SIGTERM, Signal::TERM),
    (Number::SIGINT, Signal::INT),
    (Number::SIGHUP, Signal::HUP),
    (Number::SIGQUIT, Signal::QUIT),
    (Number::SIGUSR1, Signal::USR1),
    (Number::SIGUSR2, Signal::USR2),
    (Number::SIGWINCH, Signal::WINCH),
];

/// Something was signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// End in good order; when it comes again, at once.
    Stop(Signal),
    /// For the application, when there is one.
    Other(Signal),
}

/// All signals that this process takes.
#[derive(Debug)]
pub(crate) struct Signals {
    waiting: AsyncFd<SignalFd>,
    /// On a terminal, HUP means that it was closed.
    hup_stops: bool,
    /// When to end was first asked.
    asked_at: Option<Instant>,
    /// The same by the parent, which may only pass on what everybody in its group was told, as a process
    /// does whose heir this is: one wish, too.
    parent_asked_at: Option<Instant>,
}

/// Who signalled.
#[derive(Debug, Clone, Copy)]
enum Sender {
    Parent,
    Other,
}

impl Sender {
    fn of(pid: u32) -> Self {
        let parent = rustix::process::getppid().map(Pid::as_raw_nonzero);
        let sender = i32::try_from(pid).ok().and_then(NonZero::new);
        if parent.is_some() && parent == sender { Self::Parent } else { Self::Other }
    }
}

/// Has signals wait from here on, for this thread and all that it starts, and for every program that
/// these become. To be called before there is another thread: one that does not hold them would get
/// them.
pub(crate) fn hold() {
    // Cannot fail with a set of known signals; `Signals::install` looks.
    let _ = taken().thread_block();
}

/// Has them come as usual, in a process that becomes a program which knows nothing of this.
pub(crate) fn release() {
    let _ = taken().thread_unblock();
}

fn taken() -> SigSet {
    TAKEN.iter().map(|(number, _)| *number).collect()
}

impl Signals {
    /// Reads what is held back, also what was signalled before. Needs a tokio runtime, and [`hold`].
    ///
    /// # Errors
    /// When they are not held back, or the system refuses.
    pub(crate) fn install() -> io::Result<Self> {
        let held = SigSet::thread_get_mask()?;
        if !TAKEN.iter().all(|(number, _)| held.contains(*number)) {
            return Err(io::Error::other("they are not held back"));
        }
        for (number, _) in TAKEN {
            // This handler never runs. But what is ignored here (by nohup, or in a shell's background)
            // would be ignored by the application as well, and what is handled is not.
            drop(signal(SignalKind::from_raw(number as i32))?);
        }
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let waiting = SignalFd::with_flags(&taken(), flags)?;
        Ok(Self {
            waiting: watch(waiting)?,
            hup_stops: io::stderr().is_terminal(),
            asked_at: None,
            parent_asked_at: None,
        })
    }

    /// The next one. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Event {
        self.hear().await.0
    }

    /// A wish to end that waits already. Signals before it are ignored.
    pub(crate) fn take_stop(&mut self) -> Option<Signal> {
        while let Ok(Some((signal, sender))) = read(self.waiting.get_ref()) {
            if let (Event::Stop(signal), _) = self.judge(signal, sender) {
                return Some(signal);
            }
        }
        None
    }

    /// Somebody asks to end who has asked before. Other signals are ignored meanwhile.
    pub(crate) async fn next_stop_again(&mut self) -> Signal {
        loop {
            if let (Event::Stop(signal), true) = self.hear().await {
                return signal;
            }
        }
    }

    /// The next one, and whether it is a wish that its sender has had before.
    async fn hear(&mut self) -> (Event, bool) {
        let read = |waiting: &SignalFd| match read(waiting) {
            Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(Some(signal)) => Ok(signal),
            Err(error) => Err(error),
        };
        let read = self.waiting.async_io(Interest::READABLE, read).await;
        let (signal, sender) = read.unwrap_or_else(|error| {
            tracing::error!(%error, "signals cannot be read; ending while that is possible");
            (Signal::TERM, Sender::Other)
        });
        self.judge(signal, sender)
    }

    fn judge(&mut self, signal: Signal, sender: Sender) -> (Event, bool) {
        let event = match signal {
            Signal::TERM | Signal::INT => Event::Stop(signal),
            Signal::HUP if self.hup_stops => Event::Stop(signal),
            signal => return (Event::Other(signal), false),
        };
        (event, self.is_again(sender))
    }

    fn is_again(&mut self, sender: Sender) -> bool {
        let asked_at = match sender {
            Sender::Parent => &mut self.parent_asked_at,
            Sender::Other => &mut self.asked_at,
        };
        asked_at.get_or_insert_with(Instant::now).elapsed() > ECHO
    }
}

/// One that waits, if there is one. Does not wait itself.
fn read(waiting: &SignalFd) -> io::Result<Option<(Signal, Sender)>> {
    loop {
        match waiting.read_signal() {
            Ok(Some(signal)) => {
                let known = TAKEN.iter().find(|(number, _)| *number as u32 == signal.ssi_signo);
                if let Some((_, name)) = known {
                    return Ok(Some((*name, Sender::of(signal.ssi_pid))));
                }
            }
            Ok(None) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[allow(unsafe_code)]
fn watch(waiting: SignalFd) -> io::Result<AsyncFd<SignalFd>> {
    // SAFETY: a `SignalFd` owns one descriptor, gives out that one each time, and closes it when it is
    // dropped, which is when the `AsyncFd` that owns it from here on is dropped or taken apart.
    let watched = unsafe { AsyncFd::register_with_interest(waiting, Interest::READABLE) };
    Ok(watched?)
}

/// The exit code of a process that this signal ended, as shells have it.
pub(crate) fn exit_code(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

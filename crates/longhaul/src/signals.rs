//! What the system and the operator tell this process.

use std::io;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// Wrappers such as timeout(1) signal their child and then their whole group: one wish, told twice.
/// Nobody types that fast.
const ECHO: Duration = Duration::from_millis(100);

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
    streams: [(Signal, Stream); 7],
    /// On a terminal, HUP means that it was closed.
    hup_stops: bool,
    /// When to end was first asked.
    asked_at: Option<Instant>,
}

impl Signals {
    /// Takes the signals over from their default, which is to die. Needs a tokio runtime.
    pub(crate) fn install() -> io::Result<Self> {
        let take = |kind: SignalKind, name: Signal| signal(kind).map(|stream| (name, stream));
        Ok(Self {
            streams: [
                take(SignalKind::terminate(), Signal::TERM)?,
                take(SignalKind::interrupt(), Signal::INT)?,
                take(SignalKind::hangup(), Signal::HUP)?,
                take(SignalKind::quit(), Signal::QUIT)?,
                take(SignalKind::user_defined1(), Signal::USR1)?,
                take(SignalKind::user_defined2(), Signal::USR2)?,
                take(SignalKind::window_change(), Signal::WINCH)?,
            ],
            hup_stops: io::stderr().is_terminal(),
            asked_at: None,
        })
    }

    /// The next one. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Event {
        let hup_stops = self.hup_stops;
        let arrived = std::future::poll_fn(|context| {
            for (name, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        });
        let event = match arrived.await {
            signal @ (Signal::TERM | Signal::INT) => Event::Stop(signal),
            Signal::HUP if hup_stops => Event::Stop(Signal::HUP),
            signal => Event::Other(signal),
        };
        if matches!(event, Event::Stop(_)) {
            self.asked_at.get_or_insert_with(Instant::now);
        }
        event
    }

    /// Somebody asks to end who has asked before. Other signals are ignored meanwhile.
    pub(crate) async fn next_stop_again(&mut self) -> Signal {
        loop {
            if let Event::Stop(signal) = self.next().await
                && self.asked_at.is_none_or(|asked_at| asked_at.elapsed() > ECHO)
            {
                return signal;
            }
        }
    }
}

/// The exit code of a process that this signal ended, as shells have it.
pub(crate) fn exit_code(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

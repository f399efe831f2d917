//! The event loop of WebSockets in clear text: one thread beside each worker, which does nothing but
//! move their bytes.
//!
//! A worker's runtime serves everything: it wakes tasks through queues, and asks each of its sockets
//! what it knows. For a message of some bytes that was more than all else Longhaul does with it
//! (decision 0019). Here the system's word on a socket is handed to the task that owns it, which is
//! polled on the spot; a socket that was emptied is not asked again.
//!
//! What runs here is a future over two [`Socket`]s. It may use the worker's runtime for everything
//! but sockets: its timers, say, wake it from there. Start at [`Reactor`].

mod inbox;
mod prefetch;
mod socket;
mod tasks;

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use self::inbox::{Inbox, Mail};
pub(crate) use self::prefetch::prefetch;
pub(crate) use self::socket::Socket;
use self::tasks::{Key, Tasks};

/// What is heard of at once. More waits in the kernel and is next.
const EVENTS_MAX: usize = 256;

/// Beside the keys of tasks, what the system speaks of.
const INBOX: u64 = u64::MAX;
const CLOCK: u64 = u64::MAX - 1;

/// What runs in a reactor: polled at once when one of its sockets is ready, and when it was woken.
pub(crate) trait Task: Future<Output = Fate> + Unpin + Send {
    /// Its two sockets, the same for good.
    fn sockets(&self) -> [&Socket; 2];

    /// Asks for what it needs beside itself (see [`prefetch`](fn@prefetch)): it is polled next but one.
    fn prefetch(&self) {}
}

/// What becomes of the sockets of a task that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They are closed.
    Closed,
    /// Another process has them too, and so the system would go on to speak of them.
    Shared,
}

/// The outside's end of one reactor.
#[derive(Debug)]
pub(crate) struct Reactor {
    inbox: Arc<Inbox>,
}

/// How often its clock ticks, and what it does then.
pub(crate) struct Clock<F> {
    pub(crate) period: Duration,
    /// Called in the reactor's thread, first at its start.
    pub(crate) tick: F,
}

impl Reactor {
    /// Starts one whose tasks may use `runtime`, which must outlive it.
    ///
    /// # Errors
    /// What the system says when it has no thread or no event queue to give.
    pub(crate) fn start(
        name: String,
        runtime: tokio::runtime::Handle,
        clock: Clock<impl FnMut() + Send + 'static>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (hub, inbox) = Hub::new()?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let period = Timespec::try_from(clock.period).map_err(io::Error::other)?;
        let spec = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
        epoll::add(&hub.epoll, &timer, EventData::new_u64(CLOCK), EventFlags::IN)?;
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _inside = runtime.enter();
            let mut tick = clock.tick;
            tick();
            hub.run(move || {
                // Only a clock that is read goes on.
                let _ = rustix::io::read(&timer, &mut [0; 8]);
                tick();
            });
        })?;
        Ok((Self { inbox }, thread))
    }

    /// Has `what` done in the reactor's thread.
    pub(crate) fn run(&self, what: impl FnOnce(&mut Hub) + Send + 'static) {
        self.inbox.send(Mail::Do(Box::new(what)));
    }

    /// Ends it: its tasks are dropped, its thread ends.
    pub(crate) fn stop(&self) {
        self.inbox.send(Mail::Stop);
    }
}

/// The reactor from within.
pub(crate) struct Hub {
    epoll: OwnedFd,
    inbox: Arc<Inbox>,
    tasks: Tasks,
}

impl Hub {
    fn new() -> io::Result<(Self, Arc<Inbox>)> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let inbox = Arc::new(Inbox::new()?);
        epoll::add(
            &epoll,
            inbox.bell(),
            EventData::new_u64(INBOX),
            EventFlags::IN | EventFlags::ET,
        )?;
        let tasks = Tasks::default();
        Ok((Self { epoll, inbox: inbox.clone(), tasks }, inbox))
    }

    /// Takes a task up, and polls it for the first time.
    pub(crate) fn add(&mut self, task: Box<dyn Task>) {
        let key = self.tasks.insert(task, &self.inbox);
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Some(task) = self.tasks.get(key) {
            for (side, socket) in task.sockets().into_iter().enumerate() {
                let data = EventData::new_u64(key.with_side(side));
                if epoll::add(&self.epoll, socket, data, interest).is_err() {
                    // The task hears it when it reads, and says how the connection ended.
                    socket.fail();
                }
            }
        }
        self.poll(key);
    }

    fn run(mut self, mut tick: impl FnMut()) {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS_MAX];
        loop {
            let Ok((events, _)) = epoll::wait(&self.epoll, &mut events[..], None) else {
                // Interrupted by a signal; nothing else can be said of a queue of one's own.
                continue;
            };
            for (at, event) in events.iter().enumerate() {
                self.expect(&events[at + 1..]);
                match event.data.u64() {
                    INBOX => {
                        if self.read_inbox().is_break() {
                            return self.inbox.close();
                        }
                    }
                    CLOCK => tick(),
                    data => self.note(data, event.flags),
                }
            }
        }
    }

    /// Has what the next events need brought near, the nearer ones' in depth.
    fn expect(&self, next: &[Event]) {
        let key = |at: usize| next.get(at).map(|event| Key::and_side(event.data.u64()).0);
        if let Some(task) = key(0).and_then(|key| self.tasks.get(key)) {
            task.prefetch();
        }
        if let Some(key) = key(1) {
            self.tasks.prefetch(key);
        }
    }

    /// The system's word on a socket.
    fn note(&mut self, data: u64, flags: EventFlags) {
        let (key, side) = Key::and_side(data);
        let Some(task) = self.tasks.get(key) else { return };
        task.sockets()[side].note(flags);
        self.poll(key);
    }

    fn read_inbox(&mut self) -> ControlFlow<()> {
        for mail in self.inbox.take() {
            match mail {
                // What panics here has lost its sockets; the others have not.
                Mail::Do(what) => drop(catch_unwind(AssertUnwindSafe(|| what(self)))),
                Mail::Wake(key) => self.poll(key),
                Mail::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn poll(&mut self, key: Key) {
        let Poll::Ready(fate) = self.tasks.poll(key) else { return };
        let Some(task) = self.tasks.remove(key) else { return };
        if fate == Fate::Shared {
            for socket in task.sockets() {
                // One that was refused at the start is not there.
                let _ = epoll::delete(&self.epoll, socket);
            }
        }
    }
}

#[cfg(test)]
mod tests;

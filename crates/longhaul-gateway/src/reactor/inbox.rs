//! What other threads want of a reactor, and how it is woken for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};

use super::Hub;
use super::tasks::Key;

pub(super) enum Mail {
    Do(Box<dyn FnOnce(&mut Hub) + Send>),
    Wake(Key),
    Stop,
}

/// Letters in the order they came. Nothing on the relay path writes any.
pub(super) struct Inbox {
    /// `None` once nobody reads them any more.
    letters: Mutex<Option<Vec<Mail>>>,
    /// Rings when there is a first letter.
    bell: OwnedFd,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { letters: Mutex::new(Some(Vec::new())), bell })
    }

    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    pub(super) fn send(&self, mail: Mail) {
        let mut guard = self.lock();
        let Some(letters) = guard.as_mut() else { return };
        letters.push(mail);
        let is_first = letters.len() == 1;
        drop(guard);
        if is_first {
            // It counts to 2^64 and is never read: each ring is an edge of its own.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// All letters so far. The next one rings again.
    pub(super) fn take(&self) -> Vec<Mail> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What comes from here on is dropped.
    pub(super) fn close(&self) {
        // Dropped when the lock is free: what a letter holds may write one.
        let left = self.lock().take();
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Mail>>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes one task, from any thread.
pub(super) struct Alarm {
    pub(super) inbox: Arc<Inbox>,
    pub(super) key: Key,
    /// Whether its letter is under way.
    pub(super) is_set: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            self.inbox.send(Mail::Wake(self.key));
        }
    }
}

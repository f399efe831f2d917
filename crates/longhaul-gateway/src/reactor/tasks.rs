//! The tasks of one reactor by key.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use super::inbox::{Alarm, Inbox};
use super::prefetch::prefetch;
use super::{Fate, Task};

/// A task's name, never given twice: what is said of one that is over reaches nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    place: u32,
    generation: u32,
}

impl Key {
    /// The word by which the system speaks of one of its sockets. The topmost generation is never
    /// reached (see [`Tasks::remove`]), so other words are left.
    pub(super) fn with_side(self, side: usize) -> u64 {
        (u64::from(self.generation) << 33) | (u64::from(self.place) << 1) | (side as u64 & 1)
    }

    pub(super) fn and_side(word: u64) -> (Self, usize) {
        let key = Self { place: (word >> 1) as u32, generation: (word >> 33) as u32 };
        (key, (word & 1) as usize)
    }
}

/// Generations have 31 bits in [`Key::with_side`].
const GENERATION_MAX: u32 = (1 << 31) - 2;

#[derive(Default)]
pub(super) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

struct Entry {
    task: Box<dyn Task>,
    alarm: Arc<Alarm>,
    /// The alarm as a task knows it.
    waker: Waker,
}

impl Tasks {
    pub(super) fn insert(&mut self, task: Box<dyn Task>, inbox: &Arc<Inbox>) -> Key {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("a process has fewer than 2^32 descriptors")
        });
        let slot = &mut self.slots[place as usize];
        let key = Key { place, generation: slot.generation };
        let alarm = Alarm { inbox: inbox.clone(), key, is_set: AtomicBool::new(false) };
        let alarm = Arc::new(alarm);
        slot.entry = Some(Entry { task, waker: alarm.clone().into(), alarm });
        key
    }

    pub(super) fn get(&self, key: Key) -> Option<&dyn Task> {
        let slot = self.slots.get(key.place as usize)?;
        let entry = slot.entry.as_ref().filter(|_| slot.generation == key.generation)?;
        Some(&*entry.task)
    }

    /// Asks for a task, if it is still there.
    pub(super) fn prefetch(&self, key: Key) {
        let entry = self.slots.get(key.place as usize).and_then(|slot| slot.entry.as_ref());
        if let Some(Entry { task, alarm, .. }) = entry {
            prefetch(&**task);
            prefetch(&**alarm);
        }
    }

    /// Polls a task, if it is still there. One that panics is over, and only that one.
    pub(super) fn poll(&mut self, key: Key) -> Poll<Fate> {
        let Some(slot) = self.slots.get_mut(key.place as usize) else { return Poll::Pending };
        let is_meant = slot.generation == key.generation;
        let Some(entry) = slot.entry.as_mut().filter(|_| is_meant) else { return Poll::Pending };
        // Before the task looks at anything: what changes behind its look wakes it again.
        entry.alarm.is_set.store(false, Ordering::Release);
        let task = Pin::new(&mut *entry.task);
        let mut cx = Context::from_waker(&entry.waker);
        // It is dropped after a panic, so nobody sees what it has left half done.
        let polled = catch_unwind(AssertUnwindSafe(|| task.poll(&mut cx)));
        polled.unwrap_or(Poll::Ready(Fate::Closed))
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Box<dyn Task>> {
        let slot = self.slots.get_mut(key.place as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = if slot.generation == GENERATION_MAX { 0 } else { slot.generation + 1 };
        self.free.push(key.place);
        Some(entry.task)
    }
}

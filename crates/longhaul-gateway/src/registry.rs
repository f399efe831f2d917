//! Every open WebSocket, or every raw TCP connection, so that it can be told something. Touched at
//! open and close only.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::relay::control::{Control, Order};

/// All connections of one kind of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// Slots of open connections; a free one is `None` and listed in `free`.
    slots: Vec<Option<Arc<Control>>>,
    free: Vec<usize>,
}

/// The place of one connection in the registry.
#[derive(Debug)]
pub(crate) struct Slot(usize);

impl Registry {
    pub(crate) fn add(&self, control: Arc<Control>) -> Slot {
        let mut entries = self.lock();
        match entries.free.pop() {
            Some(slot) => {
                entries.slots[slot] = Some(control);
                Slot(slot)
            }
            None => {
                entries.slots.push(Some(control));
                Slot(entries.slots.len() - 1)
            }
        }
    }

    pub(crate) fn remove(&self, slot: Slot) {
        let mut entries = self.lock();
        entries.slots[slot.0] = None;
        entries.free.push(slot.0);
        if entries.free.len() == entries.slots.len() {
            // After a crowd has left, its slots go as well.
            *entries = Entries::default();
        }
    }

    pub(crate) fn len(&self) -> usize {
        let entries = self.lock();
        entries.slots.len() - entries.free.len()
    }

    /// All that are open now.
    pub(crate) fn all(&self) -> Vec<Arc<Control>> {
        self.lock().slots.iter().flatten().cloned().collect()
    }

    /// Ends every connection whose replica was found dead.
    pub(crate) fn lose_replica(&self, replica: SocketAddr) {
        for control in self.lock().slots.iter().flatten() {
            if control.replica() == replica {
                control.order(Order::ReplicaLost);
            }
        }
    }

    /// All whose backend leg goes to this replica.
    pub(crate) fn at_replica(&self, replica: SocketAddr) -> Vec<Arc<Control>> {
        let entries = self.lock();
        let at_replica = |control: &&Arc<Control>| control.replica() == replica;
        entries.slots.iter().flatten().filter(at_replica).cloned().collect()
    }

    /// The one with this id.
    pub(crate) fn find(&self, id: u64) -> Option<Arc<Control>> {
        self.lock().slots.iter().flatten().find(|control| control.card.id == id).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Card, Telemetry};

    #[test]
    fn slots_are_used_again_and_freed_when_the_last_one_goes() {
        let registry = Registry::default();
        let telemetry = Telemetry::new(1);
        let control = || {
            let card = Card::new(&telemetry, "chat".into(), [127, 0, 0, 1].into());
            Arc::new(Control::new(([127, 0, 0, 1], 1).into(), card))
        };
        let (first, second) = (registry.add(control()), registry.add(control()));
        registry.remove(first);
        let third = registry.add(control());
        assert_eq!((registry.len(), third.0), (2, 0));
        registry.remove(second);
        registry.remove(third);
        assert_eq!((registry.len(), registry.lock().slots.len()), (0, 0));
    }
}

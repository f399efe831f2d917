//! What the giver sends beside the words that both sides wait for: connections, and what was told late.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use super::Giver;
use crate::handoff::memory::Memory;
use crate::handoff::message::FromGiver;
use crate::handoff::state::Parcel;
use crate::handoff::{Copied, HandoffError, at};
use crate::shared::Shared;

/// Bytes that connections of one message may hold: it stays far below what a message may be long.
const WEIGHT_MAX: usize = 32 << 20;

impl Giver {
    /// Passes on what was told to this process since the other one serves, and to connections while they
    /// went over.
    pub(super) fn tell_late(&mut self, shared: &Shared) -> Result<(), HandoffError> {
        let Some(told) = &self.told else { return Ok(()) };
        let memory = Memory::since(told, shared);
        let orders = std::mem::take(&mut *shared.movers.late());
        if memory.is_empty() && orders.is_empty() {
            return Ok(());
        }
        self.told = Some(Memory::told(shared));
        let deadline = Instant::now() + self.patience.step;
        let late = FromGiver::Late { memory, orders };
        self.wire.send(&late, &[], deadline).map_err(at("passing on what was told"))
    }

    /// Sends connections that stand still, in as many messages as it takes.
    pub(super) fn send_batch(
        &mut self,
        batch: Vec<Copied>,
        deadline: Instant,
    ) -> Result<(), HandoffError> {
        let mut parcels: Vec<Parcel> = Vec::with_capacity(batch.len());
        let mut sockets = Vec::with_capacity(2 * batch.len());
        let mut weight = 0;
        for copied in batch {
            let Ok((parcel, of_this)) = copied.frozen else { continue };
            weight += parcel.weight;
            if weight > WEIGHT_MAX && !parcels.is_empty() {
                weight = parcel.weight;
                self.send_parcels(std::mem::take(&mut parcels), &sockets, deadline)?;
                sockets.clear();
            }
            parcels.push(parcel);
            sockets.extend(of_this);
        }
        self.send_parcels(parcels, &sockets, deadline)
    }

    fn send_parcels(
        &mut self,
        parcels: Vec<Parcel>,
        sockets: &[OwnedFd],
        deadline: Instant,
    ) -> Result<(), HandoffError> {
        let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        let message = FromGiver::Parcels(parcels);
        self.wire.send(&message, &borrowed, deadline).map_err(at("giving connections"))
    }
}

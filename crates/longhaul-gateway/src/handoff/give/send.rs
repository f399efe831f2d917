//! What the giver sends beside the words that both sides wait for: connections, and what was told late.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use super::Giver;
use crate::handoff::memory::Memory;
use crate::handoff::message::FromGiver;
use crate::handoff::round::{Batch, Round};
use crate::handoff::state::{Parcel, Sockets};
use crate::handoff::{HandoffError, at};
use crate::shared::Shared;

/// Bytes that connections of one message may hold: it stays far below what a message may be long.
const WEIGHT_MAX: usize = 32 << 20;

pub(super) const GIVING: &str = "giving connections";

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

    /// Sends copies of connections that go on meanwhile.
    pub(super) fn send_ahead(&mut self, round: &mut Round<'_>) -> Result<(), HandoffError> {
        loop {
            let batch = round.collect_ahead();
            if batch.is_empty() {
                return Ok(());
            }
            // Nobody waits for these: only what hangs is to be found out.
            let deadline = Instant::now() + self.patience.step;
            self.send_parcels(batch, FromGiver::Ahead, deadline)?;
        }
    }

    /// Sends what stands still, in as many messages as it takes.
    pub(super) fn send_batch(
        &mut self,
        batch: Batch,
        deadline: Instant,
    ) -> Result<(), HandoffError> {
        let Batch { whole, unchanged, changed } = batch;
        if !whole.is_empty() {
            self.send_parcels(whole, FromGiver::Parcels, deadline)?;
        }
        if unchanged.is_empty() && changed.is_empty() {
            return Ok(());
        }
        let message = FromGiver::Still { unchanged, changed };
        self.wire.send(&message, &[], deadline).map_err(at(GIVING))
    }

    fn send_parcels(
        &mut self,
        batch: Vec<(Parcel, Sockets)>,
        words: fn(Vec<Parcel>) -> FromGiver,
        deadline: Instant,
    ) -> Result<(), HandoffError> {
        let mut parcels: Vec<Parcel> = Vec::with_capacity(batch.len());
        let mut sockets = Vec::with_capacity(2 * batch.len());
        let mut weight = 0;
        for (parcel, of_this) in batch {
            weight += parcel.weight;
            if weight > WEIGHT_MAX && !parcels.is_empty() {
                weight = parcel.weight;
                self.send_message(words(std::mem::take(&mut parcels)), &sockets, deadline)?;
                sockets.clear();
            }
            parcels.push(parcel);
            sockets.extend(of_this);
        }
        self.send_message(words(parcels), &sockets, deadline)
    }

    fn send_message(
        &mut self,
        message: FromGiver,
        sockets: &[OwnedFd],
        deadline: Instant,
    ) -> Result<(), HandoffError> {
        let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        self.wire.send(&message, &borrowed, deadline).map_err(at(GIVING))
    }
}

//! Has connections give copies of themselves, first while they go on and then as they stand still, and
//! collects these.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::state::{Change, Parcel, Sockets, tick_us};
use super::{Copied, Copy, Report, Said};
use crate::relay::control::Control;
use crate::relay::stream::Bound;
use crate::shared::Shared;

/// Connections that travel together. Their descriptors exist twice meanwhile.
const BATCH: usize = 100;
/// How often it is looked whether somebody who was asked has ended instead.
const LOOK: Duration = Duration::from_millis(20);

/// Connections that are asked for copies. Whatever does not come to its end lets them go on.
pub(super) struct Round<'a> {
    shared: &'a Shared,
    answers: Receiver<Copied>,
    /// Those who were asked and have not answered, by id.
    asked: HashMap<u64, Arc<Control>>,
    /// Until when they may.
    until: Instant,
    /// Not asked yet.
    rest: Vec<Arc<Control>>,
    /// The other process has copies of these.
    ahead: HashMap<u64, Arc<Control>>,
    /// Whether they are asked to stand still by now.
    is_still: bool,
    /// Those that do, and since when, by id.
    pub(super) still: HashMap<u64, (Arc<Control>, u64)>,
    /// So many were copied as a whole while they stood still.
    pub(super) whole: usize,
    /// Something had happened to so many since they were copied.
    pub(super) changed: usize,
    patience: Duration,
}

/// What some have answered.
#[derive(Default)]
pub(super) struct Batch {
    /// With their sockets.
    pub(super) whole: Vec<(Parcel, Sockets)>,
    /// Since when they stand still. They went ahead.
    pub(super) unchanged: Vec<(u64, u64)>,
    pub(super) changed: Vec<(Change, u64)>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.unchanged.is_empty() && self.changed.is_empty()
    }

    fn is_full(&self) -> bool {
        // Of what stands still as it was copied, no more than a number is told.
        self.whole.len() + self.changed.len() >= BATCH
    }
}

impl<'a> Round<'a> {
    pub(super) fn begin(shared: &'a Shared, patience: Duration) -> Self {
        Self {
            shared,
            answers: shared.movers.open(),
            asked: HashMap::new(),
            until: Instant::now(),
            rest: here(shared),
            ahead: HashMap::new(),
            is_still: false,
            still: HashMap::new(),
            whole: 0,
            changed: 0,
            patience,
        }
    }

    /// Copies of some that go on; the next ones are asked. Empty when there are no more.
    pub(super) fn collect_ahead(&mut self) -> Vec<(Parcel, Sockets)> {
        let mut batch = Batch::default();
        while batch.is_empty() && self.ask(BATCH) {
            while !self.asked.is_empty() && self.hear(&mut batch, &mut Report::default()) {}
            // Who has not answered goes over as a whole, when it stands still.
            self.asked.clear();
        }
        self.ask(BATCH);
        batch.whole
    }

    /// From here on everybody stands still, who has not gone ahead first: that takes the longest.
    pub(super) fn stand_still(&mut self) {
        let (mut ahead, rest): (Vec<_>, Vec<_>) = here(self.shared)
            .into_iter()
            .partition(|control| self.ahead.contains_key(&control.card.id));
        // The last ones are asked first.
        ahead.extend(rest);
        (self.rest, self.is_still) = (ahead, true);
    }

    /// Some that stand still now; the next ones are asked. Empty when there are no more.
    pub(super) fn collect(&mut self, report: &mut Report) -> Batch {
        let mut batch = Batch::default();
        while batch.is_empty() && self.ask_still() {
            while !self.asked.is_empty() && !batch.is_full() {
                if !self.hear(&mut batch, report) {
                    self.give_up(report);
                }
            }
        }
        self.ask_still();
        batch
    }

    /// Asks the next ones to stand still, if nobody is to answer yet. Who went ahead says little, and so
    /// they are asked all at once. Says whether somebody is to answer.
    fn ask_still(&mut self) -> bool {
        let is_ahead = |control: &Arc<Control>| self.ahead.contains_key(&control.card.id);
        self.ask(if self.rest.last().is_some_and(is_ahead) { usize::MAX } else { BATCH })
    }

    /// Asks the next ones, if nobody is to answer yet. Says whether somebody is.
    fn ask(&mut self, count: usize) -> bool {
        if self.asked.is_empty() && !self.rest.is_empty() {
            self.until = Instant::now() + self.patience / 2;
            let next = self.rest.split_off(self.rest.len().saturating_sub(count));
            for control in &next {
                match (self.is_still, self.ahead.contains_key(&control.card.id)) {
                    (false, _) => control.ask_ahead(),
                    (true, true) => control.hold(),
                    (true, false) => control.hold_whole(),
                }
            }
            self.asked = next.into_iter().map(|control| (control.card.id, control)).collect();
        }
        !self.asked.is_empty()
    }

    /// Hears one answer. Says whether more may come.
    fn hear(&mut self, batch: &mut Batch, report: &mut Report) -> bool {
        match self.answers.recv_timeout(LOOK) {
            Ok(copied) => self.note(copied, batch, report),
            Err(RecvTimeoutError::Timeout) => {
                let all = self.shared.registry.all().into_iter().chain(self.shared.streams.all());
                let open: HashSet<u64> = all.map(|control| control.card.id).collect();
                // Who has ended meanwhile answers nothing.
                self.asked.retain(|id, _| open.contains(id));
                return Instant::now() < self.until;
            }
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn note(&mut self, copied: Copied, batch: &mut Batch, report: &mut Report) {
        let Copied { control, said } = copied;
        let id = control.card.id;
        let is_of_use = match &said {
            // One that comes late is of no use any more.
            Said::Ahead(..) | Said::NotAhead => !self.is_still,
            // What the other process has no copy of cannot be said in short.
            Said::Still(Copy::Unchanged | Copy::Changed(_), _) => self.ahead.contains_key(&id),
            Said::Still(Copy::Whole(..), _) | Said::Stays(_) => true,
        };
        if !is_of_use || self.asked.remove(&id).is_none() {
            return;
        }
        let (copy, since) = match said {
            Said::Ahead(parcel, sockets) => {
                self.ahead.insert(id, control);
                return batch.whole.push((parcel, sockets));
            }
            Said::NotAhead => return,
            Said::Stays(bound) => return *report.stays.entry(bound.name()).or_default() += 1,
            Said::Still(copy, since) => (copy, since),
        };
        self.still.insert(id, (control, since));
        match copy {
            Copy::Whole(parcel, sockets) => {
                self.whole += 1;
                batch.whole.push((Parcel { still_us: since, ..parcel }, sockets));
            }
            Copy::Unchanged => batch.unchanged.push((id, since)),
            Copy::Changed(change) => {
                self.changed += 1;
                batch.changed.push((change, since));
            }
        }
    }

    /// Who has not answered goes on.
    fn give_up(&mut self, report: &mut Report) {
        for (_, control) in self.asked.drain() {
            control.release();
            *report.stays.entry(Bound::Busy.name()).or_default() += 1;
        }
    }

    /// The longest that one stands still by now.
    pub(super) fn pause(&self) -> Duration {
        let first = self.still.values().map(|(_, since)| *since).min();
        Duration::from_micros(first.map_or(0, |first| tick_us().saturating_sub(first)))
    }

    /// The other process has them.
    pub(super) fn let_go(mut self) {
        for (control, _) in std::mem::take(&mut self.still).into_values() {
            control.let_go();
        }
        self.ahead.clear();
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.shared.movers.close();
        let still = self.still.drain().map(|(_, (control, _))| control);
        let asked = self.asked.drain().chain(self.ahead.drain()).map(|(_, control)| control);
        for control in still.chain(asked) {
            control.release();
        }
    }
}

/// All connections, without those whom another process has by now, and who have not let go yet.
fn here(shared: &Shared) -> Vec<Arc<Control>> {
    let mut all = shared.registry.all();
    all.extend(shared.streams.all());
    all.retain(|control| !control.is_gone());
    all
}

//! Has connections stand still and collects the copies they give of themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{Copied, Report};
use crate::relay::control::Control;
use crate::relay::stream::Bound;
use crate::shared::Shared;

/// Connections that stand still and travel together. Their descriptors exist twice meanwhile.
const BATCH: usize = 100;
/// How often it is looked whether somebody who was asked has ended instead.
const LOOK: Duration = Duration::from_millis(20);

/// Connections that are asked to stand still. Whatever does not come to its end lets them go on.
pub(super) struct Round<'a> {
    shared: &'a Shared,
    answers: Receiver<Copied>,
    asked: Vec<Arc<Control>>,
    /// Not asked yet.
    rest: std::vec::IntoIter<Arc<Control>>,
    /// Those that stand still, and since when, by id.
    pub(super) still: HashMap<u64, (Arc<Control>, Instant)>,
    patience: Duration,
}

impl<'a> Round<'a> {
    pub(super) fn begin(shared: &'a Shared, patience: Duration) -> Self {
        let mut all = shared.registry.all();
        all.extend(shared.streams.all());
        let mut round = Self {
            shared,
            answers: shared.movers.open(),
            asked: Vec::new(),
            rest: all.into_iter(),
            still: HashMap::new(),
            patience,
        };
        round.ask();
        round
    }

    /// Asks the next ones.
    fn ask(&mut self) {
        self.asked = self.rest.by_ref().take(BATCH).collect();
        for control in &self.asked {
            control.hold();
        }
    }

    /// Those who were asked and stand still now; the next ones are asked. Empty when there are no more.
    pub(super) fn collect(&mut self, report: &mut Report) -> Vec<Copied> {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.is_empty() && !self.asked.is_empty() {
            self.await_answers(&mut batch, report);
            self.ask();
        }
        batch
    }

    fn await_answers(&mut self, batch: &mut Vec<Copied>, report: &mut Report) {
        let mut waiting: HashMap<u64, Arc<Control>> =
            self.asked.drain(..).map(|control| (control.card.id, control)).collect();
        let until = Instant::now() + self.patience / 2;
        while !waiting.is_empty() {
            match self.answers.recv_timeout(LOOK) {
                Ok(copied) => {
                    let id = copied.control.card.id;
                    if waiting.remove(&id).is_none() {
                        continue;
                    }
                    match &copied.frozen {
                        Ok(_) => {
                            let control = copied.control.clone();
                            self.still.insert(id, (control, Instant::now()));
                            batch.push(copied);
                        }
                        Err(bound) => *report.stays.entry(bound.name()).or_default() += 1,
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    // Who has ended meanwhile answers nothing.
                    waiting.retain(|id, _| self.is_open(*id));
                    if until <= Instant::now() {
                        break;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for control in waiting.into_values() {
            control.release();
            *report.stays.entry(Bound::Busy.name()).or_default() += 1;
        }
    }

    fn is_open(&self, id: u64) -> bool {
        self.shared.registry.find(id).or_else(|| self.shared.streams.find(id)).is_some()
    }

    /// The longest that one stands still by now.
    pub(super) fn pause(&self) -> Duration {
        self.still.values().map(|(_, since)| since.elapsed()).max().unwrap_or_default()
    }

    /// The other process has them.
    pub(super) fn let_go(mut self) {
        for (control, _) in std::mem::take(&mut self.still).into_values() {
            control.let_go();
        }
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.shared.movers.close();
        for control in self.asked.drain(..) {
            control.release();
        }
        for (control, _) in self.still.drain().map(|(_, still)| still) {
            control.release();
        }
    }
}

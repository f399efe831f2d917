//! Replicas that acknowledge messages themselves, as the checker sees them: what they have stored, the one that has
//! the leg, one that was given up and does not know it, and what is on the way between leg and owner.

use std::collections::VecDeque;

use bytes::Bytes;
use longhaul_proto::durable::Form;
use longhaul_proto::durable::backend::{Backend, Change, Output, Saved, WINDOW_DEFAULT};

/// What an application does right. Without one of them an order is found that goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Care {
    /// Its store refuses a replica once another has attached.
    pub(crate) is_fenced: bool,
    /// It stores what it did before it says so.
    pub(crate) stores_first: bool,
}

/// One thing that a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Deed {
    /// Takes the next of what the gateway told it.
    Hears,
    /// The gateway takes the next of what it said.
    IsHeard,
    /// Begins with the oldest message that it was given.
    DealsWithOne,
    /// Begins to say something of its own.
    Writes,
    /// Goes through with what it began.
    Finishes,
    /// The one that was given up does all of that for one message.
    ZombieDealsWithOne,
}

/// The replicas of one session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replicas {
    /// Nobody below it may store anything.
    fence: u64,
    saved: Saved,
    current: Option<Replica>,
    zombie: Option<Replica>,
    up: VecDeque<(Form, Bytes)>,
    pub(crate) down: VecDeque<(Form, Bytes)>,
}

#[derive(Debug, Clone)]
struct Replica {
    machine: Backend,
    /// Messages, and an end, that wait for the application; with their numbers.
    tasks: VecDeque<(u64, Option<Bytes>)>,
    /// What was begun: a message that is dealt with, and what changes with it.
    begun: Option<(Option<Bytes>, Change)>,
}

impl Replicas {
    /// What an owner tells the leg.
    pub(crate) fn tell(&mut self, form: Form, message: Bytes) {
        self.current.get_or_insert_with(Replica::new);
        self.up.push_back((form, message));
    }

    /// The leg is closed behind what was told.
    pub(crate) fn close(&mut self) {
        (self.current, self.up, self.down) = Default::default();
    }

    /// The leg is lost: its replica died, or was given up.
    pub(crate) fn lose(&mut self, is_dead: bool) {
        self.zombie = self.current.take().filter(|_| !is_dead);
        self.close();
    }

    /// The last that was dealt with.
    pub(crate) fn committed(&self) -> u64 {
        self.saved.recv.unwrap_or(0)
    }

    /// What may be done next; `may_write` where the application has something to say.
    pub(crate) fn deeds(&self, may_write: bool) -> impl Iterator<Item = Deed> {
        let current = self.current.as_ref();
        let is_free = current.is_some_and(|replica| replica.begun.is_none());
        let has_task = |replica: &Replica| !replica.tasks.is_empty();
        let deeds = [
            (Deed::Hears, !self.up.is_empty()),
            (Deed::IsHeard, !self.down.is_empty()),
            (Deed::DealsWithOne, is_free && current.is_some_and(has_task)),
            (
                Deed::Writes,
                is_free && may_write && current.is_some_and(|it| it.machine.is_attached()),
            ),
            (Deed::Finishes, current.is_some_and(|replica| replica.begun.is_some())),
            (Deed::ZombieDealsWithOne, self.zombie.as_ref().is_some_and(has_task)),
        ];
        deeds.into_iter().filter(|(_, may)| *may).map(|(deed, _)| deed)
    }

    /// Takes the next of what the gateway told.
    ///
    /// # Errors
    /// When the replica closes the leg.
    pub(crate) fn hear(&mut self) -> Result<(), String> {
        let Some((form, message)) = self.up.pop_front() else { return Ok(()) };
        let Some(mut replica) = self.current.take() else { return Ok(()) };
        replica.machine.receive(form, &message);
        let obeyed = self.obey(&mut replica);
        self.current = Some(replica);
        obeyed
    }

    /// Begins something: with a message of its own, or with the oldest it was given. Gives what the
    /// application has dealt with by that.
    ///
    /// # Errors
    /// When the replica closes the leg.
    pub(crate) fn begin(
        &mut self,
        own: Option<Bytes>,
        care: Care,
    ) -> Result<Option<Bytes>, String> {
        let Some(mut replica) = self.current.take() else { return Ok(None) };
        let task = if own.is_none() { replica.tasks.pop_front() } else { None };
        let recv = task.as_ref().map(|(seq, _)| *seq);
        let messages: Vec<_> = own.into_iter().map(|own| (Form::Text, own)).collect();
        let mut done = Ok(None);
        if let Ok(change) = replica.machine.change(recv, messages) {
            replica.begun = Some((task.and_then(|(_, message)| message), change));
            done = self.step(&mut replica, care.stores_first, care);
        }
        self.current = Some(replica);
        done
    }

    /// Goes through with it. Gives what the application has dealt with by that.
    ///
    /// # Errors
    /// When the replica closes the leg.
    pub(crate) fn finish(&mut self, care: Care) -> Result<Option<Bytes>, String> {
        let Some(mut replica) = self.current.take() else { return Ok(None) };
        let done = self.step(&mut replica, !care.stores_first, care);
        replica.begun = None;
        self.current = Some(replica);
        done
    }

    /// The one that was given up deals with a message, if the store lets it.
    pub(crate) fn zombie_deals(&mut self, care: Care) -> Option<Bytes> {
        let mut zombie = self.zombie.take()?;
        let (seq, message) = zombie.tasks.pop_front()?;
        let change = zombie.machine.change(Some(seq), Vec::new()).ok()?;
        let is_stored = self.store(&change, care);
        // Nobody hears what it says.
        let _ = zombie.machine.apply(change);
        self.zombie = Some(zombie).filter(|_| is_stored);
        message.filter(|_| is_stored)
    }

    fn step(
        &mut self,
        replica: &mut Replica,
        stores: bool,
        care: Care,
    ) -> Result<Option<Bytes>, String> {
        let Some((message, change)) = replica.begun.clone() else { return Ok(None) };
        if stores {
            let is_stored = self.store(&change, care);
            return Ok(message.filter(|_| is_stored));
        }
        replica.machine.apply(change).map_err(|misuse| misuse.to_string())?;
        self.obey(replica).map(|()| None)
    }

    fn store(&mut self, change: &Change, care: Care) -> bool {
        if change.leg < self.fence && care.is_fenced {
            return false;
        }
        self.saved.recv = Some(change.recv);
        self.saved.sent = change.sent;
        self.saved.unacked.retain(|item| item.seq > change.acked);
        self.saved.unacked.extend(change.items.iter().cloned());
        true
    }

    fn obey(&mut self, replica: &mut Replica) -> Result<(), String> {
        loop {
            match replica.machine.poll() {
                Output::Idle => return Ok(()),
                Output::Attach(attach) if attach.leg >= self.fence => {
                    self.fence = attach.leg;
                    replica.machine.attach(self.saved.clone());
                }
                Output::Attach(_) => replica.machine.lost(),
                Output::Send { form, head, payload } => {
                    self.down.push_back((form, [head.as_bytes(), &payload].concat().into()));
                }
                Output::Message { seq, payload, .. } => {
                    replica.tasks.push_back((seq, Some(payload)))
                }
                Output::End { seq, .. } => replica.tasks.push_back((seq, None)),
                Output::Over(_) => {}
                Output::Close { code, reason } => {
                    return Err(format!("the replica closed its leg with {code}: {reason}"));
                }
            }
        }
    }
}

impl Replica {
    fn new() -> Self {
        Self { machine: Backend::new(WINDOW_DEFAULT), tasks: VecDeque::new(), begun: None }
    }
}

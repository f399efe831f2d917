//! Replicas that acknowledge messages themselves, and die: the store that outlives them, the leg between one
//! of them and the owner, and those that were given up and do not know it.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;
use longhaul_proto::durable::Form;
use longhaul_proto::durable::backend::{Backend, Change, Output, Saved, WINDOW_DEFAULT};
use longhaul_proto::durable::owner::Owner;
use longhaul_proto::websocket::CloseCode;

use crate::audit::{self, Audit};
use crate::scenario::Scenario;

/// What an application is given and works on, before it is committed.
#[derive(Debug)]
enum Task {
    Message(u64, Form, Bytes),
    End(u64),
}

/// One replica, as it holds the session or believes to.
#[derive(Debug)]
struct Replica {
    machine: Backend,
    tasks: VecDeque<Task>,
    /// Stored, and not said yet.
    stored: Option<Change>,
}

/// The replicas of one session, what they store, and the leg.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    /// Nobody below it may store anything.
    fence: u64,
    saved: Saved,
    /// Messages that were stored to be sent.
    sent: u64,
    current: Option<Replica>,
    /// Lost to the gateway, not to the store.
    zombies: Vec<Replica>,
    up: VecDeque<(Form, Bytes)>,
    down: VecDeque<(Form, Bytes)>,
    pub(crate) crashes: u64,
    /// The client's close was dealt with.
    pub(crate) has_ended: bool,
}

impl Replicas {
    /// What an owner tells the leg.
    pub(crate) fn tell(&mut self, form: Form, message: Bytes) {
        self.current.get_or_insert_with(Replica::new);
        self.up.push_back((form, message));
    }

    /// The leg is closed behind what was told: the session is over for it.
    pub(crate) fn close(&mut self) {
        self.current = None;
        self.up.clear();
        self.down.clear();
    }

    /// The last that was dealt with.
    pub(crate) fn committed(&self) -> u64 {
        self.saved.recv.unwrap_or(0)
    }

    /// One thing happens at random: to the leg, to the replica, or to one that was given up.
    ///
    /// # Errors
    /// When something was dealt with twice, or in the wrong order.
    pub(crate) fn work(
        &mut self,
        owner: &mut Owner,
        audit: &mut Audit,
        (session, scenario): (u64, &Scenario),
        (rng, now): (&mut Rng, Instant),
    ) -> Result<(), String> {
        let takes = |rng: &mut Rng| rng.usize(..4);
        for _ in 0..takes(rng) {
            if let Some((form, message)) = self.up.pop_front()
                && let Some(replica) = &mut self.current
            {
                replica.machine.receive(form, &message);
            }
        }
        if let Some(mut replica) = self.current.take() {
            self.act(&mut replica, true, (session, scenario), audit, rng)?;
            self.current = Some(replica);
        }
        // What was given up goes on working, until the store says no.
        let mut zombies = std::mem::take(&mut self.zombies);
        for zombie in &mut zombies {
            self.act(zombie, false, (session, scenario), audit, rng)?;
        }
        zombies.truncate(3);
        self.zombies = zombies;
        for _ in 0..takes(rng) {
            if let Some((form, message)) = self.down.pop_front() {
                owner.leg_item(form, &message, now);
            }
        }
        Ok(())
    }

    /// The leg is lost: its replica died, or was given up without knowing it. What is on the way arrives as
    /// far as it may.
    pub(crate) fn lose(&mut self, owner: &mut Owner, rng: &mut Rng, now: Instant) {
        let Some(mut replica) = self.current.take().filter(|_| owner.may_replace_leg()) else {
            return;
        };
        self.crashes += 1;
        for _ in 0..rng.usize(..=self.down.len()) {
            if let Some((form, message)) = self.down.pop_front() {
                owner.leg_item(form, &message, now);
            }
        }
        if rng.bool() {
            // It had read more than anybody knows.
            for (form, message) in self.up.drain(..) {
                replica.machine.receive(form, &message);
            }
            self.zombies.push(replica);
        }
        self.up.clear();
        self.down.clear();
        owner.leg_lost(0, now);
        owner.leg_replaced("crash", now);
    }

    fn act(
        &mut self,
        replica: &mut Replica,
        is_current: bool,
        (session, scenario): (u64, &Scenario),
        audit: &mut Audit,
        rng: &mut Rng,
    ) -> Result<(), String> {
        if let Some(change) = replica.stored.take() {
            // A leg that is gone has nothing to say.
            let _ = replica.machine.apply(change);
        }
        if rng.bool() {
            let is_all = self.sent == scenario.messages;
            match replica.tasks.pop_front() {
                Some(task) => self.commit(replica, task, session, scenario, audit)?,
                None if !is_all && is_current => {
                    let message = audit::message(session, self.sent, scenario.message_bytes);
                    if let Ok(change) = replica.machine.change(None, vec![message])
                        && self.store(&change, scenario.is_fenced)
                    {
                        self.sent += 1;
                        replica.stored = Some(change);
                    }
                }
                None => {}
            }
        }
        self.obey(replica, is_current)
    }

    fn commit(
        &mut self,
        replica: &mut Replica,
        task: Task,
        session: u64,
        scenario: &Scenario,
        audit: &mut Audit,
    ) -> Result<(), String> {
        let seq = match task {
            Task::Message(seq, ..) | Task::End(seq) => seq,
        };
        let Ok(change) = replica.machine.change(Some(seq), Vec::new()) else { return Ok(()) };
        if !self.store(&change, scenario.is_fenced) {
            replica.machine.lost();
            return Ok(());
        }
        match task {
            Task::Message(_, form, payload) => {
                audit.take(session, form, &payload, scenario.message_bytes)?;
            }
            Task::End(_) => self.has_ended = true,
        }
        replica.stored = Some(change);
        Ok(())
    }

    /// Stores, if the leg is not fenced.
    fn store(&mut self, change: &Change, is_fenced: bool) -> bool {
        if change.leg < self.fence && is_fenced {
            return false;
        }
        self.saved.recv = Some(change.recv);
        self.saved.sent = change.sent;
        self.saved.unacked.retain(|item| item.seq > change.acked);
        self.saved.unacked.extend(change.items.iter().cloned());
        true
    }

    fn obey(&mut self, replica: &mut Replica, is_current: bool) -> Result<(), String> {
        loop {
            match replica.machine.poll() {
                Output::Idle => return Ok(()),
                Output::Attach(attach) if attach.leg >= self.fence => {
                    self.fence = attach.leg;
                    replica.machine.attach(self.saved.clone());
                }
                Output::Attach(_) => replica.machine.lost(),
                Output::Send { form, head, payload } if is_current => {
                    self.down.push_back((form, [head.as_bytes(), &payload].concat().into()));
                }
                Output::Send { .. } | Output::Over(_) => {}
                Output::Message { seq, form, payload } => {
                    replica.tasks.push_back(Task::Message(seq, form, payload));
                }
                Output::End { seq, .. } => replica.tasks.push_back(Task::End(seq)),
                Output::Close { code: CloseCode(code), reason } if is_current => {
                    return Err(format!("the replica closed its leg with {code}: {reason}"));
                }
                Output::Close { .. } => {}
            }
        }
    }
}

impl Replica {
    fn new() -> Self {
        Self { machine: Backend::new(WINDOW_DEFAULT), tasks: VecDeque::new(), stored: None }
    }
}

//! A leg that is lost, or left, and replaced by another: what the next replica is to be given, and what the
//! client is told of it.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::super::Form;
use super::{Leg, Output, Owner};
use crate::redial::{Prelude, Uncertain};
use crate::websocket::CloseCode;

/// How the legs of a session are replaced.
#[derive(Debug, Clone, Copy)]
pub struct Replacement {
    /// What becomes of messages that a lost replica may or may not have dealt with.
    pub uncertain: Uncertain,
    /// What each replica hears first.
    pub prelude: Prelude,
}

/// What is kept of the client's messages for legs to come.
#[derive(Debug)]
pub(super) struct Legs {
    how: Replacement,
    /// Counts the legs, from 1.
    number: u32,
    /// Messages that no replica's system has confirmed.
    owed: VecDeque<Owed>,
    owed_bytes: usize,
    prelude: Vec<Owed>,
    prelude_bytes: usize,
    /// Messages of this replica that are still to be swallowed.
    suppress: u64,
    /// The next messages wait for the next leg.
    pub(super) is_held: bool,
    /// Of the leg that was lost: the first and the last message that it may have dealt with.
    uncertain: Option<(u64, u64)>,
    /// The client ended meanwhile.
    pub(super) ending: Option<(CloseCode, String)>,
}

#[derive(Debug, Clone)]
struct Owed {
    seq: u64,
    form: Form,
    payload: Bytes,
}

impl Legs {
    pub(super) fn new(how: Replacement) -> Self {
        Self {
            how,
            number: 1,
            owed: VecDeque::new(),
            owed_bytes: 0,
            prelude: Vec::new(),
            prelude_bytes: 0,
            suppress: 0,
            is_held: false,
            uncertain: None,
            ending: None,
        }
    }

    /// Keeps a message until it is confirmed. Costs a count: the payload is the one that is delivered.
    pub(super) fn keep(&mut self, seq: u64, form: Form, payload: &Bytes) {
        let owed = Owed { seq, form, payload: payload.clone() };
        let Prelude { first, bytes_max, .. } = self.how.prelude;
        if (self.prelude.len() as u64) < first && self.prelude_bytes + payload.len() <= bytes_max {
            self.prelude_bytes += payload.len();
            self.prelude.push(owed.clone());
        }
        self.owed_bytes += payload.len();
        self.owed.push_back(owed);
    }

    pub(super) fn confirm(&mut self, seq: u64) {
        while let Some(owed) = self.owed.front().filter(|owed| owed.seq <= seq) {
            self.owed_bytes -= owed.payload.len();
            self.owed.pop_front();
        }
        if self.owed.is_empty() {
            // An idle session holds no buffer.
            self.owed = VecDeque::new();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.owed_bytes + self.prelude_bytes
    }

    /// Whether this message of the leg's answers the prelude.
    pub(super) fn swallows(&mut self) -> bool {
        let swallows = self.suppress > 0;
        self.suppress -= u64::from(swallows);
        swallows
    }
}

impl Owner {
    /// Whether another leg may take the place of this one.
    pub fn may_replace_leg(&self) -> bool {
        self.legs.is_some() && self.leg == Leg::Up && self.ended.is_none()
    }

    /// Whether another leg is waited for, or would still be of use.
    pub fn wants_next_leg(&self) -> bool {
        self.legs.is_some() && self.leg != Leg::Gone && self.ended.is_none()
    }

    /// The number of the next leg.
    pub fn next_leg(&self) -> u32 {
        self.legs.as_ref().map_or(1, |legs| legs.number + 1)
    }

    /// Delivers nothing more to this leg, which is about to be left in good order.
    pub fn hold_leg(&mut self) {
        if let Some(legs) = &mut self.legs {
            legs.is_held = true;
        }
    }

    /// Notes that the leg is lost and another is looked for. `written` is the last message that went to it
    /// whole, or 0. Gives the first and the last of those that it may have dealt with.
    pub fn leg_lost(&mut self, written: u64, now: Instant) -> Option<(u64, u64)> {
        self.now = now;
        let confirmed = self.up.confirmed();
        let legs = self.legs.as_mut()?;
        legs.is_held = true;
        // What was uncertain before the last leg came up, and was sent to nobody since, still is.
        let first = legs.uncertain.map_or(confirmed + 1, |(first, _)| first);
        let last = legs.uncertain.map_or(written, |(_, last)| last.max(written));
        legs.uncertain = (last >= first).then_some((first, last));
        legs.uncertain
    }

    /// Goes on with another leg: the client is told behind all that came from the one before.
    pub fn leg_replaced(&mut self, reason: &str, now: Instant) {
        self.now = now;
        let Some(legs) = &mut self.legs else { return };
        legs.number += 1;
        legs.is_held = false;
        let uncertain = legs.uncertain.take();
        let resent = legs.how.uncertain == Uncertain::AtLeastOnce;
        let range = uncertain.map(|(first, last)| format!(",\"uncertain\":[{first},{last}]"));
        let range = range.unwrap_or_default();
        let event = format!("{{\"leg\":{},\"reason\":\"{reason}\"{range}}}", legs.number);
        self.down.event(event.into());
        if let Some((_, last)) = uncertain.filter(|_| !resent) {
            self.confirm(last, now);
        }
        let Some(legs) = &mut self.legs else { return };
        legs.suppress = legs.how.prelude.suppress;
        let first_owed = legs.owed.front().map_or(u64::MAX, |owed| owed.seq);
        // Nobody asks for a confirmation of what was confirmed before.
        let prelude = legs.prelude.iter().filter(|told| told.seq < first_owed);
        let prelude = prelude.map(|told| Owed { seq: 0, ..told.clone() });
        for Owed { seq, form, payload } in prelude.chain(legs.owed.iter().cloned()) {
            self.outbox.push_back(Output::Deliver { form, payload, seq });
        }
        if let Some((code, reason)) = legs.ending.take() {
            self.outbox.push_back(Output::CloseLeg { code, reason });
        }
    }
}

//! A leg that is lost, or left, and replaced by another: what the next replica is to be given, and what the
//! client is told of it.

use std::collections::VecDeque;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::{Form, Pieces};
use super::{Leg, Output, Owner};
use crate::redial::{Prelude, Uncertain};
use crate::websocket::CloseCode;

/// How the legs of a session are replaced.
#[derive(Debug, Clone, Copy, Default)]
pub struct Replacement {
    /// What becomes of messages that a lost replica may or may not have dealt with.
    pub uncertain: Uncertain,
    /// What each replica hears first.
    pub prelude: Prelude,
}

/// What is kept of the client's messages for legs to come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Legs {
    /// Of this process's configuration, wherever the rest comes from.
    #[serde(skip)]
    pub(super) how: Replacement,
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
    /// The last of those that are not said again. They are acknowledged once the client knows: before, it
    /// keeps them and can be told which they were.
    given_up: u64,
    /// The client ended meanwhile.
    pub(super) ending: Option<(CloseCode, String)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Owed {
    seq: u64,
    form: Form,
    payload: Pieces,
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
            given_up: 0,
            ending: None,
        }
    }

    /// Keeps a message until it is confirmed. Costs a count: the payload is the one that is delivered.
    pub(super) fn keep(&mut self, seq: u64, form: Form, payload: &Pieces) {
        let owed = Owed { seq, form, payload: payload.clone() };
        let Prelude { first, bytes_max, .. } = self.how.prelude;
        if (self.prelude.len() as u64) < first && self.prelude_bytes + payload.len() <= bytes_max {
            self.prelude_bytes += payload.len();
            self.prelude.push(owed.clone());
        }
        self.owed_bytes += payload.len();
        self.owed.push_back(owed);
    }

    /// What the client was told to be uncertain, and may be told to forget.
    fn take_given_up(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.given_up)).filter(|&last| last > 0)
    }

    /// Keeps nothing up to this number any more. Says whether the client must not know that yet.
    pub(super) fn confirms_later(&mut self, seq: u64) -> bool {
        self.forget(seq);
        let is_later = self.given_up > 0;
        if is_later {
            self.given_up = self.given_up.max(seq);
        }
        is_later
    }

    fn forget(&mut self, seq: u64) {
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
        let is_replaced = match self.leg {
            Leg::Up => self.legs.is_some() || self.aware.is_some(),
            // The end is an item like others: the next replica gets it.
            Leg::Closing(_) => self.aware.is_some(),
            Leg::Gone => false,
        };
        is_replaced && self.ended.is_none()
    }

    /// Whether another leg is waited for, or would still be of use.
    pub fn wants_next_leg(&self) -> bool {
        let is_replaced = self.legs.is_some() || self.aware.is_some();
        is_replaced && self.leg != Leg::Gone && self.ended.is_none()
    }

    /// The number of the next leg.
    pub fn next_leg(&self) -> u32 {
        let aware = self.aware.as_ref().map(|aware| aware.attempts() + 1);
        aware.or_else(|| Some(self.legs.as_ref()?.number + 1)).unwrap_or(1)
    }

    /// Delivers nothing more to this leg, which is about to be left in good order.
    pub fn hold_leg(&mut self) {
        if let Some(legs) = &mut self.legs {
            legs.is_held = true;
        }
        if let Some(aware) = &mut self.aware {
            aware.is_held = true;
        }
    }

    /// Notes that the leg is lost and another is looked for. `written` is the last message that went to it
    /// whole, or 0. Gives the first and the last of those that it may have dealt with.
    pub fn leg_lost(&mut self, written: u64, now: Instant) -> Option<(u64, u64)> {
        self.now = now;
        let confirmed = self.up.confirmed();
        if let Some(aware) = &mut self.aware {
            aware.lose_leg();
        }
        let legs = self.legs.as_mut()?;
        let confirmed = confirmed.max(legs.given_up);
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
        let Some(legs) = &mut self.legs else { return self.attach_again(reason) };
        legs.number += 1;
        legs.is_held = false;
        let uncertain = legs.uncertain.take();
        let resent = legs.how.uncertain == Uncertain::AtLeastOnce;
        let range = uncertain.map(|(first, last)| format!(",\"uncertain\":[{first},{last}]"));
        let range = range.unwrap_or_default();
        let event = format!("{{\"leg\":{},\"reason\":\"{reason}\"{range}}}", legs.number);
        self.down.event(event.into());
        if let Some((_, last)) = uncertain.filter(|_| !resent) {
            legs.given_up = last;
            legs.forget(last);
        }
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

    /// The client has acknowledged something: if it was what it was told of a lost leg, what was given up
    /// then need not be kept any longer.
    pub(super) fn note_told(&mut self) {
        if self.down.are_events_known()
            && let Some(last) = self.legs.as_mut().and_then(|legs| legs.take_given_up())
        {
            self.confirm(last, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::{Opening, OwnerPolicy, Seal};
    use super::*;
    use crate::durable::{LinkKey, Window};

    #[derive(Debug)]
    struct Bare;

    impl Seal for Bare {
        fn seal(&self, sid: &str, generation: u64) -> String {
            format!("{sid}.{generation}")
        }
    }

    const LINK: LinkKey = LinkKey(1);

    fn owner(uncertain: Uncertain, first: u64) -> Owner {
        let prelude = Prelude { first, bytes_max: 100, suppress: first };
        let opening = Opening {
            sid: "s".into(),
            link: LINK,
            window: Window::DEFAULT,
            protocol: None,
            replacement: Some(Replacement { uncertain, prelude }),
            is_aware: false,
        };
        let policy = Arc::new(OwnerPolicy::default());
        let mut owner = Owner::open(policy, Arc::new(Bare), opening, Instant::now());
        owner.receive(LINK, Form::Text, &Bytes::from_static(b"a0"), Instant::now());
        delivered(&mut owner);
        owner
    }

    fn client_says(owner: &mut Owner, seq: u64) {
        let item = format!("m{seq};{seq}");
        owner.receive(LINK, Form::Text, &item.into(), Instant::now());
    }

    /// What the leg is given, by number; items for the client and other outputs as they begin.
    fn delivered(owner: &mut Owner) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            match owner.poll() {
                Output::Deliver { payload, .. } => {
                    all.push(String::from_utf8_lossy(&payload.to_bytes()).into_owned());
                }
                Output::Send { head, payload, .. } if head.as_bytes().starts_with(b"e") => {
                    all.push(String::from_utf8_lossy(&payload).into_owned());
                }
                Output::CloseLeg { code, .. } => all.push(format!("close {code}")),
                Output::Wait(_) | Output::Ended(_) => return all,
                _ => {}
            }
        }
    }

    #[track_caller]
    fn lose_the_third_of_four(uncertain: Uncertain, expected: &[&str]) {
        let mut owner = owner(uncertain, 0);
        (1..=4).for_each(|seq| client_says(&mut owner, seq));
        assert_eq!(delivered(&mut owner), ["1", "2", "3", "4"]);
        let now = Instant::now();
        owner.confirm(2, now);
        assert_eq!(owner.leg_lost(3, now), Some((3, 3)));
        client_says(&mut owner, 5);
        let told: [String; 0] = [];
        assert_eq!(delivered(&mut owner), told, "nobody is there");
        owner.leg_replaced("crash", now);
        assert_eq!(delivered(&mut owner), expected);
        // One byte each, until they are confirmed.
        assert_eq!(owner.bytes() - owner.down.bytes(), expected.len() - 1);
        assert_eq!(owner.up.confirmed(), 2, "the client can still say what was uncertain");
        owner.confirm(4, now);
        let is_given_up = uncertain == Uncertain::AtMostOnce;
        assert_eq!(owner.up.confirmed(), if is_given_up { 2 } else { 4 });
        owner.receive(LINK, Form::Text, &Bytes::from_static(b"a1"), now);
        assert_eq!(owner.up.confirmed(), 4);
        owner.confirm(5, now);
        assert_eq!(owner.bytes(), owner.down.bytes());
    }

    #[test]
    fn what_is_uncertain_is_told_and_said_again_only_if_wanted() {
        let event = r#"{"leg":2,"reason":"crash","uncertain":[3,3]}"#;
        lose_the_third_of_four(Uncertain::AtMostOnce, &["4", "5", event]);
        lose_the_third_of_four(Uncertain::AtLeastOnce, &["3", "4", "5", event]);
    }

    #[test]
    fn the_prelude_is_said_first_and_its_answer_swallowed() {
        let mut owner = owner(Uncertain::AtMostOnce, 1);
        (1..=3).for_each(|seq| client_says(&mut owner, seq));
        delivered(&mut owner);
        let now = Instant::now();
        owner.confirm(2, now);
        owner.leg_lost(2, now);
        owner.leg_replaced("drain", now);
        assert_eq!(delivered(&mut owner), ["1", "3", r#"{"leg":2,"reason":"drain"}"#]);
        for answer in ["welcome", "to 3"] {
            owner.leg_message(Form::Text, answer.into(), now);
        }
        assert_eq!(owner.down.sent(), 2, "the event and one message");
    }

    #[test]
    fn an_end_that_comes_between_two_legs_waits_behind_what_they_are_owed() {
        let mut owner = owner(Uncertain::AtMostOnce, 0);
        let now = Instant::now();
        assert_eq!(owner.leg_lost(0, now), None);
        client_says(&mut owner, 1);
        owner.receive(LINK, Form::Text, &Bytes::from_static(b"x2;4001;bye"), now);
        assert!(owner.wants_next_leg() && !owner.may_replace_leg());
        owner.leg_replaced("crash", now);
        let said = delivered(&mut owner);
        assert_eq!(said[..2], ["1", "close 4001"]);
    }
}

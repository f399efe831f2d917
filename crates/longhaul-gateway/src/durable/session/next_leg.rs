//! The leg to the next replica, when one is lost or drains: sought, and put in the place of the old one.
//!
//! What is sent again and what the client is told is decided by the machine; finding a replica that takes
//! the handshake is the work of [`Origin`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use longhaul_proto::durable::owner::Replacement;
use longhaul_proto::websocket::CloseCode;

use serde::{Deserialize, Serialize};

use super::Session;
use super::carried::{micros, until};
use crate::config::Cutover;
use crate::durable::leg::{First, Leg, bytes_max};
use crate::durable::lobby::Caller;
use crate::durable::wire::{CarriedWire, Wire};
use crate::handoff::state::Misfit;
use crate::http::visit::Visit;
use crate::redial::origin::{self, Errand, Reason, Search};
use crate::redial::{CarriedOrigin, Origin, RedialTerms};
use crate::relay::control::Control;
use crate::worker::Worker;

/// Silence after which a replica that is left is taken to have answered what it was asked.
const ANSWERED: Duration = Duration::from_millis(300);
/// After a search for a replica to move to came to nothing, while the old one still serves.
const MOVE_AGAIN: Duration = Duration::from_secs(5);

/// How the leg of one session is replaced.
pub(super) struct NextLeg {
    origin: Arc<Origin>,
    terms: RedialTerms,
    search: Option<Search>,
    /// Why it is searched.
    reason: Reason,
    /// Found, and until when the old leg may take its time to answer.
    found: Option<(Leg, Instant)>,
    /// The replica drains and is to be left, not before this moment.
    leaves_at: Option<Instant>,
}

/// The same as it travels to another process.
#[derive(Serialize, Deserialize)]
pub(super) struct CarriedNextLeg {
    origin: CarriedOrigin,
    errand: Option<Errand>,
    reason: Reason,
    found: Option<(CarriedWire, SocketAddr, u64)>,
    leaves_left_us: Option<u64>,
}

impl NextLeg {
    /// A leg that was found and does not serve yet.
    pub(super) fn found(&self) -> Option<&Leg> {
        self.found.as_ref().map(|(leg, _)| leg)
    }

    /// Whether none is looked for or found.
    pub(super) fn is_idle(&self) -> bool {
        self.search.is_none() && self.found.is_none()
    }

    /// What another process needs to go on with it, beside the socket of a leg that was found.
    pub(super) fn freeze(&self, now: Instant) -> CarriedNextLeg {
        let left = |until: Instant| micros(until.saturating_duration_since(now));
        let found = self.found.as_ref();
        let found =
            found.map(|(leg, until)| (leg.wire.freeze(), leg.replica().address(), left(*until)));
        CarriedNextLeg {
            origin: self.origin.carried(self.search.as_ref().map(|search| search.began)),
            errand: self.search.as_ref().map(|search| search.errand),
            reason: self.reason,
            found,
            leaves_left_us: self.leaves_at.map(left),
        }
    }

    /// Goes on with it; a search is begun again. `take` makes a leg of its state and its replica.
    ///
    /// # Errors
    /// Why that cannot be.
    pub(super) fn take_up(
        carried: CarriedNextLeg,
        terms: &RedialTerms,
        worker: &Arc<Worker>,
        control: &Control,
        now: Instant,
        take: impl FnOnce(CarriedWire, SocketAddr) -> Result<Leg, Misfit>,
    ) -> Result<Self, Misfit> {
        let CarriedNextLeg { origin, errand, reason, found, leaves_left_us } = carried;
        let origin = origin.into_origin(worker, terms, control).ok_or(Misfit::State)?;
        let origin = Arc::new(origin);
        let found = match found {
            Some((wire, replica, left_us)) => Some((take(wire, replica)?, until(left_us, now))),
            None => None,
        };
        let search = errand.map(|errand| origin.search(errand));
        let leaves_at = leaves_left_us.map(|left_us| until(left_us, now));
        Ok(Self { origin, terms: terms.clone(), search, reason, found, leaves_at })
    }

    /// `None` where the route's WebSockets end with their replica, and the replica does not know better.
    pub(super) fn of(caller: &Caller, first: &First, log_id: u64) -> Option<Self> {
        let visit = Visit::new(&caller.connection, caller.route, caller.client);
        let policy = visit.shared.relay_policy(visit.route);
        let always = first.is_aware.then(|| policy.replacing.clone());
        let terms = always.or_else(|| policy.redial.clone())?;
        let origin = Origin::new(&visit, &first.head, &first.answer, &terms, log_id);
        let (search, found, leaves_at) = (None, None, None);
        let origin = Arc::new(origin);
        Some(Self { origin, terms, search, reason: Reason::Crash, found, leaves_at })
    }

    pub(super) fn replacement(&self) -> Replacement {
        let policy = &self.terms.policy;
        Replacement { uncertain: policy.uncertain, prelude: policy.prelude }
    }

    fn seek(&mut self, errand: Errand) {
        self.reason = errand.reason;
        self.search = Some(self.origin.search(errand));
    }
}

impl Session {
    /// Has another leg take the place of one that ended with this code. Says whether it will.
    pub(super) fn replace_leg(&mut self, code: CloseCode, now: Instant) -> bool {
        let may_replace = self.owner.may_replace_leg();
        let (Some(next_leg), Some(leg)) = (&mut self.next_leg, &self.leg) else { return false };
        // A leg that was held was closed by the gateway, and answers with what it likes.
        let is_left = next_leg.found.is_some() && leg.wire.is_closing();
        // An application that speaks items closes by one of them; any other close is a loss.
        let is_loss = self.owner.is_aware() || next_leg.terms.policy.codes.contains(&code);
        if !may_replace || !is_left && !is_loss {
            return false;
        }
        let whole = self.unconfirmed.iter().take_while(|(end, _)| *end <= leg.wire.bytes_written);
        let written = whole.last().map_or(0, |&(_, seq)| seq);
        let uncertain = self.owner.leg_lost(written, now);
        let before = leg.replica().address();
        let is_draining = next_leg.leaves_at.take().is_some() || leg.replica().is_draining();
        let reason = if is_draining { Reason::Drain } else { Reason::Crash };
        next_leg.origin.log_loss(before, reason, uncertain);
        if next_leg.search.is_none() && next_leg.found.is_none() {
            let leg = self.owner.next_leg();
            next_leg.seek(Errand { leg, reason, uncertain, before: Some(before) });
        }
        self.drop_leg();
        true
    }

    /// Looks whether the next leg is there, and takes it when the old one is gone. Says whether it did.
    pub(super) fn seek_leg(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let Some(next_leg) = &mut self.next_leg else { return false };
        if !self.owner.wants_next_leg() {
            (next_leg.search, next_leg.found) = (None, None);
            return false;
        }
        if let Some(search) = &mut next_leg.search
            && let Poll::Ready(found) = search.poll(cx)
        {
            next_leg.search = None;
            match found {
                Ok(origin::Wire { io, ahead, held }) => {
                    let bytes_max = bytes_max(self.sessions.policy.sizes, self.owner.is_aware());
                    let wire = Wire::leg(io, ahead, bytes_max);
                    next_leg.found = Some((Leg { wire, held }, now + next_leg.terms.linger));
                    // The old one gets nothing more; what it still says comes first.
                    self.owner.hold_leg();
                }
                // The old one still serves; perhaps a better moment comes.
                Err(_) if self.leg.is_some() => next_leg.leaves_at = Some(now + MOVE_AGAIN),
                Err(cause) => {
                    self.owner.leg_closed(cause.client_code(), "no replica took over", now);
                    return true;
                }
            }
        }
        if self.leg.is_some() {
            return false;
        }
        let Some((leg, _)) = next_leg.found.take() else { return false };
        let reason = next_leg.reason.to_string();
        self.adopt_leg(leg, &reason, now);
        true
    }

    fn adopt_leg(&mut self, leg: Leg, reason: &str, now: Instant) {
        self.control.set_replica(leg.replica().address());
        // What was said about it before the control named it has reached nobody.
        let (is_lost, is_draining) = (leg.held.is_lost(), leg.replica().is_draining());
        (self.leg, self.is_as_copied) = (Some(leg), false);
        (self.leg_heard_at, self.leg_pings) = (now, 0);
        self.owner.leg_replaced(reason, now);
        if is_lost {
            self.lose_leg(now);
        } else if is_draining {
            self.note_replica_leaves(false, now);
        }
    }

    /// Looks for a leg where the one before has stayed with another process.
    pub(super) fn seek_after_move(&mut self) {
        let is_missing = self.owner.is_aware() && self.leg.is_none() && self.owner.wants_next_leg();
        let Some(next_leg) = self.next_leg.as_mut().filter(|_| is_missing) else { return };
        if next_leg.search.is_none() && next_leg.found.is_none() {
            let (leg, reason, uncertain) = (self.owner.next_leg(), Reason::Drain, None);
            // Any replica will do, the one before as well.
            next_leg.seek(Errand { leg, reason, uncertain, before: None });
        }
    }

    /// The replica may drain; `is_urgent` when the time for it is over.
    pub(super) fn note_replica_leaves(&mut self, is_urgent: bool, now: Instant) {
        let (Some(next_leg), Some(leg)) = (&mut self.next_leg, &self.leg) else { return };
        if !leg.replica().is_draining() || next_leg.leaves_at.is_some() {
            return;
        }
        // Unless it is told to go now, a replica is left when it closes by itself or its time is over:
        // between two messages of a session there is no silence that means something.
        // One that speaks items says what it has dealt with.
        let has_no_moment = self.owner.is_aware() || is_urgent;
        if has_no_moment || !matches!(next_leg.terms.cutover, Cutover::OnClose) {
            next_leg.leaves_at = Some(now);
        }
    }

    /// The replica asks to be left.
    pub(super) fn leave_leg(&mut self) {
        if let Some(next_leg) = &mut self.next_leg {
            next_leg.leaves_at.get_or_insert_with(Instant::now);
        }
    }

    /// When the leg can be left: once the replica has what it was given, and had time to answer. One that
    /// acknowledges messages itself has then said, or stored, all that the client is owed.
    fn quiet_at(&self) -> Option<Instant> {
        if !self.unconfirmed.is_empty() || !self.owner.is_leg_settled() {
            return None;
        }
        let answering = if self.owner.is_aware() { Duration::ZERO } else { ANSWERED };
        Some(self.leg_heard_at + answering)
    }

    /// Leaves a replica that drains when the moment has come.
    pub(super) fn consider_leaving(&mut self, now: Instant) {
        let is_quiet = self.quiet_at().is_some_and(|at| at <= now);
        let may_replace = self.owner.may_replace_leg();
        let (Some(next_leg), Some(leg)) = (&mut self.next_leg, &mut self.leg) else { return };
        if let Some((_, until)) = &next_leg.found {
            // One that never falls silent is not waited for: meanwhile the client is heard by nobody.
            if !leg.wire.is_closing() && (is_quiet || *until <= now) {
                self.close_leg(CloseCode::GOING_AWAY, "another replica takes over");
            }
        } else if next_leg.search.is_none()
            && may_replace
            && next_leg.leaves_at.is_some_and(|at| at <= now)
        {
            let (number, before) = (self.owner.next_leg(), Some(leg.replica().address()));
            let (reason, uncertain) = (Reason::Drain, None);
            next_leg.seek(Errand { leg: number, reason, uncertain, before });
        }
    }

    /// When to look again whether a replica can be left.
    pub(super) fn leave_due_at(&self) -> Option<Instant> {
        let (next_leg, leg) = (self.next_leg.as_ref()?, self.leg.as_ref()?);
        if let Some((_, until)) = &next_leg.found {
            // Before all that it was given is confirmed, the task looks as often as it asks for that.
            let due_at = self.quiet_at().map_or(*until, |quiet_at| quiet_at.min(*until));
            return (!leg.wire.is_closing()).then_some(due_at);
        }
        let may_search = next_leg.search.is_none() && self.owner.may_replace_leg();
        next_leg.leaves_at.filter(|_| may_search)
    }
}

//! A session on its way to another process: put down with its leg and links.
//!
//! Links that cannot move are lost for the session that goes; their clients are told to come back at
//! once, which is what the protocol is made for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use longhaul_proto::durable::LinkKey;
use longhaul_proto::durable::owner::FrozenOwner;
use serde::{Deserialize, Serialize};

use super::links::Lane;
use super::next_leg::CarriedNextLeg;
use super::{Mail, Session};
use crate::admission::Right;
use crate::durable::lobby;
use crate::durable::wire::{CarriedWire, Wire};
use crate::handoff::state::{Change, Kind, News, Parcel, Sockets};
use crate::relay::control::Since;
use crate::relay::stream::Bound;

/// What holds more goes over as a whole when it stands still: there what messages hold is bounded.
const LIGHT_BYTES: usize = 64 << 10;

/// A session, beside its sockets: that of the leg, that of the leg to come, those of the links, each if it
/// is there. Not to be shown.
#[derive(Serialize, Deserialize)]
pub(crate) struct CarriedSession {
    pub(super) owner: FrozenOwner,
    pub(super) subject: [u8; 32],
    pub(super) leg: Option<CarriedWire>,
    pub(super) next_leg: Option<CarriedNextLeg>,
    pub(super) links: Vec<CarriedLink>,
    /// Links that stay behind.
    pub(super) lost: Vec<LinkKey>,
    pub(super) unconfirmed: VecDeque<(u64, u64)>,
    pub(super) leg_heard_us: u64,
    pub(super) leg_pings: u32,
    pub(super) leg_left_us: Option<u64>,
    pub(super) keys: u64,
    pub(super) migrate_left_us: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CarriedLink {
    pub(super) key: LinkKey,
    pub(super) wire: CarriedWire,
    pub(super) peer: SocketAddr,
    pub(super) right: Option<Right>,
    pub(super) is_blocked: bool,
}

impl std::fmt::Debug for CarriedSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CarriedSession").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Session {
    /// Gives a copy of itself to whoever moves it to another process: it stands still now. What went
    /// ahead is not said again.
    pub(super) fn put_down(&self, since: Since) {
        match since {
            Since::Untouched => self.movers.tell_change(&self.control, Ok(None)),
            Since::Touched if self.is_as_copied && self.is_light() => {
                let change = self
                    .freeze()
                    .map(|session| Change::of(&self.control, News::Durable(Box::new(session))));
                self.movers.tell_change(&self.control, change.map(Some));
            }
            Since::Never | Since::Touched => self.movers.tell(&self.control, self.copy()),
        }
    }

    /// Gives a copy of itself, and goes on.
    pub(super) fn copy_ahead(&mut self) {
        match self.is_light().then(|| self.copy().ok()).flatten() {
            Some((parcel, sockets)) => {
                self.is_as_copied = true;
                self.movers.tell_ahead(&self.control, parcel, sockets);
            }
            None => self.movers.decline_ahead(&self.control),
        }
    }

    /// Whether it is to be said in few words: it holds little, and no other leg is looked for.
    fn is_light(&self) -> bool {
        self.weight() <= LIGHT_BYTES && self.next_leg.as_ref().is_none_or(|next| next.is_idle())
    }

    /// About how many bytes it holds.
    fn weight(&self) -> usize {
        let queued = self.links.iter().map(|lane| lane.link.wire.queued_bytes());
        self.owner.bytes() + queued.sum::<usize>()
    }

    /// The connection is let go of. Where another process may have a copy of the socket, its peer is to
    /// hear of it all the same.
    pub(super) fn note_parted(&mut self, wire: &Wire) {
        self.is_as_copied = false;
        self.hang_up_if_copied(wire);
    }

    pub(super) fn hang_up_if_copied(&self, wire: &Wire) {
        if self.control.is_ahead() {
            wire.hang_up();
        }
    }

    /// What another process needs to go on with it, as it stands. Nothing here changes.
    ///
    /// # Errors
    /// What keeps it here.
    fn copy(&self) -> Result<(Parcel, Sockets), Bound> {
        let kind = Kind::Durable(Box::new(self.freeze()?));
        let sockets = self.wires_that_move().map(Wire::socket).collect::<Result<Sockets, _>>()?;
        let mut parcel = Parcel::of(&self.control, self.worker.index, sockets.len(), kind);
        parcel.weight = self.weight();
        Ok((parcel, sockets))
    }

    /// The leg, unless its replica acknowledges messages itself and is asked what it knows on another
    /// one; the leg that was found; the links, but for those that cannot move.
    fn wires_that_move(&self) -> impl Iterator<Item = &Wire> {
        let leg = self.leg.as_ref().filter(|_| !self.owner.is_aware());
        let found = self.next_leg.as_ref().and_then(|next_leg| next_leg.found());
        let links = self.links.iter().map(|lane| &lane.link.wire);
        let legs = leg.into_iter().chain(found).map(|leg| &leg.wire);
        legs.chain(links.filter(|wire| wire.bound().is_none()))
    }

    fn freeze(&self) -> Result<CarriedSession, Bound> {
        let now = Instant::now();
        let left = |until: Instant| micros(until.saturating_duration_since(now));
        let owner = self.owner.freeze(now).filter(|_| self.ended.is_none()).ok_or(Bound::Ending)?;
        let leg = self.leg.as_ref().filter(|_| !self.owner.is_aware());
        if let Some(bound) = leg.and_then(|leg| leg.wire.bound()) {
            return Err(bound);
        }
        let (mut links, mut lost) = (Vec::with_capacity(self.links.len()), Vec::new());
        for Lane { key, link, is_blocked } in &self.links {
            if link.wire.bound().is_some() {
                lost.push(*key);
                continue;
            }
            let right = link.pass.as_ref().and_then(|pass| pass.freeze(&self.live));
            let (key, wire, peer, is_blocked) = (*key, link.wire.freeze(), link.peer, *is_blocked);
            links.push(CarriedLink { key, wire, peer, right, is_blocked });
        }
        Ok(CarriedSession {
            owner,
            subject: self.entry.subject(),
            leg: leg.map(|leg| leg.wire.freeze()),
            next_leg: self.next_leg.as_ref().map(|next_leg| next_leg.freeze(now)),
            links,
            lost,
            unconfirmed: self.unconfirmed.clone(),
            leg_heard_us: micros(now.saturating_duration_since(self.leg_heard_at)),
            leg_pings: self.leg_pings,
            leg_left_us: self.leg_until.map(left),
            keys: self.keys,
            migrate_left_us: self.migrate_at.map(left),
        })
    }

    /// Another process has it. Links that stayed are sent there.
    pub(super) fn leave(&mut self) {
        self.sessions.remove(&self.sid, None, Instant::now());
        self.mail.close();
        while let Ok(mail) = self.mail.try_recv() {
            if let Mail::Link(arrival) = mail {
                // Ends by its deadlines, as all of these.
                tokio::spawn(lobby::later(arrival.link, Duration::ZERO));
            }
        }
        for parting in self.parting.drain(..) {
            tokio::spawn(parting.end());
        }
        let within = self.sessions.policy.migrate_deadline;
        for Lane { link, .. } in
            self.links.drain(..).filter(|lane| lane.link.wire.bound().is_some())
        {
            tokio::spawn(lobby::send_over(link, within));
        }
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// No wait of a session is longer: a clock can be counted on to have so much left.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// So much later.
pub(super) fn until(left_us: u64, now: Instant) -> Instant {
    now + Duration::from_micros(left_us).min(DAY)
}

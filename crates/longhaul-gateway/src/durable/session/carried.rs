//! A session on its way to another process: put down with its leg and links, and taken up.
//!
//! Links that cannot move are lost for the session that goes; their clients are told to come back at
//! once, which is what the protocol is made for.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_proto::durable::LinkKey;
use longhaul_proto::durable::owner::{FrozenOwner, Owner, Replacement};
use serde::{Deserialize, Serialize};
use tokio::time::{Sleep, sleep_until};

use super::links::Lane;
use super::login::Logins;
use super::next_leg::{CarriedNextLeg, NextLeg};
use super::{Mail, Session, start};
use crate::admission::Right;
use crate::durable::leg::{Leg, bytes_max};
use crate::durable::lobby;
use crate::durable::sessions::Link;
use crate::durable::wire::{CarriedWire, Wire};
use crate::handoff::state::{Change, Kind, Misfit, News, Parcel, Sockets, adopt};
use crate::redial::RedialTerms;
use crate::relay::control::{Control, Since};
use crate::relay::stream::Bound;
use crate::shared::Shared;
use crate::transport::Transport;
use crate::upstream::Work;
use crate::worker::Worker;

/// What holds more goes over as a whole when it stands still: there what messages hold is bounded.
const LIGHT_BYTES: usize = 64 << 10;

/// A session, beside its sockets: that of the leg, that of the leg to come, those of the links, each if it
/// is there. Not to be shown.
#[derive(Serialize, Deserialize)]
pub(crate) struct CarriedSession {
    owner: FrozenOwner,
    subject: [u8; 32],
    leg: Option<CarriedWire>,
    next_leg: Option<CarriedNextLeg>,
    links: Vec<CarriedLink>,
    /// Links that stay behind.
    lost: Vec<LinkKey>,
    unconfirmed: VecDeque<(u64, u64)>,
    leg_heard_us: u64,
    leg_pings: u32,
    leg_left_us: Option<u64>,
    keys: u64,
    migrate_left_us: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct CarriedLink {
    key: LinkKey,
    wire: CarriedWire,
    peer: SocketAddr,
    right: Option<Right>,
    is_blocked: bool,
}

impl std::fmt::Debug for CarriedSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CarriedSession").field("owner", &self.owner).finish_non_exhaustive()
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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

/// A session that waits for the other process to let go of it.
pub(crate) struct Resumed {
    session: Session,
    shared: Arc<Shared>,
    route: usize,
}

impl Resumed {
    /// Takes up what another process has put down. To be called by the worker that shall have it.
    ///
    /// # Errors
    /// Why it cannot be: the sender keeps it then.
    pub(crate) fn of(
        worker: &Arc<Worker>,
        parcel: Parcel,
        sockets: Sockets,
    ) -> Result<Self, Misfit> {
        let shared = worker.current.load_full();
        let Parcel { card, replica, kind, .. } = parcel;
        let Kind::Durable(carried) = kind else { return Err(Misfit::State) };
        let route = shared.config.routes.iter().position(|route| route.name == card.route);
        let route = route.ok_or(Misfit::Route)?;
        let policy = shared.relay_policy(route);
        let control = Arc::new(Control::new(replica, card.into_card(&policy.route)));
        let mut sockets = sockets.into_iter();
        let mut wires = Vec::with_capacity(sockets.len());
        while sockets.len() > 0 {
            wires.push(adopt(&mut sockets)?);
        }
        // In the worker's thread, whose clock it goes by.
        let timer = Box::pin(sleep_until(Instant::now().into()));
        let bones = Bones { worker: worker.clone(), control, wires, timer };
        let session = Self::session(&shared, route, *carried, bones)?;
        Ok(Self { session, shared, route })
    }

    /// What has happened to it since it was copied, in the process that still has it. It has the same
    /// leg and links.
    ///
    /// # Errors
    /// Why it cannot be taken up: the sender keeps it then.
    pub(crate) fn renew(self, change: Change) -> Result<Self, Misfit> {
        let Self { session, shared, route } = self;
        let Session { worker, control, leg, links, timer, .. } = session;
        change.count_on(&control.card);
        let News::Durable(carried) = change.news else { return Err(Misfit::State) };
        let links = links.into_iter().map(|lane| lane.link.wire);
        let legs = leg.into_iter().map(|leg| leg.wire);
        let wires = legs.chain(links).map(Wire::into_transport).collect::<Option<_>>();
        let bones = Bones { worker, control, wires: wires.ok_or(Misfit::State)?, timer };
        let session = Self::session(&shared, route, *carried, bones)?;
        Ok(Self { session, shared, route })
    }

    fn session(
        shared: &Arc<Shared>,
        route: usize,
        carried: CarriedSession,
        bones: Bones,
    ) -> Result<Session, Misfit> {
        let Bones { worker, control, wires, timer } = bones;
        let (wires, client, now) = (wires.into_iter(), control.card.client, Instant::now());
        let is_aware = carried.owner.is_aware();
        let mut place = NewPlace { shared, route, client, wires, is_aware, now };
        let (policy, replica) = (shared.relay_policy(route).clone(), control.replica());
        let always = is_aware.then_some(&policy.replacing);
        let terms = always.or(policy.redial.as_ref());
        let leg = carried.leg.map(|wire| place.leg(wire, replica)).transpose()?;
        let next_leg = match carried.next_leg.zip(terms) {
            Some((next_leg, terms)) => {
                let take = |wire, replica| place.leg(wire, replica);
                let next_leg = NextLeg::take_up(next_leg, terms, &worker, &control, now, take)?;
                Some(Box::new(next_leg))
            }
            None => None,
        };
        let links = carried.links.into_iter().map(|link| place.link(link));
        let links = links.collect::<Result<Vec<Lane>, Misfit>>()?;
        let sid = carried.owner.sid().to_owned();
        let mut owner = place.owner(carried.owner, terms)?;
        for key in carried.lost {
            owner.link_lost(key, None, now);
        }
        let entry = shared.sessions.prepare(&sid, carried.subject);
        let (entry, mail) = entry.ok_or(Misfit::State)?;
        let leg_heard_at = now.checked_sub(Duration::from_micros(carried.leg_heard_us));
        Ok(Session {
            owner,
            links,
            parting: Vec::new(),
            leg,
            next_leg,
            unconfirmed: carried.unconfirmed,
            leg_heard_at: leg_heard_at.unwrap_or(now),
            leg_pings: carried.leg_pings,
            leg_until: carried.leg_left_us.map(|left| until(left, now)),
            ping: policy.session.ping,
            pings_missed_max: policy.session.pings_missed_max,
            mail,
            entry,
            control,
            movers: shared.movers.clone(),
            worker,
            bytes_noted: 0,
            keys: carried.keys,
            migrate_at: carried.migrate_left_us.map(|left| until(left, now)),
            logins: Logins::default(),
            timer,
            ended: None,
            is_as_copied: false,
            sid,
            sessions: shared.sessions.clone(),
            registry: shared.registry.clone(),
            live: shared.admission.live.clone(),
        })
    }

    /// Goes on with it, in a task of its own.
    pub(crate) fn go_on(self) {
        let Self { mut session, shared, .. } = self;
        session.sessions.take_up(&session.sid, &session.entry);
        for pass in session.links.iter_mut().filter_map(|lane| lane.link.pass.as_mut()) {
            pass.list(&session.live, &session.control);
        }
        session.plan_login(Instant::now());
        // What this process knows of the replica, nobody tells again.
        if session.leg.as_ref().is_some_and(|leg| leg.held.is_lost()) {
            session.lose_leg(Instant::now());
        }
        session.note_replica_leaves(false, Instant::now());
        session.seek_after_move();
        start(session, &shared);
    }
}

/// What a session is built on, also when it is built anew.
struct Bones {
    worker: Arc<Worker>,
    control: Arc<Control>,
    /// In the order of [`Session::wires_that_move`].
    wires: Vec<Transport>,
    timer: Pin<Box<Sleep>>,
}

/// No wait of a session is longer: a clock can be counted on to have so much left.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// So much later.
pub(super) fn until(left_us: u64, now: Instant) -> Instant {
    now + Duration::from_micros(left_us).min(DAY)
}

/// Where a session that arrives finds what it needs.
struct NewPlace<'a> {
    shared: &'a Arc<Shared>,
    route: usize,
    client: IpAddr,
    wires: std::vec::IntoIter<Transport>,
    is_aware: bool,
    now: Instant,
}

impl NewPlace<'_> {
    fn owner(&self, frozen: FrozenOwner, terms: Option<&RedialTerms>) -> Result<Owner, Misfit> {
        if frozen.has_replacement() && terms.is_none() {
            return Err(Misfit::Redial);
        }
        let replacement = terms.map(|terms| Replacement {
            uncertain: terms.policy.uncertain,
            prelude: terms.policy.prelude,
        });
        let sessions = &self.shared.sessions;
        let (policy, sealer) = (sessions.policy.clone(), sessions.sealer.clone());
        Owner::thaw(policy, sealer, replacement, frozen, self.now).ok_or(Misfit::State)
    }

    fn leg(&mut self, wire: CarriedWire, replica: SocketAddr) -> Result<Leg, Misfit> {
        let upstream = &self.shared.upstreams[self.shared.config.routes[self.route].upstream];
        let held = upstream.find_or_depart(replica, self.now).hold(Work::WebSocket);
        let bytes_max = bytes_max(self.shared.sessions.policy.sizes, self.is_aware);
        let wire = Wire::take_up_leg(wire, self.wires.next().ok_or(Misfit::Socket)?, bytes_max);
        Ok(Leg { wire: wire.ok_or(Misfit::State)?, held })
    }

    fn link(&mut self, carried: CarriedLink) -> Result<Lane, Misfit> {
        let CarriedLink { key, wire, peer, right, is_blocked } = carried;
        let bytes_max = lobby::link_bytes_max(self.shared.sessions.policy.sizes);
        let wire = Wire::take_up_link(wire, self.wires.next().ok_or(Misfit::Socket)?, bytes_max);
        let link = Link {
            wire: wire.ok_or(Misfit::State)?,
            peer,
            _place: Arc::new(self.shared.places.claim()),
            _stream: None,
            pass: self.shared.admission.readmit(self.client, self.route, right),
        };
        Ok(Lane { key, link, is_blocked })
    }
}

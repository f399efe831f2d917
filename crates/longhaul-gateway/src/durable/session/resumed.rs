//! A session that comes from another process: it waits here until that one lets go of it, and goes on
//! with the leg and the links it had.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_proto::durable::owner::{FrozenOwner, Owner, Replacement};
use tokio::time::sleep_until;

use super::carried::{CarriedLink, CarriedSession, until};
use super::links::Lane;
use super::next_leg::NextLeg;
use super::task::start;
use super::{Bones, Session};
use crate::durable::leg::{Leg, bytes_max};
use crate::durable::lobby;
use crate::durable::sessions::Link;
use crate::durable::wire::{CarriedWire, Wire};
use crate::handoff::state::{Change, Kind, Misfit, News, Parcel, Sockets, adopt};
use crate::redial::RedialTerms;
use crate::relay::control::Control;
use crate::shared::Shared;
use crate::transport::Transport;
use crate::upstream::Work;
use crate::worker::Worker;

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
        let route = shared.find_route(&card.route).ok_or(Misfit::Route)?;
        let policy = shared.relay_policy(route);
        let control = Arc::new(Control::new(replica, card.into_card(&policy.route)));
        let mut sockets = sockets.into_iter();
        let mut wires = Vec::with_capacity(sockets.len());
        while sockets.len() > 0 {
            wires.push(adopt(&mut sockets)?);
        }
        // In the worker's thread, whose clock it goes by.
        let timer = Box::pin(sleep_until(Instant::now().into()));
        let bones = Bones { worker: worker.clone(), control, timer };
        let session = Self::session(&shared, route, *carried, bones, wires)?;
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
        let (wires, bones) = (wires.ok_or(Misfit::State)?, Bones { worker, control, timer });
        let session = Self::session(&shared, route, *carried, bones, wires)?;
        Ok(Self { session, shared, route })
    }

    /// Makes it of its state and of what carries it, in the order of [`Session::wires_that_move`].
    fn session(
        shared: &Arc<Shared>,
        route: usize,
        carried: CarriedSession,
        bones: Bones,
        wires: Vec<Transport>,
    ) -> Result<Session, Misfit> {
        let (control, now) = (&bones.control, Instant::now());
        let (wires, client) = (wires.into_iter(), control.card.client);
        let is_aware = carried.owner.is_aware();
        let mut place = NewPlace { shared, route, client, wires, is_aware, now };
        let (policy, replica) = (shared.relay_policy(route), control.replica());
        let always = is_aware.then_some(&policy.replacing);
        let terms = always.or(policy.redial.as_ref());
        let leg = carried.leg.map(|wire| place.leg(wire, replica)).transpose()?;
        let next_leg = match carried.next_leg.zip(terms) {
            Some((next_leg, terms)) => {
                let take = |wire, replica| place.leg(wire, replica);
                let next_leg =
                    NextLeg::take_up(next_leg, terms, &bones.worker, control, now, take)?;
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
        let seat = shared.sessions.prepare(&sid, carried.subject).ok_or(Misfit::State)?;
        let leg_heard_at = now.checked_sub(Duration::from_micros(carried.leg_heard_us));
        Ok(Session {
            links,
            leg,
            next_leg,
            unconfirmed: carried.unconfirmed,
            leg_heard_at: leg_heard_at.unwrap_or(now),
            leg_pings: carried.leg_pings,
            leg_until: carried.leg_left_us.map(|left| until(left, now)),
            keys: carried.keys,
            migrate_at: carried.migrate_left_us.map(|left| until(left, now)),
            ..Session::new(shared, &policy.session, sid, owner, seat, bones)
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

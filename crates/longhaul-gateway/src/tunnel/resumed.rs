//! A WebSocket that comes from another process: it waits here until that one lets go of it, hears what
//! has become of it there, and goes on with the legs it had.

use std::sync::Arc;
use std::time::Instant;

use super::{Extras, Open, Tunnel};
use crate::handoff::state::{Change, Kind, Misfit, News, Parcel, Sockets, adopt};
use crate::reactor::{Hub, Socket};
use crate::redial::Lasting;
use crate::redial::origin::Errand;
use crate::relay::Relay;
use crate::relay::control::Control;
use crate::relay::stream::LegIo;
use crate::trace::Sequel;
use crate::transport::Transport;
use crate::upstream::Work;
use crate::worker::Worker;

/// A WebSocket that waits for the other process to let go of it.
#[derive(Debug)]
pub(crate) struct Resumed {
    relay: Going,
    tunnel: Tunnel,
}

#[derive(Debug)]
enum Going {
    Plain(Relay<Socket, Socket>),
    /// Beside it, what is to be looked for where it is between two replicas.
    Lasting(Relay<Transport, Lasting>, Option<Errand>),
}

/// One that goes on in the reactor of the worker it was made for.
#[derive(Debug)]
pub(crate) struct ForReactor {
    relay: Relay<Socket, Socket>,
    tunnel: Tunnel,
}

impl Resumed {
    /// Takes up what another process has put down: the books are opened again, the legs are those it
    /// had. To be called by the worker that shall have it.
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
        let Kind::WebSocket { mut relay, pass, trace } = kind else { return Err(Misfit::State) };
        let route = shared.find_route(&card.route).ok_or(Misfit::Route)?;
        let upstream = &shared.upstreams[shared.config.routes[route].upstream];
        let hold = || upstream.find_or_depart(replica, Instant::now()).hold(Work::WebSocket);
        let policy = shared.relay_policy(route).clone();
        let pass = shared.admission.readmit(card.client, route, pass);
        let tallies = &shared.telemetry.tallies;
        let name = card.route.clone();
        let control = Arc::new(Control::new(replica, card.into_card(&policy.route)));
        let mut sockets = sockets.into_iter();
        let told = control.clone();
        let (relay, held) = match relay.leg.take() {
            None => {
                let tally = tallies.of_reactor(worker.index, &name);
                let mut socket = || sockets.next().map(Socket::new).ok_or(Misfit::Socket);
                let relay = Relay::thaw(relay, socket()?, socket()?, &policy, told, tally);
                (relay.map(Going::Plain), Some(hold()))
            }
            Some(leg) => {
                let client = adopt(&mut sockets)?;
                let tally = tallies.of(worker.index, &name);
                let terms = policy.redial.as_ref().ok_or(Misfit::Redial)?;
                let is_there = sockets.len() > 0;
                let current = is_there.then(|| adopt(&mut sockets)).transpose()?;
                let current = current.map(|io| (io, hold()));
                let leg = Lasting::take_up(*leg, current, terms, worker, &control);
                let (leg, errand) = leg.ok_or(Misfit::State)?;
                let relay = Relay::thaw(relay, client, leg, &policy, told, tally);
                (relay.map(|relay| Going::Lasting(relay, errand)), None)
            }
        };
        let sequel = trace.zip(shared.tracer.as_ref());
        let sequel = sequel.and_then(|(trace, tracer)| Sequel::take_up(tracer, &trace));
        let has_extras = pass.is_some() || sequel.is_some();
        let extras = has_extras.then(|| {
            Box::new(Extras { stream: None, pass, origin: None, sequel: sequel.map(Box::new) })
        });
        let tunnel = Tunnel {
            worker: worker.clone(),
            policy,
            _place: Arc::new(shared.places.claim()),
            extras,
            held,
            control,
        };
        Ok(Self { relay: relay.ok_or(Misfit::State)?, tunnel })
    }

    /// What has happened to it since it was copied, in the process that still has it.
    ///
    /// # Errors
    /// Why it cannot be taken up: the sender keeps it then.
    pub(crate) fn renew(&mut self, change: Change) -> Result<(), Misfit> {
        change.count_on(&self.tunnel.control.card);
        let News::WebSocket { relay: state, leg } = change.news else { return Err(Misfit::State) };
        let policy = &self.tunnel.policy;
        let renewed = match (&mut self.relay, leg) {
            (Going::Plain(relay), None) => relay.renew(state, policy),
            (Going::Lasting(relay, None), Some(leg)) => {
                relay.renew(state, policy).and_then(|()| relay.lasting()?.renew(*leg))
            }
            _ => None,
        };
        renewed.ok_or(Misfit::State)
    }

    /// Goes on with it, in a task of the worker it was made for; what is the reactor's comes back.
    pub(crate) fn go_on(self) -> Option<ForReactor> {
        let Self { relay, tunnel } = self;
        match relay {
            Going::Plain(relay) => Some(ForReactor { relay, tunnel }),
            Going::Lasting(relay, errand) => {
                let mut open = tunnel.reopen(relay);
                // Behind its entry in the registry: what is told from here on reaches it.
                if let Some(leg) = open.relay.lasting() {
                    leg.go_on(errand);
                }
                tokio::spawn(tokio::task::unconstrained(open));
                None
            }
        }
    }
}

impl ForReactor {
    pub(crate) fn go_on(self, reactor: &mut Hub) {
        self.tunnel.reopen(self.relay).enter(reactor);
    }
}

impl Tunnel {
    /// Opens the books again, in the thread that has the tally.
    fn reopen<C: LegIo, B: LegIo>(mut self, relay: Relay<C, B>) -> Open<C, B> {
        relay.tally().open.add(1);
        relay.tally().buffered.add(relay.held_bytes());
        let slot = self.enlist();
        Open { relay, tunnel: Some((self, slot)) }
    }
}

//! One open WebSocket in the gateway's books, from the moment both legs are free of HTTP to its end.
//!
//! What opened it does not stay: an idle WebSocket is this and two sockets.

mod newcomer;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use longhaul_proto::redial::Redial;
use longhaul_proto::session::Session;

use self::newcomer::Newcomer;
use crate::admission::Pass;
use crate::connection::Connection;
use crate::handoff::state::{Change, Kind, Misfit, News, Parcel, Sockets, adopt};
use crate::http::http2::OpenStream;
use crate::http::visit::Visit;
use crate::places::Place;
use crate::reactor::{self, Fate, Hub, Socket};
use crate::redial::origin::{Errand, Wire};
use crate::redial::{Lasting, Origin};
use crate::registry::Slot;
use crate::relay::control::{Control, Hold, Order, Since};
use crate::relay::stream::{Bound, LegIo};
use crate::relay::{Ended, Leg, Relay, RelayPolicy};
use crate::shared::Shared;
use crate::telemetry::Card;
use crate::telemetry::returns::Who;
use crate::telemetry::tally::Tally;
use crate::trace::Sequel;
use crate::transport::Transport;
use crate::upstream::{Held, Work};
use crate::worker::Worker;

/// What a WebSocket holds beside its two legs.
#[derive(Debug)]
pub(crate) struct Tunnel {
    worker: Arc<Worker>,
    policy: Arc<RelayPolicy>,
    _place: Arc<Place>,
    /// Boxed, since most have none.
    extras: Option<Box<Extras>>,
    /// Where lost replicas are replaced, the leg itself holds its replica.
    held: Option<Held>,
    control: Arc<Control>,
}

/// What only some WebSockets hold to their end.
#[derive(Debug)]
pub(crate) struct Extras {
    /// Of HTTP/2, where one connection has many.
    pub(crate) stream: Option<OpenStream>,
    /// Within limits, where there are any.
    pub(crate) pass: Option<Box<Pass>>,
    /// Where lost replicas are replaced, what that takes.
    pub(crate) origin: Option<Arc<Origin>>,
    /// Where its handshake was traced, what tells of its end.
    pub(crate) sequel: Option<Box<Sequel>>,
}

impl Tunnel {
    pub(crate) fn new(
        visit: &Visit<'_>,
        connection: &Connection,
        extras: Extras,
        held: Held,
        card: Card,
    ) -> Self {
        let Extras { stream, pass, origin, sequel } = &extras;
        let subject = pass.as_ref().and_then(|pass| pass.subject());
        let who = subject.map_or(Who::Address(card.client), Who::Subject);
        visit.shared.telemetry.note_opening(&card.route, who);
        let has_extras = stream.is_some() || pass.is_some() || origin.is_some() || sequel.is_some();
        let extras = has_extras.then(|| Box::new(extras));
        Self {
            worker: visit.worker.clone(),
            policy: visit.shared.relay_policy(visit.route).clone(),
            _place: connection.place.clone(),
            extras,
            control: Arc::new(Control::new(held.replica().address(), card)),
            held: Some(held),
        }
    }

    /// Joins the legs, in a task of its own that ends with the WebSocket.
    pub(crate) fn start<C>(mut self, client: Leg<C>, backend: Leg<Transport>)
    where
        C: LegIo + Send + 'static,
    {
        let Some(held) = self.held.take() else { return };
        let origin = self.extras.as_mut().and_then(|extras| extras.origin.take());
        let terms = self.policy.redial.clone();
        match origin.zip(terms) {
            Some((origin, terms)) => {
                let now = Instant::now();
                let redial =
                    Redial::new(terms.policy.clone(), origin.profile(), fastrand::u64(..), now);
                let first = Wire { io: backend.io, ahead: backend.read_ahead, held };
                let io = Lasting::new(redial, terms, origin, self.control.clone(), first);
                self.relay(client, Leg::behind(io, Bytes::new()));
            }
            None => {
                self.held = Some(held);
                self.relay(client, backend);
            }
        }
    }

    fn relay<C, B>(mut self, client: Leg<C>, backend: Leg<B>)
    where
        C: LegIo + Send + 'static,
        B: LegIo + Send + 'static,
    {
        let slot = self.enlist();
        let shared = self.worker.current.load_full();
        let is_bound = client.io.socket().is_err() || backend.io.socket().is_err();
        if is_bound && shared.readiness.is_leaving() {
            // Another process serves, and this one cannot move there any more.
            self.control.order(Order::Drain);
        }
        let may_move = client.io.is_socket() && backend.io.is_socket();
        let open = self.open(&shared, slot, client, backend);
        // The relay bounds its own turns, and counts on its timer to hear it when it is asked.
        if may_move {
            tokio::spawn(tokio::task::unconstrained(Newcomer::new(open)));
        } else {
            tokio::spawn(tokio::task::unconstrained(open));
        }
    }

    fn open<C: LegIo, B: LegIo>(
        self,
        shared: &Shared,
        slot: Slot,
        client: Leg<C>,
        backend: Leg<B>,
    ) -> Open<C, B> {
        let tally = shared.telemetry.tallies.of(self.worker.index, &self.control.card.route);
        tally.open.add(1);
        let (control, policy) = (self.control.clone(), &self.policy);
        let now = Instant::now();
        // ±10 %, so that those that came together do not leave together.
        let ends_at = policy.lifetime.map(|life| now + life.mul_f64(0.9 + 0.2 * fastrand::f64()));
        let session = Session::new(policy.session.clone(), ends_at, fastrand::u64(..), now);
        let relay = Relay::new(client, backend, session, control, tally, policy.buffer_bytes_max);
        Open { relay, tunnel: Some((self, slot)) }
    }

    /// Enters it where it can be told things.
    fn enlist(&mut self) -> Slot {
        let (shared, control) = (self.worker.current.load(), &self.control);
        let slot = shared.registry.add(control.clone());
        if let Some(pass) = self.extras.as_mut().and_then(|extras| extras.pass.as_mut()) {
            pass.note_presence(&shared.telemetry.returns, &control.card.route);
            pass.list(&shared.admission.live, control);
        }
        if shared.readiness.is_draining() {
            // It came between the last look at readiness and the list of those to be told.
            control.order(Order::Drain);
        }
        if self.held.as_ref().is_none_or(Held::is_lost) {
            // The replica went down before the registry knew of this one. A leg that holds its
            // replica itself looks whether it did.
            control.order(Order::ReplicaLost);
        }
        slot
    }

    /// Notes that it was answered 101 and never came to life.
    pub(crate) fn fail(self, error: &dyn fmt::Display) {
        self.control.card.fail(self.control.replica(), error);
    }

    fn end(mut self, slot: Slot, tally: &Tally, ended: &Ended) {
        let (control, worker) = (self.control.clone(), self.worker.clone());
        let sequel = self.extras.as_mut().and_then(|extras| extras.sequel.take());
        self.leave(slot, tally);
        control.card.close(&worker.current.load().telemetry, control.replica(), ended);
        if let Some(sequel) = sequel {
            sequel.end(&control.card, ended);
        }
    }

    /// Closes its books without a word: it has ended, or another process has it now.
    fn leave(self, slot: Slot, tally: &Tally) {
        self.worker.current.load().registry.remove(slot);
        drop(self.held);
        tally.open.sub(1);
    }

    /// Gives a copy of itself to whoever moves it to another process: it stands still now. What went
    /// ahead is not said again.
    fn put_down<C: LegIo, B: LegIo>(&self, relay: &Relay<C, B>, since: Since) {
        let shared = self.worker.current.load();
        match since {
            Since::Untouched => shared.movers.tell_change(&self.control, Ok(None)),
            Since::Touched if relay.is_as_copied() => {
                let change = self.change(relay).map(Some);
                shared.movers.tell_change(&self.control, change);
            }
            Since::Never | Since::Touched => {
                shared.movers.tell(&self.control, self.copy(relay, &shared));
            }
        }
    }

    fn change<C: LegIo, B: LegIo>(&self, relay: &Relay<C, B>) -> Result<Change, Bound> {
        let leg = relay.ios().1.as_lasting().map(Lasting::state).transpose()?.map(Box::new);
        let news = News::WebSocket { relay: relay.freeze_changes()?, leg };
        Ok(Change::of(&self.control, news))
    }

    /// Gives a copy of itself and goes on, if that copy can be brought up to date in few words. Otherwise
    /// it goes over as a whole, when it stands still.
    fn copy_ahead<C: LegIo, B: LegIo>(&self, relay: &mut Relay<C, B>) {
        let shared = self.worker.current.load();
        let copied = relay.may_go_ahead().then(|| self.copy(relay, &shared).ok()).flatten();
        let Some((parcel, sockets)) = copied else {
            return shared.movers.decline_ahead(&self.control);
        };
        if let Some(leg) = relay.lasting() {
            leg.note_copied();
        }
        shared.movers.tell_ahead(&self.control, parcel, sockets);
    }

    fn copy<C: LegIo, B: LegIo>(
        &self,
        relay: &Relay<C, B>,
        shared: &Shared,
    ) -> Result<(Parcel, Sockets), Bound> {
        let (relay, sockets) = relay.freeze()?;
        let extras = self.extras.as_deref();
        let pass = extras.and_then(|extras| extras.pass.as_deref());
        let pass = pass.and_then(|pass| pass.freeze(&shared.admission.live));
        let sequel = extras.and_then(|extras| extras.sequel.as_deref());
        let kind = Kind::WebSocket { relay, pass, trace: sequel.map(Sequel::carried) };
        Ok((Parcel::of(&self.control, self.worker.index, sockets.len(), kind), sockets))
    }
}

impl Tunnel {
    /// Takes up what another process has put down: the books are opened again, the legs are those it
    /// had. To be called by the worker that shall have it.
    ///
    /// # Errors
    /// Why it cannot be: the sender keeps it then.
    pub(crate) fn resume(
        worker: &Arc<Worker>,
        parcel: Parcel,
        sockets: Sockets,
    ) -> Result<Resumed, Misfit> {
        let shared = worker.current.load_full();
        let Parcel { card, replica, kind, .. } = parcel;
        let Kind::WebSocket { mut relay, pass, trace } = kind else { return Err(Misfit::State) };
        let route = shared.config.routes.iter().position(|route| route.name == card.route);
        let route = route.ok_or(Misfit::Route)?;
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
        let tunnel = Self {
            worker: worker.clone(),
            policy,
            _place: Arc::new(shared.places.claim()),
            extras,
            held,
            control,
        };
        Ok(Resumed { relay: relay.ok_or(Misfit::State)?, tunnel })
    }
}

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

/// The task. Not an `async fn`, whose state would hold the legs twice.
struct Open<C, B> {
    relay: Relay<C, B>,
    tunnel: Option<(Tunnel, Slot)>,
}

impl<C: LegIo, B: LegIo> Open<C, B> {
    /// The other process has it: this one's descriptors are closed, the connections are not.
    fn leave(&mut self, cx: &Context<'_>) -> Poll<Fate> {
        if let Some((tunnel, slot)) = self.tunnel.take() {
            let (control, worker) = (tunnel.control.clone(), tunnel.worker.clone());
            let tally = self.relay.tally();
            tally.buffered.sub(self.relay.held_bytes());
            tunnel.leave(slot, tally);
            worker.current.load().movers.forward(&control, cx);
        }
        Poll::Ready(Fate::Shared)
    }
}

impl Open<Socket, Socket> {
    fn enter(self, reactor: &mut Hub) {
        reactor.add(Box::new(self));
    }
}

impl reactor::Task for Open<Socket, Socket> {
    fn sockets(&self) -> [&Socket; 2] {
        self.relay.ios().into()
    }

    fn prefetch(&self) {
        reactor::prefetch(self.relay.control());
    }
}

impl<C: LegIo, B: LegIo> Future for Open<C, B> {
    type Output = Fate;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fate> {
        let this = self.get_mut();
        let mut is_asked_ahead = false;
        if let Some((tunnel, _)) = &this.tunnel {
            match tunnel.control.look(cx) {
                Hold::Free => {}
                // What is left of the handshakes goes first; the wish is heard at the next look.
                Hold::Wanted(_) if this.relay.is_new() => {
                    tunnel.control.hold();
                    cx.waker().wake_by_ref();
                }
                Hold::Wanted(since) => {
                    tunnel.put_down(&this.relay, since);
                    return Poll::Pending;
                }
                Hold::Ahead => is_asked_ahead = true,
                Hold::Still => return Poll::Pending,
                Hold::Gone => return this.leave(cx),
            }
        }
        let Poll::Ready(ended) = Pin::new(&mut this.relay).poll(cx) else {
            // Behind this turn: what happens from here on has it polled, and that is seen.
            if let Some((tunnel, _)) = this.tunnel.as_ref().filter(|_| is_asked_ahead) {
                tunnel.copy_ahead(&mut this.relay);
            }
            return Poll::Pending;
        };
        if let Some((tunnel, slot)) = this.tunnel.take() {
            if tunnel.control.is_ahead() {
                this.relay.hang_up();
            }
            tunnel.end(slot, this.relay.tally(), &ended);
        }
        Poll::Ready(Fate::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two thirds of what an idle WebSocket costs are bookkeeping of the runtime's. The rest is
    /// this, and whoever adds a field for some routes only should box it.
    #[test]
    fn an_idle_websocket_is_small() {
        let size = size_of::<Open<Socket, Socket>>();
        assert!(size <= 704, "{size} bytes");
    }
}

//! One open WebSocket in the gateway's books, from the moment both legs are free of HTTP to its end.
//!
//! What opened it does not stay: an idle WebSocket is this and two sockets. Start at [`Tunnel::start`];
//! `task` is what polls it then.

mod copy;
mod newcomer;
mod resumed;
mod task;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use longhaul_proto::redial::Redial;
use longhaul_proto::session::Session;

use self::newcomer::Newcomer;
pub(crate) use self::resumed::{ForReactor, Resumed};
use self::task::Open;
use crate::admission::Pass;
use crate::connection::Connection;
use crate::http::http2::OpenStream;
use crate::http::visit::Visit;
use crate::places::Place;
use crate::redial::origin::Wire;
use crate::redial::{Lasting, Origin};
use crate::registry::Slot;
use crate::relay::control::{Control, Order};
use crate::relay::stream::LegIo;
use crate::relay::{Ended, Leg, Relay, RelayPolicy};
use crate::shared::Shared;
use crate::telemetry::Card;
use crate::telemetry::returns::Who;
use crate::telemetry::tally::Tally;
use crate::trace::Sequel;
use crate::transport::Transport;
use crate::upstream::Held;
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
}

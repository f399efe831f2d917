//! Raw TCP: moves bytes both ways and understands none of them.

mod pipe;
mod splice;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use longhaul_proto::proxy_protocol::Ends;
use tracing::{info, warn};

use self::pipe::Pipe;
use crate::config::TcpRoute;
use crate::connection::Connection;
use crate::dial::Dial;
use crate::handoff::Movers;
use crate::handoff::state::{Change, Kind, Misfit, News, Parcel, Sockets, adopt};
use crate::places::Place;
use crate::registry::{Registry, Slot};
use crate::relay::control::{Control, Order, Since};
use crate::relay::stream::{Bound, Stream};
use crate::shared::{OpenWork, Shared};
use crate::telemetry::{Card, Telemetry};
use crate::transport::Transport;
use crate::upstream::{Held, Work};
use crate::worker::Worker;

/// Connects a client to a replica and moves bytes until both sides ended.
pub(crate) async fn serve(client: Transport, prefix: Bytes, connection: Connection, route: usize) {
    let Connection { shared, peer, local, place, .. } = connection.clone();
    let route = shared.tcp_route(route);
    let upstream = &shared.upstreams[route.upstream];
    let ends = Ends { client: peer, local };
    let mut dial = Dial::new(upstream, None, peer.ip(), ends);
    let (replica, backend) = loop {
        let replica = match dial.pick() {
            Ok(replica) => replica,
            Err(failure) => {
                let cause = failure.refusal.cause();
                let replica = failure.replica.map(tracing::field::display);
                let error = failure.detail;
                return warn!(route = route.name, %peer, cause, replica, error, "tcp connection not taken");
            }
        };
        if let Some(stream) = dial.connect(&replica).await {
            break (replica, stream);
        }
    };
    replica.note_success();
    let card = Card::new(&shared.telemetry, route.name.as_str().into(), peer.ip());
    let pipe = Pipe::new(Stream::new(client), Stream::new(backend), prefix, Instant::now());
    let (held, control) =
        (replica.hold(Work::Tcp), Arc::new(Control::new(replica.address(), card)));
    let parties = Parties { route, peer, _place: place, held, control };
    let books = Books::open(&connection.worker, &shared, parties);
    drop(dial);
    // It may last; the configuration under which it came shall not because of it.
    drop(shared);
    books.keep(pipe).await;
}

/// Between whom a raw TCP connection is.
struct Parties {
    route: Arc<TcpRoute>,
    peer: SocketAddr,
    _place: Arc<Place>,
    held: Held,
    control: Arc<Control>,
}

/// What a raw TCP connection holds beside its two legs.
pub(crate) struct Books {
    worker: Arc<Worker>,
    parties: Parties,
    slot: Slot,
    streams: Arc<Registry>,
    movers: Arc<Movers>,
    telemetry: Arc<Telemetry>,
    _work: OpenWork,
}

impl Books {
    fn open(worker: &Arc<Worker>, shared: &Shared, parties: Parties) -> Self {
        let slot = shared.streams.add(parties.control.clone());
        if parties.held.is_lost() {
            // The replica went down before the registry knew of this one.
            parties.control.order(Order::ReplicaLost);
        }
        Self {
            worker: worker.clone(),
            parties,
            slot,
            streams: shared.streams.clone(),
            movers: shared.movers.clone(),
            telemetry: shared.telemetry.clone(),
            _work: OpenWork::new(shared),
        }
    }

    /// Keeps the connection to its end, and closes the books.
    async fn keep(self, mut pipe: Pipe) {
        let cause = pipe.run(&self).await;
        self.streams.remove(self.slot);
        let Some(cause) = cause else { return };
        let Parties { route, peer, control, .. } = &self.parties;
        if control.is_ahead() {
            pipe.hang_up();
        }
        let bytes = [pipe.client.bytes_read, pipe.backend.bytes_read];
        let (replica, card) = (control.replica(), &control.card);
        self.telemetry.note_tcp_end(&route.name, cause, card.opened_at.elapsed(), bytes);
        info!(
            route = route.name, client = %peer, %replica, cause,
            duration_s = (card.opened_at.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            bytes_up = bytes[0], bytes_down = bytes[1],
            "tcp connection closed"
        );
    }

    /// Gives a copy of the connection to whoever moves it to another process: it stands still now. What
    /// went ahead is not said again.
    fn put_down(&self, pipe: &mut Pipe, since: Since) {
        let control = &self.parties.control;
        match since {
            Since::Never => self.movers.tell(control, self.copy(pipe)),
            Since::Untouched => self.movers.tell_change(control, Ok(None)),
            Since::Touched => {
                let change = Change::of(control, News::Tcp(pipe.freeze()));
                self.movers.tell_change(control, Ok(Some(change)));
            }
        }
    }

    /// Gives a copy of the connection, which goes on.
    fn copy_ahead(&self, pipe: &mut Pipe) {
        match self.copy(pipe) {
            Ok((parcel, sockets)) => {
                self.movers.tell_ahead(&self.parties.control, parcel, sockets);
            }
            Err(_) => self.movers.decline_ahead(&self.parties.control),
        }
    }

    fn copy(&self, pipe: &mut Pipe) -> Result<(Parcel, Sockets), Bound> {
        let sockets = vec![pipe.client.socket()?, pipe.backend.socket()?];
        let Parties { peer, control, .. } = &self.parties;
        let kind = Kind::Tcp { pipe: pipe.freeze(), peer: *peer };
        Ok((Parcel::of(control, self.worker.index, sockets.len(), kind), sockets))
    }
}

/// A raw TCP connection that waits for the other process to let go of it.
pub(crate) struct Resumed {
    worker: Arc<Worker>,
    parties: Parties,
    pipe: Pipe,
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
        let shared = worker.current.load();
        let Parcel { card, replica, kind, .. } = parcel;
        let Kind::Tcp { pipe, peer } = kind else { return Err(Misfit::State) };
        let routes = &shared.config.tcp_routes;
        let route = routes.iter().position(|route| route.name == card.route);
        let route = shared.tcp_route(route.ok_or(Misfit::Route)?);
        let held = shared.upstreams[route.upstream].find_or_depart(replica, Instant::now());
        let held = held.hold(Work::Tcp);
        let mut sockets = sockets.into_iter();
        let (client, backend) = (adopt(&mut sockets)?, adopt(&mut sockets)?);
        let pipe = Pipe::thaw(client, backend, pipe);
        let place = Arc::new(shared.places.claim());
        let card = card.into_card(&route.name.as_str().into());
        let control = Arc::new(Control::new(replica, card));
        let parties = Parties { route, peer, _place: place, held, control };
        Ok(Self { worker: worker.clone(), parties, pipe })
    }

    /// What has happened to it since it was copied, in the process that still has it.
    ///
    /// # Errors
    /// Why it cannot be taken up: the sender keeps it then.
    pub(crate) fn renew(&mut self, change: Change) -> Result<(), Misfit> {
        change.count_on(&self.parties.control.card);
        let News::Tcp(state) = change.news else { return Err(Misfit::State) };
        self.pipe.renew(state);
        Ok(())
    }

    /// Goes on with it, in a task of its own.
    pub(crate) fn go_on(self) {
        let Self { worker, parties, pipe } = self;
        let books = Books::open(&worker, &worker.current.load(), parties);
        tokio::spawn(books.keep(pipe));
    }
}

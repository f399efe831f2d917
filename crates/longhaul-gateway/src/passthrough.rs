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
use crate::handoff::state::{Kind, Misfit, Parcel, Sockets, adopt};
use crate::places::Place;
use crate::registry::{Registry, Slot};
use crate::relay::control::{Control, Order};
use crate::relay::stream::{Bound, Stream};
use crate::shared::{OpenWork, Shared};
use crate::telemetry::{Card, Telemetry};
use crate::transport::Transport;
use crate::upstream::{Held, Replica, Work};
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
    replica.note_success(Instant::now());
    let card = Card::new(&shared.telemetry, route.name.as_str().into(), peer.ip());
    let pipe = Pipe::new(Stream::new(client), Stream::new(backend), prefix, Instant::now());
    let books = Books::open(&connection.worker, &shared, route, peer, place, &replica, card);
    drop(dial);
    // It may last; the configuration under which it came shall not because of it.
    drop(shared);
    books.keep(pipe).await;
}

/// What a raw TCP connection holds beside its two legs.
pub(crate) struct Books {
    worker: Arc<Worker>,
    route: Arc<TcpRoute>,
    peer: SocketAddr,
    _place: Arc<Place>,
    _held: Held,
    control: Arc<Control>,
    slot: Slot,
    streams: Arc<Registry>,
    movers: Arc<Movers>,
    telemetry: Arc<Telemetry>,
    _work: OpenWork,
}

impl Books {
    fn open(
        worker: &Arc<Worker>,
        shared: &Shared,
        route: Arc<TcpRoute>,
        peer: SocketAddr,
        place: Arc<Place>,
        replica: &Arc<Replica>,
        card: Card,
    ) -> Self {
        let held = replica.hold(Work::Tcp);
        let control = Arc::new(Control::new(replica.address(), card));
        let slot = shared.streams.add(control.clone());
        if held.is_lost() {
            // The replica went down before the registry knew of this one.
            control.order(Order::ReplicaLost);
        }
        Self {
            worker: worker.clone(),
            route,
            peer,
            _place: place,
            _held: held,
            control,
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
        let bytes = [pipe.client.bytes_read, pipe.backend.bytes_read];
        let (replica, card) = (self.control.replica(), &self.control.card);
        self.telemetry.note_tcp_end(&self.route.name, cause, card.opened_at.elapsed(), bytes);
        info!(
            route = self.route.name, client = %self.peer, %replica, cause,
            duration_s = (card.opened_at.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            bytes_up = bytes[0], bytes_down = bytes[1],
            "tcp connection closed"
        );
    }

    /// Gives a copy of the connection to whoever moves it to another process.
    fn put_down(&self, pipe: &mut Pipe) {
        let sockets = |pipe: &Pipe| -> Result<Sockets, Bound> {
            Ok(vec![pipe.client.socket()?, pipe.backend.socket()?])
        };
        let frozen = sockets(pipe).map(|sockets| {
            let kind = Kind::Tcp { pipe: pipe.freeze(), peer: self.peer };
            (Parcel::of(&self.control, self.worker.index, sockets.len(), kind), sockets)
        });
        self.movers.tell(&self.control, frozen);
    }
}

/// A raw TCP connection that waits for the other process to let go of it.
pub(crate) struct Resumed {
    books: Books,
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
        let shared = worker.current.load_full();
        let Parcel { card, replica, kind, .. } = parcel;
        let Kind::Tcp { pipe, peer } = kind else { return Err(Misfit::State) };
        let routes = &shared.config.tcp_routes;
        let route = routes.iter().position(|route| route.name == card.route);
        let route = shared.tcp_route(route.ok_or(Misfit::Route)?);
        let replica = shared.upstreams[route.upstream].find_or_depart(replica, Instant::now());
        let mut sockets = sockets.into_iter();
        let (client, backend) = (adopt(&mut sockets)?, adopt(&mut sockets)?);
        let pipe = Pipe::thaw(client, backend, pipe);
        let place = Arc::new(shared.places.claim());
        let card = card.into_card(&route.name.as_str().into());
        let books = Books::open(worker, &shared, route, peer, place, &replica, card);
        Ok(Self { books, pipe })
    }

    /// Goes on with it, in a task of its own.
    pub(crate) fn go_on(self) {
        tokio::spawn(self.books.keep(self.pipe));
    }
}

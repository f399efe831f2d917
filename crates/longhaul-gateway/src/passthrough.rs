//! Raw TCP: moves bytes both ways and understands none of them.

mod splice;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use longhaul_proto::proxy_protocol::Ends;
use tokio::time::sleep_until;
use tracing::{info, warn};

use self::splice::{Bulk, Moved};
use crate::config::TcpRoute;
use crate::connection::Connection;
use crate::dial::Dial;
use crate::relay::control::{Control, Order};
use crate::relay::stream::{Stream, with_scratch};
use crate::shared::OpenWork;
use crate::telemetry::Card;
use crate::transport::Transport;
use crate::upstream::Work;

/// Bytes moved at once, and the most that waits for a slow peer.
const BUFFER_BYTES: usize = 64 * 1024;
/// Reads in a row before other tasks of the worker get their turn.
const TURNS_MAX: usize = 32;

/// Connects a client to a replica and moves bytes until both sides ended.
pub(crate) async fn serve(client: Transport, prefix: Bytes, connection: Connection, route: usize) {
    let Connection { shared, peer, local, place: _place, .. } = connection;
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
    let held = replica.hold(Work::Tcp);
    let card = Card::new(&shared.telemetry, route.name.as_str().into(), peer.ip());
    let control = Arc::new(Control::new(replica.address(), card));
    let (streams, telemetry) = (shared.streams.clone(), shared.telemetry.clone());
    let slot = streams.add(control.clone());
    if held.is_lost() {
        // The replica went down before the registry knew of this one.
        control.order(Order::ReplicaLost);
    }
    let _work = OpenWork::new(&shared);
    drop(dial);
    // It may last; the configuration under which it came shall not because of it.
    drop(shared);
    let opened_at = Instant::now();
    let mut pipe = Pipe {
        client: Stream::new(client),
        backend: Stream::new(backend),
        has_ended: [false; 2],
        bulk: [Bulk::default(), Bulk::default()],
        moved_at: opened_at,
    };
    let cause = pipe.run(prefix, &control, route.idle, route.linger).await;
    streams.remove(slot);
    let bytes = [pipe.client.bytes_read, pipe.backend.bytes_read];
    telemetry.note_tcp_end(&route.name, cause, opened_at.elapsed(), bytes);
    log(&route, peer, replica.address(), opened_at, &pipe, cause);
}

fn log(
    route: &TcpRoute,
    client: SocketAddr,
    replica: SocketAddr,
    opened_at: Instant,
    pipe: &Pipe,
    cause: &'static str,
) {
    info!(
        route = route.name, %client, %replica, cause,
        duration_s = (opened_at.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        bytes_up = pipe.client.bytes_read, bytes_down = pipe.backend.bytes_read,
        "tcp connection closed"
    );
}

struct Pipe {
    client: Stream<Transport>,
    backend: Stream<Transport>,
    /// Whether the client, the backend, sends no more.
    has_ended: [bool; 2],
    /// From the client, from the backend.
    bulk: [Bulk; 2],
    moved_at: Instant,
}

impl Pipe {
    /// Moves bytes until the end, and names what brought it.
    async fn run(
        &mut self,
        prefix: Bytes,
        control: &Control,
        idle: Option<Duration>,
        linger: Duration,
    ) -> &'static str {
        let mut timer = pin!(sleep_until(tokio::time::Instant::now()));
        let mut prefix = Some(prefix);
        poll_fn(|cx| {
            if let Some(prefix) = prefix.take() {
                self.client.bytes_read += prefix.len() as u64;
                if self.backend.write(cx, &prefix).is_err() {
                    return Poll::Ready("replica_gone");
                }
            }
            match control.take_order(cx) {
                Some(Order::ReplicaLost) => return Poll::Ready("replica_lost"),
                Some(Order::Close) => return Poll::Ready("ordered"),
                // What is open may go on until the drain is over: no close frame could announce it.
                // Bytes alone cannot be moved to another replica.
                Some(Order::ReplicaLeaves | Order::ReplicaLeft | Order::ReplicaDrained) => {}
                // Rights are granted to WebSockets alone.
                Some(Order::Drain | Order::Expired | Order::Revoked) | None => {}
            }
            if let Err(cause) = self.pump(cx) {
                return Poll::Ready(cause);
            }
            let [client_ended, backend_ended] = self.has_ended;
            let is_flushed = !self.client.is_blocked() && !self.backend.is_blocked();
            if client_ended && backend_ended && is_flushed {
                return Poll::Ready("ended");
            }
            // After one end the other direction may go on only while bytes move.
            let is_half = client_ended || backend_ended;
            let Some(limit) = (if is_half { Some(linger) } else { idle }) else {
                return Poll::Pending;
            };
            loop {
                let deadline = tokio::time::Instant::from_std(self.moved_at + limit);
                if timer.is_elapsed() || timer.deadline() > deadline {
                    timer.as_mut().reset(deadline);
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if self.moved_at + limit <= Instant::now() {
                    return Poll::Ready(if is_half { "half_closed" } else { "idle_limit" });
                }
            }
        })
        .await
    }

    fn pump(&mut self, cx: &mut Context<'_>) -> Result<(), &'static str> {
        let client_moved = self.client.flush(cx).map_err(|_| "client_gone")?;
        let backend_moved = self.backend.flush(cx).map_err(|_| "replica_gone")?;
        if client_moved || backend_moved {
            self.moved_at = Instant::now();
        }
        let [client_ended, backend_ended] = &mut self.has_ended;
        let [up, down] = &mut self.bulk;
        with_scratch(BUFFER_BYTES, |scratch| {
            for _ in 0..TURNS_MAX {
                let mut one_way = Way { has_ended: client_ended, bulk: up };
                let up = one_way
                    .step(&mut self.client, &mut self.backend, cx, scratch)
                    .map_err(|is_reader| if is_reader { "client_gone" } else { "replica_gone" })?;
                let mut other_way = Way { has_ended: backend_ended, bulk: down };
                let down = other_way
                    .step(&mut self.backend, &mut self.client, cx, scratch)
                    .map_err(|is_reader| if is_reader { "replica_gone" } else { "client_gone" })?;
                if !up && !down {
                    return Ok(());
                }
                self.moved_at = Instant::now();
            }
            cx.waker().wake_by_ref();
            Ok(())
        })
    }
}

/// One direction of a connection.
struct Way<'a> {
    has_ended: &'a mut bool,
    bulk: &'a mut Bulk,
}

impl Way<'_> {
    /// Moves what `from` has to `to`. Says whether something moved.
    ///
    /// # Errors
    /// True when reading failed, false when writing did.
    fn step(
        &mut self,
        from: &mut Stream<Transport>,
        to: &mut Stream<Transport>,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Result<bool, bool> {
        if *self.has_ended || to.is_blocked() {
            return Ok(false);
        }
        if self.bulk.is_on()
            && let (Transport::Plain(source), Transport::Plain(sink)) = (from.io(), to.io())
        {
            match self.bulk.step(source, sink, cx)? {
                Moved::Some(len) => {
                    from.bytes_read += len as u64;
                    return Ok(true);
                }
                Moved::Nothing => return Ok(false),
                Moved::End => return self.end(to, cx),
                Moved::Refused => {}
            }
        }
        match from.poll_read(cx, scratch) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => self.end(to, cx),
            Poll::Ready(Ok(len)) => {
                self.bulk.note_read(len == scratch.len());
                to.write(cx, &scratch[..len]).map(|()| true).map_err(|_| false)
            }
            Poll::Ready(Err(_)) => Err(true),
        }
    }

    fn end(&mut self, to: &mut Stream<Transport>, cx: &mut Context<'_>) -> Result<bool, bool> {
        *self.has_ended = true;
        to.finish();
        to.flush(cx).map_err(|_| false)
    }
}

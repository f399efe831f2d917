//! Connections that came from another process, from their first word to the moment they go on.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Taken;
use super::state::{Kind, Misfit, Parcel, Sockets};
use crate::passthrough;
use crate::running::Running;
use crate::tunnel::{self, Tunnel};
use crate::worker::{Seat, Worker};

/// Connections that wait for the giver's last word.
#[derive(Default)]
pub(super) struct Lot {
    pub(super) began: Option<Instant>,
    /// By worker.
    ready: HashMap<usize, Vec<Resumed>>,
    pub(super) misfits: Vec<(u64, Misfit)>,
}

/// One of them.
enum Resumed {
    WebSocket(Box<tunnel::Resumed>),
    Tcp(Box<passthrough::Resumed>),
}

impl Resumed {
    fn of(worker: &Arc<Worker>, parcel: Parcel, sockets: Sockets) -> Result<Self, Misfit> {
        match parcel.kind {
            Kind::WebSocket { .. } => {
                Tunnel::resume(worker, parcel, sockets).map(Box::new).map(Self::WebSocket)
            }
            Kind::Tcp { .. } => {
                passthrough::Resumed::of(worker, parcel, sockets).map(Box::new).map(Self::Tcp)
            }
        }
    }
}

impl Lot {
    pub(super) fn prepare(
        &mut self,
        running: &Running,
        parcels: Vec<Parcel>,
        sockets: Vec<OwnedFd>,
    ) {
        let runtime = tokio::runtime::Handle::current();
        let mut sockets = sockets.into_iter();
        let mut by_worker: HashMap<usize, Vec<(Parcel, Sockets)>> = HashMap::new();
        for parcel in parcels {
            let of_this: Sockets = sockets.by_ref().take(parcel.sockets).collect();
            let worker = parcel.worker % running.seats.len();
            by_worker.entry(worker).or_default().push((parcel, of_this));
        }
        for (worker, batch) in by_worker {
            let ids: Vec<u64> = batch.iter().map(|(parcel, _)| parcel.card.id).collect();
            let Ok(ready) = runtime.block_on(running.seats[worker].prepare(batch)) else {
                self.misfits.extend(ids.into_iter().map(|id| (id, Misfit::State)));
                continue;
            };
            for (id, resumed) in ids.into_iter().zip(ready) {
                match resumed {
                    Ok(resumed) => self.ready.entry(worker).or_default().push(resumed),
                    Err(misfit) => self.misfits.push((id, misfit)),
                }
            }
        }
    }

    pub(super) fn go_on(self, running: &Running) -> Taken {
        let connections = self.ready.values().map(Vec::len).sum::<usize>();
        let gone_on: Vec<_> = (self.ready.into_iter())
            .map(|(worker, ready)| running.seats[worker].go_on(ready))
            .collect();
        for worker in gone_on {
            // A panic in it was logged when it happened.
            let _ = tokio::runtime::Handle::current().block_on(worker);
        }
        let pause = self.began.map(|began| began.elapsed()).unwrap_or_default();
        let shared = running.current.load();
        shared.telemetry.connections_moved.fetch_add(connections as u64, Ordering::Relaxed);
        if connections > 0 {
            shared.telemetry.upgrade_pause_seconds.observe(&[], pause);
        }
        Taken { connections, pause }
    }
}

impl Seat {
    /// Makes connections of this worker of what another process has put down.
    async fn prepare(
        &self,
        batch: Vec<(Parcel, Sockets)>,
    ) -> Result<Vec<Result<Resumed, Misfit>>, tokio::task::JoinError> {
        let worker = self.worker.clone();
        let prepared = self.runtime.spawn(async move {
            let resume = |(parcel, sockets)| Resumed::of(&worker, parcel, sockets);
            batch.into_iter().map(resume).collect()
        });
        prepared.await
    }

    /// Has them go on: raw connections in the worker, WebSockets in its reactor.
    fn go_on(&self, ready: Vec<Resumed>) -> tokio::task::JoinHandle<()> {
        let worker = self.worker.clone();
        self.runtime.spawn(async move {
            let mut websockets = Vec::with_capacity(ready.len());
            for resumed in ready {
                match resumed {
                    Resumed::WebSocket(resumed) => websockets.extend(resumed.go_on()),
                    Resumed::Tcp(resumed) => resumed.go_on(),
                }
            }
            let (done, is_done) = tokio::sync::oneshot::channel();
            worker.reactor.run(move |reactor| {
                websockets.into_iter().for_each(|resumed| resumed.go_on(reactor));
                let _ = done.send(());
            });
            // Not when the reactor ends: then this process does.
            let _ = is_done.await;
        })
    }
}

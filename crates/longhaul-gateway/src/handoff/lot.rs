//! Connections that came from another process, from their first word to the moment they go on.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Taken;
use super::state::{Change, Kind, Misfit, Parcel, Sockets, tick_us};
use crate::running::Running;
use crate::tunnel::{self, ForReactor};
use crate::worker::{Seat, Worker};
use crate::{durable, passthrough};

/// Connections that wait for the giver's last word.
#[derive(Default)]
pub(super) struct Lot {
    coming: Vec<Coming>,
    /// Those that still went on when they were copied, by id. Who cannot be taken up may still go over
    /// as a whole, and be taken up then.
    ahead: HashMap<u64, Result<Waiting, Misfit>>,
    ready: Vec<Waiting>,
    pub(super) misfits: Vec<(u64, Misfit)>,
}

/// Some that a worker prepares.
struct Coming {
    worker: usize,
    /// Their ids, and since when they stand still.
    names: Vec<(u64, u64)>,
    resumed: JoinHandle<Vec<Result<Resumed, Misfit>>>,
}

/// One that is prepared.
struct Waiting {
    worker: usize,
    /// Since when it stands still, by [`tick_us`]; 0 if it did not when it was copied.
    still_us: u64,
    resumed: Resumed,
}

/// One of them.
enum Resumed {
    WebSocket(Box<tunnel::Resumed>),
    Tcp(Box<passthrough::Resumed>),
    Durable(Box<durable::Resumed>),
}

impl Resumed {
    fn of(worker: &Arc<Worker>, parcel: Parcel, sockets: Sockets) -> Result<Self, Misfit> {
        match parcel.kind {
            Kind::WebSocket { .. } => {
                tunnel::Resumed::of(worker, parcel, sockets).map(Box::new).map(Self::WebSocket)
            }
            Kind::Durable(_) => {
                durable::Resumed::of(worker, parcel, sockets).map(Box::new).map(Self::Durable)
            }
            Kind::Tcp { .. } => {
                passthrough::Resumed::of(worker, parcel, sockets).map(Box::new).map(Self::Tcp)
            }
        }
    }
}

impl Resumed {
    /// What has happened to it since it went ahead.
    fn renew(self, change: Change) -> Result<Self, Misfit> {
        Ok(match self {
            Self::WebSocket(mut resumed) => {
                resumed.renew(change)?;
                Self::WebSocket(resumed)
            }
            Self::Tcp(mut resumed) => {
                resumed.renew(change)?;
                Self::Tcp(resumed)
            }
            Self::Durable(resumed) => Self::Durable(Box::new(resumed.renew(change)?)),
        })
    }
}

impl Lot {
    pub(super) fn prepare(
        &mut self,
        running: &Running,
        parcels: Vec<Parcel>,
        sockets: Vec<OwnedFd>,
    ) {
        let mut sockets = sockets.into_iter();
        let mut by_worker: HashMap<usize, Vec<(Parcel, Sockets)>> = HashMap::new();
        for parcel in parcels {
            let of_this: Sockets = sockets.by_ref().take(parcel.sockets).collect();
            let worker = parcel.worker % running.seats.len();
            by_worker.entry(worker).or_default().push((parcel, of_this));
        }
        for (worker, batch) in by_worker {
            let name = |(parcel, _): &(Parcel, Sockets)| (parcel.card.id, parcel.still_us);
            let names = batch.iter().map(name).collect();
            // Not waited for: the next parcels are read meanwhile.
            let resumed = running.seats[worker].prepare(batch);
            self.coming.push(Coming { worker, names, resumed });
        }
    }

    /// Waits until all of them are prepared. Blocks; to be called inside the runtime.
    pub(super) fn settle(&mut self) {
        let runtime = tokio::runtime::Handle::current();
        for Coming { worker, names, resumed } in std::mem::take(&mut self.coming) {
            // Not if they panicked, which was logged when it happened.
            let resumed = runtime.block_on(resumed).into_iter().flatten();
            let resumed = resumed.chain(std::iter::repeat_with(|| Err(Misfit::State)));
            for ((id, still_us), resumed) in names.into_iter().zip(resumed) {
                let waiting = resumed.map(|resumed| Waiting { worker, still_us, resumed });
                // What goes over as a whole takes the place of what went ahead of it.
                self.ahead.remove(&id);
                match waiting {
                    waiting if still_us == 0 => drop(self.ahead.insert(id, waiting)),
                    Ok(waiting) => self.ready.push(waiting),
                    Err(misfit) => self.misfits.push((id, misfit)),
                }
            }
        }
    }

    /// Some that went ahead stand still now. Blocks; to be called inside the runtime.
    pub(super) fn renew(&mut self, unchanged: Vec<(u64, u64)>, changed: Vec<(Change, u64)>) {
        self.settle();
        let unchanged = unchanged.into_iter().map(|(id, still_us)| (id, still_us, None));
        let changed = changed.into_iter().map(|(it, still_us)| (it.id, still_us, Some(it)));
        for (id, still_us, change) in unchanged.chain(changed) {
            // For whatever reason: what is not here cannot go on here.
            let waiting = self.ahead.remove(&id).unwrap_or(Err(Misfit::State));
            let renewed = waiting.and_then(|Waiting { worker, resumed, .. }| {
                let resumed = match change {
                    Some(change) => resumed.renew(change)?,
                    None => resumed,
                };
                Ok(Waiting { worker, still_us, resumed })
            });
            match renewed {
                Ok(waiting) => self.ready.push(waiting),
                Err(misfit) => self.misfits.push((id, misfit)),
            }
        }
    }

    pub(super) fn go_on(self, running: &Running) -> Taken {
        let mut by_worker: HashMap<usize, Vec<(Resumed, u64)>> = HashMap::new();
        for Waiting { worker, still_us, resumed } in self.ready {
            by_worker.entry(worker).or_default().push((resumed, still_us));
        }
        let gone_on: Vec<_> = (by_worker.into_iter())
            .map(|(worker, ready)| running.seats[worker].go_on(ready))
            .collect();
        let mut pauses_us = Vec::new();
        for worker in gone_on {
            // A panic in it was logged when it happened.
            let of_this = tokio::runtime::Handle::current().block_on(worker);
            pauses_us.extend(of_this.unwrap_or_default());
        }
        pauses_us.sort_unstable();
        let shared = running.current.load();
        let telemetry = &shared.telemetry;
        telemetry.connections_moved.fetch_add(pauses_us.len() as u64, Ordering::Relaxed);
        for pause_us in &pauses_us {
            telemetry.upgrade_pause_seconds.observe(&[], Duration::from_micros(*pause_us));
        }
        Taken::of(&pauses_us)
    }
}

impl Taken {
    /// By how long each stood still, the shortest first.
    fn of(pauses_us: &[u64]) -> Self {
        let connections = pauses_us.len();
        let of = |at: usize| {
            let pause_us = pauses_us.get(at.min(connections.saturating_sub(1)));
            Duration::from_micros(pause_us.copied().unwrap_or_default())
        };
        let (pause_p50, pause_p99) = (of(connections / 2), of(connections * 99 / 100));
        Self { connections, pause: of(connections), pause_p50, pause_p99 }
    }
}

impl Seat {
    /// Makes connections of this worker of what another process has put down.
    fn prepare(&self, batch: Vec<(Parcel, Sockets)>) -> JoinHandle<Vec<Result<Resumed, Misfit>>> {
        let worker = self.worker.clone();
        self.runtime.spawn(async move {
            let resume = |(parcel, sockets)| Resumed::of(&worker, parcel, sockets);
            batch.into_iter().map(resume).collect()
        })
    }

    /// Has them go on, WebSockets in the worker's reactor and all others in the worker. For how long
    /// each stood still comes back, in microseconds.
    fn go_on(&self, ready: Vec<(Resumed, u64)>) -> JoinHandle<Vec<u64>> {
        let worker = self.worker.clone();
        self.runtime.spawn(async move {
            let mut websockets = Vec::with_capacity(ready.len());
            let mut pauses_us = Vec::new();
            for (resumed, since) in ready {
                match resumed {
                    Resumed::WebSocket(resumed) => {
                        if let Some(for_reactor) = resumed.go_on() {
                            websockets.push((for_reactor, since));
                            continue;
                        }
                    }
                    Resumed::Tcp(resumed) => resumed.go_on(),
                    Resumed::Durable(resumed) => resumed.go_on(),
                }
                pauses_us.push(tick_us().saturating_sub(since));
            }
            let (done, is_done) = tokio::sync::oneshot::channel();
            worker.reactor.run(move |reactor| {
                let go_on = |(resumed, since): (ForReactor, u64)| {
                    resumed.go_on(reactor);
                    tick_us().saturating_sub(since)
                };
                let _ = done.send(websockets.into_iter().map(go_on).collect::<Vec<_>>());
            });
            // Not when the reactor ends: then this process does.
            pauses_us.extend(is_done.await.unwrap_or_default());
            pauses_us
        })
    }
}

//! The side that takes the connections up.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lot::Lot;
use super::message::{Estate, FORMAT, FromGiver, FromTaker, Hello, ListenerState};
use super::wire::{Wire, WireError};
use super::{HandoffError, Patience, at};
use crate::config::{Listener, Timeouts};
use crate::durable::Keys;
use crate::running::Running;

/// A process that was started to take connections up, and what it was told.
pub struct Arrival {
    wire: Wire,
    estate: Estate,
    inherited: Vec<Inherited>,
    admin: Option<OwnedFd>,
}

/// The sockets of a listener, open in the other process.
#[derive(Debug)]
struct Inherited {
    state: ListenerState,
    sockets: Vec<TcpListener>,
}

/// What a start takes over from the process before.
pub(crate) struct Inheritance {
    listeners: Vec<Inherited>,
    pub(crate) affinity_key: [u8; 32],
    pub(crate) session_keys: Keys,
    pub(crate) connections_total: u64,
}

/// Connections were taken up.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// So many.
    pub connections: usize,
    /// How long the one stood still that did so the longest.
    pub pause: Duration,
    /// For how long half of them did, at most.
    pub pause_p50: Duration,
    /// For how long 99 of 100 did, at most.
    pub pause_p99: Duration,
}

/// What is still to come from the giver. Dropping it ends the conversation.
pub struct Taking {
    wire: Wire,
    patience: Patience,
    running: Arc<Running>,
}

impl Arrival {
    /// Says who this is and hears what there is. Blocks.
    ///
    /// # Errors
    /// [`HandoffError`].
    pub fn meet(socket: UnixStream) -> Result<Self, HandoffError> {
        let refused = |source| HandoffError::System { what: "the socket", source };
        let mut wire = Wire::new(socket).map_err(refused)?;
        // No configuration has been read yet that could say how long.
        let deadline = Instant::now() + Timeouts::default().upgrade_start;
        let hello = Hello { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned() };
        wire.send(&hello, &[], deadline).map_err(at("saying who this is"))?;
        let (mut estate, descriptors): (Estate, _) =
            wire.receive(deadline).map_err(at("waiting for what there is"))?;
        if estate.format != FORMAT {
            let Estate { format: theirs, version, .. } = estate;
            return Err(HandoffError::Format { theirs, version, ours: FORMAT });
        }
        let mut descriptors = descriptors.into_iter();
        let inherited = std::mem::take(&mut estate.listeners).into_iter().map(|state| {
            let sockets = descriptors.by_ref().take(state.sockets).map(TcpListener::from).collect();
            Inherited { state, sockets }
        });
        let inherited = inherited.collect();
        let admin = if estate.has_admin { descriptors.next() } else { None };
        Ok(Self { wire, estate, inherited, admin })
    }

    /// What the binary around the other gateway says to this one.
    pub fn house(&self) -> &serde_json::Value {
        &self.estate.house
    }

    /// The socket of the admin API, if there is one. Taken once.
    pub fn take_admin(&mut self) -> Option<OwnedFd> {
        self.admin.take()
    }

    pub(crate) fn take_inheritance(&mut self) -> Inheritance {
        Inheritance {
            listeners: std::mem::take(&mut self.inherited),
            affinity_key: self.estate.affinity_key,
            session_keys: self.estate.session_keys,
            connections_total: self.estate.connections_total,
        }
    }

    /// Takes up what the other process gives. When it returns, this process serves. Blocks; to be
    /// called inside the runtime.
    pub(crate) fn take(self, running: &Arc<Running>) -> Result<(Taken, Taking), HandoffError> {
        let Self { mut wire, .. } = self;
        let patience = Patience::of(&running.current.load().config.timeouts);
        await_ready(running, patience)?;
        let deadline = Instant::now() + patience.start;
        wire.send(&FromTaker::Standing, &[], deadline).map_err(at("saying that it stands"))?;
        let mut taking = Taking { wire, patience, running: running.clone() };
        match taking.round(deadline)? {
            Some(taken) => Ok((taken, taking)),
            None => Err(HandoffError::Aborted),
        }
    }
}

/// Waits until every start-up step is done, as a load balancer would.
fn await_ready(running: &Running, patience: Patience) -> Result<(), HandoffError> {
    const LOOK: Duration = Duration::from_millis(10);
    let until = Instant::now() + patience.start;
    let readiness = running.current.load().readiness.clone();
    while !readiness.is_ready() {
        let gate = readiness.gates().into_iter().next();
        if until <= Instant::now() {
            let name = gate.map_or_else(|| "its own end".to_owned(), |gate| gate.name);
            return Err(HandoffError::NotReady(name));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

impl Inheritance {
    /// The sockets of this listener, if they are there: by address; port 0 was another one each time,
    /// so that there the name counts as well.
    pub(crate) fn sockets_of(&mut self, listener: &Listener) -> Option<Vec<TcpListener>> {
        let is_it = |asked: SocketAddr, name: &str| {
            asked == listener.address && (asked.port() != 0 || name == listener.name)
        };
        let at = self.listeners.iter().position(|it| is_it(it.state.asked, &it.state.name))?;
        Some(self.listeners.swap_remove(at).sockets)
    }
}

impl Taking {
    /// Takes up what still comes, until nothing more does. Returns the socket to the giver, if that is
    /// still there. Blocks; to be called inside the runtime.
    pub fn take_rest(mut self) -> Option<UnixStream> {
        loop {
            // The giver finishes requests meanwhile; it ends the conversation when it ends itself.
            match self.round(Instant::now() + Duration::from_secs(24 * 3600)) {
                Ok(Some(_)) => {}
                Ok(None) => return self.wire.socket().ok(),
                Err(HandoffError::Wire { source, .. })
                    if source.downcast_ref().is_some_and(|it| matches!(it, WireError::Ended)) =>
                {
                    return None;
                }
                Err(error) => {
                    tracing::warn!(%error, "nothing more is taken from the old process");
                    return None;
                }
            }
        }
    }

    /// Takes up one lot. `None`: there is none, and the giver is done.
    fn round(&mut self, deadline: Instant) -> Result<Option<Taken>, HandoffError> {
        let mut lot = Lot::default();
        let mut deadline = deadline;
        loop {
            let step = "waiting for connections";
            let (said, sockets) = self.wire.receive(deadline).map_err(at(step))?;
            match said {
                FromGiver::Ahead(parcels) | FromGiver::Parcels(parcels) => {
                    // Soon the giver's connections stand still, or do by now.
                    deadline = Instant::now() + self.patience.step;
                    lot.prepare(&self.running, parcels, sockets);
                }
                FromGiver::Still { unchanged, changed } => lot.renew(unchanged, changed),
                FromGiver::End => {
                    lot.settle();
                    let misfits = std::mem::take(&mut lot.misfits);
                    deadline = Instant::now() + self.patience.step;
                    let fitted = FromTaker::Fitted { misfits };
                    self.wire.send(&fitted, &[], deadline).map_err(at("answering"))?;
                }
                FromGiver::Commit(memory) => {
                    self.wire
                        .send(&FromTaker::Taken, &[], deadline)
                        .map_err(at("saying that it serves"))?;
                    let shared = self.running.current.load_full();
                    memory.recall(&shared);
                    let taken = lot.go_on(&self.running);
                    let pause_us = u64::try_from(taken.pause.as_micros()).unwrap_or(u64::MAX);
                    let gone_on = FromTaker::GoneOn { pause_us };
                    self.wire.send(&gone_on, &[], deadline).unwrap_or_else(|error| {
                        tracing::debug!(%error, "the old process does not hear that all go on");
                    });
                    // Who is at such a replica must be there to be told.
                    memory.drain_again(&shared);
                    return Ok(Some(taken));
                }
                FromGiver::Late { memory, orders } => {
                    let shared = self.running.current.load_full();
                    memory.recall(&shared);
                    memory.drain_again(&shared);
                    for (id, order) in orders {
                        let found = shared.registry.find(id).or_else(|| shared.streams.find(id));
                        found.inspect(|control| control.order(order));
                    }
                }
                FromGiver::Abort | FromGiver::Done => return Ok(None),
            }
        }
    }
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the key that signs cookies.
        f.debug_struct("Arrival").field("version", &self.estate.version).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Taking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taking").finish_non_exhaustive()
    }
}

//! The side that has the connections.

mod hear;
mod send;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use self::hear::unexpected;
use self::send::GIVING;
use super::memory::Memory;
use super::message::{Estate, FORMAT, FromGiver, FromTaker, Hello, ListenerState};
use super::round::Round;
use super::wire::Wire;
use super::{HandoffError, Patience, Taker, at};
use crate::handle::Handle;
use crate::running::Running;
use crate::shared::Shared;

/// What was moved.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Connections that the other process has now; in a rehearsal, could have.
    pub moved: usize,
    /// Connections that stay here to be finished, by what ties them.
    pub stays: BTreeMap<&'static str, usize>,
    /// The longest that one of them stood still.
    pub pause: Duration,
    /// The other program's version.
    pub version: String,
}

/// A process that gives its connections to another one.
pub struct Giver {
    running: Arc<Running>,
    wire: Wire,
    patience: Patience,
    version: String,
    /// What the other process was told of what holds here.
    told: Option<Memory>,
    /// `None`: it must not be ended.
    taker: Option<Box<dyn Taker>>,
}

impl Giver {
    /// Hears who is there, tells what there is and waits until it stands. Blocks.
    ///
    /// `house` and `admin` are passed on. The `taker` is killed if it does not say whether it serves:
    /// connections must not be served by two.
    ///
    /// # Errors
    /// [`HandoffError`]; nothing has happened then.
    pub fn meet(
        socket: UnixStream,
        handle: &Handle,
        house: serde_json::Value,
        admin: Option<OwnedFd>,
        taker: Option<Box<dyn Taker>>,
    ) -> Result<Self, HandoffError> {
        let refused = |source| HandoffError::System { what: "the socket", source };
        let mut wire = Wire::new(socket).map_err(refused)?;
        let running = handle.running().clone();
        let shared = running.current.load_full();
        let patience = Patience::of(&shared.config.timeouts);
        let deadline = Instant::now() + patience.start;
        let (hello, _): (Hello, _) =
            wire.receive(deadline).map_err(at("waiting for the first word of the new process"))?;
        if hello.format != FORMAT {
            let Hello { format: theirs, version } = hello;
            return Err(HandoffError::Format { theirs, version, ours: FORMAT });
        }
        if shared.readiness.is_draining() || shared.readiness.is_leaving() {
            return Err(HandoffError::Draining);
        }
        if let Some(gate) = shared.readiness.gates().into_iter().next() {
            return Err(HandoffError::NotReady(gate.name));
        }
        if running.is_moving.swap(true, Ordering::AcqRel) {
            return Err(HandoffError::Busy);
        }
        let version = hello.version;
        let mut giver = Self { running, wire, patience, version, told: None, taker };
        giver.tell_estate(&shared, house, admin, deadline)?;
        Ok(giver)
    }

    fn tell_estate(
        &mut self,
        shared: &Shared,
        house: serde_json::Value,
        admin: Option<OwnedFd>,
        deadline: Instant,
    ) -> Result<(), HandoffError> {
        let Self { running, wire, .. } = self;
        let (listeners, mut sockets) = running.listening_sockets().map_err(|source| {
            HandoffError::System { what: "descriptors for the listeners", source }
        })?;
        let estate = Estate {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listeners,
            has_admin: admin.is_some(),
            affinity_key: shared.config.affinity_key,
            session_keys: shared.sessions.keys(),
            connections_total: shared.telemetry.connections_total.load(Ordering::Relaxed),
            house,
        };
        sockets.extend(admin);
        let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        wire.send(&estate, &borrowed, deadline).map_err(at("telling what there is"))?;
        match wire.receive(deadline).map_err(at("waiting for the new process to stand"))? {
            (FromTaker::Standing, _) => {}
            (other, _) => return Err(unexpected("waiting for the new process to stand", &other)),
        }
        Ok(())
    }

    /// Does everything but the last word: says what would be moved, and goes on. Blocks.
    ///
    /// # Errors
    /// [`HandoffError`].
    pub fn rehearse(mut self) -> Result<Report, HandoffError> {
        let shared = self.running.current.load_full();
        let round = self.begin(&shared)?;
        self.round(&shared, round, Purpose::Rehearsal)
    }

    /// Gives listeners and connections away. From then on this process takes no clients, finishes what
    /// stays, and should call [`Giver::give_rest`]. Blocks; to be called inside the runtime.
    ///
    /// # Errors
    /// [`HandoffError`]; then everything goes on here as if nothing had happened.
    pub fn give(&mut self) -> Result<Report, HandoffError> {
        let runtime = tokio::runtime::Handle::current();
        let shared = self.running.current.load_full();
        let round = self.begin(&shared)?;
        runtime.block_on(self.running.stop_accepting());
        let given = self.round(&shared, round, Purpose::All);
        match &given {
            Ok(_) => runtime.block_on(self.running.give_up_listeners()),
            Err(_) => runtime.block_on(self.running.accept_again()),
        }
        given
    }

    /// Gives away what has become movable since: WebSockets whose handshakes were under way. To be
    /// called now and then. Blocks.
    ///
    /// # Errors
    /// [`HandoffError`]; what there is goes on here.
    pub fn give_rest(&mut self) -> Result<Report, HandoffError> {
        let shared = self.running.current.load_full();
        self.tell_late(&shared)?;
        if shared.registry.len() + shared.streams.len() == 0 {
            return Ok(Report::default());
        }
        let round = Round::begin(&shared, self.patience.step);
        self.round(&shared, round, Purpose::Rest)
    }

    /// Sends copies of what there is while it goes on, so that little is left to be said of it when it
    /// stands still.
    fn begin<'a>(&mut self, shared: &'a Shared) -> Result<Round<'a>, HandoffError> {
        let mut round = Round::begin(shared, self.patience.step);
        self.send_ahead(&mut round)?;
        Ok(round)
    }

    /// Says that nothing more comes, and returns the socket.
    ///
    /// # Errors
    /// When the system has no descriptor left for it.
    pub fn finish(mut self) -> std::io::Result<UnixStream> {
        let deadline = Instant::now() + self.patience.step;
        let shared = self.running.current.load_full();
        if let Err(error) = self.tell_late(&shared) {
            debug!(%error, "the new process does not hear what was told late");
        }
        if let Err(error) = self.wire.send(&FromGiver::Done, &[], deadline) {
            debug!(%error, "the new process does not hear that nothing more comes");
        }
        self.wire.socket()
    }

    fn round(
        &mut self,
        shared: &Shared,
        mut round: Round<'_>,
        purpose: Purpose,
    ) -> Result<Report, HandoffError> {
        round.stand_still();
        let deadline = Instant::now() + self.patience.step;
        let mut report = Report { version: self.version.clone(), ..Report::default() };
        loop {
            let batch = round.collect(&mut report);
            if batch.is_empty() {
                break;
            }
            self.send_batch(batch, deadline)?;
        }
        if round.still.is_empty() && purpose == Purpose::Rest {
            return Ok(report);
        }
        self.wire.send(&FromGiver::End, &[], deadline).map_err(at(GIVING))?;
        let step = "waiting for the new process to take connections up";
        let misfits = match self.wire.receive(deadline).map_err(at(step))? {
            (FromTaker::Fitted { misfits }, _) => misfits,
            (other, _) => return Err(unexpected(step, &other)),
        };
        for (id, why) in misfits {
            if let Some((control, _)) = round.still.remove(&id) {
                control.release();
                *report.stays.entry(why.name()).or_default() += 1;
            }
        }
        report.moved = round.still.len();
        if purpose == Purpose::Rehearsal {
            report.pause = round.pause();
            let _ = self.wire.send(&FromGiver::Abort, &[], deadline);
            return Ok(report);
        }
        let is_asked = purpose == Purpose::All;
        if is_asked && self.taker.as_ref().is_some_and(|taker| !taker.may_serve()) {
            let _ = self.wire.send(&FromGiver::Abort, &[], deadline);
            return Err(HandoffError::Aborted);
        }
        // Of this moment: what was taken back while the other process started holds there as well.
        let memory = if purpose == Purpose::All { Memory::of(shared) } else { Memory::default() };
        if purpose == Purpose::All {
            self.told = Some(memory.clone());
        }
        let commit = FromGiver::Commit(memory);
        self.wire.send(&commit, &[], deadline).map_err(at(GIVING))?;
        self.hear_taken(deadline)?;
        report.pause = self.hear_gone_on(deadline).unwrap_or_else(|| round.pause());
        info!(
            moved = report.moved,
            changed = round.changed,
            whole = round.whole,
            pause_ms = report.pause.as_secs_f64() * 1000.0,
            "connections moved"
        );
        round.let_go();
        Ok(report)
    }
}

/// What a round is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Rehearsal,
    /// Listeners, and every connection: also when there is none.
    All,
    Rest,
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.running.is_moving.store(false, Ordering::Release);
    }
}

impl std::fmt::Debug for Giver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Giver").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Running {
    /// The sockets of all listeners, each with a descriptor of its own.
    fn listening_sockets(&self) -> std::io::Result<(Vec<ListenerState>, Vec<OwnedFd>)> {
        let parts = tokio::runtime::Handle::current().block_on(self.parts.lock());
        let mut sockets = Vec::new();
        let mut listeners = Vec::new();
        for open in &parts.listeners {
            let of_this = open.sockets()?;
            listeners.push(ListenerState {
                name: open.name().to_owned(),
                asked: open.asked(),
                sockets: of_this.len(),
            });
            sockets.extend(of_this.into_iter().map(OwnedFd::from));
        }
        Ok((listeners, sockets))
    }
}

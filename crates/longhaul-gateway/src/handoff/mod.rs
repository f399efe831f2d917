//! Moves listeners and open connections to another process: a newer binary, or the same one again.
//!
//! The giver serves until the taker has said that it does, and whatever goes wrong before that leaves
//! the giver where it was. Copies of connections go ahead while they go on; then all stand still, and
//! say what has become of them since, or give themselves up to be copied as a whole. They go on when
//! nothing comes of it (decision 0012). What cannot be copied (TLS ended here, HTTP/2, what has begun
//! to end) stays and is finished by the giver.
//!
//! `message` has the words and their order, `wire` carries them, `state` is a connection on its way.
//! Start at [`Giver`] and [`Arrival`]. Which process starts which is not known here.

mod give;
mod lot;
mod memory;
mod message;
mod round;
pub(crate) mod state;
mod take;
mod wire;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

pub use give::{Giver, Report};
pub(crate) use take::Inheritance;
pub use take::{Arrival, Taken, Taking};

use self::state::{Change, Parcel, Sockets};
use self::wire::WireError;
use crate::config::Timeouts;
use crate::relay::control::{Control, Order};
use crate::relay::stream::Bound;

/// How long each side waits for the other.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For the other process to start and to have its replicas looked at.
    start: Duration,
    /// For each step while connections stand still. The pause is some milliseconds; what is longer
    /// than this is a process that hangs.
    step: Duration,
}

impl Patience {
    fn of(timeouts: &Timeouts) -> Self {
        Self { start: timeouts.upgrade_start, step: timeouts.upgrade_step }
    }
}

/// The process that takes over, in the hands of whoever has started it.
pub trait Taker: Send {
    /// The last word is next, and whoever has it serves. False: it must not be said any more, since this
    /// process is about to end.
    fn may_serve(&self) -> bool;

    /// Ends it for good.
    fn kill(&self);
}

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoffError {
    /// The other process ended, hung or said something else.
    #[error("{step}: {source}")]
    Wire {
        /// What was waited for.
        step: &'static str,
        /// What came instead.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The two speak different versions.
    #[error("it speaks format {theirs} of version {version}, this one speaks format {ours}")]
    Format {
        /// The other's.
        theirs: u32,
        /// Of the other's program.
        version: String,
        /// This one's.
        ours: u32,
    },
    /// The giver has called it off.
    #[error("it was called off")]
    Aborted,
    /// Work is not welcome here.
    #[error("not ready: {0} is waited for")]
    NotReady(String),
    /// The system refused something.
    #[error("the system refused {what}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// Another one is under way.
    #[error("another upgrade is under way")]
    Busy,
    /// This process is on its way out.
    #[error("the gateway is draining")]
    Draining,
}

fn at(step: &'static str) -> impl FnOnce(WireError) -> HandoffError {
    move |source| HandoffError::Wire { step, source: source.into() }
}

/// Where connections bring copies of themselves, for as long as somebody collects them.
#[derive(Debug, Default)]
pub(crate) struct Movers {
    collector: Mutex<Option<Sender<Copied>>>,
    /// What was meant for connections that are gone to the other process, by id. As many as orders were
    /// given within the moment of a move.
    late: Mutex<Vec<(u64, Order)>>,
}

/// What a connection has answered.
#[derive(Debug)]
struct Copied {
    control: Arc<Control>,
    said: Said,
}

#[derive(Debug)]
enum Said {
    /// A copy; it goes on.
    Ahead(Parcel, Sockets),
    /// It gives none that it would go on behind.
    NotAhead,
    /// It stands still, since then by [`state::tick_us`].
    Still(Copy, u64),
    /// It does not, and why.
    Stays(Bound),
}

/// A connection that stands still.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "in a moment they are sent, and none stays")]
enum Copy {
    Whole(Parcel, Sockets),
    /// It went ahead, and nothing has happened to it since.
    Unchanged,
    Changed(Change),
}

impl Movers {
    /// Begins to collect.
    fn open(&self) -> Receiver<Copied> {
        let (sender, receiver) = channel();
        *self.collector() = Some(sender);
        receiver
    }

    /// Ends it.
    fn close(&self) {
        *self.collector() = None;
    }

    fn collector(&self) -> MutexGuard<'_, Option<Sender<Copied>>> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> MutexGuard<'_, Vec<(u64, Order)>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection with this control is gone to the other process: what it was told meanwhile is to
    /// be told there. To be called when nobody can find it any more.
    pub(crate) fn forward(&self, control: &Control, cx: &Context<'_>) {
        // That this process goes is no concern of the other's.
        if let Some(order) = control.take_order(cx).filter(|order| *order != Order::Drain) {
            self.late().push((control.card.id, order));
        }
    }

    /// Brings a copy of the connection with this control, which goes on.
    pub(crate) fn tell_ahead(&self, control: &Arc<Control>, parcel: Parcel, sockets: Sockets) {
        if self.send(control, Said::Ahead(parcel, sockets)) {
            control.note_ahead();
        }
    }

    /// It gives a copy only when it stands still.
    pub(crate) fn decline_ahead(&self, control: &Arc<Control>) {
        self.send(control, Said::NotAhead);
    }

    /// Brings what has happened to a connection that went ahead and stands still now.
    pub(crate) fn tell_change(
        &self,
        control: &Arc<Control>,
        change: Result<Option<Change>, Bound>,
    ) {
        let copy = change.map(|change| change.map_or(Copy::Unchanged, Copy::Changed));
        self.tell_still(control, copy);
    }

    /// Brings a copy of the connection with this control, which stands still. It goes on if it cannot
    /// move, or if nobody collects any more.
    pub(crate) fn tell(&self, control: &Arc<Control>, frozen: Result<(Parcel, Sockets), Bound>) {
        self.tell_still(control, frozen.map(|(parcel, sockets)| Copy::Whole(parcel, sockets)));
    }

    fn tell_still(&self, control: &Arc<Control>, copy: Result<Copy, Bound>) {
        let stays = copy.is_err();
        let said = copy.map_or_else(Said::Stays, |copy| Said::Still(copy, state::tick_us()));
        let is_told = control.is_still() && self.send(control, said);
        if stays || !is_told {
            control.release();
        }
    }

    /// Whether somebody collects.
    fn send(&self, control: &Arc<Control>, said: Said) -> bool {
        let collector = self.collector();
        let copied = Copied { control: control.clone(), said };
        collector.as_ref().is_some_and(|collector| collector.send(copied).is_ok())
    }
}

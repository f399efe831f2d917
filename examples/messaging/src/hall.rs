//! The rooms of this replica, kept in step with those of the others.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

use crate::log::Log;
use crate::rooms::{Full, Message, News, Place, Rooms};

/// How much later than their own replica's everybody else hears of a message, at most. To look costs two
/// questions to the system; one that tells of writes by itself would not tell of those of other machines.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// All rooms, as one replica has them.
#[derive(Debug)]
pub(crate) struct Hall {
    replica: String,
    /// Held for a moment.
    rooms: Mutex<Rooms>,
    /// Held while another replica writes, and so only by threads that may block. Taken before `rooms`.
    log: Mutex<Log>,
}

/// What somebody wants to say.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) room: String,
    pub(crate) id: String,
    pub(crate) from: String,
    pub(crate) text: String,
}

/// Why something was not said.
#[derive(Debug)]
pub(crate) enum Unsaid {
    /// There are too many rooms.
    Full,
    /// The log could not be written.
    Log(io::Error),
}

impl Hall {
    /// The rooms as all replicas have left them.
    ///
    /// # Errors
    /// What is wrong with the directory.
    pub(crate) fn open(directory: &Path, replica: String) -> io::Result<Self> {
        let mut log = Log::open(directory)?;
        let mut rooms = Rooms::default();
        log.read(|message| rooms.take(message))?;
        Ok(Self { replica, rooms: rooms.into(), log: log.into() })
    }

    pub(crate) fn replica(&self) -> &str {
        &self.replica
    }

    /// What was said last and everything from here on.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn join(&self, room: &str, count: usize) -> Result<(Vec<Arc<Message>>, News), Full> {
        self.rooms().join(room, count)
    }

    /// The oldest messages behind a number.
    pub(crate) fn history(&self, room: &str, after: u64, count: usize) -> Vec<Arc<Message>> {
        self.rooms().history(room, after, count)
    }

    /// Says it to everybody in the room, on all replicas, unless it was said before: then how it was.
    ///
    /// # Errors
    /// [`Unsaid`].
    pub(crate) async fn say(self: Arc<Self>, draft: Draft) -> Result<Option<Arc<Message>>, Unsaid> {
        // It waits for other replicas.
        let said = tokio::task::spawn_blocking(move || self.say_blocking(draft)).await;
        said.unwrap_or_else(|panic| Err(Unsaid::Log(io::Error::other(panic))))
    }

    fn say_blocking(&self, draft: Draft) -> Result<Option<Arc<Message>>, Unsaid> {
        let Draft { room, id, from, text } = draft;
        let mut log = self.log();
        let mut log = log.lock().map_err(Unsaid::Log)?;
        log.read(|message| self.rooms().take(message)).map_err(Unsaid::Log)?;
        let number = match self.rooms().place(&room, &id) {
            Ok(Place::Next(number)) => number,
            Ok(Place::Known(known)) => return Ok(Some(known)),
            Err(Full) => return Err(Unsaid::Full),
        };
        let through = self.replica.clone();
        let message = Message { room, number, id, from, text, through, at: now() };
        log.append(&message).map_err(Unsaid::Log)?;
        let mut rooms = self.rooms();
        rooms.take(message);
        if let Err(error) = log.shorten(rooms.kept()) {
            warn!(%error, "the log cannot be written anew; it grows");
        }
        Ok(None)
    }

    /// Takes up what other replicas write, on a thread of its own: it may have to wait for them.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn listen(self: &Arc<Self>) -> io::Result<()> {
        let hall = Arc::downgrade(self);
        let listen = move || {
            // Ends with the hall.
            while let Some(hall) = hall.upgrade() {
                let read = hall.log().read(|message| hall.rooms().take(message));
                drop(hall);
                thread::sleep(match read {
                    Ok(()) => LOOK_EVERY,
                    Err(error) => {
                        warn!(%error, "cannot read what other replicas write");
                        PAUSE_AFTER_ERROR
                    }
                });
            }
        };
        thread::Builder::new().name("log".to_owned()).spawn(listen).map(drop)
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or_default()
}

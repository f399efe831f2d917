//! Every durable session of this node: where a link that resumes is brought, how sessions ended, and
//! how much all of them hold. Touched when links come and go, not per message.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use longhaul_proto::durable::owner::{Ended, OwnerPolicy};
use longhaul_proto::durable::{Reset, Resume, code};
use tokio::sync::mpsc;

use super::lobby::Caller;
use super::pace::Pace;
use super::token::{Keys, Sealer};
use super::wire::Wire;
use crate::admission::Pass;
use crate::config::DurableConfig;
use crate::http::http2::OpenStream;
use crate::places::Place;

/// What waits for a session's task: links, mostly none. A session that cannot take so many at once is
/// being played with.
const MAIL_MAX: usize = 4;
/// Ended sessions that are remembered; about 150 bytes each.
const TOMBSTONES_MAX: usize = 50_000;
/// From this share of the memory on, legs of sessions without a link are not read.
const MEMORY_TIGHT: f64 = 0.8;

/// All durable sessions of one gateway.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(super) config: DurableConfig,
    pub(super) policy: Arc<OwnerPolicy>,
    pub(super) sealer: Arc<Sealer>,
    keys: Keys,
    table: Mutex<Table>,
    resumes: Mutex<Pace>,
    bytes: AtomicUsize,
    pub(super) counters: Counters,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) opened: AtomicU64,
    pub(super) resumed: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) deferred: AtomicU64,
    pub(super) expired: AtomicU64,
}

/// Durable sessions at one moment, and since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Sessions now.
    pub open: usize,
    /// Of them, those without a link.
    pub detached: usize,
    /// Bytes of messages that they hold.
    pub bytes: usize,
    /// Sessions opened.
    pub opened_total: u64,
    /// Links that resumed one.
    pub resumed_total: u64,
    /// Links that were told that their session is over.
    pub resets_total: u64,
    /// Links that were asked to come back later.
    pub deferred_total: u64,
    /// Sessions that ended since nobody came back, or for want of room.
    pub expired_total: u64,
}

#[derive(Debug, Default)]
struct Table {
    live: HashMap<String, Arc<Entry>>,
    ended: HashMap<String, Reset>,
    ended_order: VecDeque<(Instant, String)>,
}

/// What the node knows of a session that runs.
#[derive(Debug)]
pub(super) struct Entry {
    mail: mpsc::Sender<Mail>,
    subject: [u8; 32],
    pub(super) bytes: AtomicUsize,
    pub(super) is_detached: AtomicBool,
}

/// What a session's task is told.
#[derive(Debug)]
pub(super) enum Mail {
    /// A link wants to go on with it.
    Link(Box<Arrival>),
    /// Ask the client for another link, after so long.
    Migrate(Duration),
    /// A login was judged.
    Judged(super::session::Verdict),
    /// Make room.
    Expire,
}

/// A link that resumes.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) link: Link,
    /// Who it is, should the session refuse it.
    pub(super) caller: Box<Caller>,
    pub(super) generation: u64,
    pub(super) resume: Resume,
}

/// A link with what counts it as a connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) wire: Wire,
    pub(super) peer: SocketAddr,
    pub(super) _place: Arc<Place>,
    pub(super) _stream: Option<OpenStream>,
    pub(super) pass: Option<Box<Pass>>,
}

/// Why a link is not brought to a session.
#[derive(Debug)]
pub(super) enum Astray {
    /// To be said on the link.
    Reset(Reset),
    /// The login is another's.
    Foreign,
    /// Come back.
    Later(Duration),
}

/// A link that is given back, with who it is and why.
pub(super) type Stray = Box<(Link, Box<Caller>, Astray)>;

impl Entry {
    /// Of a session that is not here yet, and its mail.
    fn new(subject: [u8; 32]) -> (Arc<Self>, mpsc::Receiver<Mail>) {
        let (mail, receiver) = mpsc::channel(MAIL_MAX);
        let (bytes, is_detached) = (AtomicUsize::new(0), AtomicBool::new(false));
        (Arc::new(Self { mail, subject, bytes, is_detached }), receiver)
    }

    pub(super) fn subject(&self) -> [u8; 32] {
        self.subject
    }

    /// For those who work for the session elsewhere.
    pub(super) fn mail(&self) -> mpsc::Sender<Mail> {
        self.mail.clone()
    }
}

impl Sessions {
    /// With the keys of the process before, if there was one.
    ///
    /// # Errors
    /// When the system has no random numbers for keys.
    pub(crate) fn new(config: &DurableConfig, keys: Option<Keys>) -> Result<Self, rustls::Error> {
        let keys = keys.map_or_else(Keys::random, Ok)?;
        let policy = config.policy();
        let life = policy.token_interval + policy.grace + Duration::from_secs(60);
        let sealer = Sealer::new(&keys.seal, life).ok_or(rustls::Error::FailedToGetRandomBytes)?;
        Ok(Self {
            policy: Arc::new(policy),
            sealer: Arc::new(sealer),
            keys,
            table: Mutex::default(),
            resumes: Mutex::new(Pace::new(config.resumes_per_second, Instant::now())),
            bytes: AtomicUsize::new(0),
            counters: Counters::default(),
            config: config.clone(),
        })
    }

    pub(crate) fn keys(&self) -> Keys {
        self.keys
    }

    /// What binds a session to who opened it: the subject of its token, where this gateway asks for one,
    /// and the credentials that it was told to compare.
    pub(super) fn subject(&self, headers: &HeaderMap, pass: Option<&Pass>) -> [u8; 32] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &self.keys.subject);
        let mut hash = aws_lc_rs::hmac::Context::with_key(&key);
        for name in &self.config.credentials {
            for value in headers.get_all(name) {
                hash.update(&(value.len() as u64).to_be_bytes());
                hash.update(value.as_bytes());
            }
            // Two names with one value are not one name with two.
            hash.update(&u64::MAX.to_be_bytes());
        }
        if let Some(subject) = pass.and_then(Pass::subject) {
            hash.update(subject.as_bytes());
        }
        let mut subject = [0; 32];
        subject.copy_from_slice(hash.sign().as_ref());
        subject
    }

    /// A place for a session of another process, which had one there. `None` when it is here already.
    pub(super) fn prepare(
        &self,
        sid: &str,
        subject: [u8; 32],
    ) -> Option<(Arc<Entry>, mpsc::Receiver<Mail>)> {
        (!self.lock().live.contains_key(sid)).then(|| Entry::new(subject))
    }

    /// That session is here now.
    pub(super) fn take_up(&self, sid: &str, entry: &Arc<Entry>) {
        self.lock().live.insert(sid.to_owned(), entry.clone());
    }

    /// A place for a new session, and its mail; `None` when there are as many as there may be.
    pub(super) fn add(
        &self,
        sid: &str,
        subject: [u8; 32],
    ) -> Option<(Arc<Entry>, mpsc::Receiver<Mail>)> {
        let (entry, receiver) = Entry::new(subject);
        let mut table = self.lock();
        if table.live.len() >= self.config.sessions_max || self.is_full() {
            return None;
        }
        table.live.insert(sid.to_owned(), entry.clone());
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        Some((entry, receiver))
    }

    /// Notes how a session ended, for links that come late.
    pub(super) fn remove(&self, sid: &str, ended: Option<Ended>, now: Instant) {
        let mut table = self.lock();
        if let Some(entry) = table.live.remove(sid) {
            self.bytes.fetch_sub(entry.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let Some(ended) = ended else { return };
        if matches!(ended.code, code::UNKNOWN | code::OVERFLOW) {
            self.counters.expired.fetch_add(1, Ordering::Relaxed);
        }
        table.ended.insert(sid.to_owned(), ended.reset());
        table.ended_order.push_back((now + self.policy.grace, sid.to_owned()));
        while let Some((until, _)) = table.ended_order.front()
            && (*until <= now || table.ended_order.len() > TOMBSTONES_MAX)
        {
            if let Some((_, sid)) = table.ended_order.pop_front() {
                table.ended.remove(&sid);
            }
        }
    }

    /// Brings a link to the session that its token names, which may still refuse it.
    ///
    /// # Errors
    /// What to do with the link instead; it is given back.
    pub(super) fn bring(
        &self,
        link: Link,
        caller: Box<Caller>,
        resume: Resume,
    ) -> Result<(), Stray> {
        let unknown = Astray::Reset(Reset { code: code::UNKNOWN.0, recv: None });
        let Some(shown) = self.sealer.open(&resume.token) else {
            return Err(Box::new((link, caller, unknown)));
        };
        let entry = {
            let table = self.lock();
            match (table.live.get(&shown.sid), table.ended.get(&shown.sid)) {
                (Some(entry), _) => entry.clone(),
                (None, Some(reset)) => return Err(Box::new((link, caller, Astray::Reset(*reset)))),
                (None, None) => return Err(Box::new((link, caller, unknown))),
            }
        };
        if aws_lc_rs::constant_time::verify_slices_are_equal(&entry.subject, &caller.subject)
            .is_err()
        {
            return Err(Box::new((link, caller, Astray::Foreign)));
        }
        let paced =
            self.resumes.lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now());
        if let Err(wait) = paced {
            self.counters.deferred.fetch_add(1, Ordering::Relaxed);
            return Err(Box::new((link, caller, Astray::Later(wait))));
        }
        let generation = shown.generation;
        let arrival = Arrival { link, caller, generation, resume };
        match entry.mail.try_send(Mail::Link(Box::new(arrival))) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(mail)) => {
                Err(taken_back(mail, Astray::Later(Duration::from_secs(1))))
            }
            // It ended in this moment.
            Err(mpsc::error::TrySendError::Closed(mail)) => Err(taken_back(mail, unknown)),
        }
    }

    /// Asks every client for another link, spread over `spread`. Says how many were asked.
    pub(crate) fn migrate(&self, spread: Duration) -> usize {
        let entries: Vec<Arc<Entry>> = self.lock().live.values().cloned().collect();
        let asked = entries.iter().filter(|entry| {
            let delay = spread.mul_f64(fastrand::f64());
            entry.mail.try_send(Mail::Migrate(delay)).is_ok()
        });
        asked.count()
    }

    /// Notes what a session holds now. Beyond the bound, the one without a link that holds most goes.
    pub(super) fn note_bytes(&self, entry: &Entry, bytes: usize) {
        let before = entry.bytes.swap(bytes, Ordering::Relaxed);
        let all = if bytes >= before {
            self.bytes.fetch_add(bytes - before, Ordering::Relaxed) + bytes - before
        } else {
            self.bytes.fetch_sub(before - bytes, Ordering::Relaxed) + bytes - before
        };
        if bytes > before && all > self.config.memory_bytes_max {
            let table = self.lock();
            let detached =
                table.live.values().filter(|entry| entry.is_detached.load(Ordering::Relaxed));
            if let Some(largest) = detached.max_by_key(|entry| entry.bytes.load(Ordering::Relaxed))
            {
                // A full mailbox has more urgent news.
                let _ = largest.mail.try_send(Mail::Expire);
            }
        }
    }

    /// Whether sessions without a link should take nothing more.
    pub(super) fn is_tight(&self) -> bool {
        let bound = self.config.memory_bytes_max as f64 * MEMORY_TIGHT;
        self.bytes.load(Ordering::Relaxed) as f64 >= bound
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.config.memory_bytes_max
    }

    /// Sessions now and since the start. Walks over all of them.
    pub(crate) fn counts(&self) -> Counts {
        let table = self.lock();
        let is_detached = |entry: &&Arc<Entry>| entry.is_detached.load(Ordering::Relaxed);
        let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            open: table.live.len(),
            detached: table.live.values().filter(is_detached).count(),
            bytes: self.bytes.load(Ordering::Relaxed),
            opened_total: total(&self.counters.opened),
            resumed_total: total(&self.counters.resumed),
            resets_total: total(&self.counters.resets),
            deferred_total: total(&self.counters.deferred),
            expired_total: total(&self.counters.expired),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn taken_back(mail: Mail, astray: Astray) -> Stray {
    match mail {
        Mail::Link(arrival) => Box::new((arrival.link, arrival.caller, astray)),
        Mail::Migrate(_) | Mail::Judged(_) | Mail::Expire => unreachable!("a link was sent"),
    }
}

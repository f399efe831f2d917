//! What clients of Engine.IO say over long-polling before a WebSocket takes their session over: the
//! opening that each later replica has to hear.
//!
//! Start at [`Listener::of`]. Nothing is kept where replicas are not replaced.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, StatusCode};
use longhaul_policy::affinity::engine_io;
use longhaul_proto::redial::Polled;

use super::profile;
use crate::http::visit::Visit;
use crate::upstream::Upstream;

/// A client goes over to WebSocket within seconds of its first request, or never.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Sessions that are remembered at a time, and bytes of all of them: many times what comes within
/// [`KEPT_FOR`], and what a flood of them may cost. The oldest go first.
const SESSIONS_MAX: usize = 20_000;
const BYTES_MAX: usize = 16 << 20;

/// What was said so far in each session. It holds credentials, and is never shown to anybody.
#[derive(Default)]
pub(crate) struct Overheard(Mutex<Sessions>);

#[derive(Default)]
struct Sessions {
    by_sid: HashMap<Arc<str>, (Polled, Instant)>,
    /// In the order in which they began. Those that were taken meanwhile stand here still.
    order: VecDeque<(Arc<str>, Instant)>,
    bytes: usize,
}

impl Overheard {
    /// Reads the start of an answer that opens a session.
    pub(crate) fn note_opened(&self, answer: &[u8], now: Instant) {
        if let Some(sid) = engine_io::sid_of_answer(answer) {
            self.sessions().begin(&sid, Polled::opened_by(answer), now);
        }
    }

    /// Gives what was said, and forgets it.
    pub(crate) fn take(&self, sid: &str) -> Option<Polled> {
        self.sessions().remove(sid)
    }

    fn note_posted(&self, sid: &str, body: &[u8], bytes_max: usize, is_whole: bool) {
        self.sessions().post(sid, body, bytes_max, is_whole);
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // Nothing under it is left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Overheard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overheard").finish_non_exhaustive()
    }
}

impl Sessions {
    fn begin(&mut self, sid: &str, polled: Polled, now: Instant) {
        self.remove(sid);
        let sid: Arc<str> = sid.into();
        self.by_sid.insert(sid.clone(), (polled, now));
        self.order.push_back((sid, now));
        self.forget(now);
    }

    fn post(&mut self, sid: &str, body: &[u8], bytes_max: usize, is_whole: bool) {
        // One whose opening nobody has seen is another node's, or too old.
        let Some((polled, _)) = self.by_sid.get_mut(sid) else { return };
        let before = polled.bytes();
        match is_whole {
            true => polled.note_posted(body, bytes_max),
            false => polled.forgo(),
        }
        self.bytes = self.bytes - before + polled.bytes();
        self.forget(Instant::now());
    }

    fn remove(&mut self, sid: &str) -> Option<Polled> {
        let (polled, _) = self.by_sid.remove(sid)?;
        self.bytes -= polled.bytes();
        Some(polled)
    }

    fn forget(&mut self, now: Instant) {
        while let Some((sid, began)) = self.order.front() {
            let is_old = now.saturating_duration_since(*began) > KEPT_FOR;
            let is_current = self.by_sid.get(sid).is_some_and(|(_, at)| at == began);
            let is_full = self.by_sid.len() > SESSIONS_MAX || self.bytes > BYTES_MAX;
            if is_current && !is_old && !is_full && self.order.len() <= 2 * SESSIONS_MAX {
                return;
            }
            let sid = sid.clone();
            self.order.pop_front();
            if is_current {
                self.remove(&sid);
            }
        }
    }
}

/// Hears the body of one request that belongs to such a session.
#[derive(Debug)]
pub(crate) struct Listener {
    sid: String,
    bytes_max: usize,
    heard: Mutex<Vec<u8>>,
}

impl Listener {
    /// `None` where nothing has to be heard.
    pub(crate) fn of(visit: &Visit<'_>, head: &Parts) -> Option<Self> {
        let terms = visit.shared.relay_policy(visit.route).redial.as_ref()?;
        if head.method != Method::POST || !profile::is_polling(terms.profile, head) {
            return None;
        }
        let bytes_max = terms.policy.keep_bytes_max;
        Some(Self { sid: profile::session(head)?, bytes_max, heard: Mutex::default() })
    }

    /// A piece goes by.
    pub(crate) fn hear(&self, piece: &[u8]) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        // One byte more says that it was too much.
        let room = (self.bytes_max + 1).saturating_sub(heard.len());
        heard.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// The replica has answered the request.
    pub(crate) fn note_answer(&self, upstream: &Upstream, status: StatusCode) {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let is_whole = status.is_success() && heard.len() <= self.bytes_max;
        upstream.overheard().note_posted(&self.sid, &heard, self.bytes_max, is_whole);
    }
}

/// Whether the answer to a request may open such a session.
pub(crate) fn is_opening(visit: &Visit<'_>, head: &Parts) -> bool {
    let terms = visit.shared.relay_policy(visit.route).redial.as_ref();
    terms.is_some_and(|terms| {
        head.method == Method::GET
            && profile::is_polling(terms.profile, head)
            && profile::session(head).is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(sid: &str) -> Vec<u8> {
        format!("0{{\"sid\":\"{sid}\",\"pingInterval\":25000,\"pingTimeout\":20000}}").into()
    }

    #[test]
    fn what_was_said_is_given_once() {
        let (overheard, now) = (Overheard::default(), Instant::now());
        overheard.note_opened(&opened("a"), now);
        overheard.note_posted("a", b"40", 100, true);
        let mut expected = Polled::opened_by(&opened("a"));
        expected.note_posted(b"40", 100);
        assert_eq!(overheard.take("a"), Some(expected));
        assert_eq!(overheard.take("a"), None);
        assert_eq!(overheard.sessions().bytes, 0);
        overheard.note_posted("b", b"40", 100, true);
        assert_eq!(overheard.take("b"), None, "its opening was not seen");
    }

    #[test]
    fn the_old_and_the_many_are_forgotten() {
        let (overheard, now) = (Overheard::default(), Instant::now());
        overheard.note_opened(&opened("old"), now);
        overheard.note_opened(&opened("new"), now + 2 * KEPT_FOR);
        assert_eq!(overheard.take("old"), None);
        let big = vec![b'4'; 1 << 20];
        for number in 0..40 {
            overheard.note_opened(&opened(&number.to_string()), Instant::now() + 2 * KEPT_FOR);
            overheard.note_posted(&number.to_string(), &big, 2 << 20, true);
        }
        assert!(overheard.sessions().bytes <= BYTES_MAX);
        assert!(overheard.take("0").is_none() && overheard.take("39").is_some());
    }
}

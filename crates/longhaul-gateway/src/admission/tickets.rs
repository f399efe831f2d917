//! Tickets: a page shows its token once, over HTTP where it can set a header, and gets a word to put
//! into the address of a WebSocket. It holds for one use and some seconds, so that what logs on the
//! way keep of it is worth nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longhaul_policy::token::Grant;

/// The parameter of the query that a ticket is in.
pub(crate) const PARAMETER: &str = "ticket";
/// As many bits as an attacker cannot guess in the life of a universe.
const TICKET_BYTES: usize = 24;
/// Tickets at once; beyond, the oldest is worth nothing any more.
const TICKETS_MAX: usize = 100_000;

/// Tickets that nobody has used yet.
#[derive(Debug)]
pub(crate) struct Tickets {
    life: Duration,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    by_word: HashMap<[u8; TICKET_BYTES], Ticket>,
    /// In the order in which they were given, which is that of their ends.
    order: VecDeque<([u8; TICKET_BYTES], Instant)>,
}

#[derive(Debug)]
struct Ticket {
    grant: Grant,
    /// Name of the authority that vouches for it: places in a list change with the configuration.
    authority: Box<str>,
    until: Instant,
}

impl Tickets {
    pub(crate) fn new(life: Duration) -> Self {
        Self { life, open: Mutex::default() }
    }

    pub(crate) fn life(&self) -> Duration {
        self.life
    }

    /// Gives a ticket for a grant. `None`: the system has no random numbers.
    pub(crate) fn give(&self, grant: Grant, authority: &str, now: Instant) -> Option<String> {
        let mut word = [0; TICKET_BYTES];
        getrandom::fill(&mut word).ok()?;
        let until = now + self.life;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((oldest, ends_at)) = open.order.front().copied()
            && (ends_at <= now || open.order.len() >= TICKETS_MAX)
        {
            open.order.pop_front();
            open.by_word.remove(&oldest);
        }
        open.order.push_back((word, until));
        open.by_word.insert(word, Ticket { grant, authority: authority.into(), until });
        Some(URL_SAFE_NO_PAD.encode(word))
    }

    /// Takes a ticket: the second to show it has none.
    pub(crate) fn take(&self, word: &str, now: Instant) -> Option<(Grant, Box<str>)> {
        let mut key = [0; TICKET_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(word, &mut key).ok()?;
        if length != TICKET_BYTES {
            return None;
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = open.by_word.remove(&key)?;
        (ticket.until > now).then_some((ticket.grant, ticket.authority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_holds_once_and_for_its_time() {
        let tickets = Tickets::new(Duration::from_secs(30));
        let now = Instant::now();
        let grant = Grant { subject: Some("ann".into()), ..Grant::default() };
        let first = tickets.give(grant.clone(), "users", now).unwrap();
        let second = tickets.give(grant.clone(), "users", now).unwrap();
        assert_ne!(first, second);
        assert_eq!(tickets.take(&first, now), Some((grant, "users".into())));
        assert_eq!(tickets.take(&first, now), None);
        assert_eq!(tickets.take(&second, now + Duration::from_secs(30)), None);
        for word in ["", "a", "../..", &"A".repeat(33), &"A".repeat(4096)] {
            assert_eq!(tickets.take(word, now), None);
        }
    }

    #[test]
    fn unused_tickets_are_swept_as_new_ones_are_given() {
        let tickets = Tickets::new(Duration::from_secs(1));
        let now = Instant::now();
        for _ in 0..10 {
            tickets.give(Grant::default(), "users", now).unwrap();
        }
        tickets.give(Grant::default(), "users", now + Duration::from_secs(2)).unwrap();
        let open = tickets.open.lock().unwrap();
        assert_eq!((open.by_word.len(), open.order.len()), (1, 1));
    }
}

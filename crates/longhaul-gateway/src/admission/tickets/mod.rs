//! Tickets: a page shows its token once, over HTTP where it can set a header, and gets a word to put
//! into the address of a WebSocket. It holds for one use and some seconds, so that what logs on the
//! way keep of it is worth nothing.
//!
//! Where gateways share a store, a ticket of one is worth as much at each other, and once over all of
//! them. The store learns neither its word nor whose it is.

mod here;
mod sealed;
mod written;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longhaul_policy::token::Grant;

use self::here::Here;
use crate::store::{Store, StoreError};

/// The parameter of the query that a ticket is in.
pub(crate) const PARAMETER: &str = "ticket";
/// As many bits as an attacker cannot guess in the life of a universe.
const WORD_BYTES: usize = 24;

/// What somebody shows to have a ticket's grant.
type Word = [u8; WORD_BYTES];

/// Tickets that nobody has used yet.
#[derive(Debug)]
pub(crate) struct Tickets {
    life: Duration,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Here(Here),
    Shared(Arc<Store>),
}

/// What a ticket is worth.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ticket {
    pub(crate) grant: Grant,
    /// Name of the authority that vouches for it: places in a list change with the configuration.
    pub(crate) authority: Box<str>,
}

/// Why nobody can say what a ticket is worth, or give one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TicketFault {
    #[error("no ticket can be made: the system has no random numbers")]
    NoRandomNumbers,
    #[error("the ticket in the store is not as a gateway of this version has written it")]
    Unreadable,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Tickets {
    /// Kept in the store, where there is one.
    pub(crate) fn new(life: Duration, store: Option<&Arc<Store>>) -> Self {
        let kept = match store {
            Some(store) => Kept::Shared(store.clone()),
            None => Kept::Here(Here::default()),
        };
        Self { life, kept }
    }

    pub(crate) fn life(&self) -> Duration {
        self.life
    }

    /// Gives a ticket for a grant.
    ///
    /// # Errors
    /// [`TicketFault`]: it would be worth nothing.
    pub(crate) async fn give(&self, ticket: Ticket) -> Result<String, TicketFault> {
        let mut word = [0; WORD_BYTES];
        getrandom::fill(&mut word).map_err(|_| TicketFault::NoRandomNumbers)?;
        match &self.kept {
            Kept::Here(here) => {
                let now = Instant::now();
                here.put(word, ticket, now + self.life, now);
            }
            Kept::Shared(store) => {
                let mut value = written::write(&ticket);
                sealed::seal(&word, &mut value);
                store.put(&sealed::name(&word), &value, self.life).await?;
            }
        }
        Ok(URL_SAFE_NO_PAD.encode(word))
    }

    /// Takes a ticket: the second to show it has none. The caller has the deadline.
    ///
    /// # Errors
    /// [`TicketFault`]: nobody can say what it is worth.
    pub(crate) async fn take(&self, word: &str) -> Result<Option<Ticket>, TicketFault> {
        let mut key = [0; WORD_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(word, &mut key);
        // Whatever else strangers show, the store is not asked about it.
        if length != Ok(WORD_BYTES) {
            return Ok(None);
        }
        match &self.kept {
            Kept::Here(here) => Ok(here.take(&key, Instant::now())),
            Kept::Shared(store) => match store.take(&sealed::name(&key)).await? {
                Some(mut bytes) => sealed::open(&key, &mut bytes)
                    .and_then(written::read)
                    .map(Some)
                    .ok_or(TicketFault::Unreadable),
                None => Ok(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ticket_holds_once_and_nothing_else_is_one() {
        let tickets = Tickets::new(Duration::from_secs(30), None);
        let grant = Grant { subject: Some("ann".into()), ..Grant::default() };
        let ticket = Ticket { grant, authority: "users".into() };
        let first = tickets.give(ticket.clone()).await.unwrap();
        let second = tickets.give(ticket.clone()).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(tickets.take(&first).await.unwrap(), Some(ticket));
        assert_eq!(tickets.take(&first).await.unwrap(), None);
        for word in ["", "a", "../..", &"A".repeat(33), &"A".repeat(4096)] {
            assert_eq!(tickets.take(word).await.unwrap(), None);
        }
    }
}

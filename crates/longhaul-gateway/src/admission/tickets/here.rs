//! Tickets of one gateway, in its memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Ticket, Word};

/// Tickets at once; beyond, the oldest is worth nothing any more.
const TICKETS_MAX: usize = 100_000;

/// Tickets that nobody has used yet.
#[derive(Debug, Default)]
pub(super) struct Here(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    by_word: HashMap<Word, (Ticket, Instant)>,
    /// In the order in which they were given, which is that of their ends.
    order: VecDeque<(Word, Instant)>,
}

impl Here {
    pub(super) fn put(&self, word: Word, ticket: Ticket, until: Instant, now: Instant) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((oldest, ends_at)) = open.order.front().copied()
            && (ends_at <= now || open.order.len() >= TICKETS_MAX)
        {
            open.order.pop_front();
            open.by_word.remove(&oldest);
        }
        open.order.push_back((word, until));
        open.by_word.insert(word, (ticket, until));
    }

    pub(super) fn take(&self, word: &Word, now: Instant) -> Option<Ticket> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ticket, until) = open.by_word.remove(word)?;
        (until > now).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ticket() -> Ticket {
        Ticket { grant: Default::default(), authority: "users".into() }
    }

    #[test]
    fn a_ticket_ends_with_its_time() {
        let (here, now) = (Here::default(), Instant::now());
        let until = now + Duration::from_secs(30);
        here.put([1; _], ticket(), until, now);
        here.put([2; _], ticket(), until, now);
        assert!(here.take(&[1; _], now).is_some());
        assert!(here.take(&[2; _], until).is_none());
    }

    #[test]
    fn unused_tickets_are_swept_as_new_ones_are_given() {
        let (here, now) = (Here::default(), Instant::now());
        for word in 0..10 {
            here.put([word; _], ticket(), now + Duration::from_secs(1), now);
        }
        let later = now + Duration::from_secs(2);
        here.put([10; _], ticket(), later + Duration::from_secs(1), later);
        let open = here.0.lock().unwrap();
        assert_eq!((open.by_word.len(), open.order.len()), (1, 1));
    }
}

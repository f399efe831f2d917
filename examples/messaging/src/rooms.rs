//! What was said in which room. No file, no socket: `log` brings messages, `hall` asks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// Messages of a room that are kept; a message that is said again is recognised among them.
pub(crate) const HISTORY_MAX: usize = 500;

/// Rooms in which something was said. With messages of the longest kind all of them take some 250 MB.
const ROOMS_MAX: usize = 64;

/// Rooms that somebody looks into and in which nothing was said yet.
const EMPTY_ROOMS_MAX: usize = 256;

/// News that wait for one slow member; one who falls further behind is welcomed again.
const NEWS_MAX: usize = 256;

const ROOM_NAME_BYTES_MAX: usize = 40;

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) room: String,
    /// Counts from 1 in each room, without gaps: whoever sees one missed something.
    pub(crate) number: u64,
    /// Chosen by the sender, who so knows its own, and may say it again when nobody confirmed it.
    pub(crate) id: String,
    /// The name the sender gave.
    pub(crate) from: String,
    pub(crate) text: String,
    /// The replica that took it.
    pub(crate) through: String,
    /// When, in milliseconds since 1970.
    pub(crate) at: u64,
}

/// What is said from now on.
pub(crate) type News = broadcast::Receiver<Arc<Message>>;

/// All rooms.
#[derive(Debug, Default)]
pub(crate) struct Rooms(HashMap<String, Room>);

#[derive(Debug)]
struct Room {
    last: VecDeque<Arc<Message>>,
    news: broadcast::Sender<Arc<Message>>,
}

/// There are too many rooms.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What a message turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is to have this number.
    Next(u64),
    /// It was said before.
    Known(Arc<Message>),
}

impl Rooms {
    /// What was said last, at most `count`, oldest first, and everything from here on: no gap and no overlap.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn join(
        &mut self,
        name: &str,
        count: usize,
    ) -> Result<(Vec<Arc<Message>>, News), Full> {
        if !self.0.contains_key(name) {
            let is_empty = |room: &Room| room.last.is_empty();
            self.0.retain(|_, room| !is_empty(room) || room.news.receiver_count() > 0);
            if self.0.values().filter(|room| is_empty(room)).count() >= EMPTY_ROOMS_MAX {
                return Err(Full);
            }
        }
        let room = self.room(name);
        let skipped = room.last.len().saturating_sub(count);
        Ok((room.last.iter().skip(skipped).cloned().collect(), room.news.subscribe()))
    }

    /// The oldest messages after number `after`, at most `count`.
    pub(crate) fn history(&self, name: &str, after: u64, count: usize) -> Vec<Arc<Message>> {
        let last = self.0.get(name).into_iter().flat_map(|room| &room.last);
        last.filter(|message| message.number > after).take(count).cloned().collect()
    }

    /// Where a message with this id belongs.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn place(&self, name: &str, id: &str) -> Result<Place, Full> {
        let Some(room) = self.0.get(name).filter(|room| !room.last.is_empty()) else {
            let spoken_in = self.0.values().filter(|room| !room.last.is_empty()).count();
            return if spoken_in < ROOMS_MAX { Ok(Place::Next(1)) } else { Err(Full) };
        };
        match room.last.iter().rev().find(|message| message.id == id) {
            Some(known) => Ok(Place::Known(Arc::clone(known))),
            None => Ok(Place::Next(room.number() + 1)),
        }
    }

    /// Takes a message up, unless it is here already, and tells everybody in the room.
    pub(crate) fn take(&mut self, message: Message) {
        let room = self.room(&message.room);
        if message.number <= room.number() {
            return;
        }
        let message = Arc::new(message);
        if room.last.len() == HISTORY_MAX {
            room.last.pop_front();
        }
        room.last.push_back(Arc::clone(&message));
        // Nobody there is fine.
        let _ = room.news.send(message);
    }

    /// Everything that is kept.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Message> {
        self.0.values().flat_map(|room| &room.last).map(Arc::as_ref)
    }

    fn room(&mut self, name: &str) -> &mut Room {
        let new = || Room { last: VecDeque::new(), news: broadcast::Sender::new(NEWS_MAX) };
        self.0.entry(name.to_owned()).or_insert_with(new)
    }
}

impl Room {
    fn number(&self) -> u64 {
        self.last.back().map_or(0, |message| message.number)
    }
}

/// Whether a room may be called this.
pub(crate) fn is_room_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= ROOM_NAME_BYTES_MAX && name.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(room: &str, number: u64) -> Message {
        let text = String::new;
        let id = format!("id {number}");
        Message {
            room: room.into(),
            number,
            id,
            from: text(),
            text: text(),
            through: text(),
            at: 0,
        }
    }

    fn numbers(messages: &[Arc<Message>]) -> Vec<u64> {
        messages.iter().map(|message| message.number).collect()
    }

    #[test]
    fn history_and_news_join_without_gap_or_overlap() {
        let mut rooms = Rooms::default();
        rooms.take(message("a", 1));
        let (history, mut news) = rooms.join("a", 50).unwrap();
        for number in [1, 2] {
            rooms.take(message("a", number));
        }
        assert_eq!(numbers(&history), [1]);
        assert_eq!(news.try_recv().unwrap().number, 2);
        assert!(news.try_recv().is_err());
    }

    #[test]
    fn a_message_that_is_said_again_is_recognised() {
        let mut rooms = Rooms::default();
        assert_eq!(rooms.place("a", "id 1"), Ok(Place::Next(1)));
        rooms.take(message("a", 1));
        assert!(matches!(rooms.place("a", "id 1"), Ok(Place::Known(known)) if known.number == 1));
        assert_eq!(rooms.place("a", "id 2"), Ok(Place::Next(2)));
        assert_eq!(rooms.place("b", "id 1"), Ok(Place::Next(1)), "another room");
    }

    #[test]
    fn only_the_last_messages_are_kept() {
        let mut rooms = Rooms::default();
        let count = u64::try_from(HISTORY_MAX).unwrap() + 5;
        (1..=count).for_each(|number| rooms.take(message("a", number)));
        assert_eq!(rooms.kept().count(), HISTORY_MAX);
        assert_eq!(numbers(&rooms.history("a", 0, 2)), [6, 7]);
        assert_eq!(numbers(&rooms.history("a", count - 1, 2)), [count]);
        assert_eq!(numbers(&rooms.join("a", 2).unwrap().0), [count - 1, count]);
    }

    #[test]
    fn rooms_are_limited_and_those_nobody_uses_are_forgotten() {
        let mut rooms = Rooms::default();
        let name = |number: usize| format!("room-{number}");
        (0..ROOMS_MAX).for_each(|number| rooms.take(message(&name(number), 1)));
        assert_eq!(rooms.place("one-more", "id"), Err(Full));
        let held: Vec<_> =
            (0..EMPTY_ROOMS_MAX).map(|number| rooms.join(&format!("e{number}"), 1)).collect();
        assert!(held.iter().all(Result::is_ok));
        assert!(rooms.join("one-more", 1).is_err());
        drop(held);
        assert!(rooms.join("one-more", 1).is_ok());
    }

    #[test]
    fn names_of_rooms_are_short_and_plain() {
        assert!(is_room_name("lobby") && is_room_name("room-1"));
        for wrong in ["", "Lobby", "a b", "../x", &"x".repeat(41)] {
            assert!(!is_room_name(wrong), "{wrong:?}");
        }
    }
}

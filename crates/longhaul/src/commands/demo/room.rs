//! The one chat room that all replicas serve: what was said last, and news for everybody in it.
//!
//! Real replicas would share a database and a message bus; these share a process. Nothing here is
//! kept across a restart of the demo.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::broadcast;

/// Messages a newcomer is shown, and that a repeated message is recognised among.
const HISTORY_MAX: usize = 50;

/// News that wait for one slow member; one who falls further behind is shown the history again.
const NEWS_MAX: usize = 256;

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    /// Counts from 1, without gaps: whoever sees one missed something.
    pub(super) number: u64,
    /// Chosen by the sender, so that it knows its own and may send it again after a lost connection.
    pub(super) id: String,
    /// The name the sender gave.
    pub(super) from: String,
    /// What was said.
    pub(super) text: String,
    /// The replica that took it.
    pub(super) through: &'static str,
}

/// What members hear about.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// Somebody said something.
    Said(Arc<Message>),
    /// Somebody came or went, or a replica stopped or started.
    ReplicasChanged,
}

/// The room. Its lock is held for a push, never across a wait.
#[derive(Debug)]
pub(super) struct Room {
    id: u64,
    said: Mutex<Said>,
    news: broadcast::Sender<News>,
}

#[derive(Debug, Default)]
struct Said {
    count: u64,
    last: VecDeque<Arc<Message>>,
}

impl Room {
    pub(super) fn new() -> Self {
        // The time is enough: it only has to differ from that of a demo that ran before, whose
        // pages may still be open and remember its numbers. Milliseconds fit a JSON number.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = u64::try_from(since_1970.as_millis()).unwrap_or_default();
        Self { id, said: Mutex::default(), news: broadcast::Sender::new(NEWS_MAX) }
    }

    /// Tells this room from that of another run.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// What was said last, oldest first, and everything from here on: no gap and no overlap.
    pub(super) fn join(&self) -> (Vec<Arc<Message>>, broadcast::Receiver<News>) {
        let said = self.lock();
        (said.last.iter().cloned().collect(), self.news.subscribe())
    }

    /// Says it to everybody, unless the `id` is among the last ones: then it was said already, and
    /// how it was is returned, for the sender who could not know.
    pub(super) fn say(
        &self,
        id: String,
        from: String,
        text: String,
        through: &'static str,
    ) -> Option<Arc<Message>> {
        let mut said = self.lock();
        if let Some(known) = said.last.iter().find(|message| message.id == id) {
            return Some(Arc::clone(known));
        }
        said.count += 1;
        let message = Arc::new(Message { number: said.count, id, from, text, through });
        if said.last.len() == HISTORY_MAX {
            said.last.pop_front();
        }
        said.last.push_back(Arc::clone(&message));
        // Still under the lock, so that news are in the order of their numbers. Nobody there is fine.
        let _ = self.news.send(News::Said(message));
        None
    }

    /// Tells everybody to look at the replicas again.
    pub(super) fn tell_replicas_changed(&self) {
        let _ = self.news.send(News::ReplicasChanged);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(room: &Room, id: &str) -> Option<u64> {
        room.say(id.into(), "Ada".into(), "hello".into(), "amber").map(|message| message.number)
    }

    #[test]
    fn history_and_news_join_without_gap_or_overlap() {
        let room = Room::new();
        say(&room, "a");
        let (history, mut news) = room.join();
        say(&room, "b");
        assert_eq!(history.iter().map(|m| m.number).collect::<Vec<_>>(), [1]);
        assert!(matches!(news.try_recv(), Ok(News::Said(m)) if m.number == 2));
        assert!(news.try_recv().is_err());
    }

    #[test]
    fn a_message_that_is_sent_again_is_said_once() {
        let room = Room::new();
        let (_, mut news) = room.join();
        assert_eq!(say(&room, "a"), None);
        assert_eq!(say(&room, "a"), Some(1));
        assert!(news.try_recv().is_ok());
        assert!(news.try_recv().is_err());
    }

    #[test]
    fn only_the_last_messages_are_kept() {
        let room = Room::new();
        for id in 0..HISTORY_MAX + 5 {
            say(&room, &id.to_string());
        }
        let (history, _) = room.join();
        assert_eq!(history.len(), HISTORY_MAX);
        assert_eq!(history[0].number, 6);
    }
}

//! The subprotocol `graphql-transport-ws`
//! (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>).
//!
//! A new replica hears the client's `connection_init`, and when it has acknowledged that, every
//! `subscribe` that is still live. A mutation is not said twice, unless messages may be: then its
//! client gets an error in its place, since nobody knows whether it was done.

use serde::{Deserialize, Serialize};

use super::operation::is_repeatable;
use super::{Hearing, Sent, Words, payload};

/// What a message says, as far as it matters here. What else it says is skipped.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(default, borrow)]
    id: Option<std::borrow::Cow<'a, str>>,
}

#[derive(Debug)]
pub(in crate::redial) struct GraphQl {
    init: Option<Vec<u8>>,
    /// The client has its acknowledgement.
    is_acknowledged: bool,
    /// This leg's acknowledgement is still to come, of an `init` that was said again.
    is_awaited: bool,
    /// In the order in which they were asked for.
    live: Vec<Live>,
    keep_bytes_max: usize,
    kept_bytes: usize,
    has_lost_count: bool,
    /// Whether what changes something may be said twice.
    repeats: bool,
    words: Words,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Live {
    id: String,
    #[serde(with = "crate::frozen::bytes")]
    subscribe: Vec<u8>,
    is_repeatable: bool,
}

/// The same as another process can take it up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::redial) struct FrozenGraphQl {
    init: Option<String>,
    is_acknowledged: bool,
    is_awaited: bool,
    live: Vec<Live>,
    has_lost_count: bool,
}

impl GraphQl {
    pub(super) fn freeze(&self) -> FrozenGraphQl {
        FrozenGraphQl {
            // It was read as JSON.
            init: self.init.as_deref().map(|init| String::from_utf8_lossy(init).into_owned()),
            is_acknowledged: self.is_acknowledged,
            is_awaited: self.is_awaited,
            live: self.live.clone(),
            has_lost_count: self.has_lost_count,
        }
    }

    pub(super) fn thaw(frozen: FrozenGraphQl, keep_bytes_max: usize, repeats: bool) -> Self {
        let FrozenGraphQl { init, is_acknowledged, is_awaited, live, has_lost_count } = frozen;
        let subscribed: usize = live.iter().map(|live| live.subscribe.len()).sum();
        Self {
            kept_bytes: init.as_ref().map_or(0, String::len) + subscribed,
            init: init.map(String::into_bytes),
            is_acknowledged,
            is_awaited,
            live,
            has_lost_count,
            ..Self::new(keep_bytes_max, repeats)
        }
    }

    pub(super) fn new(keep_bytes_max: usize, repeats: bool) -> Self {
        Self {
            init: None,
            is_acknowledged: false,
            is_awaited: false,
            live: Vec::new(),
            keep_bytes_max,
            kept_bytes: 0,
            has_lost_count: false,
            repeats,
            words: Words::default(),
        }
    }

    pub(super) fn hear_client(&mut self, message: &[u8], is_up: bool) -> Hearing {
        if is_up && !self.is_awaited {
            return Hearing::Pass;
        }
        let (_, text) = payload::start(message, self.keep_bytes_max);
        match read(&text) {
            // A client that asks whether somebody is there: somebody is.
            Some(said) if said.kind == "ping" => {
                self.words.to_client.push(br#"{"type":"pong"}"#.to_vec());
                Hearing::Swallow
            }
            Some(said) if said.kind == "pong" => Hearing::Swallow,
            _ => Hearing::Pass,
        }
    }

    pub(super) fn note_sent(&mut self, message: &[u8]) -> Sent {
        let (is_text, text) = payload::start(message, self.keep_bytes_max + 1);
        let Some(said) = read(&text).filter(|_| is_text) else {
            // One that is too long to be read may be one to be remembered.
            self.has_lost_count |= text.len() > self.keep_bytes_max;
            return Sent::Plain;
        };
        match (&*said.kind, said.id) {
            ("connection_init", _) if self.keep(text.len()) => {
                self.init = Some(text.to_vec());
            }
            ("subscribe", Some(id)) if self.keep(text.len()) => {
                let is_repeatable = self.repeats || is_repeatable(&text);
                let (id, subscribe) = (id.into_owned(), text.to_vec());
                self.live.push(Live { id, subscribe, is_repeatable });
            }
            ("complete", Some(id)) => self.end(&id),
            _ => return Sent::Plain,
        }
        Sent::Kept
    }

    pub(super) fn hear_replica(&mut self, message: &[u8], is_former: bool) -> Hearing {
        let (is_text, text) = payload::start(message, usize::MAX);
        let Some(said) = read(&text).filter(|_| is_text) else { return Hearing::Pass };
        match (&*said.kind, said.id) {
            ("connection_ack", _) if !is_former => {
                let is_again = std::mem::replace(&mut self.is_awaited, false);
                if is_again {
                    self.subscribe_again();
                }
                match std::mem::replace(&mut self.is_acknowledged, true) {
                    true => Hearing::Swallow,
                    false => Hearing::Pass,
                }
            }
            ("complete" | "error", Some(id)) => {
                self.end(&id);
                Hearing::Pass
            }
            _ => Hearing::Pass,
        }
    }

    fn subscribe_again(&mut self) {
        let again = self.live.iter().map(|live| live.subscribe.clone());
        self.words.to_replica.extend(again);
    }

    pub(super) fn begin(&mut self) {
        self.is_awaited = false;
        self.give_up_what_was_once();
        if let Some(init) = &self.init {
            self.is_awaited = true;
            self.words.to_replica.push(init.clone());
        }
    }

    /// Tells the client of operations that are not said twice.
    fn give_up_what_was_once(&mut self) {
        let (live, once): (Vec<Live>, Vec<Live>) =
            std::mem::take(&mut self.live).into_iter().partition(|live| live.is_repeatable);
        self.live = live;
        for Live { id, subscribe, .. } in once {
            self.kept_bytes -= subscribe.len();
            let message = "The server was replaced; nobody knows whether this was done";
            let error = serde_json::json!({
                "id": id, "type": "error", "payload": [{ "message": message }],
            });
            self.words.to_client.push(error.to_string().into_bytes());
        }
    }

    pub(super) fn lose(&mut self) -> Option<Vec<u8>> {
        (!self.has_lost_count).then(Vec::new)
    }

    /// What must not be said twice is with a replica.
    pub(super) fn is_inside(&self) -> bool {
        self.live.iter().any(|live| !live.is_repeatable)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_awaited
    }

    pub(super) fn words(&mut self) -> &mut Words {
        &mut self.words
    }

    fn end(&mut self, id: &str) {
        let kept_bytes = &mut self.kept_bytes;
        self.live.retain(|live| {
            let stays = live.id != id;
            if !stays {
                *kept_bytes -= live.subscribe.len();
            }
            stays
        });
    }

    /// Makes room for so many bytes; false when there is none.
    fn keep(&mut self, bytes: usize) -> bool {
        let fits = self.kept_bytes + bytes <= self.keep_bytes_max;
        if fits {
            self.kept_bytes += bytes;
        }
        self.has_lost_count |= !fits;
        fits
    }
}

fn read(text: &[u8]) -> Option<Said<'_>> {
    serde_json::from_slice(text).ok()
}

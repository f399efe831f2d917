//! What a client of Engine.IO said over long-polling before its WebSocket took over: mostly that it
//! connects, and as whom.

use serde::{Deserialize, Serialize};

use super::heart::Beat;

/// Ends a packet in a body of several (Engine.IO 4).
const SEPARATOR: u8 = 0x1e;

/// The start of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Polled {
    pub(super) beat: Option<Beat>,
    pub(super) packets: Vec<Vec<u8>>,
    pub(super) is_incomplete: bool,
}

impl Polled {
    /// Begins with the answer that opened the session, or the start of it.
    pub fn opened_by(answer: &[u8]) -> Self {
        Self { beat: Beat::read(answer), ..Self::default() }
    }

    /// Takes the body of a request that the replica has accepted. More than `bytes_max` in all are
    /// not kept, and then nothing is.
    pub fn note_posted(&mut self, body: &[u8], bytes_max: usize) {
        // What scripts post is a form (`d=…`): too old a client to be followed.
        if body.starts_with(b"d=") || self.bytes() + body.len() > bytes_max {
            self.forgo();
        }
        if self.is_incomplete {
            return;
        }
        // Messages of text; a binary one begins with `b`, and is never an opening.
        let messages =
            body.split(|byte| *byte == SEPARATOR).filter(|one| one.first() == Some(&b'4'));
        self.packets.extend(messages.map(<[u8]>::to_vec));
    }

    /// Something was said that nobody has seen.
    pub fn forgo(&mut self) {
        self.is_incomplete = true;
        self.packets = Vec::new();
    }

    /// What is kept.
    pub fn bytes(&self) -> usize {
        self.packets.iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_among_packets() {
        let mut polled = Polled::opened_by(br#"0{"pingInterval":25000,"pingTimeout":20000}"#);
        polled.note_posted(b"40{\"token\":1}\x1e3\x1ebAQID\x1e42[\"hello\"]", 100);
        assert_eq!(polled.packets, [&b"40{\"token\":1}"[..], b"42[\"hello\"]"]);
        assert_eq!(polled.beat, Some(Beat::default()));
        polled.note_posted(&[b'4'; 90], 100);
        assert!(polled.is_incomplete && polled.packets.is_empty());
        let mut form = Polled::default();
        form.note_posted(b"d=40", 100);
        assert!(form.is_incomplete);
    }
}

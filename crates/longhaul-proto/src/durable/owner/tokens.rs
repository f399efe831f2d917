//! Which tokens of a session are good: two numbers, however often its links are replaced.

use std::fmt;

/// Makes a generation into what a client is given, and keeps others from doing so.
pub trait Seal: fmt::Debug + Send + Sync {
    /// A token of this session.
    fn seal(&self, sid: &str, generation: u64) -> String;
}

/// The generations of one session's tokens.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Tokens {
    floor: u64,
    last: u64,
    /// The one that was issued in the newest link's answer.
    in_answer: u64,
}

impl Tokens {
    /// With the first issued.
    pub(super) fn new() -> Self {
        Self { floor: 1, last: 1, in_answer: 1 }
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether a client that presents this generation is let in. Not the last alone: what was
    /// issued last may have been lost on the way.
    pub(super) fn accepts(&self, generation: u64) -> bool {
        (self.floor..=self.last).contains(&generation)
    }

    /// A new generation.
    pub(super) fn issue(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A resume with this generation was accepted; its answer carries the one returned.
    pub(super) fn resume(&mut self, presented: u64) -> u64 {
        self.floor = self.floor.max(presented);
        self.in_answer = self.issue();
        self.in_answer
    }

    /// The client has what the newest link's answer gave it.
    pub(super) fn confirm(&mut self) {
        self.floor = self.floor.max(self.in_answer);
    }
}

//! Whether the replica is still there, and how much of what it was sent it has read.
//!
//! Each ping carries how many messages went before it. A WebSocket library answers pings in the
//! order in which it reads, so a pong tells that these messages have left the network. Whether the
//! application has dealt with them nobody but itself can say.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::RedialPolicy;
use crate::frozen::{age, ago};

/// Marks the pings of this machine; those of the session begin otherwise.
const MARK: &[u8] = b"lr";
const PAYLOAD_BYTES: usize = MARK.len() + 16;

/// The life signs of one backend leg.
#[derive(Debug)]
pub(super) struct Pulse {
    heard_at: Instant,
    spoken_at: Instant,
    pinged_at: Instant,
    /// When the first ping went out since anything was heard.
    unanswered_since: Option<Instant>,
    /// What the last ping asked about, until it is answered.
    asked: Option<u64>,
}

/// The same as another process can take it up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FrozenPulse {
    heard_us: u64,
    spoken_us: u64,
    pinged_us: u64,
    unanswered_us: Option<u64>,
    asked: Option<u64>,
}

impl Pulse {
    pub(super) fn freeze(&self, now: Instant) -> FrozenPulse {
        FrozenPulse {
            heard_us: age(self.heard_at, now),
            spoken_us: age(self.spoken_at, now),
            pinged_us: age(self.pinged_at, now),
            unanswered_us: self.unanswered_since.map(|since| age(since, now)),
            asked: self.asked,
        }
    }

    pub(super) fn thaw(frozen: &FrozenPulse, now: Instant) -> Self {
        Self {
            heard_at: ago(frozen.heard_us, now),
            spoken_at: ago(frozen.spoken_us, now),
            pinged_at: ago(frozen.pinged_us, now),
            unanswered_since: frozen.unanswered_us.map(|us| ago(us, now)),
            asked: frozen.asked,
        }
    }

    pub(super) fn new(now: Instant) -> Self {
        Self { heard_at: now, spoken_at: now, pinged_at: now, unanswered_since: None, asked: None }
    }

    pub(super) fn note_heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.unanswered_since = None;
    }

    pub(super) fn note_spoken(&mut self, now: Instant) {
        self.spoken_at = now;
    }

    /// When the next ping is due; `question` after the last one while it is not known what was read.
    pub(super) fn ping_at(
        &self,
        policy: &RedialPolicy,
        question: Option<Duration>,
    ) -> Option<Instant> {
        let interval = policy.ping?;
        let quiet = match self.unanswered_since {
            None => self.heard_at.min(self.spoken_at),
            Some(_) => self.pinged_at,
        };
        let question = question.filter(|_| self.asked.is_none());
        let question = question.map(|pause| self.pinged_at + pause.min(interval));
        Some(question.map_or(quiet + interval, |at| at.min(quiet + interval)))
    }

    /// When a replica that stays silent is given up.
    pub(super) fn dead_at(&self, policy: &RedialPolicy) -> Option<Instant> {
        Some(self.unanswered_since? + policy.ping? * policy.pings_missed_max)
    }

    /// Writes the payload of a ping that asks about `sent` messages.
    pub(super) fn ping(&mut self, sent: u64, now: Instant) -> [u8; PAYLOAD_BYTES] {
        self.pinged_at = now;
        self.spoken_at = now;
        self.unanswered_since.get_or_insert(now);
        self.asked = Some(sent);
        let mut payload = [0; PAYLOAD_BYTES];
        payload[..MARK.len()].copy_from_slice(MARK);
        for (at, byte) in payload[MARK.len()..].iter_mut().enumerate() {
            *byte = b"0123456789abcdef"[(sent >> (60 - 4 * at) & 0xf) as usize];
        }
        payload
    }

    /// Takes a pong. `Some` when it answers the last ping: so many messages were read.
    pub(super) fn answered(&mut self, payload: &[u8]) -> Answer {
        let Some(digits) = payload.strip_prefix(MARK).filter(|digits| digits.len() == 16) else {
            return Answer::Foreign;
        };
        let digits = str::from_utf8(digits).ok();
        let Some(sent) = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else {
            return Answer::Foreign;
        };
        match self.asked {
            Some(asked) if asked == sent => {
                self.asked = None;
                Answer::Read(sent)
            }
            _ => Answer::Late,
        }
    }
}

/// What a pong says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It answers somebody else's ping.
    Foreign,
    /// It answers an earlier ping of this machine.
    Late,
    /// So many messages were read.
    Read(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pong_says_how_much_was_read() {
        let now = Instant::now();
        let mut pulse = Pulse::new(now);
        let first = pulse.ping(0x1f, now);
        assert_eq!(&first, b"lr000000000000001f");
        let second = pulse.ping(0x20, now);
        assert_eq!(pulse.answered(&first), Answer::Late);
        assert_eq!(pulse.answered(&second), Answer::Read(0x20));
        assert_eq!(pulse.answered(b"lh0123456789"), Answer::Foreign);
        assert_eq!(pulse.answered(b"lr00000000000000zz"), Answer::Foreign);
    }
}

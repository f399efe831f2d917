//! The heartbeats of Engine.IO that a client expects whatever becomes of replicas.
//!
//! A replica pings, the client answers. A client that hears no ping for an interval and a time-out
//! gives the session up, so somebody has to ping while no replica is there, and while one is there
//! that does it more seldom than the first. Answers to such pings are no replica's concern, nor are
//! those to pings of one that is gone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::frozen::{age, ago};

/// What Engine.IO 4 servers say unless told otherwise.
const INTERVAL: Duration = Duration::from_secs(25);
const TIMEOUT: Duration = Duration::from_secs(20);

/// Pings without an answer that are remembered: a client that leaves more of them is gone.
const ASKED_MAX: usize = 32;

#[derive(Debug)]
pub(super) struct Heart {
    beat: Beat,
    pinged_at: Instant,
    /// For each ping that the client has not answered, whether the replica of the moment waits for it.
    asked: VecDeque<bool>,
}

/// How often the client was told that it will be pinged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Default for Beat {
    fn default() -> Self {
        Self { interval: INTERVAL, timeout: TIMEOUT }
    }
}

impl Beat {
    /// Reads it from an open packet.
    pub(super) fn read(open: &[u8]) -> Option<Self> {
        let interval = milliseconds(open, "\"pingInterval\":")?;
        let timeout = milliseconds(open, "\"pingTimeout\":")?;
        Some(Self { interval, timeout })
    }
}

fn milliseconds(open: &[u8], name: &str) -> Option<Duration> {
    let text = str::from_utf8(open).ok()?;
    let (_, rest) = text.split_once(name)?;
    let digits = rest.trim_start().split(|sign: char| !sign.is_ascii_digit()).next()?;
    let count: u64 = digits.parse().ok()?;
    // Whatever a replica says, a timer must not spin, nor overflow.
    (100..=86_400_000).contains(&count).then(|| Duration::from_millis(count))
}

/// The same as another process can take it up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FrozenHeart {
    beat: Beat,
    pinged_us: u64,
    asked: VecDeque<bool>,
}

impl Heart {
    pub(super) fn freeze(&self, now: Instant) -> FrozenHeart {
        let (beat, asked) = (self.beat, self.asked.clone());
        FrozenHeart { beat, pinged_us: age(self.pinged_at, now), asked }
    }

    pub(super) fn thaw(frozen: &FrozenHeart, now: Instant) -> Self {
        let (beat, asked) = (frozen.beat, frozen.asked.clone());
        Self { beat, pinged_at: ago(frozen.pinged_us, now), asked }
    }

    pub(super) fn new(now: Instant) -> Self {
        Self { beat: Beat::default(), pinged_at: now, asked: VecDeque::new() }
    }

    pub(super) fn set_beat(&mut self, beat: Option<Beat>) {
        if let Some(beat) = beat {
            self.beat = beat;
        }
    }

    /// A ping passes to the client; `is_current` when its answer is for the replica of the moment.
    pub(super) fn note_ping(&mut self, is_current: bool, now: Instant) {
        self.pinged_at = now;
        self.asked.push_back(is_current);
        if self.asked.len() > ASKED_MAX {
            self.asked.pop_front();
        }
    }

    /// The client answers a ping. Whether a replica waits for that.
    pub(super) fn take_pong(&mut self) -> bool {
        let is_current = self.asked.pop_front().unwrap_or(true);
        if self.asked.is_empty() {
            self.asked = VecDeque::new();
        }
        is_current
    }

    /// The replica is gone, or left.
    pub(super) fn forget_replica(&mut self) {
        self.asked.iter_mut().for_each(|is_current| *is_current = false);
    }

    /// When the client needs a ping that no replica has sent.
    pub(super) fn deadline(&self, is_up: bool) -> Instant {
        // One that is there is given the time to do it.
        let grace = if is_up { self.beat.timeout / 2 } else { Duration::ZERO };
        self.pinged_at + self.beat.interval + grace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beat_is_read_from_an_open_packet() {
        let open =
            br#"0{"sid":"a","upgrades":[],"pingInterval":300,"pingTimeout": 200,"maxPayload":1}"#;
        let expected =
            Beat { interval: Duration::from_millis(300), timeout: Duration::from_millis(200) };
        assert_eq!(Beat::read(open), Some(expected));
        assert_eq!(Beat::read(br#"0{"pingInterval":0,"pingTimeout":200}"#), None);
        assert_eq!(Beat::read(b"0{}"), None);
    }

    #[test]
    fn each_answer_goes_to_whoever_asked() {
        let now = Instant::now();
        let mut heart = Heart::new(now);
        heart.note_ping(true, now);
        heart.forget_replica();
        heart.note_ping(false, now);
        heart.note_ping(true, now);
        assert_eq!([0; 3].map(|_| heart.take_pong()), [false, false, true]);
        assert!(heart.take_pong(), "one that nobody asked for is the application's");
    }
}

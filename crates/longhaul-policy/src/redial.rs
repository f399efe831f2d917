//! Decides when a replica is dialled again for a session that lost its own, and what answers mean.
//!
//! Dialling, and counting the tries, is the caller's work.

use std::time::Duration;

use crate::backoff::jittered;

/// The first pauses. The very first is a part of this one, drawn anew for each session: a replica
/// that dies leaves many behind, and the others should not meet them all in one moment.
const PAUSES_MS: [u64; 5] = [100, 250, 500, 1_000, 2_000];

/// As long as somebody may still be waiting in front of a page, no pause is longer than the last of
/// those; after that they double up to [`PAUSE_MAX`].
const ATTENTION: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How far a pause may stretch or shrink.
const JITTER: f64 = 0.2;

/// Returns how long to wait before the next try, after so many that failed since `elapsed`.
/// `random` is uniform in 0.0..1.0.
pub fn pause(tries: u32, elapsed: Duration, random: f64) -> Duration {
    if tries == 0 {
        return Duration::from_millis(PAUSES_MS[0]).mul_f64(random.clamp(0.0, 1.0));
    }
    let step = usize::try_from(tries).unwrap_or(usize::MAX).min(PAUSES_MS.len() - 1);
    let short = Duration::from_millis(PAUSES_MS[step]);
    let pause = if elapsed < ATTENTION { short } else { short.max(elapsed / 8) };
    jittered(pause.min(PAUSE_MAX), JITTER, random)
}

/// What an answer other than 101 to a session's next handshake means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// No replica will take this client: the session ends.
    Final,
    /// Another replica, or this one later, may.
    Again,
}

/// Judges the status of such an answer.
pub fn judge(status: u16) -> Answer {
    match status {
        401 | 403 | 404 => Answer::Final,
        _ => Answer::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_slowly_while_somebody_waits_and_then_faster() {
        let at = |tries, elapsed_s| pause(tries, Duration::from_secs(elapsed_s), 0.5).as_millis();
        assert_eq!([at(0, 0), at(1, 0), at(2, 0), at(3, 1), at(4, 2)], [50, 250, 500, 1000, 2000]);
        assert_eq!([at(9, 29), at(20, 40), at(50, 120), at(99, 900)], [2000, 5000, 15_000, 30_000]);
    }

    #[test]
    fn only_a_refusal_of_the_client_itself_is_final() {
        assert_eq!([401, 403, 404].map(judge), [Answer::Final; 3]);
        for status in [200, 400, 408, 429, 500, 502, 503] {
            assert_eq!(judge(status), Answer::Again, "{status}");
        }
    }
}

//! Whether event loops turn, and how late they are.
//!
//! Each loop runs [`Loops::beat`], which wakes at intervals and sees how late it came. Everything
//! that waits on the loop came as late.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::families::LOOP_LAG;
use super::series::Histograms;
use crate::faults;
use crate::supervise::TaskError;

/// Four wakings a second cost nothing and see every stall that a person would notice.
pub(crate) const BEAT: Duration = Duration::from_millis(250);
/// A loop that is silent for so long hangs: no load makes it this late, and what it serves is lost
/// to its users. Liveness fails then, so that the platform starts the process anew.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// The loops of one gateway: its workers, their reactors, and the one that watches.
#[derive(Debug)]
pub(crate) struct Loops {
    started_at: Instant,
    beats: Vec<Beat>,
    pub(crate) seconds: Histograms,
}

#[derive(Debug)]
struct Beat {
    name: String,
    /// Milliseconds from the start to the last beat; 0 before the first.
    last_ms: AtomicU64,
    /// The largest lag of this minute and the one before, in microseconds.
    worst: Mutex<Worst>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Worst {
    minute: u64,
    now_us: u64,
    before_us: u64,
}

/// One loop at one moment.
#[derive(Debug, Clone)]
pub struct LoopSnapshot {
    /// `relay-0`, `reactor-0`, `watch`.
    pub name: String,
    /// Since its last beat.
    pub silent_for: Duration,
    /// The worst lag of the last minute or two.
    pub lag_max: Duration,
}

impl Loops {
    pub(crate) fn new(workers: usize) -> Self {
        let named = |kind| (0..workers).map(move |worker| format!("{kind}-{worker}"));
        let names = named("relay").chain(named("reactor"));
        let beat = |name| Beat { name, last_ms: AtomicU64::new(0), worst: Mutex::default() };
        let beats: Vec<Beat> = names.chain(["watch".to_owned()]).map(beat).collect();
        let seconds = Histograms::new(&LOOP_LAG);
        for beat in &beats {
            // There from the start, so that a scraper sees them begin at 0.
            let _ = seconds.with(&[&beat.name]);
        }
        Self { started_at: Instant::now(), beats, seconds }
    }

    /// The place of a worker's reactor, behind the workers.
    pub(crate) fn reactor(&self, worker: usize) -> usize {
        (self.beats.len() - 1) / 2 + worker
    }

    /// The place of the loop that watches, behind all others.
    pub(crate) fn watch(&self) -> usize {
        self.beats.len() - 1
    }

    /// Beats for ever in the loop that polls it.
    pub(crate) async fn beat(&self, place: usize) -> Result<(), TaskError> {
        let beat = &self.beats[place];
        loop {
            faults::point("loop")?;
            let due = Instant::now() + BEAT;
            tokio::time::sleep_until(due.into()).await;
            let now = Instant::now();
            self.note(beat, now.saturating_duration_since(due), now);
        }
    }

    /// What a loop with a clock of its own, which ticks every [`BEAT`], does at each tick. The clock
    /// does not wait for the loop, so the loop sees how late it is.
    pub(crate) fn on_tick(&self, place: usize, due: &mut Instant) {
        let now = Instant::now();
        self.note(&self.beats[place], now.saturating_duration_since(*due), now);
        while *due <= now {
            *due += BEAT;
        }
    }

    fn note(&self, beat: &Beat, lag: Duration, now: Instant) {
        self.seconds.observe(&[&beat.name], lag);
        let since_start = now.duration_since(self.started_at);
        let ms = u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX);
        beat.last_ms.store(ms.max(1), Ordering::Relaxed);
        let us = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        let mut worst = beat.worst.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        worst.turn(ms / 60_000);
        worst.now_us = worst.now_us.max(us);
    }

    /// Says which loop has not turned for so long that it hangs, if one does.
    pub(crate) fn hanging(&self, now: Instant) -> Option<String> {
        let hangs = self.snapshot(now).into_iter().find(|one| one.silent_for > HANGS_AFTER)?;
        let seconds = hangs.silent_for.as_secs();
        Some(format!("event loop {} has not turned for {seconds} s", hangs.name))
    }

    /// How they fare.
    pub(crate) fn snapshot(&self, now: Instant) -> Vec<LoopSnapshot> {
        let since_start = now.duration_since(self.started_at);
        let minute = u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX) / 60_000;
        let one = |beat: &Beat| {
            let last = Duration::from_millis(beat.last_ms.load(Ordering::Relaxed));
            let mut worst = *beat.worst.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            worst.turn(minute);
            LoopSnapshot {
                name: beat.name.clone(),
                silent_for: since_start.saturating_sub(last),
                lag_max: Duration::from_micros(worst.now_us.max(worst.before_us)),
            }
        };
        self.beats.iter().map(one).collect()
    }
}

impl Worst {
    fn turn(&mut self, minute: u64) {
        if minute == self.minute {
            return;
        }
        let before_us = if minute == self.minute + 1 { self.now_us } else { 0 };
        *self = Self { minute, now_us: 0, before_us };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_lag_is_shown_for_a_minute_or_two() {
        let loops = Loops::new(1);
        let at = |s: u64| loops.started_at + Duration::from_secs(s);
        loops.note(&loops.beats[0], Duration::from_millis(700), at(10));
        loops.note(&loops.beats[0], Duration::from_millis(1), at(70));
        let lag = |s| loops.snapshot(at(s))[0].lag_max;
        assert_eq!(lag(70), Duration::from_millis(700));
        assert_eq!(lag(130), Duration::from_millis(1));
        assert_eq!(lag(600), Duration::ZERO);
        assert_eq!(loops.snapshot(at(71))[0].silent_for, Duration::from_secs(1));
        loops.note(&loops.beats[1], Duration::ZERO, at(71));
        loops.note(&loops.beats[loops.watch()], Duration::ZERO, at(71));
        assert_eq!(loops.hanging(at(100)), None);
        let hanging = loops.hanging(at(101)).unwrap();
        assert_eq!(hanging, "event loop relay-0 has not turned for 31 s");
    }

    #[tokio::test]
    async fn a_loop_that_is_held_up_says_so() {
        let loops = Loops::new(1);
        let hold_up = async {
            tokio::task::yield_now().await;
            std::thread::sleep(2 * BEAT);
            // The beat is due by now: let it see so.
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        tokio::select! {
            beat = loops.beat(0) => unreachable!("it beats for ever: {beat:?}"),
            () = hold_up => {}
        }
        let [held_up, ..] = &loops.snapshot(Instant::now())[..] else { panic!("no loop") };
        assert!(held_up.lag_max >= BEAT / 2, "{held_up:?}");
    }
}

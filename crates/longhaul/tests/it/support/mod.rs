//! What every story needs: real processes, raw sockets, deadlines.
//!
//! Start at [`gateway::Gateway`] and [`apps::App`].

pub(crate) mod admin;
pub(crate) mod apps;
pub(crate) mod cgroup;
pub(crate) mod clients;
pub(crate) mod cutter;
pub(crate) mod dns;
pub(crate) mod frames;
pub(crate) mod gateway;
pub(crate) mod pair;
pub(crate) mod process;
pub(crate) mod proxies;
pub(crate) mod raw;
pub(crate) mod recorder;
pub(crate) mod redis;
pub(crate) mod tls;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Waits until `claim` holds, looking again every 20 ms; fails the story when `within` has passed.
#[track_caller]
pub(crate) fn wait_until(what: &str, within: Duration, mut claim: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !claim() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the real servers and clients live.
pub(crate) fn e2e() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e")
}

/// A file that the run leaves behind to be looked at.
pub(crate) fn artefact(name: &str) -> PathBuf {
    let directory = e2e().join("artefacts");
    std::fs::create_dir_all(&directory).expect("artefacts can be kept");
    directory.join(name)
}

/// Seconds, for the eye.
pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Bytes that differ from one run to the next; the seed is printed and can be given back.
pub(crate) struct Random(u64);

impl Random {
    /// Takes the seed from `LONGHAUL_SEED`, or the clock.
    pub(crate) fn new() -> Self {
        let seed = std::env::var("LONGHAUL_SEED").ok().and_then(|text| text.parse::<u64>().ok());
        let seed = seed.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            u64::from(now.expect("the clock is past 1970").subsec_nanos())
        });
        println!("LONGHAUL_SEED={seed} replays this run");
        Self(seed | 1)
    }

    /// The next number (xorshift64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()).flatten().take(count).collect()
    }
}

//! What a peer and its children took, read from `/proc`.

use std::fs;
use std::time::Duration;

/// The processes of one peer.
pub(crate) struct Tree(pub(crate) u32);

impl Tree {
    /// CPU time of all threads so far, in nanoseconds where the kernel counts them.
    pub(crate) fn cpu(&self) -> Duration {
        let nanoseconds: u64 = self
            .processes()
            .iter()
            .flat_map(|pid| {
                fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten()
            })
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(nanoseconds)
    }

    /// Proportional set size, in bytes: shared pages count in parts.
    pub(crate) fn pss(&self) -> u64 {
        self.processes()
            .iter()
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
            .filter_map(|text| {
                let line = text.lines().find(|line| line.starts_with("Pss:"))?;
                line.split_whitespace().nth(1)?.parse::<u64>().ok()
            })
            .map(|kib| kib * 1024)
            .sum()
    }

    /// The process and everything below it.
    fn processes(&self) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid: u32| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                // The name stands in parentheses and may hold anything; state and parent follow.
                let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
                Some((pid, parent))
            })
            .collect();
        let mut found = vec![self.0];
        let mut at = 0;
        while at < found.len() {
            let parent = found[at];
            found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        found
    }
}

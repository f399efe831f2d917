//! How quiet the machine was: the processor time that went to neither this run nor idleness.

use std::fs;

/// Jiffies of the whole machine, and of this process with the children that have ended.
pub(crate) struct Noise {
    busy: u64,
    stolen: u64,
    all: u64,
    own: u64,
}

impl Noise {
    pub(crate) fn start() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        let fields: Vec<u64> =
            first.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        let at = |index: usize| fields.get(index).copied().unwrap_or(0);
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are within user.
        let all = fields.iter().take(8).sum();
        Self { busy: all - at(3) - at(4) - at(7), stolen: at(7), all, own: own() }
    }

    /// What the report says about it. To be asked once every peer has ended.
    pub(crate) fn sentence(&self) -> String {
        let now = Self::start();
        let all = (now.all - self.all).max(1) as f64;
        let others = (now.busy - self.busy).saturating_sub(now.own - self.own) as f64;
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        format!(
            "Noise: other processes took {:.1} % of the processors, the hypervisor {:.1} %; load average \
             at the end {}.",
            100.0 * others / all,
            100.0 * (now.stolen - self.stolen) as f64 / all,
            load.split(' ').take(3).collect::<Vec<_>>().join(" ")
        )
    }
}

/// Of this process and of those it has waited for.
fn own() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name stands in parentheses and may hold anything; utime to cstime are 11 to 14 behind it.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    rest.split_whitespace().skip(11).take(4).filter_map(|word| word.parse::<u64>().ok()).sum()
}

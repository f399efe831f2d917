//! What the process uses, and what there is: processor, memory, descriptors.
//!
//! Read from the kernel when somebody asks. Where something cannot be read (another system, a closed
//! /proc), it is left out rather than invented.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// Memory the machine, or the process, is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What counts against the limit.
    pub used: u64,
    /// What there is.
    pub limit: u64,
    /// Whether a container limits it, and not the machine.
    pub is_container: bool,
}

impl Memory {
    fn share(&self) -> f64 {
        self.used as f64 / self.limit.max(1) as f64
    }
}

/// Processor time since the start, of all threads.
pub(crate) fn cpu_time() -> Option<Duration> {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(usage.tv_sec).ok()?;
    Some(Duration::new(seconds, u32::try_from(usage.tv_nsec).ok()?))
}

/// Resident memory of the process.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Descriptors open, and how many may be.
pub(crate) fn descriptors() -> Option<(u64, Option<u64>)> {
    // The listing has one of its own.
    let counted = || Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64);
    Some((descriptors_open().or_else(counted)?, descriptors_max()))
}

/// Descriptors open, where the system says it at once (Linux 6.2 and later): counting them costs
/// with their number.
pub(crate) fn descriptors_open() -> Option<u64> {
    let open = fs::metadata("/proc/self/fd").ok()?.len();
    (open > 0).then_some(open)
}

/// Descriptors that may be open.
pub(crate) fn descriptors_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Memory used and there. In a container with a limit both are the container's, since that is what
/// the kernel kills by: it counts the application beside us, and buffers of sockets. `own_max` is
/// what the process itself may use; whichever bound is nearer counts.
pub(crate) fn memory(own_max: Option<u64>) -> Option<Memory> {
    let machine = field_kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let limit = own_max.map_or(machine, |own_max| own_max.min(machine));
    let own = Memory { used: resident_bytes()?, limit, is_container: false };
    match Cgroup::own().and_then(|cgroup| cgroup.memory()) {
        Some((used, limit)) if limit < machine => {
            let container = Memory { used, limit, is_container: true };
            let is_own_nearer = own_max.is_some() && own.share() > container.share();
            Some(if is_own_nearer { own } else { container })
        }
        _ => Some(own),
    }
}

/// Cores there are: the container's quota, or the machine's.
pub(crate) fn cores() -> Option<f64> {
    let machine = std::thread::available_parallelism().ok()?.get() as f64;
    let quota = Cgroup::own().and_then(|cgroup| cgroup.cores());
    Some(quota.map_or(machine, |quota| quota.min(machine)))
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Where the kernel shows this process's container.
#[derive(Debug, PartialEq, Eq)]
enum Cgroup {
    /// One tree for everything.
    V2(PathBuf),
    /// A tree for each resource.
    V1 { memory: PathBuf, cpu: PathBuf },
}

impl Cgroup {
    fn own() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::find(&text, Path::new("/sys/fs/cgroup"))
    }

    /// `text` names this process's groups; `root` is where they are mounted. Inside a container the
    /// mount often begins at the container's own group, so that its named path is not there.
    fn find(text: &str, root: &Path) -> Option<Self> {
        let path_of = |controller: &str| {
            text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (names, path) = (parts.next()?, parts.next()?);
                names.split(',').any(|name| name == controller).then_some(path)
            })
        };
        let under = |root: PathBuf, path: Option<&str>, file: &str| {
            let named = root.join(path.unwrap_or("/").trim_start_matches('/'));
            if named.join(file).exists() { named } else { root }
        };
        if root.join("cgroup.controllers").exists() {
            return Some(Self::V2(under(root.to_owned(), path_of(""), "memory.max")));
        }
        let memory = under(root.join("memory"), path_of("memory"), "memory.limit_in_bytes");
        let cpu = under(root.join("cpu"), path_of("cpu"), "cpu.cfs_quota_us");
        memory.exists().then_some(Self::V1 { memory, cpu })
    }

    /// Used and limit. File cache does not count: the kernel drops it before it kills.
    fn memory(&self) -> Option<(u64, u64)> {
        let (used, limit, stat, cache) = match self {
            Self::V2(at) => (
                "memory.current",
                "memory.max",
                at.join("memory.stat"),
                ["inactive_file ", "active_file "],
            ),
            Self::V1 { memory, .. } => (
                "memory.usage_in_bytes",
                "memory.limit_in_bytes",
                memory.join("memory.stat"),
                ["total_inactive_file ", "total_active_file "],
            ),
        };
        let at = stat.parent()?;
        // "max" is no number: there is no limit.
        let limit = number(&at.join(limit))?;
        let used = number(&at.join(used))?;
        let stat = fs::read_to_string(&stat).ok()?;
        let field = |name: &str| -> Option<u64> {
            stat.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
        };
        let cache: u64 = cache.into_iter().filter_map(field).sum();
        Some((used.saturating_sub(cache), limit))
    }

    fn cores(&self) -> Option<f64> {
        let (quota, period) = match self {
            Self::V2(at) => {
                let text = fs::read_to_string(at.join("cpu.max")).ok()?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?)
            }
            Self::V1 { cpu, .. } => (
                number(&cpu.join("cpu.cfs_quota_us"))? as f64,
                number(&cpu.join("cpu.cfs_period_us"))? as f64,
            ),
        };
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn a_limit_of_the_unified_tree_is_found_with_what_is_used() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("cgroup.controllers", "cpu memory"),
                ("box/memory.max", "268435456\n"),
                ("box/memory.current", "100000000\n"),
                ("box/memory.stat", "anon 1\ninactive_file 30000000\nactive_file 10000000\n"),
                ("box/cpu.max", "50000 100000\n"),
            ],
        );
        let cgroup = Cgroup::find("0::/box\n", root.path()).unwrap();
        assert_eq!(cgroup.memory(), Some((60_000_000, 268_435_456)));
        assert_eq!(cgroup.cores(), Some(0.5));
    }

    #[test]
    fn a_container_that_sees_its_own_group_as_the_root_is_understood() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("memory/memory.limit_in_bytes", "268435456\n"),
                ("memory/memory.usage_in_bytes", "100\n"),
                ("memory/memory.stat", "total_inactive_file 40\n"),
                ("cpu/cpu.cfs_quota_us", "-1\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
            ],
        );
        let text = "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n";
        let cgroup = Cgroup::find(text, root.path()).unwrap();
        assert_eq!(cgroup.memory(), Some((60, 268_435_456)));
        assert_eq!(cgroup.cores(), None);
    }

    #[test]
    fn no_limit_is_no_limit() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[("cgroup.controllers", ""), ("memory.max", "max\n"), ("cpu.max", "max 100000\n")],
        );
        let cgroup = Cgroup::find("0::/\n", root.path()).unwrap();
        assert_eq!((cgroup.memory(), cgroup.cores()), (None, None));
    }

    #[test]
    fn this_process_uses_something_of_what_there_is() {
        let memory = super::memory(None).unwrap();
        let own = super::memory(Some(memory.used * 2)).unwrap();
        assert!(own.limit <= memory.limit, "{own:?}");
        let counted = descriptors().unwrap().0;
        assert!(descriptors_open().is_none_or(|open| open.abs_diff(counted) < 100));
        assert!(memory.used > 0 && memory.used < memory.limit, "{memory:?}");
        assert!(cpu_time().unwrap() > Duration::ZERO);
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(descriptors().unwrap().0 >= 3);
        assert!(cores().unwrap() > 0.0);
    }
}

//! A container's memory limit, by the kernel's own means and without a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// A control group of memory; dropping it removes it, which takes that nobody is in it any more.
pub(crate) struct Cell {
    path: PathBuf,
    is_v2: bool,
}

impl Cell {
    /// One of so many bytes; `None` where this machine does not let us make one.
    pub(crate) fn of_memory(bytes: u64) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let is_v2 = root.join("cgroup.controllers").exists();
        let name = format!("longhaul-story-{}", std::process::id());
        let path = if is_v2 { root.join(name) } else { root.join("memory").join(name) };
        fs::create_dir(&path).ok()?;
        let cell = Self { path, is_v2 };
        let limit = if is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
        fs::write(cell.path.join(limit), bytes.to_string()).ok()?;
        Some(cell)
    }

    /// What a shell says to go in.
    pub(crate) fn entrance(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.path.display())
    }

    /// Whether the kernel ended somebody in it.
    pub(crate) fn has_killed(&self) -> bool {
        let file = if self.is_v2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.path.join(file)).expect("the kernel says it");
        !text.lines().any(|line| line == "oom_kill 0")
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        // A process leaves a moment after its end.
        let until = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.path).is_err() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

//! One child process: its output is kept, its end is certain.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) use rustix::process::Signal;

use super::wait_until;

/// A running program. Dropping it kills it, by its own id; a failed story then shows its output.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    /// The file in which a story has it panic.
    panics_in: Option<&'static str>,
}

impl Process {
    /// Starts it with both outputs kept line by line.
    #[track_caller]
    pub(crate) fn start(name: impl Into<String>, command: &mut Command) -> Self {
        let name = name.into();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{name}: {command:?} did not start ({error}); run `cargo xtask setup` first")
        });
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            keep(child.stdout.take().expect("stdout is piped"), &lines),
            keep(child.stderr.take().expect("stderr is piped"), &lines),
        ];
        Self { name, child, lines, readers, panics_in: None }
    }

    /// Says that panics in this file are what the story asked for. All others still fail it.
    pub(crate) fn expect_panics_in(&mut self, file: &'static str) {
        self.panics_in = Some(file);
    }

    /// Everything it has printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line for which `pick` gives a value.
    #[track_caller]
    pub(crate) fn line<T>(
        &mut self,
        what: &str,
        within: Duration,
        pick: impl Fn(&str) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + within;
        loop {
            // The end is looked at first, so that its last words are not missed.
            let has_ended = !self.is_running() && self.readers.iter().all(JoinHandle::is_finished);
            if let Some(found) = self.lines().iter().find_map(|line| pick(line)) {
                return found;
            }
            assert!(!has_ended, "{} ended before: {what}", self.name);
            assert!(Instant::now() < deadline, "{}: not within {within:?}: {what}", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it alone.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the child is ours and not yet reaped");
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits for its end, and a moment for its last words.
    #[track_caller]
    pub(crate) fn end(&mut self, within: Duration) -> ExitStatus {
        let name = self.name.clone();
        let mut status = None;
        wait_until(&format!("{name} ends"), within, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        // Whoever it left behind may hold its outputs open for longer.
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until && !self.readers.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(5));
        }
        status.expect("it has just ended")
    }

    /// Kills it and waits for the end.
    pub(crate) fn kill(&mut self) {
        // Both only fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.id());
        fs::read_dir(path).expect("the process runs and is ours").count()
    }

    /// Those of them that are ends of pipes.
    pub(crate) fn pipes(&self) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it runs");
        let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("pipe:")).count()
    }

    /// Resident memory at its highest, in KiB.
    pub(crate) fn memory_max_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    /// Resident memory now, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// Processor time used so far, of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()));
        let stat = stat.expect("the process runs and is ours");
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th behind it.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
        // USER_HZ, which Linux shows to programs on every architecture we run on.
        Duration::from_millis(ticks * 1000 / 100)
    }

    fn status_kib(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(path).expect("the process runs and is ours");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|text| text.parse().ok()).expect("Linux shows this field in KiB")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let lines = self.lines();
            let shown = lines.len().saturating_sub(60);
            eprintln!("--- last words of {}:\n{}\n---", self.name, lines[shown..].join("\n"));
            return;
        }
        // A task that died alone would otherwise be seen by nobody.
        let is_expected = |line: &str| self.panics_in.is_some_and(|file| line.contains(file));
        let panics = |line: &String| line.contains("panicked at crates/") && !is_expected(line);
        assert!(!self.lines().iter().any(panics), "{} panicked: {:#?}", self.name, self.lines());
    }
}

/// The state letter of any process, `None` when it is gone.
pub(crate) fn state(id: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit(')').next()?.trim().chars().next()
}

fn keep(output: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    // Ends with the pipe, so with the last process that holds it.
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            lines.lock().unwrap().push(text);
            line.clear();
        }
    })
}

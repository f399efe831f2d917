//! Writes log lines on a thread of their own, so that whoever reads our output and stalls never
//! stalls serving.
//!
//! A line that finds the thread asleep wakes it; what follows closely is gathered and written at
//! once, since under load waking and writing cost more than the lines do. At the bound lines are
//! dropped and counted; the count is logged once there is room.

use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may wait for whoever reads our output: some ten thousand lines.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// From one write to the next: how late a line can be, and how many can be lost with a process that
/// is killed.
const GATHERING: Duration = Duration::from_millis(10);

/// What the thread keeps of its memory between two bursts.
const BYTES_KEPT: usize = 64 * 1024;

/// How long the end waits for the last lines to be written.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// The queue of this process.
static QUEUE: Queue = Queue::new();

/// The way into the queue. Each `write` is one line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines(Option<&'static Queue>);

/// Starts the thread that writes to standard error.
pub(super) fn start() -> Lines {
    // Without a thread for it, logging may stall serving; without logging, nobody knows why.
    Lines(QUEUE.start(io::stderr()).is_ok().then_some(&QUEUE))
}

/// Waits until what was logged so far is written, for a second at most.
pub(super) fn flush() {
    QUEUE.flush(FLUSH_DEADLINE);
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0 {
            Some(queue) => queue.push(line),
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Queue {
    lines: Mutex<Waiting>,
    /// Rung when the writer should look at what waits.
    bell: Condvar,
    /// Rung when the writer has written what it took.
    is_written: Condvar,
}

#[derive(Debug)]
struct Waiting {
    text: Vec<u8>,
    /// Lines that found no room since this was last logged.
    lost: u64,
    /// Whether the writer sleeps until it is rung for; otherwise it looks by itself.
    is_asleep: bool,
    /// How many wait for what is here to be written.
    flushes: usize,
    /// Bytes since the start.
    pushed: u64,
    written: u64,
}

impl Queue {
    const fn new() -> Self {
        let nothing = Waiting {
            text: Vec::new(),
            lost: 0,
            is_asleep: false,
            flushes: 0,
            pushed: 0,
            written: 0,
        };
        Self { lines: Mutex::new(nothing), bell: Condvar::new(), is_written: Condvar::new() }
    }

    /// Starts the writer, which ends with the process: it only ever waits for the next line.
    fn start(&'static self, output: impl Write + Send + 'static) -> io::Result<()> {
        std::thread::Builder::new().name("log".to_owned()).spawn(move || self.write_all(output))?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut lines = self.lock();
        if lines.text.len() + line.len() > BYTES_MAX {
            lines.lost += 1;
            return;
        }
        let was_hurried = lines.is_hurried();
        lines.text.extend_from_slice(line);
        lines.pushed += line.len() as u64;
        let was_asleep = std::mem::take(&mut lines.is_asleep);
        let is_wanted = was_asleep || (lines.is_hurried() && !was_hurried);
        drop(lines);
        if is_wanted {
            self.bell.notify_one();
        }
    }

    fn write_all(&self, mut output: impl Write) {
        let mut text = Vec::new();
        loop {
            let lost = self.take(&mut text);
            // Where could it be told that telling fails?
            let _ = output.write_all(&text).and_then(|()| output.flush());
            self.lock().written += text.len() as u64;
            self.is_written.notify_all();
            text.clear();
            text.shrink_to(BYTES_KEPT);
            if lost > 0 {
                tracing::warn!(lost, "log lines were dropped: nobody read them in time");
            }
            self.gather();
        }
    }

    /// Waits for something to write, and says how many lines were lost before.
    fn take(&self, text: &mut Vec<u8>) -> u64 {
        let mut lines = self.lock();
        while lines.text.is_empty() {
            lines.is_asleep = true;
            lines = self.bell.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        lines.is_asleep = false;
        std::mem::swap(&mut lines.text, text);
        std::mem::take(&mut lines.lost)
    }

    fn gather(&self) {
        let lines = self.lock();
        let _ = self.bell.wait_timeout_while(lines, GATHERING, |lines| !lines.is_hurried());
    }

    fn flush(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        let mut lines = self.lock();
        let target = lines.pushed;
        lines.flushes += 1;
        self.bell.notify_one();
        while lines.written < target {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.is_written.wait_timeout(lines, left);
            lines = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        lines.flushes -= 1;
    }
}

impl Waiting {
    /// Whether there is a reason not to gather more.
    fn is_hurried(&self) -> bool {
        self.flushes > 0 || self.text.len() > BYTES_MAX / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// An output that takes nothing until it is let go.
    struct Stalled {
        go: Receiver<()>,
        has_gone: bool,
        written: Sender<Vec<u8>>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.has_gone {
                let _ = self.go.recv();
                self.has_gone = true;
            }
            self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_stalls_nobody_and_loses_only_what_has_no_room() {
        let (go, is_going) = channel();
        let (written, output) = channel();
        let queue: &'static Queue = Box::leak(Box::new(Queue::new()));
        queue.start(Stalled { go: is_going, has_gone: false, written }).expect("a thread");
        let line = |number: usize| format!("{number:1023}\n").into_bytes();
        let room = BYTES_MAX / 1024;
        for number in 0..2 * room + 100 {
            Lines(Some(queue)).write_all(&line(number)).unwrap();
        }
        // As much as waits may be in the hands of the writer.
        let lost = queue.lock().lost;
        assert!((100..=100 + room as u64).contains(&lost), "{lost}");
        queue.flush(Duration::from_millis(1));
        go.send(()).unwrap();
        queue.flush(Duration::from_secs(10));
        let text: Vec<u8> = output.try_iter().flatten().collect();
        assert_eq!(text.len() / 1024, 2 * room + 100 - usize::try_from(lost).unwrap());
        assert!(text.chunks(1024).take(room / 2).enumerate().all(|(at, text)| text == line(at)));
    }

    #[test]
    fn the_first_line_is_written_at_once_and_those_behind_it_together() {
        let (written, output) = channel();
        let (go, is_going) = channel();
        go.send(()).unwrap();
        let queue: &'static Queue = Box::leak(Box::new(Queue::new()));
        queue.start(Stalled { go: is_going, has_gone: false, written }).expect("a thread");
        let mut lines = Lines(Some(queue));
        lines.write_all(b"first\n").unwrap();
        let first = output.recv_timeout(Duration::from_secs(30)).expect("nobody asked for it");
        assert_eq!(first, b"first\n");
        for _ in 0..1000 {
            lines.write_all(b"next\n").unwrap();
        }
        queue.flush(Duration::from_secs(30));
        let writes: Vec<Vec<u8>> = output.try_iter().collect();
        assert_eq!(writes.concat(), b"next\n".repeat(1000));
        assert!(writes.len() < 100, "{} writes", writes.len());
    }
}

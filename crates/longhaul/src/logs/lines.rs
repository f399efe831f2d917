//! Writes log lines on a thread of their own, so that whoever reads our output and stalls never
//! stalls serving.
//!
//! At the bound of the queue lines are dropped and counted; the count is logged once there is room.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Lines that may wait; some MiB when every one of them is long.
const LINES_MAX: usize = 4096;

/// How long the end waits for the last lines to be written.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// The queue of this process, once logging has started.
static QUEUE: OnceLock<Lines> = OnceLock::new();

enum Message {
    Line(Vec<u8>),
    /// Everything before it has been written when this is answered.
    Flush(SyncSender<()>),
}

/// The way into the queue. Each `write` is one line.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

/// Starts the thread that writes to standard error.
///
/// # Errors
/// When the system refuses a thread.
pub(super) fn start() -> io::Result<Lines> {
    let lines = start_with(io::stderr())?;
    Ok(QUEUE.get_or_init(|| lines).clone())
}

/// Waits until what was logged so far is written, for a second at most.
pub(super) fn flush() {
    if let Some(lines) = QUEUE.get() {
        lines.flush(FLUSH_DEADLINE);
    }
}

fn start_with(output: impl Write + Send + 'static) -> io::Result<Lines> {
    let (queue, lines) = sync_channel(LINES_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&lost);
    // Ends with the process: it only ever waits for the next line.
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_all(&lines, output, &counter))?;
    Ok(Lines { queue, lost })
}

fn write_all(messages: &Receiver<Message>, mut output: impl Write, lost: &AtomicU64) {
    for message in messages {
        match message {
            // Where could it be told that telling fails?
            Message::Line(line) => drop(output.write_all(&line)),
            Message::Flush(done) => {
                let _ = output.flush();
                let _ = done.try_send(());
            }
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "log lines were dropped: nobody read them in time");
        }
    }
}

impl Lines {
    fn flush(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        let (done, is_done) = sync_channel(1);
        let mut message = Message::Flush(done);
        // A full queue has room again as soon as one line is written.
        while let Err(TrySendError::Full(refused)) = self.queue.try_send(message) {
            if Instant::now() >= until {
                return;
            }
            message = refused;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = is_done.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

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
        let mut lines =
            start_with(Stalled { go: is_going, has_gone: false, written }).expect("a thread");
        for number in 0..LINES_MAX + 100 {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        // One may be in the hands of the writer beside those in the queue.
        let lost = lines.lost.load(Ordering::Relaxed);
        assert!((99..=100).contains(&lost), "{lost}");
        lines.flush(Duration::from_millis(1));
        go.send(()).unwrap();
        lines.flush(Duration::from_secs(10));
        let texts: Vec<Vec<u8>> = output.try_iter().collect();
        assert_eq!(texts.len() as u64, LINES_MAX as u64 + 100 - lost);
        assert_eq!(texts[0], b"0\n");
    }
}

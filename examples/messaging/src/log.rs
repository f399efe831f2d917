//! The file by which replicas agree: one line of JSON for each message, in the order of all rooms together.
//!
//! Whoever wants to write takes the lock, reads what others have written, appends, and lets the lock go.
//! So two replicas never give the same number to two messages, nor two numbers to the same. The system lets
//! a lock go when its process is killed; a line that this left unfinished is no line, and the next writer
//! cuts it off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::rooms::Message;

/// Beyond this the file is written anew, with what rooms keep.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Far above the longest message as a line.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The shared log, as one replica holds it.
#[derive(Debug)]
pub(crate) struct Log {
    directory: PathBuf,
    lock: File,
    file: File,
    /// Up to where it was read: the end of a line.
    read_to: u64,
    bytes_max: u64,
}

/// The log while nobody else writes.
pub(crate) struct Locked<'a>(&'a mut Log);

impl Log {
    /// Opens it, or begins one.
    ///
    /// # Errors
    /// What the system says about files in this directory.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let lock = OpenOptions::new().create(true).append(true).open(directory.join("lock"))?;
        let directory = directory.to_owned();
        let file = open(&directory)?;
        Ok(Self { directory, lock, file, read_to: 0, bytes_max: FILE_BYTES_MAX })
    }

    /// Gives all messages that are new. What was there before a rewrite may be given again.
    ///
    /// # Errors
    /// What the system says; and a line that is no message.
    pub(crate) fn read(&mut self, mut take: impl FnMut(Message)) -> io::Result<()> {
        self.read_file(&mut take)?;
        // Somebody else may have written the file anew: then there is another one by this name.
        if fs::metadata(self.directory.join("log"))?.ino() != self.file.metadata()?.ino() {
            (self.file, self.read_to) = (open(&self.directory)?, 0);
            self.read_file(&mut take)?;
        }
        Ok(())
    }

    /// Waits until nobody else writes.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn lock(&mut self) -> io::Result<Locked<'_>> {
        self.lock.lock()?;
        Ok(Locked(self))
    }

    fn read_file(&mut self, take: &mut impl FnMut(Message)) -> io::Result<()> {
        if self.file.metadata()?.len() <= self.read_to {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(self.read_to))?;
        let mut lines = BufReader::new(&self.file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let count = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                if line.len() as u64 == LINE_BYTES_MAX {
                    return Err(io::Error::other(self.complaint("a line that is too long")));
                }
                // Nothing, or half a line of somebody who is about to write the rest.
                return Ok(());
            }
            let message = serde_json::from_slice(&line)
                .map_err(|error| io::Error::other(self.complaint(&error.to_string())))?;
            self.read_to += count as u64;
            take(message);
        }
    }

    fn complaint(&self, what: &str) -> String {
        let file = self.directory.join("log");
        format!("{}, byte {}: {what}; move it away to begin anew", file.display(), self.read_to)
    }
}

impl Locked<'_> {
    /// As [`Log::read`]. To be asked before anything is appended.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn read(&mut self, take: impl FnMut(Message)) -> io::Result<()> {
        self.0.read(take)
    }

    /// Writes a message behind everything that was read.
    ///
    /// # Errors
    /// What the system says. Then it is as if nothing had been written.
    pub(crate) fn append(&mut self, message: &Message) -> io::Result<()> {
        let log = &mut *self.0;
        if log.file.metadata()?.len() > log.read_to {
            // What a killed replica left: nobody has read it, since it is no whole line.
            log.file.set_len(log.read_to)?;
        }
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        log.file.write_all(&line)?;
        log.read_to += line.len() as u64;
        Ok(())
    }

    /// Writes the file anew with these messages when it has grown too long.
    ///
    /// # Errors
    /// What the system says. Then the file stays as it is.
    pub(crate) fn shorten<'m>(
        &mut self,
        kept: impl Iterator<Item = &'m Message>,
    ) -> io::Result<()> {
        let log = &mut *self.0;
        if log.read_to <= log.bytes_max {
            return Ok(());
        }
        let next = log.directory.join("log.next");
        let mut lines = BufWriter::new(File::create(&next)?);
        for message in kept {
            serde_json::to_writer(&mut lines, message)?;
            lines.write_all(b"\n")?;
        }
        let length = lines.into_inner()?.metadata()?.len();
        fs::rename(next, log.directory.join("log"))?;
        (log.file, log.read_to) = (open(&log.directory)?, length);
        Ok(())
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // It would fail for a file that is not open, and this one is.
        let _ = self.0.lock.unlock();
    }
}

fn open(directory: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).open(directory.join("log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64) -> Message {
        let [room, id, from, through] = ["lobby", "id", "Ada", "amber"].map(str::to_owned);
        Message { room, number, id, from, text: "x".repeat(100), through, at: 0 }
    }

    fn append(log: &mut Log, number: u64) {
        let mut locked = log.lock().unwrap();
        locked.read(|_| {}).unwrap();
        locked.append(&message(number)).unwrap();
    }

    fn numbers(log: &mut Log) -> Vec<u64> {
        let mut numbers = Vec::new();
        log.read(|message| numbers.push(message.number)).unwrap();
        numbers
    }

    #[test]
    fn each_reads_what_the_other_wrote_once() {
        let directory = tempfile::tempdir().unwrap();
        let [mut one, mut other] = [(); 2].map(|()| Log::open(directory.path()).unwrap());
        append(&mut one, 1);
        assert_eq!(numbers(&mut other), [1]);
        append(&mut one, 2);
        append(&mut one, 3);
        assert_eq!(numbers(&mut other), [2, 3]);
        assert_eq!(numbers(&mut other), [0; 0]);
        assert_eq!(numbers(&mut Log::open(directory.path()).unwrap()), [1, 2, 3]);
    }

    #[test]
    fn half_a_line_is_none_and_the_next_writer_cuts_it_off() {
        let directory = tempfile::tempdir().unwrap();
        let [mut one, mut other] = [(); 2].map(|()| Log::open(directory.path()).unwrap());
        append(&mut one, 1);
        let mut torn = OpenOptions::new().append(true).open(directory.path().join("log")).unwrap();
        torn.write_all(br#"{"room":"lob"#).unwrap();
        assert_eq!(numbers(&mut other), [1]);
        append(&mut one, 2);
        assert_eq!(numbers(&mut other), [2]);
    }

    #[test]
    fn a_file_that_was_written_anew_is_read_on() {
        let directory = tempfile::tempdir().unwrap();
        let [mut one, mut other] = [(); 2].map(|()| Log::open(directory.path()).unwrap());
        one.bytes_max = 500;
        (1..=4).for_each(|number| append(&mut one, number));
        assert_eq!(numbers(&mut other), [1, 2, 3, 4]);
        append(&mut one, 5);
        one.lock().unwrap().shorten([message(4), message(5)].iter()).unwrap();
        append(&mut one, 6);
        // What it had not read of the old file, then the new one from its beginning.
        assert_eq!(numbers(&mut other), [5, 4, 5, 6]);
        append(&mut other, 7);
        assert_eq!(numbers(&mut one), [7]);
    }

    #[test]
    fn a_file_of_something_else_is_refused_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("log"), "no message\n").unwrap();
        let error = Log::open(directory.path()).unwrap().read(|_| {}).unwrap_err().to_string();
        assert!(error.contains("log, byte 0") && error.contains("move it away"), "{error}");
    }
}

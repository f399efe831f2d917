//! Moves bulk from one socket to another through a pipe of the kernel's, so that it is never copied
//! to user space.
//!
//! Measured (`bench/passthrough`): where reads fill the copying path's buffer, this halves the CPU
//! time per byte; for small messages it gains nothing, and a new pipe costs about half of one.
//! So a direction starts by copying, comes here once its reads are full, and goes back when they are
//! thin. A pipe is lent while bytes flow and given back as soon as the source has nothing more:
//! connections that are idle hold none.
//!
//! Start at [`Bulk::step`].

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Full reads in a row that make a transfer bulk.
const FULL_READS_MIN: u32 = 4;
/// Less than this in one move is thin: copying it costs the same or less.
const THIN_BYTES: usize = 16 * 1024;
/// Thin moves in a row that end bulk.
const THIN_MOVES_MAX: u32 = 4;
/// Bytes one pipe may hold: more than the default of 64 KiB, because each packet takes a slot however
/// small it is. Where the system refuses so much, the default does.
const PIPE_BYTES: usize = 256 * 1024;
/// Pipes of one worker, and so 8 MiB of kernel memory at the most. The kernel gives unprivileged users
/// 64 MiB before it makes all their pipes tiny.
const PIPES_MAX: usize = 32;
/// Pipes kept for the next burst.
const SPARES_MAX: usize = 4;

/// Whether the system lets us splice at all: some sandboxes do not.
static IS_POSSIBLE: AtomicBool = AtomicBool::new(true);

thread_local! {
    static PIPES: RefCell<Pipes> = const { RefCell::new(Pipes { spare: Vec::new(), count: 0 }) };
}

/// The pipes of one worker.
struct Pipes {
    spare: Vec<Pipe>,
    /// All there are, spare or lent.
    count: usize,
}

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// A pipe in use. Given back when it is dropped empty; what is still in it is lost with it.
#[derive(Debug)]
struct Lent {
    /// Always there until it is dropped.
    pipe: Option<Pipe>,
    filled: usize,
}

/// One direction of a connection: whether its bytes are bulk, and the pipe they flow through.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    is_on: bool,
    full_reads: u32,
    thin_moves: u32,
    lent: Option<Lent>,
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many bytes came from the source, and some may have gone on.
    Some(usize),
    /// Nothing moved; the task is woken when something can.
    Nothing,
    /// The source has ended, and everything of it has gone on.
    End,
    /// It is not bulk, or not possible: copy instead.
    Refused,
}

impl Bulk {
    /// Whether the next bytes of this direction go through [`Bulk::step`].
    pub(super) fn is_on(&self) -> bool {
        self.is_on || self.lent.is_some()
    }

    /// Takes notice of one read of the copying path.
    pub(super) fn note_read(&mut self, is_full: bool) {
        self.full_reads = if is_full { self.full_reads + 1 } else { 0 };
        if self.full_reads >= FULL_READS_MIN && IS_POSSIBLE.load(Ordering::Relaxed) {
            *self = Self { is_on: true, ..Self::default() };
        }
    }

    /// Moves what `from` has to `to`, once.
    ///
    /// # Errors
    /// True when reading failed, false when writing did.
    pub(super) fn step(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Result<Moved, bool> {
        let Some(lent) = self.lent.take().or_else(|| self.borrow()) else {
            *self = Self::default();
            return Ok(Moved::Refused);
        };
        let lent = self.lent.insert(lent);
        let mut came = 0;
        if lent.filled == 0 {
            match lent.fill(from, cx) {
                // The pipe is not kept while nothing flows.
                Poll::Pending => {
                    self.lent = None;
                    return Ok(Moved::Nothing);
                }
                Poll::Ready(Ok(0)) => {
                    *self = Self::default();
                    return Ok(Moved::End);
                }
                Poll::Ready(Ok(len)) => came = len,
                Poll::Ready(Err(error)) if is_refusal(&error) => {
                    IS_POSSIBLE.store(false, Ordering::Relaxed);
                    *self = Self::default();
                    return Ok(Moved::Refused);
                }
                Poll::Ready(Err(_)) => return Err(true),
            }
        }
        let went = lent.drain(to, cx).map_err(|_| false)?;
        let is_empty = lent.filled == 0;
        if came > 0 {
            self.thin_moves = if came < THIN_BYTES { self.thin_moves + 1 } else { 0 };
        }
        if self.thin_moves >= THIN_MOVES_MAX {
            self.is_on = false;
        }
        if is_empty && !self.is_on {
            *self = Self::default();
        }
        Ok(if came == 0 && went == 0 { Moved::Nothing } else { Moved::Some(came) })
    }

    /// Takes out what lies in the pipe, and gives the pipe back.
    pub(super) fn spill(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(Lent { pipe: Some(pipe), filled }) = &mut self.lent {
            bytes.resize(*filled, 0);
            let mut taken = 0;
            while taken < bytes.len() {
                match rustix::io::read(&pipe.reader, &mut bytes[taken..]) {
                    Err(Errno::INTR) => {}
                    Ok(len) if len > 0 => taken += len,
                    // It holds what went in: this does not happen.
                    Ok(_) | Err(_) => break,
                }
            }
            bytes.truncate(taken);
            *filled -= taken;
        }
        *self = Self::default();
        bytes
    }

    fn borrow(&self) -> Option<Lent> {
        let pipe = self.is_on.then(|| PIPES.with_borrow_mut(Pipes::take)).flatten()?;
        Some(Lent { pipe: Some(pipe), filled: 0 })
    }
}

impl Lent {
    fn fill(&mut self, from: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Ok(0)) };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        loop {
            ready!(from.poll_read_ready(cx))?;
            let taken = from.try_io(Interest::READABLE, || {
                Ok(splice(from, None, &pipe.writer, None, PIPE_BYTES, flags)?)
            });
            match taken {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(len) => {
                    self.filled = len;
                    return Poll::Ready(Ok(len));
                }
            }
        }
    }

    /// Returns how much went out. The task is woken when more can.
    fn drain(&mut self, to: &TcpStream, cx: &mut Context<'_>) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let before = self.filled;
        while self.filled > 0 {
            let Poll::Ready(ready) = to.poll_write_ready(cx) else { break };
            ready?;
            let given = to.try_io(Interest::WRITABLE, || {
                Ok(splice(&pipe.reader, None, to, None, self.filled, flags)?)
            });
            match given {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.filled -= len.min(self.filled),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(before - self.filled)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        let is_empty = self.filled == 0;
        // At the end of its thread the list is gone, and the pipe is simply closed.
        let _ = PIPES.try_with(|pipes| pipes.borrow_mut().give_back(pipe, is_empty));
    }
}

impl Pipes {
    fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.spare.pop() {
            return Some(pipe);
        }
        if self.count >= PIPES_MAX {
            return None;
        }
        // Without a descriptor to spare, copying goes on.
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        self.count += 1;
        Some(Pipe { reader, writer })
    }

    fn give_back(&mut self, pipe: Pipe, is_empty: bool) {
        if is_empty && self.spare.len() < SPARES_MAX {
            self.spare.push(pipe);
        } else {
            // Dropped, and so closed.
            self.count = self.count.saturating_sub(1);
        }
    }
}

/// Whether the system says no to splicing as such.
fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP];
    let code = error.raw_os_error();
    refusals.iter().any(|refusal| Some(refusal.raw_os_error()) == code)
}

#[cfg(test)]
mod tests;

//! The floor once more, over io_uring: completions instead of readiness, and buffers that the kernel
//! fills by itself. A spike, to see what another way of asking the kernel would be worth (see the
//! decision record on io_uring); what it holds for slow readers is bounded by its pool alone.
#![allow(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

const ENTRIES: u32 = 1024;
const BUFFERS: u16 = 512;
const BUFFER_BYTES: usize = 64 * 1024;
const GROUP: u16 = 0;

/// What a completion is of, in the topmost byte of its word; the descriptor is below.
const ACCEPT: u64 = 1;
const RECV: u64 = 2;
const SEND: u64 = 3;

/// Whether this kernel, and what confines this process, has it.
pub(crate) fn is_there() -> bool {
    ring().and_then(|ring| Pool::new(&ring)).is_ok()
}

fn ring() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_defer_taskrun()
        .setup_cqsize(4 * ENTRIES)
        .build(ENTRIES)
}

/// Buffers that the kernel takes from a ring and we put back.
struct Pool {
    ring: *mut BufRingEntry,
    bytes: Vec<u8>,
    tail: u16,
}

impl Pool {
    /// Registers buffers that live until the process ends.
    fn new(uring: &IoUring) -> io::Result<Self> {
        const PAGE: usize = 4096;
        let len = usize::from(BUFFERS) * size_of::<BufRingEntry>();
        let room = vec![0_u8; len + PAGE].leak();
        let start = room.as_mut_ptr();
        // In bounds: the room is a page longer than the ring.
        let ring = start.wrapping_add(start.align_offset(PAGE)).cast::<BufRingEntry>();
        // SAFETY: page-aligned, zeroed, of `BUFFERS` entries, and leaked: valid to the end.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(ring as u64, BUFFERS, GROUP, 0)?;
        }
        let mut pool = Self { ring, bytes: vec![0; usize::from(BUFFERS) * BUFFER_BYTES], tail: 0 };
        (0..BUFFERS).for_each(|id| pool.put_back(id));
        Ok(pool)
    }

    fn at(&mut self, id: u16) -> *mut u8 {
        self.bytes[usize::from(id) * BUFFER_BYTES..].as_mut_ptr()
    }

    fn put_back(&mut self, id: u16) {
        let start = self.at(id) as u64;
        let place = usize::from(self.tail & (BUFFERS - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `place` is below `BUFFERS`; the kernel reads entries below the tail only, and this
        // one is below it only after the store, by the one thread that has the pool. The tail lies
        // in the first entry, which the kernel only reads.
        unsafe {
            let entry = &mut *self.ring.add(place);
            entry.set_addr(start);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(self.ring).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

struct End {
    stream: TcpStream,
    across: RawFd,
    /// Buffers to be sent to this end, the first of which is on its way.
    queue: VecDeque<Piece>,
    is_reading: bool,
    has_ended: bool,
    /// Whether its write direction ends behind the queue.
    is_finishing: bool,
}

#[derive(Clone, Copy)]
struct Piece {
    buffer: u16,
    sent: usize,
    len: usize,
}

struct Relay {
    uring: IoUring,
    pool: Pool,
    ends: HashMap<RawFd, End>,
    /// Ends that found the pool empty.
    starved: Vec<RawFd>,
    upstream: SocketAddr,
}

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr, upstream: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    let uring = ring()?;
    let pool = Pool::new(&uring)?;
    let mut relay = Relay { uring, pool, ends: HashMap::new(), starved: Vec::new(), upstream };
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build();
    relay.push(&accept.user_data(ACCEPT << 56))?;
    let mut completions: Vec<cqueue::Entry> = Vec::new();
    loop {
        match relay.uring.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        completions.extend(relay.uring.completion());
        for completion in completions.drain(..) {
            relay.turn(&completion)?;
        }
    }
}

impl Relay {
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what an entry points to are buffers of the pool, which live to the end.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            self.uring.submit()?;
        }
        Ok(())
    }

    fn turn(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let (word, result) = (completion.user_data(), completion.result());
        let fd = (word & 0xffff_ffff) as RawFd;
        match word >> 56 {
            ACCEPT if result >= 0 => self.open(result),
            RECV => self.received(fd, result, completion.flags()),
            SEND => self.sent(fd, result),
            _ => Err(io::Error::from_raw_os_error(-result)),
        }
    }

    fn open(&mut self, client: RawFd) -> io::Result<()> {
        // SAFETY: the kernel has just made it for this accept, and nobody else has it.
        let client = unsafe { TcpStream::from_raw_fd(client) };
        let backend = TcpStream::connect(self.upstream)?;
        let fds = [client.as_raw_fd(), backend.as_raw_fd()];
        for (at, stream) in [client, backend].into_iter().enumerate() {
            stream.set_nodelay(true)?;
            let end = End {
                stream,
                across: fds[1 - at],
                queue: VecDeque::new(),
                is_reading: false,
                has_ended: false,
                is_finishing: false,
            };
            self.ends.insert(fds[at], end);
        }
        fds.into_iter().try_for_each(|fd| self.read(fd))
    }

    fn read(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(end) = self.ends.get_mut(&fd) else { return Ok(()) };
        end.is_reading = true;
        let entry = opcode::RecvMulti::new(Fd(fd), GROUP).build();
        self.push(&entry.user_data(RECV << 56 | fd as u64))
    }

    fn received(&mut self, fd: RawFd, result: i32, flags: u32) -> io::Result<()> {
        let Some(end) = self.ends.get_mut(&fd) else { return Ok(()) };
        let across = end.across;
        end.is_reading = cqueue::more(flags);
        let goes_on = end.is_reading;
        match (result, cqueue::buffer_select(flags)) {
            (1.., Some(buffer)) => {
                let piece = Piece { buffer, sent: 0, len: result as usize };
                let Some(other) = self.ends.get_mut(&across) else { return Ok(()) };
                other.queue.push_back(piece);
                if other.queue.len() == 1 {
                    self.send(across)?;
                }
                if !goes_on {
                    self.read(fd)?;
                }
            }
            (result, buffer) => {
                buffer.into_iter().for_each(|buffer| self.pool.put_back(buffer));
                if result == -rustix::io::Errno::NOBUFS.raw_os_error() {
                    self.starved.push(fd);
                    return Ok(());
                }
                if let Some(end) = self.ends.get_mut(&fd) {
                    end.has_ended = true;
                }
                self.finish(across);
                self.close(fd);
            }
        }
        Ok(())
    }

    fn send(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(&Piece { buffer, sent, len }) =
            self.ends.get(&fd).and_then(|end| end.queue.front())
        else {
            return Ok(());
        };
        let start = self.pool.at(buffer).wrapping_add(sent);
        let entry = opcode::Send::new(Fd(fd), start, (len - sent) as u32).build();
        self.push(&entry.user_data(SEND << 56 | fd as u64))
    }

    fn sent(&mut self, fd: RawFd, result: i32) -> io::Result<()> {
        let Some(end) = self.ends.get_mut(&fd) else { return Ok(()) };
        let Some(piece) = end.queue.front_mut() else { return Ok(()) };
        if result < 0 {
            let _ = end.stream.shutdown(Shutdown::Both);
            let left: Vec<Piece> = end.queue.drain(..).collect();
            left.into_iter().for_each(|piece| self.pool.put_back(piece.buffer));
            self.close(fd);
            return Ok(());
        }
        piece.sent += result as usize;
        if piece.sent == piece.len {
            let buffer = piece.buffer;
            end.queue.pop_front();
            self.pool.put_back(buffer);
        }
        self.send(fd)?;
        let is_done = self.ends.get(&fd).is_some_and(|end| end.queue.is_empty());
        if is_done && self.ends.get(&fd).is_some_and(|end| end.is_finishing) {
            self.finish(fd);
            self.close(fd);
        }
        std::mem::take(&mut self.starved).into_iter().try_for_each(|fd| self.read(fd))
    }

    /// Ends the write direction of `fd` behind what is queued.
    fn finish(&mut self, fd: RawFd) {
        let Some(end) = self.ends.get_mut(&fd) else { return };
        end.is_finishing = true;
        if end.queue.is_empty() {
            let _ = end.stream.shutdown(Shutdown::Write);
        }
    }

    /// Forgets a pair that has ended both ways and of which the kernel has nothing more to say.
    fn close(&mut self, fd: RawFd) {
        let Some(across) = self.ends.get(&fd).map(|end| end.across) else { return };
        let is_over = [fd, across].iter().all(|fd| {
            self.ends
                .get(fd)
                .is_none_or(|end| end.has_ended && !end.is_reading && end.queue.is_empty())
        });
        if is_over {
            self.ends.remove(&fd);
            self.ends.remove(&across);
        }
    }
}

//! The floor: an epoll loop that reads from one socket and writes to the other, and parses nothing.
//! Whatever a proxy takes beyond this, it takes for being a proxy.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use rustix::event::epoll;

const BUFFER_BYTES: usize = 256 * 1024;
const LISTENER: u64 = u64::MAX;

struct End {
    stream: TcpStream,
    /// Where its bytes go.
    across: u64,
    /// Bytes the other end refused; while there are some, this end is not read.
    waiting: Vec<u8>,
    has_ended: bool,
}

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr, upstream: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&queue, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut ends: HashMap<u64, End> = HashMap::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Vec::with_capacity(512);
    loop {
        events.clear();
        epoll::wait(&queue, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                LISTENER => accept(&listener, upstream, &queue, &mut ends)?,
                token => turn(token, event.flags, &queue, &mut ends, &mut buffer)?,
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    upstream: SocketAddr,
    queue: &impl AsFd,
    ends: &mut HashMap<u64, End>,
) -> io::Result<()> {
    loop {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        // On loopback a connect takes no time worth a state of its own.
        let backend = TcpStream::connect(upstream)?;
        let tokens = [client.as_raw_fd() as u64, backend.as_raw_fd() as u64];
        for (at, stream) in [client, backend].into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let data = epoll::EventData::new_u64(tokens[at]);
            epoll::add(queue, &stream, data, epoll::EventFlags::IN)?;
            let end = End { stream, across: tokens[1 - at], waiting: Vec::new(), has_ended: false };
            ends.insert(tokens[at], end);
        }
    }
}

/// Deals with one event; ends the pair when it cannot go on.
fn turn(
    token: u64,
    flags: epoll::EventFlags,
    queue: &impl AsFd,
    ends: &mut HashMap<u64, End>,
    buffer: &mut [u8],
) -> io::Result<()> {
    let Some(across) = ends.get(&token).map(|end| end.across) else { return Ok(()) };
    let mut is_over = false;
    if flags.contains(epoll::EventFlags::OUT) {
        is_over |= flush(token, across, queue, ends).is_err();
    }
    if !is_over
        && flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
    {
        is_over |= pass(token, across, queue, ends, buffer).is_err();
    }
    is_over |= [token, across].iter().all(|end| ends.get(end).is_none_or(|end| end.has_ended));
    if is_over {
        // Dropping a socket takes it out of the queue.
        ends.remove(&token);
        ends.remove(&across);
    }
    Ok(())
}

/// Reads `token` once and writes to `across`.
fn pass(
    token: u64,
    across: u64,
    queue: &impl AsFd,
    ends: &mut HashMap<u64, End>,
    buffer: &mut [u8],
) -> io::Result<()> {
    let Some(end) = ends.get_mut(&token) else { return Ok(()) };
    let read = match end.stream.read(buffer) {
        Ok(0) => {
            end.has_ended = true;
            watch(queue, end, token, epoll::EventFlags::empty())?;
            return ends.get(&across).map_or(Ok(()), |end| end.stream.shutdown(Shutdown::Write));
        }
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    let Some(other) = ends.get_mut(&across) else { return Ok(()) };
    let written = match other.stream.write(&buffer[..read]) {
        Ok(written) => written,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    if written < read {
        watch(queue, other, across, epoll::EventFlags::IN | epoll::EventFlags::OUT)?;
        let Some(end) = ends.get_mut(&token) else { return Ok(()) };
        end.waiting.extend_from_slice(&buffer[written..read]);
        watch(queue, end, token, epoll::EventFlags::empty())?;
    }
    Ok(())
}

/// Writes to `token` what waits for it at `across`.
fn flush(
    token: u64,
    across: u64,
    queue: &impl AsFd,
    ends: &mut HashMap<u64, End>,
) -> io::Result<()> {
    let Some(mut waiting) = ends.get_mut(&across).map(|end| std::mem::take(&mut end.waiting))
    else {
        return Ok(());
    };
    let Some(end) = ends.get_mut(&token) else { return Ok(()) };
    match end.stream.write(&waiting) {
        Ok(written) => drop(waiting.drain(..written)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    if waiting.is_empty() {
        watch(queue, end, token, epoll::EventFlags::IN)?;
        if let Some(source) = ends.get(&across)
            && !source.has_ended
        {
            watch(queue, source, across, epoll::EventFlags::IN)?;
        }
    } else if let Some(source) = ends.get_mut(&across) {
        source.waiting = waiting;
    }
    Ok(())
}

fn watch(queue: &impl AsFd, end: &End, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
    epoll::modify(queue, &end.stream, epoll::EventData::new_u64(token), flags)?;
    Ok(())
}

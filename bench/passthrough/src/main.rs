//! Moves bytes between two sockets in two ways and says what each costs its thread in CPU time.
//!
//! A client and an echoing server run in threads of their own; the relay between them has a thread
//! with a single-threaded runtime, as a worker of the gateway has. Only its time is counted, by the
//! kernel's clock of that thread, and its time in user and system mode by `/proc/self/task/*/stat`.
//!
//! `longhaul-bench-passthrough [MIB]` prints one table; MIB is the size of the bulk transfers.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};

const COPY_BYTES: usize = 64 * 1024;
const MESSAGES_BYTES: [usize; 5] = [64, 1024, 4 * 1024, 16 * 1024, 64 * 1024];
/// Message round trips on one connection, so many that the kernel's ticks do not matter.
const TRIPS: usize = 40_000;
/// Writes of the bulk sender, as an application makes them.
const BULK_WRITE_BYTES: usize = 128 * 1024;

#[derive(Debug, Clone, Copy)]
enum Way {
    Copy,
    /// Through a pipe of this capacity that the connection keeps.
    Splice(usize),
    /// Through a pipe that is made for each burst and closed when nothing more is there.
    SpliceFresh(usize),
}

const WAYS: [Way; 5] = [
    Way::Copy,
    Way::Splice(64 << 10),
    Way::Splice(256 << 10),
    Way::Splice(1 << 20),
    Way::SpliceFresh(64 << 10),
];

/// CPU time of the relay's thread.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu: Duration,
    user_ticks: u64,
    system_ticks: u64,
}

fn main() -> io::Result<()> {
    let bulk_mib = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2048);
    println!("| what | way | relay CPU | user/system | wall |\n|---|---|---|---|---|");
    for bytes in MESSAGES_BYTES {
        let trips = if bytes > 4096 { TRIPS / 4 } else { TRIPS };
        for way in WAYS {
            let (cost, wall) = measure(way, |address| round_trips(address, bytes, trips), true)?;
            let each = cost.cpu.as_secs_f64() * 1e6 / trips as f64;
            report(&format!("{bytes} B there and back"), way, format!("{each:.2} µs"), cost, wall);
        }
    }
    for way in WAYS {
        let (cost, wall) = measure(way, |address| bulk(address, bulk_mib << 20), false)?;
        let each = cost.cpu.as_secs_f64() * 1e9 / (bulk_mib << 10) as f64;
        report(&format!("{bulk_mib} MiB one way"), way, format!("{each:.0} ns/KiB"), cost, wall);
    }
    Ok(())
}

fn report(what: &str, way: Way, each: String, cost: Cost, wall: Duration) {
    let Cost { user_ticks, system_ticks, .. } = cost;
    println!("| {what} | {way:?} | {each} | {user_ticks}/{system_ticks} ticks | {wall:.2?} |");
}

/// Runs `load` against a relay that moves bytes in this way to a server that echoes or discards.
fn measure(
    way: Way,
    load: impl FnOnce(SocketAddr) -> io::Result<()>,
    echoes: bool,
) -> io::Result<(Cost, Duration)> {
    let backend = std::net::TcpListener::bind("127.0.0.1:0")?;
    let backend_address = backend.local_addr()?;
    let server = thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = backend.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                read if echoes => stream.write_all(&buffer[..read])?,
                _ => {}
            }
        }
    });
    let front = std::net::TcpListener::bind("127.0.0.1:0")?;
    let front_address = front.local_addr()?;
    let relay = thread::spawn(move || -> io::Result<Cost> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            front.set_nonblocking(true)?;
            let (client, _) = TcpListener::from_std(front)?.accept().await?;
            let backend = TcpStream::connect(backend_address).await?;
            client.set_nodelay(true)?;
            backend.set_nodelay(true)?;
            let before = own_cost()?;
            relay(client, backend, way).await?;
            let after = own_cost()?;
            Ok(Cost {
                cpu: after.cpu - before.cpu,
                user_ticks: after.user_ticks - before.user_ticks,
                system_ticks: after.system_ticks - before.system_ticks,
            })
        })
    });
    let started = Instant::now();
    load(front_address)?;
    let cost = relay.join().expect("the relay does not panic")?;
    let wall = started.elapsed();
    server.join().expect("the server does not panic")?;
    Ok((cost, wall))
}

fn own_cost() -> io::Result<Cost> {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let cpu = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
    let id = rustix::thread::gettid().as_raw_nonzero();
    let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat"))?;
    // Fields 14 and 15, counted behind the name in parentheses.
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    let &[user_ticks, system_ticks] = fields.as_slice() else {
        return Err(io::Error::other("unknown form of /proc/self/task/*/stat"));
    };
    Ok(Cost { cpu, user_ticks, system_ticks })
}

fn round_trips(address: SocketAddr, bytes: usize, trips: usize) -> io::Result<()> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (message, mut answer) = (vec![1; bytes], vec![0; bytes]);
    for _ in 0..trips {
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
    }
    Ok(())
}

fn bulk(address: SocketAddr, bytes: usize) -> io::Result<()> {
    let mut stream = std::net::TcpStream::connect(address)?;
    let piece = vec![1; BULK_WRITE_BYTES];
    for _ in 0..bytes / BULK_WRITE_BYTES {
        stream.write_all(&piece)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // The server's end says that all has arrived.
    let _ = stream.read(&mut [0; 1]);
    Ok(())
}

async fn relay(mut client: TcpStream, mut backend: TcpStream, way: Way) -> io::Result<()> {
    let (up_read, up_write) = client.split();
    let (down_read, down_write) = backend.split();
    let up = one_way(up_read, down_write, way);
    let down = one_way(down_read, up_write, way);
    let (up, down) = tokio::join!(up, down);
    up.and(down)
}

async fn one_way(
    mut from: tokio::net::tcp::ReadHalf<'_>,
    mut to: tokio::net::tcp::WriteHalf<'_>,
    way: Way,
) -> io::Result<()> {
    match way {
        Way::Copy => {
            let mut buffer = vec![0; COPY_BYTES];
            loop {
                let read = from.read(&mut buffer).await?;
                if read == 0 {
                    return to.shutdown().await;
                }
                to.write_all(&buffer[..read]).await?;
            }
        }
        Way::Splice(capacity) => {
            let pipe = pipe_of(capacity)?;
            while splice_burst(&from, &to, &pipe, capacity, true).await? {}
            to.shutdown().await
        }
        Way::SpliceFresh(capacity) => loop {
            from.readable().await?;
            let pipe = pipe_of(capacity)?;
            if !splice_burst(&from, &to, &pipe, capacity, false).await? {
                return to.shutdown().await;
            }
        },
    }
}

fn pipe_of(capacity: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    if capacity != 64 << 10 {
        fcntl_setpipe_size(&pipe.1, capacity)?;
    }
    Ok(pipe)
}

/// Moves until the source has nothing more; false at its end.
async fn splice_burst(
    from: &tokio::net::tcp::ReadHalf<'_>,
    to: &tokio::net::tcp::WriteHalf<'_>,
    (pipe_out, pipe_in): &(OwnedFd, OwnedFd),
    capacity: usize,
    waits: bool,
) -> io::Result<bool> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    let (from, to): (&TcpStream, &TcpStream) = (from.as_ref(), to.as_ref());
    loop {
        if waits {
            from.readable().await?;
        }
        let taken = from
            .try_io(Interest::READABLE, || Ok(splice(from, None, pipe_in, None, capacity, flags)?));
        let mut left = match taken {
            Ok(0) => return Ok(false),
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        while left > 0 {
            to.writable().await?;
            let given = to
                .try_io(Interest::WRITABLE, || Ok(splice(pipe_out, None, to, None, left, flags)?));
            match given {
                Ok(given) => left -= given,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

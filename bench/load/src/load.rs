//! Clients: each echo is compared with what was sent, and counts only then.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::stream::{Stream, Target};

/// Longest wait for one echo or handshake; beyond it the run fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections opened at once when many are wanted.
const OPENING: usize = 32;

/// Runs clients on a thread of their own.
pub(crate) fn block_on<T>(clients: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, clients)
}

/// What a while of echoes brought.
pub(crate) struct Echoes {
    pub(crate) count: u64,
    /// Of each echo, in the order they came back.
    pub(crate) latencies: Vec<Duration>,
}

/// Opens many WebSockets.
pub(crate) async fn open_all(target: &Target, count: usize) -> io::Result<Vec<Stream>> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let batch = OPENING.min(count - streams.len());
        let opening: Vec<_> = (0..batch)
            .map(|_| {
                let target = target.clone();
                tokio::task::spawn_local(async move { timeout(PATIENCE, target.open()).await })
            })
            .collect();
        for stream in opening {
            streams.push(stream.await.map_err(io::Error::other)???);
        }
    }
    Ok(streams)
}

/// One message and its echo, for a connection that sends the same size again and again.
struct Message {
    frame: Vec<u8>,
    payload_at: usize,
    expected: Vec<u8>,
    got: Vec<u8>,
    number: u64,
}

impl Message {
    fn new(size: usize) -> Self {
        let mut header = vec![0x82];
        match size {
            0..126 => header.push(size as u8),
            126..65536 => {
                header.push(126);
                header.extend((size as u16).to_be_bytes());
            }
            _ => {
                header.push(127);
                header.extend((size as u64).to_be_bytes());
            }
        }
        let mut expected = header.clone();
        header[1] |= 0x80;
        // A mask key of zeros is as good as any to a proxy, and spares the client the masking.
        header.extend([0; 4]);
        let payload_at = header.len();
        let payload: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
        expected.extend(&payload);
        let got = vec![0; expected.len()];
        let frame = [header, payload].concat();
        Self { frame, payload_at, expected, got, number: 0 }
    }

    /// Sends the message with a number of its own and compares what comes back.
    async fn echo(&mut self, stream: &mut Stream) -> io::Result<()> {
        self.number += 1;
        let number = self.number.to_be_bytes();
        let len = number.len().min(self.frame.len() - self.payload_at);
        let behind = self.expected.len() - (self.frame.len() - self.payload_at);
        self.frame[self.payload_at..self.payload_at + len].copy_from_slice(&number[8 - len..]);
        self.expected[behind..behind + len].copy_from_slice(&number[8 - len..]);
        stream.write_all(&self.frame).await?;
        timeout(PATIENCE, stream.read_exact(&mut self.got)).await??;
        if self.got == self.expected {
            return Ok(());
        }
        Err(io::Error::other(format!("echo {} came back changed", self.number)))
    }
}

/// Every connection in turn sends one message and reads its echo.
pub(crate) async fn echo_once(streams: &mut [Stream], size: usize) -> io::Result<()> {
    let mut message = Message::new(size);
    for stream in streams {
        message.echo(stream).await?;
    }
    Ok(())
}

/// Closed loop: every connection sends its next message as soon as the last is back.
pub(crate) async fn echo_closed(
    streams: &mut Vec<Stream>,
    size: usize,
    time: Duration,
) -> io::Result<Echoes> {
    let until = Instant::now() + time;
    let latencies = Rc::new(RefCell::new(Vec::new()));
    let clients: Vec<_> = streams
        .drain(..)
        .map(|mut stream| {
            let latencies = latencies.clone();
            tokio::task::spawn_local(async move {
                let mut message = Message::new(size);
                while Instant::now() < until {
                    let sent = Instant::now();
                    message.echo(&mut stream).await?;
                    latencies.borrow_mut().push(sent.elapsed());
                }
                io::Result::Ok(stream)
            })
        })
        .collect();
    for client in clients {
        streams.push(client.await.map_err(io::Error::other)??);
    }
    let latencies = latencies.take();
    Ok(Echoes { count: latencies.len() as u64, latencies })
}

/// Open loop: messages are due at a fixed rate, whatever the peer does; the wait before a late
/// message counts as its latency.
pub(crate) async fn echo_open(
    streams: &mut Vec<Stream>,
    size: usize,
    per_second: f64,
    time: Duration,
) -> io::Result<Echoes> {
    let started = Instant::now();
    let next = Rc::new(Cell::new(0_u64));
    let latencies = Rc::new(RefCell::new(Vec::new()));
    let clients: Vec<_> = streams
        .drain(..)
        .map(|mut stream| {
            let (next, latencies) = (next.clone(), latencies.clone());
            tokio::task::spawn_local(async move {
                let mut message = Message::new(size);
                loop {
                    let due = started + Duration::from_secs_f64(next.get() as f64 / per_second);
                    if due > started + time {
                        return io::Result::Ok(stream);
                    }
                    next.set(next.get() + 1);
                    tokio::time::sleep_until(due.into()).await;
                    message.echo(&mut stream).await?;
                    latencies.borrow_mut().push(due.elapsed());
                }
            })
        })
        .collect();
    for client in clients {
        streams.push(client.await.map_err(io::Error::other)??);
    }
    let latencies = latencies.take();
    Ok(Echoes { count: latencies.len() as u64, latencies })
}

/// Opens and drops WebSockets from `clients` tasks; returns how many were opened.
pub(crate) async fn upgrade(target: &Target, clients: usize, time: Duration) -> io::Result<u64> {
    let until = Instant::now() + time;
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let target = target.clone();
            tokio::task::spawn_local(async move {
                let mut count = 0;
                while Instant::now() < until {
                    let mut stream = timeout(PATIENCE, target.open()).await??;
                    // An unmasked close of code 1000 would be a fault; this one is masked.
                    stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await?;
                    stream.shutdown().await?;
                    count += 1;
                }
                io::Result::Ok(count)
            })
        })
        .collect();
    let mut total = 0;
    for client in clients {
        total += client.await.map_err(io::Error::other)??;
    }
    Ok(total)
}

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// Copies from its first socket to its second, as long as what it reads is no `panic`.
struct Copier {
    sockets: [Socket; 2],
    alarm: Option<tokio::sync::oneshot::Receiver<()>>,
    /// Told when it is dropped, and when its alarm rang.
    told: Sender<&'static str>,
}

impl Drop for Copier {
    fn drop(&mut self) {
        let _ = self.told.send("dropped");
    }
}

impl Task for Copier {
    fn sockets(&self) -> [&Socket; 2] {
        self.sockets.each_ref()
    }
}

impl Future for Copier {
    type Output = Fate;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fate> {
        if let Some(alarm) = &mut self.alarm
            && Pin::new(alarm).poll(cx).is_ready()
        {
            self.alarm = None;
            let _ = self.told.send("alarm");
        }
        let mut bytes = [0; 16];
        loop {
            let mut read = ReadBuf::new(&mut bytes);
            let [from, to] = &mut self.sockets;
            let Poll::Ready(Ok(())) = Pin::new(from).poll_read(cx, &mut read) else {
                return Poll::Pending;
            };
            match read.filled() {
                [] => return Poll::Ready(Fate::Closed),
                b"panic" => panic!("as it was told"),
                filled => {
                    let wrote = Pin::new(to).poll_write(cx, filled);
                    assert!(matches!(wrote, Poll::Ready(Ok(len)) if len == filled.len()));
                }
            }
        }
    }
}

/// A reactor with what its tasks say.
struct Stage {
    _runtime: tokio::runtime::Runtime,
    reactor: Reactor,
    thread: JoinHandle<()>,
    told: Receiver<&'static str>,
    tell: Sender<&'static str>,
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.expect("a test may start a thread");
        let clock = Clock { period: Duration::from_secs(3600), tick: || () };
        let (reactor, thread) =
            Reactor::start("test".into(), runtime.handle().clone(), clock).unwrap();
        let (tell, told) = channel();
        Self { _runtime: runtime, reactor, thread, told, tell }
    }

    /// A copier's two far ends, and what rings its alarm.
    fn copier(&self) -> (UnixStream, UnixStream, tokio::sync::oneshot::Sender<()>) {
        let ((near_in, far_in), (near_out, far_out)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        far_out.set_read_timeout(Some(PATIENCE)).unwrap();
        let (ring, alarm) = tokio::sync::oneshot::channel();
        let told = self.tell.clone();
        self.reactor.run(move |hub| {
            let sockets = [near_in, near_out].map(|socket| {
                socket.set_nonblocking(true).unwrap();
                Socket::new(socket.into())
            });
            hub.add(Box::new(Copier { sockets, alarm: Some(alarm), told }));
        });
        (far_in, far_out, ring)
    }

    fn hear(&self) -> &'static str {
        self.told.recv_timeout(PATIENCE).expect("it says something in time")
    }
}

fn passes(text: &[u8], into: &mut UnixStream, out_of: &mut UnixStream) {
    into.write_all(text).unwrap();
    let mut came = vec![0; text.len()];
    out_of.read_exact(&mut came).unwrap();
    assert_eq!(came, text);
}

#[test]
fn what_comes_is_read_and_what_ends_is_dropped() {
    let stage = Stage::new();
    let (mut into, mut out_of, _ring) = stage.copier();
    for _ in 0..100 {
        passes(b"some bytes that take more than one read", &mut into, &mut out_of);
    }
    drop(into);
    assert_eq!(stage.hear(), "dropped");
    assert_eq!(out_of.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_task_is_woken_by_other_threads_too() {
    let stage = Stage::new();
    let (mut into, mut out_of, ring) = stage.copier();
    passes(b"before", &mut into, &mut out_of);
    ring.send(()).unwrap();
    assert_eq!(stage.hear(), "alarm");
    passes(b"behind", &mut into, &mut out_of);
}

#[test]
fn a_panic_ends_one_task_only_and_its_place_is_used_again() {
    let stage = Stage::new();
    let (mut into, mut out_of, _ring) = stage.copier();
    let (mut bad, mut bad_out, late) = stage.copier();
    bad.write_all(b"panic").unwrap();
    assert_eq!(stage.hear(), "dropped");
    assert_eq!(bad_out.read(&mut [0]).unwrap(), 0);
    let (mut next_in, mut next_out, _next_ring) = stage.copier();
    // Whoever still wakes the one that is gone reaches nobody. It may just be about to go.
    let _ = late.send(());
    passes(b"the neighbour", &mut into, &mut out_of);
    passes(b"the next one", &mut next_in, &mut next_out);
}

#[test]
fn its_clock_goes_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (tell, told) = channel();
    let tick = move || {
        let _ = tell.send(());
    };
    let clock = Clock { period: Duration::from_millis(1), tick };
    let (reactor, thread) = Reactor::start("test".into(), runtime.handle().clone(), clock).unwrap();
    for _ in 0..5 {
        told.recv_timeout(PATIENCE).expect("it ticks");
    }
    reactor.stop();
    thread.join().unwrap();
}

#[test]
fn its_tasks_end_with_it() {
    let stage = Stage::new();
    let (mut into, mut out_of, _ring) = stage.copier();
    passes(b"alive", &mut into, &mut out_of);
    let Stage { _runtime, reactor, thread, told, tell: _tell } = stage;
    reactor.stop();
    thread.join().unwrap();
    assert_eq!(told.try_recv(), Ok("dropped"));
}

#[test]
fn words_about_sockets_are_read_as_they_were_written() {
    let mut tasks = Tasks::default();
    let inbox = Arc::new(Inbox::new().unwrap());
    let (told, _hear) = channel();
    let copier = || {
        let (one, other) = UnixStream::pair().unwrap();
        let sockets = [Socket::new(one.into()), Socket::new(other.into())];
        Box::new(Copier { sockets, alarm: None, told: told.clone() })
    };
    let first = tasks.insert(copier(), &inbox);
    assert!(tasks.remove(first).is_some());
    let second = tasks.insert(copier(), &inbox);
    for side in 0..2 {
        assert_eq!(Key::and_side(second.with_side(side)), (second, side));
        assert_ne!(first.with_side(side), second.with_side(side));
    }
    assert!(tasks.get(first).is_none() && tasks.get(second).is_some());
}

//! Where clients wait for whom there is no place, and where probes are answered nevertheless.
//!
//! A platform that hears nothing from a gateway that is full takes it for dead, and ends every
//! WebSocket it holds. So clients are accepted even then, a few at a time, and looked at: who asks
//! for a health endpoint over plain HTTP/1.1 gets the answer, and all others wait. Where as many
//! wait as may, the next is told to come again.
//!
//! Start at [`enter`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::http::answer::Refusal;
use crate::http::body::Body;
use crate::http::health;
use crate::listen::{self, Ends};
use crate::places::Place;
use crate::shared::{ListenerId, Shared};
use crate::spares::Spares;
use crate::worker::Worker;

/// Clients that are looked at in one moment. With those who wait they stay well below the
/// descriptors that are kept back from connections.
const LOOKED_AT_MAX: usize = 32;
/// Clients that wait for a place, beside those in the kernel's queue.
const WAITING_MAX: usize = 64;
/// How long a request is waited for. A probe comes with its first packet.
const LOOK_MAX: Duration = Duration::from_millis(50);
/// The same without descriptors, where those who stay silent hold up the probes behind them.
const LOOK_MAX_AT_THE_END: Duration = Duration::from_millis(20);
/// Between two looks at a request that has not come whole: what is only looked at wakes nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long a socket that is empty may take an answer that fits into it.
const SAY_MAX: Duration = Duration::from_millis(100);
/// A probe has a short head.
const HEAD_BYTES_MAX: usize = 2048;
/// How often it is looked whether who waits is still there.
const STILL_THERE: Duration = Duration::from_secs(1);

/// Room for those who have no place.
#[derive(Debug)]
pub(crate) struct Lane {
    looks: Arc<Semaphore>,
    seats: Arc<Semaphore>,
    /// For those who come when there is no descriptor.
    pub(crate) spares: Arc<Spares>,
}

impl Default for Lane {
    fn default() -> Self {
        let room = |count| Arc::new(Semaphore::new(count));
        Self { looks: room(LOOKED_AT_MAX), seats: room(WAITING_MAX), spares: Arc::default() }
    }
}

impl Lane {
    /// How many clients wait.
    pub(crate) fn waiting(&self) -> usize {
        WAITING_MAX - self.seats.available_permits()
    }
}

/// A place for the next client, if there is one now.
pub(crate) fn place(shared: &Shared) -> Option<Place> {
    if shared.overload.is_full() { None } else { shared.places.try_take() }
}

/// Takes a client for whom there is no place. Returns as soon as the next one may be looked at.
pub(crate) async fn enter(worker: &Arc<Worker>, id: ListenerId, stream: TcpStream, ends: Ends) {
    let shared = worker.current.load_full();
    let Some(listener) = shared.listener_of(id) else { return };
    if !shared.front(listener).takes_plain_http() {
        // Nobody asks for health here, so that the others can wait where they are.
        let place = wait(&stream, &shared).await;
        return begin(worker, id, stream, ends, place);
    }
    let look = shared.lane.looks.clone().acquire_owned().await;
    let look = look.expect("the semaphore is never closed");
    tokio::spawn(stay(worker.clone(), shared, look, id, stream, ends));
}

/// One client in the lane, to the moment it has a place or is gone.
async fn stay(
    worker: Arc<Worker>,
    shared: Arc<Shared>,
    look: OwnedSemaphorePermit,
    id: ListenerId,
    stream: TcpStream,
    ends: Ends,
) {
    let is_short = shared.overload.is_out_of_descriptors();
    let patience = if is_short { LOOK_MAX_AT_THE_END } else { LOOK_MAX };
    if let Some(answer) = look_for_probe(&stream, &shared, patience).await {
        return say(stream, answer).await;
    }
    let seat = shared.lane.seats.clone().try_acquire_owned();
    let Some(seat) = seat.ok().filter(|_| !shared.overload.is_out_of_descriptors()) else {
        return refuse(stream, &shared).await;
    };
    drop(look);
    let place = wait(&stream, &shared).await;
    drop(seat);
    if place.is_none() && shared.overload.is_out_of_descriptors() {
        return refuse(stream, &shared).await;
    }
    drop(shared);
    begin(&worker, id, stream, ends, place);
}

/// Answers a client that came when there was no descriptor but those kept for this.
pub(crate) async fn answer_at_the_end(worker: &Worker, id: ListenerId, stream: TcpStream) {
    let shared = worker.current.load_full();
    let Some(listener) = shared.listener_of(id) else { return };
    if !shared.front(listener).takes_plain_http() {
        return;
    }
    match look_for_probe(&stream, &shared, LOOK_MAX_AT_THE_END).await {
        Some(answer) => say(stream, answer).await,
        None => refuse(stream, &shared).await,
    }
}

/// Waits for a place; `None` when the client has left, or must leave for its descriptor.
async fn wait(stream: &TcpStream, shared: &Shared) -> Option<Place> {
    let place = async {
        shared.overload.room().await;
        shared.places.take().await
    };
    tokio::select! {
        place = place => Some(place),
        () = must_end(stream, shared) => None,
    }
}

/// Waits for the end of what the client sends, or of the descriptors. What it has sent stays unread.
async fn must_end(stream: &TcpStream, shared: &Shared) {
    loop {
        sleep(STILL_THERE).await;
        if shared.overload.is_out_of_descriptors() {
            return;
        }
        let ready = stream.ready(Interest::READABLE);
        if let Ok(Ok(ready)) = timeout(Duration::ZERO, ready).await
            && ready.is_read_closed()
        {
            return;
        }
    }
}

fn begin(
    worker: &Arc<Worker>,
    id: ListenerId,
    stream: TcpStream,
    ends: Ends,
    place: Option<Place>,
) {
    if let Some(place) = place {
        listen::begin(worker, id, stream, ends, place);
    }
}

/// The answer to the client's request, if it asks for a health endpoint. Nothing is read.
async fn look_for_probe(
    stream: &TcpStream,
    shared: &Shared,
    patience: Duration,
) -> Option<Vec<u8>> {
    let mut bytes = vec![0; HEAD_BYTES_MAX];
    let head = timeout(patience, async {
        loop {
            let count = stream.peek(&mut bytes).await.ok()?;
            let is_whole = bytes[..count].windows(4).any(|end| end == b"\r\n\r\n");
            if is_whole || count == 0 || count == HEAD_BYTES_MAX {
                return is_whole.then_some(count);
            }
            sleep(LOOK_AGAIN).await;
        }
    });
    let count = head.await.ok()??;
    let (method, path) = asked(&bytes[..count])?;
    let answer = health::answer(shared, &method, path)?;
    Some(spelled(answer, method == Method::HEAD))
}

/// Method and path of a request in HTTP/1.1.
fn asked(head: &[u8]) -> Option<(Method, &str)> {
    let end = head.windows(2).position(|end| end == b"\r\n")?;
    let line = std::str::from_utf8(&head[..end]).ok()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_request = words.next().is_none() && matches!(version, "HTTP/1.1" | "HTTP/1.0");
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    is_request.then_some((method.parse().ok()?, path))
}

/// Tells a client to come again.
async fn refuse(stream: TcpStream, shared: &Shared) {
    let refusal = Refusal::Overloaded;
    shared.telemetry.refusals.count(&[refusal.cause()]);
    say(stream, spelled(refusal.answer(&HeaderMap::new()), false)).await;
}

/// An answer of our own as bytes.
fn spelled(answer: Response<Body>, is_head: bool) -> Vec<u8> {
    let (head, body) = answer.into_parts();
    let body = body.into_whole().unwrap_or_else(Bytes::new);
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let length = body.len();
    let rest = format!("content-length: {length}\r\nconnection: close\r\n\r\n");
    bytes.extend_from_slice(rest.as_bytes());
    if !is_head {
        bytes.extend_from_slice(&body);
    }
    bytes
}

/// Writes what fits into any socket's buffer, and ends the connection.
async fn say(mut stream: TcpStream, answer: Vec<u8>) {
    // What stays unread would turn the end into a reset, which may overtake the answer.
    let mut unread = [0; HEAD_BYTES_MAX];
    while stream.try_read(&mut unread).is_ok_and(|count| count > 0) {}
    let _ = timeout(SAY_MAX, stream.write_all(&answer)).await;
    let _ = stream.shutdown().await;
}

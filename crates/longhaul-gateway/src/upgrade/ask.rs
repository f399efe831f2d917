//! Asks replicas for a WebSocket until one answers.
//!
//! The plain case, a request that no library has read and an answer that is a clean 101, is written
//! and read here. Everything else goes to the library: it is given the connection with what was said
//! so far, and what it makes of it counts.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Instant;

use bytes::BytesMut;
use http::header::HOST;
use http::request::Parts;
use http::{Request, Response, response};
use hyper::body::Incoming;
use longhaul_proto::http1::Limits;
use longhaul_proto::http1::switching::{self, Start};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::rehearsed::Rehearsed;
use super::spelling::{self, Spelling};
use crate::dial::Dial;
use crate::http::answer::Refusal;
use crate::http::exchange::{self, ExchangeError, exchange};
use crate::http::failure::Failure;
use crate::http::pool::Lease;
use crate::http::upload::{Progress, Upload};
use crate::http::visit::Visit;
use crate::relay::Leg;
use crate::relay::stream::with_scratch;
use crate::tls::Alpn;
use crate::trace::Child;
use crate::transport::Transport;
use crate::upstream::{Held, Replica, Work};

/// Bytes read at once: the head of an answer and the first frames behind it.
const READ_BYTES: usize = 16 * 1024;
/// Reads that a head may take; it is looked at from its start each time. A replica that sends it in
/// more pieces is the library's.
const READS_MAX: usize = 8;
const LIMITS: Limits =
    Limits { head_bytes_max: READ_BYTES, fields_max: exchange::ANSWER_FIELDS_MAX };

/// What a replica said.
pub(super) enum Answered {
    /// A clean 101.
    Directly(response::Parts, Spelling, Leg<Transport>),
    /// What the library read, a 101 or not.
    ByLibrary(Lease, Response<Incoming>),
}

/// Asks replicas in turn until one took the handshake; from then on it is this one or none.
pub(super) async fn ask(
    visit: &Visit<'_>,
    head: &Parts,
    dial: &mut Dial<'_>,
) -> Result<(Arc<Replica>, Held, Answered), Failure> {
    let patience = visit.upstream().config().upgrade_answer;
    loop {
        let replica = pick(head, dial)?;
        let held = replica.hold(Work::WebSocket);
        let mut dialling = Child::begin_by_replica(head, "dial");
        dialling.note("longhaul.replica", || replica.address().to_string());
        // Copied for the library alone, which few handshakes need.
        let request = || {
            let mut request = visit.outbound(head, &replica, Upload::empty());
            if let Some((name, value)) = dialling.as_parent() {
                request.headers_mut().insert(name, value);
            }
            request
        };
        let Some(spelling) = head.extensions.get::<Spelling>() else {
            let request = request();
            let Some(stream) = dial.connect(&replica).await else {
                dialling.fail("no connection");
                continue;
            };
            match Box::pin(by_library(visit, &replica, stream, request, patience)).await {
                Ok(answered) => return Ok((replica, held, answered)),
                Err(ExchangeError::Unsent(_)) => replica.note_failure(Instant::now()),
                Err(error) => return Err(blame(error, &replica, &mut dialling)),
            }
            dialling.fail("the connection was closed");
            continue;
        };
        let host = visit.host_for(head, &replica).map(|host| (HOST, host));
        let instead = host.into_iter().chain(dialling.as_parent()).collect::<Vec<_>>();
        let words = spelling::write_request(head, &instead, Some(spelling));
        let Some(mut stream) = dial.connect_and_say(&replica, Alpn::Http1, &words).await else {
            dialling.fail("no connection");
            continue;
        };
        let asked_at = Instant::now();
        let late = ExchangeError::Failed(Refusal::AnswerTimeout, None);
        let read = match timeout(patience, read_answer(&mut stream)).await {
            Ok(Read::Clean(answer, spelling, read_ahead)) => {
                let leg = Leg::behind(stream, read_ahead.freeze());
                return Ok((replica, held, Answered::Directly(answer, spelling, leg)));
            }
            Ok(Read::Other(read)) => read,
            Err(_) => return Err(blame(late, &replica, &mut dialling)),
        };
        let left = patience.saturating_sub(asked_at.elapsed());
        let (stream, request) = (Rehearsed::new(stream, read), request());
        let answered = Box::pin(by_library(visit, &replica, stream, request, left)).await;
        return match answered {
            Ok(answered) => Ok((replica, held, answered)),
            Err(error) => Err(blame(error, &replica, &mut dialling)),
        };
    }
}

fn pick(head: &Parts, dial: &mut Dial<'_>) -> Result<Arc<Replica>, Failure> {
    let mut picking = Child::begin(head, "pick");
    let picked = dial.pick();
    match &picked {
        Ok(replica) => picking.note("longhaul.replica", || replica.address().to_string()),
        Err(failure) => picking.fail(failure.refusal.cause()),
    }
    picked
}

fn blame(error: ExchangeError, replica: &Replica, dialling: &mut Child) -> Failure {
    let failure = error.blame(replica);
    dialling.fail(failure.refusal.cause());
    failure
}

/// What was read of an answer.
enum Read {
    /// A clean 101, and what came behind it.
    Clean(response::Parts, Spelling, BytesMut),
    /// Something else, or nothing at all before the end.
    Other(BytesMut),
}

async fn read_answer(stream: &mut Transport) -> Read {
    let mut read = BytesMut::new();
    for _ in 0..READS_MAX {
        let len = poll_fn(|cx| {
            with_scratch(READ_BYTES, |scratch| {
                let mut buf = ReadBuf::new(scratch);
                let outcome = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf));
                read.extend_from_slice(buf.filled());
                Poll::Ready(outcome.map_or(0, |()| buf.filled().len()))
            })
        });
        if len.await == 0 {
            break;
        }
        match switching::judge(&read, &LIMITS) {
            Start::Partial => {}
            Start::Switching { len } => {
                // Mostly nothing: then the bytes need no second owner.
                let behind = if len < read.len() { read.split_off(len) } else { BytesMut::new() };
                let head = read.freeze();
                return match spelling::read_switching(head.clone()) {
                    Some((answer, spelling)) => Read::Clean(answer, spelling, behind),
                    None => Read::Other([&head[..], &behind].concat()[..].into()),
                };
            }
            Start::Other => break,
        }
    }
    Read::Other(read)
}

async fn by_library(
    visit: &Visit<'_>,
    replica: &Replica,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Upload>,
    patience: std::time::Duration,
) -> Result<Answered, ExchangeError> {
    let Ok(sender) = exchange::open(stream).await else {
        return Err(ExchangeError::Unsent(request.into_body()));
    };
    let mut lease = visit.worker.pool.lease(visit.upstream().pool_place(replica), sender, 0);
    let sent = exchange(&mut lease.sender, request, &Progress::default(), None, patience).await;
    sent.map(|answer| Answered::ByLibrary(lease, answer))
}

//! One request and its answer over one connection to a replica.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::answer::Refusal;
use super::expect::Gate;
use super::failure::Failure;
use super::upload::{Progress, Upload};
use crate::upstream::Replica;

/// How long a replica may leave `Expect: 100-continue` unanswered before the body is sent anyway
/// (RFC 9110 §10.1.1 asks clients for the same patience).
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);
/// Header fields of an answer; beyond it the answer counts as garbled.
pub(crate) const ANSWER_FIELDS_MAX: usize = 256;

/// Why an exchange brought no answer.
#[derive(Debug)]
pub(crate) enum ExchangeError {
    /// Not a byte was sent: another connection may be tried with the same request.
    Unsent(Upload),
    /// The replica says that it did not look at the request (RFC 9113 §8.7): it may be sent again,
    /// if it can.
    Refused(Refused, hyper::Error),
    /// The connection ended before an answer; whether the replica acted on the request is unknown.
    Missing(hyper::Error),
    /// Nothing may be tried again.
    Failed(Refusal, Option<hyper::Error>),
}

/// How a replica says that it did not look at a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// This stream, now: it may be busy.
    Stream,
    /// Its connection ends (GOAWAY); others may be begun.
    Connection,
}

impl ExchangeError {
    /// What the client is told and the log says; the replica's share of it goes to its record.
    pub(crate) fn blame(self, replica: &Replica) -> Failure {
        let (refusal, error) = match self {
            Self::Unsent(_) => (Refusal::Unreachable, None),
            Self::Refused(_, error) | Self::Missing(error) => (Refusal::AnswerMissing, Some(error)),
            Self::Failed(refusal, error) => (refusal, error),
        };
        if !matches!(refusal, Refusal::BodyAborted | Refusal::Violation(_)) {
            replica.note_failure(Instant::now());
        }
        let detail = error.as_ref().map(explain);
        Failure { replica: Some(replica.address()), detail, ..Failure::from(refusal) }
    }
}

/// Speaks HTTP over a fresh connection. The connection's task ends with it.
///
/// # Errors
/// What the library says of a connection that broke at once.
pub(crate) async fn open(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<http1::SendRequest<Upload>> {
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .max_headers(ANSWER_FIELDS_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    // Ends when the sender is dropped or the replica closes. A failure shows in the exchange that
    // waits for it, or as a closed connection in the pool.
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

/// Sends one request and waits for the head of its answer.
///
/// `patience` bounds the wait from the last piece of the body on; while the client still uploads,
/// the clock starts anew with each piece.
pub(crate) async fn exchange(
    sender: &mut http1::SendRequest<Upload>,
    mut request: Request<Upload>,
    progress: &Progress,
    gate: Option<Arc<Gate>>,
    patience: Duration,
) -> Result<Response<Incoming>, ExchangeError> {
    if let Some(gate) = gate.clone() {
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                gate.open();
            }
        });
    }
    let mut sent = pin!(sender.try_send_request(request));
    if let Some(gate) = gate {
        if let Ok(answer) = timeout(CONTINUE_PATIENCE.min(patience), sent.as_mut()).await {
            return answer.map_err(|error| classify(error, progress));
        }
        gate.open();
    }
    answer(sent, progress, patience).await
}

/// Waits for the head of the answer to what was `sent`.
pub(super) async fn answer(
    sent: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>>,
    progress: &Progress,
    patience: Duration,
) -> Result<Response<Incoming>, ExchangeError> {
    let mut sent = pin!(sent);
    loop {
        match timeout(patience, sent.as_mut()).await {
            Ok(answer) => return answer.map_err(|error| classify(error, progress)),
            Err(_) if progress.take_moved() => {}
            Err(_) => return Err(ExchangeError::Failed(Refusal::AnswerTimeout, None)),
        }
    }
}

fn classify(mut error: TrySendError<Request<Upload>>, progress: &Progress) -> ExchangeError {
    if let Some(request) = error.take_message() {
        return ExchangeError::Unsent(request.into_body());
    }
    let error = error.into_error();
    if let Some(violation) = progress.broken() {
        let refusal = violation.map_or(Refusal::BodyAborted, Refusal::Violation);
        ExchangeError::Failed(refusal, Some(error))
    } else if error.is_parse() || error.is_parse_too_large() {
        ExchangeError::Failed(Refusal::AnswerGarbled, Some(error))
    } else if let Some(refused) = refused(&error) {
        ExchangeError::Refused(refused, error)
    } else {
        ExchangeError::Missing(error)
    }
}

/// Whether the replica refused the stream, or said GOAWAY before it. The library gives that reason
/// to no stream that a GOAWAY let go on.
fn refused(error: &hyper::Error) -> Option<Refused> {
    let error = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
    if !error.is_remote() {
        return None;
    }
    let is_refusal = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    match error.is_go_away() {
        true => Some(Refused::Connection),
        false => is_refusal.then_some(Refused::Stream),
    }
}

/// The library's error with what caused it, which it keeps to itself otherwise.
pub(crate) fn explain(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

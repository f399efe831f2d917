//! One request and its answer over one connection to a replica.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::Refusal;
use super::body::{Progress, Upload};
use super::expect::Gate;

/// How long a replica may leave `Expect: 100-continue` unanswered before the body is sent anyway
/// (RFC 9110 §10.1.1 asks clients for the same patience).
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);
/// Header fields of an answer; beyond it the answer counts as garbled.
const ANSWER_FIELDS_MAX: usize = 256;

/// Why an exchange brought no answer.
#[derive(Debug)]
pub(crate) enum ExchangeError {
    /// Not a byte was sent: another connection may be tried with the same request.
    Unsent(Request<Upload>),
    /// The connection ended before an answer; whether the replica acted on the request is unknown.
    Missing,
    /// Nothing may be tried again.
    Failed(Refusal),
}

/// Speaks HTTP over a fresh connection. The connection's task ends with it.
///
/// # Errors
/// What the library says of a connection that broke at once.
pub(crate) async fn open(stream: TcpStream) -> hyper::Result<http1::SendRequest<Upload>> {
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
    let mut answer = pin!(sender.try_send_request(request));
    if let Some(gate) = gate {
        if let Ok(answer) = timeout(CONTINUE_PATIENCE.min(patience), answer.as_mut()).await {
            return answer.map_err(|error| classify(error, progress));
        }
        gate.open();
    }
    loop {
        match timeout(patience, answer.as_mut()).await {
            Ok(answer) => return answer.map_err(|error| classify(error, progress)),
            Err(_) if progress.take_moved() => {}
            Err(_) => return Err(ExchangeError::Failed(Refusal::AnswerTimeout)),
        }
    }
}

fn classify(
    mut error: hyper::client::conn::TrySendError<Request<Upload>>,
    progress: &Progress,
) -> ExchangeError {
    if let Some(request) = error.take_message() {
        return ExchangeError::Unsent(request);
    }
    let error = error.into_error();
    if progress.is_broken() {
        ExchangeError::Failed(Refusal::BodyAborted)
    } else if error.is_parse() || error.is_parse_too_large() {
        ExchangeError::Failed(Refusal::AnswerGarbled)
    } else {
        ExchangeError::Missing
    }
}

//! How one request gets to its replica: on a connection of its own, or on one that it shares.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;

use super::exchange::{self, ExchangeError, Refused};
use super::expect::Gate;
use super::pool::Lease;
use super::trunks::Place;
use super::upload::{Progress, Upload};

/// What carries one request and its answer.
#[derive(Debug)]
pub(crate) enum Way {
    /// A connection of HTTP/1.1.
    Alone(Lease),
    /// A stream of HTTP/2.
    Shared(Place),
}

impl Way {
    /// Sends one request and waits for the head of its answer.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Upload>,
        progress: &Progress,
        gate: Option<Arc<Gate>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, ExchangeError> {
        match self {
            Self::Alone(lease) => {
                exchange::exchange(&mut lease.sender, request, progress, gate, patience).await
            }
            Self::Shared(place) => {
                // The library tells nobody of a 100 over HTTP/2, so it is not waited for.
                if let Some(gate) = gate {
                    gate.open();
                }
                let sent = place.sender().try_send_request(request);
                let answer = exchange::answer(sent, progress, patience).await;
                match &answer {
                    // Of what the client broke, and of a busy replica, the connection knows nothing.
                    Ok(_) | Err(ExchangeError::Refused(Refused::Stream, _)) => {}
                    Err(_) if progress.broken().is_some() => {}
                    Err(_) => place.retire(),
                }
                answer
            }
        }
    }

    /// Whether the replica may have been closing the connection when the request was sent.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Alone(lease) => lease.is_reused,
            Self::Shared(place) => place.is_reused,
        }
    }

    /// Whether it is HTTP/2, which has trailers.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Gives it back, once an answer was read to its end.
    pub(crate) fn release(self) {
        match self {
            Self::Alone(lease) => lease.release(),
            Self::Shared(place) => drop(place),
        }
    }
}

impl From<Lease> for Way {
    fn from(lease: Lease) -> Self {
        Self::Alone(lease)
    }
}

impl From<Place> for Way {
    fn from(place: Place) -> Self {
        Self::Shared(place)
    }
}

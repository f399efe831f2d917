//! Ordinary HTTP: passes a request to a replica and streams the answer back.

use std::sync::Arc;
use std::time::Instant;

use http::header::{ACCEPT_ENCODING, SET_COOKIE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use longhaul_policy::hop_by_hop;

use super::answer::Refusal;
use super::body::{Body, Forwarded, Learner, Progress, Upload};
use super::exchange::{self, ExchangeError, exchange};
use super::expect::{Gate, expects_continue};
use super::failure::Failure;
use super::pool::Lease;
use super::visit::Visit;
use crate::dial::Dial;
use crate::upstream::{Replica, Work};

/// Passes one request on. It is tried on another replica as long as nothing was sent, and once more
/// on the same when a reused connection turns out to be closing and the method allows it.
///
/// # Errors
/// The gateway's own answer, when no replica gave one.
pub(crate) async fn forward(
    visit: &Visit<'_>,
    head: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Failure> {
    let progress = Arc::new(Progress::default());
    let gate = expects_continue(&head.headers).then(Arc::<Gate>::default);
    let is_repeatable = body.is_end_stream() && is_idempotent(&head.method);
    let upload = if body.is_end_stream() {
        Upload::empty()
    } else if head.version == Version::HTTP_2 {
        let patience = visit.shared.config.timeouts.body_stall;
        Upload::new(body, progress.clone(), gate.clone()).with_patience(patience)
    } else {
        Upload::new(body, progress.clone(), gate.clone())
    };
    let mut forwarding = Forwarding {
        visit,
        head,
        learns: visit.upstream().learns_from(head),
        pending: Some(upload),
        is_repeatable,
        progress,
        gate,
    };
    let mut dial = Dial::new(visit.upstream(), Some(head), visit.client.address, visit.ends);
    loop {
        let replica = dial.pick()?;
        let config = visit.upstream().config();
        let pool = &visit.worker.pool;
        // A connection that was announced for one client must not serve the next.
        let is_shared = config.proxy_protocol.is_none();
        let idle_max = if is_shared { config.idle_connections_max } else { 0 };
        let place = visit.upstream().pool_place(&replica);
        let now = Instant::now();
        if is_shared
            && let Some(lease) = pool.take(place, idle_max, config.idle_connection, now)
            && let Some(answer) = forwarding.attempt(&replica, lease).await?
        {
            return Ok(answer);
        }
        let Some(stream) = dial.connect(&replica).await else { continue };
        let Ok(sender) = exchange::open(stream).await else { continue };
        let lease = pool.lease(place, sender, idle_max);
        if let Some(answer) = forwarding.attempt(&replica, lease).await? {
            return Ok(answer);
        }
    }
}

/// One request until somebody answers it.
struct Forwarding<'a> {
    visit: &'a Visit<'a>,
    head: &'a Parts,
    /// Whether affinity wants to see the start of the answer's body.
    learns: bool,
    /// The body, until a replica has begun to take it.
    pending: Option<Upload>,
    /// Whether the request may be sent again although a replica may have seen it.
    is_repeatable: bool,
    progress: Arc<Progress>,
    gate: Option<Arc<Gate>>,
}

impl Forwarding<'_> {
    /// Sends the request over this connection. `None`: it went nowhere, try another.
    async fn attempt(
        &mut self,
        replica: &Arc<Replica>,
        mut lease: Lease,
    ) -> Result<Option<Response<Body>>, Failure> {
        let held = replica.hold(Work::Request);
        // Without a pending body only a repeatable request comes here, and that has none.
        let upload = self.pending.take().unwrap_or_else(Upload::empty);
        let request = self.request(replica, upload);
        let patience = self.visit.upstream().config().response_head;
        let gate = self.gate.clone();
        match exchange(&mut lease.sender, request, &self.progress, gate, patience).await {
            // A tunnel that nobody asked for (RFC 9110 §15.2.2).
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                replica.note_failure(Instant::now());
                Err(Refusal::HandshakeInvalid.of(replica.address(), "101 without an upgrade"))
            }
            Ok(answer) => {
                replica.note_success(Instant::now());
                let learner = self.learns.then(|| Learner {
                    upstream: self.visit.upstream().clone(),
                    replica: replica.clone(),
                });
                let mut answer =
                    answer.map(|body| Forwarded::new(body, lease, held, learner).into());
                self.finish(&mut answer, replica);
                Ok(Some(answer))
            }
            Err(ExchangeError::Unsent(upload)) => {
                self.pending = Some(upload);
                Ok(None)
            }
            // The replica closed the idle connection while the request was on its way.
            Err(ExchangeError::Missing(_)) if lease.is_reused && self.is_repeatable => Ok(None),
            Err(error) => Err(error.blame(replica)),
        }
    }

    fn request(&self, replica: &Replica, upload: Upload) -> Request<Upload> {
        let mut request = self.visit.outbound(self.head, replica, upload);
        if self.learns {
            // The handshake answer is read on its way; it must come as it is.
            request.headers_mut().remove(ACCEPT_ENCODING);
        }
        request
    }

    fn finish(&self, answer: &mut Response<Body>, replica: &Replica) {
        hop_by_hop::strip_response(answer.headers_mut());
        *answer.version_mut() = http::Version::HTTP_11;
        if let Some(cookie) = self.visit.cookie_for(self.head, replica) {
            answer.headers_mut().append(SET_COOKIE, cookie);
        }
    }
}

/// Methods that may be repeated without the user's word (RFC 9110 §9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

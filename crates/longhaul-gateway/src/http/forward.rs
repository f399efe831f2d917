//! Ordinary HTTP: passes a request to a replica and streams the answer back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT_ENCODING, SET_COOKIE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use longhaul_policy::hop_by_hop;
use tokio::time::sleep;

use super::answer::Refusal;
use super::body::{Body, Forwarded, Learner};
use super::exchange::{self, ExchangeError, Refused};
use super::expect::{Gate, expects_continue};
use super::failure::Failure;
use super::inject;
use super::recall::Recall;
use super::upload::{Progress, Upload};
use super::visit::Visit;
use super::way::Way;
use crate::config::Http2Policy;
use crate::dial::Dial;
use crate::redial::overheard::{self, Listener};
use crate::retire;
use crate::upstream::{Held, Replica, Work};
use crate::worker::Worker;

/// How often one request is sent again because of how a connection ended. A replica that ends its
/// connections after so many requests does it to half of those that share one, and may do it to the
/// same ones again and again; so behind the first few there are pauses, of random length, that let
/// them change places. All of them together take a few seconds.
const ENDINGS_MAX: u32 = 100;
const ENDINGS_WITHOUT_PAUSE: u32 = 4;
/// How often because a replica refused it alone: more of them would only add to what it cannot take.
const REFUSALS_MAX: u32 = 4;

/// Passes one request on. It is tried on another replica as long as nothing was sent, and once more
/// on the same when a reused connection turns out to be closing and the method allows it.
///
/// # Errors
/// The gateway's own answer, when no replica gave one.
pub(crate) async fn forward(
    visit: &Visit<'_>,
    head: &Parts,
    body: Option<Incoming>,
) -> Result<Response<Body>, Failure> {
    let mut forwarding = Forwarding::new(visit, head, body);
    let mut dial = Dial::new(visit.upstream(), Some(head), visit.client.address, visit.ends);
    loop {
        let replica = dial.pick()?;
        let http2 = visit.upstream().config().http2.clone();
        let answer = match http2 {
            Some(policy) => forwarding.by_http2(&replica, &policy, &mut dial).await?,
            None => forwarding.by_http1(&replica, &mut dial).await?,
        };
        if let Some(answer) = answer {
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
    /// Whether the answer may be a page to put the client into.
    injects: bool,
    /// The body, until a replica has begun to take it.
    pending: Option<Upload>,
    /// Whether the request may be sent again although a replica may have seen it.
    is_repeatable: bool,
    progress: Arc<Progress>,
    gate: Option<Arc<Gate>>,
    /// Where the body comes home to when a replica refuses its stream. `None`: there is no body.
    recall: Option<Arc<Recall>>,
    /// Hears what may have to be said again to another replica.
    listener: Option<Arc<Listener>>,
    endings: u32,
    refusals: u32,
}

impl<'a> Forwarding<'a> {
    fn new(visit: &'a Visit<'a>, head: &'a Parts, body: Option<Incoming>) -> Self {
        let progress = Arc::new(Progress::default());
        let gate = expects_continue(&head.headers).then(Arc::<Gate>::default);
        let body = body.filter(|body| !body.is_end_stream());
        let has_body = body.is_some();
        let recall = (has_body && visit.upstream().config().http2.is_some()).then(Arc::default);
        let mut upload = Upload::empty();
        let listener = Listener::of(visit, head).map(Arc::new);
        if let Some(body) = body {
            upload = Upload::new(body, progress.clone(), gate.clone()).heard_by(listener.clone());
            if head.version == Version::HTTP_2 {
                upload = upload.with_patience(visit.shared.config.timeouts.body_stall);
            }
        }
        Self {
            visit,
            head,
            learns: visit.upstream().learns_from(head) || overheard::is_opening(visit, head),
            injects: inject::is_wanted(visit.route(), head),
            pending: Some(upload),
            is_repeatable: !has_body && is_idempotent(&head.method),
            progress,
            gate,
            recall,
            listener,
            endings: 0,
            refusals: 0,
        }
    }

    /// Over a connection to `replica` of its own, an idle one first.
    async fn by_http1(
        &mut self,
        replica: &Arc<Replica>,
        dial: &mut Dial<'_>,
    ) -> Result<Option<Response<Body>>, Failure> {
        let config = self.visit.upstream().config();
        let pool = &self.visit.worker.pool;
        // A connection that was announced for one client must not serve the next.
        let is_shared = config.proxy_protocol.is_none();
        let idle_max = if is_shared { config.idle_connections_max } else { 0 };
        let place = self.visit.upstream().pool_place(replica);
        let now = Instant::now();
        if is_shared
            && let Some(lease) = pool.take(place, idle_max, config.idle_connection, now)
            && let Some(answer) = self.attempt(replica, lease.into()).await?
        {
            return Ok(Some(answer));
        }
        let Some(stream) = dial.connect(replica).await else { return Ok(None) };
        let Ok(sender) = exchange::open(stream).await else { return Ok(None) };
        self.attempt(replica, pool.lease(place, sender, idle_max).into()).await
    }

    /// Over a connection to `replica` that many share.
    async fn by_http2(
        &mut self,
        replica: &Arc<Replica>,
        policy: &Http2Policy,
        dial: &mut Dial<'_>,
    ) -> Result<Option<Response<Body>>, Failure> {
        let Worker { trunks, pool, .. } = &**self.visit.worker;
        let group = trunks.to(replica, self.visit.upstream());
        // What was not sent, or was refused, is sent again on the next connection; each of them
        // has ended, or counts as a refusal.
        while let Some(way) = group.way(policy, dial, pool).await {
            if let Some(answer) = self.attempt(replica, way).await? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Sends the request on this way. `None`: it went nowhere, try another.
    async fn attempt(
        &mut self,
        replica: &Arc<Replica>,
        mut way: Way,
    ) -> Result<Option<Response<Body>>, Failure> {
        let held = replica.hold(Work::Request);
        // Without a pending body only a repeatable request comes here, and that has none.
        let upload = self.pending.take().unwrap_or_else(Upload::empty);
        let request = self.request(replica, upload, way.is_shared())?;
        let patience = self.visit.upstream().config().response_head;
        let gate = self.gate.clone();
        match way.exchange(request, &self.progress, gate, patience).await {
            // A tunnel that nobody asked for (RFC 9110 §15.2.2).
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                replica.note_failure(Instant::now());
                Err(Refusal::HandshakeInvalid.of(replica.address(), "101 without an upgrade"))
            }
            Ok(answer) => {
                replica.note_success();
                Ok(Some(self.finish(answer, replica, way, held)))
            }
            Err(ExchangeError::Unsent(upload)) => {
                self.pending = Some(upload);
                Ok(None)
            }
            // The replica closed the idle connection while the request was on its way.
            Err(ExchangeError::Missing(_))
                if way.is_reused() && self.is_repeatable && self.endings < ENDINGS_MAX =>
            {
                self.endings += 1;
                Ok(None)
            }
            Err(ExchangeError::Refused(refused, error)) => {
                self.pending = self.body_again(refused).await;
                match self.pending {
                    Some(_) => Ok(None),
                    None => Err(ExchangeError::Refused(refused, error).blame(replica)),
                }
            }
            Err(error) => Err(error.blame(replica)),
        }
    }

    /// The body as it was before a replica refused it, if all of that is still there and it was not
    /// refused too often.
    async fn body_again(&mut self, refused: Refused) -> Option<Upload> {
        let (count, most) = match refused {
            Refused::Connection => (&mut self.endings, ENDINGS_MAX),
            Refused::Stream => (&mut self.refusals, REFUSALS_MAX),
        };
        *count += 1;
        if *count >= most {
            return None;
        }
        if self.endings > ENDINGS_WITHOUT_PAUSE {
            sleep(Duration::from_millis(fastrand::u64(..=u64::from(self.endings)))).await;
        }
        match &self.recall {
            Some(recall) => recall.body().await,
            None => Some(Upload::empty()),
        }
    }

    fn request(
        &self,
        replica: &Replica,
        mut upload: Upload,
        by_http2: bool,
    ) -> Result<Request<Upload>, Failure> {
        if by_http2 && let Some(recall) = &self.recall {
            upload = upload.recalled_by(recall.clone());
            if self.head.version == Version::HTTP_2 {
                upload = upload.with_trailers();
            }
        }
        let mut request = self.visit.outbound(self.head, replica, upload);
        if self.learns {
            // The handshake answer is read on its way; it must come as it is.
            request.headers_mut().remove(ACCEPT_ENCODING);
        }
        if self.injects {
            inject::ask_plainly(request.headers_mut());
        }
        if by_http2 {
            self.visit.translate(self.head, &mut request)?;
        }
        Ok(request)
    }

    fn finish(
        &self,
        mut answer: Response<Incoming>,
        replica: &Arc<Replica>,
        way: Way,
        held: Held,
    ) -> Response<Body> {
        let visit = self.visit;
        retire::heed(visit.shared, visit.upstream(), replica, answer.headers_mut());
        let has_trailers = way.is_shared() && self.head.version == Version::HTTP_2;
        if way.is_shared() {
            self.progress.note_answer();
            self.recall.iter().for_each(|recall| recall.forgo());
        }
        let learner = Learner::of(visit, self.head, replica);
        let status = answer.status();
        if let Some(listener) = &self.listener {
            listener.note_answer(visit.upstream(), status);
        }
        let injection = match self.injects {
            true => inject::into(self.visit.route(), status, answer.headers_mut()),
            false => None,
        };
        let mut answer = answer.map(|body| {
            let body = Forwarded::new(body, way, held, learner).with_injection(injection);
            Body::from(if has_trailers { body.with_trailers() } else { body })
        });
        hop_by_hop::strip_response(answer.headers_mut());
        *answer.version_mut() = Version::HTTP_11;
        if let Some(cookie) = self.visit.cookie_for(self.head, replica) {
            answer.headers_mut().append(SET_COOKIE, cookie);
        }
        answer
    }
}

/// Methods that may be repeated without the user's word (RFC 9110 §9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

//! Opens the leg of a new session: one WebSocket to a replica, as a plain client would have it.

use std::sync::Arc;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use longhaul_proto::durable::backend::OFFER_HEADER;
use longhaul_proto::durable::{CONTROL_BYTES_MAX, HEAD_BYTES_MAX, Sizes, code};
use longhaul_proto::websocket::CloseCode;
use tracing::warn;

use super::lobby::Caller;
use super::wire::Wire;
use crate::dial::Dial;
use crate::http::visit::Visit;
use crate::redial::speaks_items;
use crate::upgrade::{self, Opened};
use crate::upstream::{Held, Replica};

const SESSION: HeaderName = HeaderName::from_static("longhaul-session");
const LEG: HeaderName = HeaderName::from_static("longhaul-leg");
const REASON: HeaderName = HeaderName::from_static("longhaul-reason");
const OFFER: HeaderName = HeaderName::from_static(OFFER_HEADER.0);

/// A leg that is up.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) wire: Wire,
    pub(super) held: Held,
}

/// The first leg of a session, and what was said over it.
#[derive(Debug)]
pub(super) struct First {
    pub(super) leg: Leg,
    /// Whether the replica speaks the session protocol itself.
    pub(super) is_aware: bool,
    pub(super) sid: String,
    /// The handshake as the replica got it, and what it answered.
    pub(super) head: Parts,
    pub(super) answer: HeaderMap,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Undialled {
    /// The replica said no; trying again makes no sense.
    Refused(CloseCode),
    /// Nobody answered, or not in time.
    Later,
}

/// Opens a leg for this caller. Bounded by the upstream's own deadlines.
pub(super) async fn dial(caller: &Caller) -> Result<First, Undialled> {
    let visit = Visit::new(&caller.connection, caller.route, caller.client);
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Undialled::Later)?;
    let sid = format!("{:032x}", u128::from_be_bytes(bytes));
    let mut head = caller.head.clone();
    if let Ok(value) = HeaderValue::from_str(&sid) {
        head.headers.insert(SESSION, value);
    }
    head.headers.insert(LEG, HeaderValue::from_static("1"));
    head.headers.insert(REASON, HeaderValue::from_static("new"));
    head.headers.insert(OFFER, HeaderValue::from_static(OFFER_HEADER.1));
    let mut dial = Dial::new(visit.upstream(), Some(&head), visit.client.address, visit.ends);
    let opened = match upgrade::open_leg(&visit, &head, &mut dial).await {
        Ok(opened) => opened,
        Err(failure) => {
            let (cause, detail) = (failure.refusal.cause(), failure.detail);
            warn!(
                route = visit.route().name,
                cause,
                error = detail,
                "no leg for a durable session"
            );
            return Err(Undialled::Later);
        }
    };
    let (answer, leg, held) = match opened {
        Opened::Leg(leg) => *leg,
        Opened::Refused(status) => return Err(refused(status)),
    };
    let sizes = caller.connection.shared.sessions.policy.sizes;
    let is_aware = speaks_items(&answer.headers);
    let wire = Wire::leg(leg.io, leg.read_ahead, bytes_max(sizes, is_aware));
    Ok(First { leg: Leg { wire, held }, is_aware, sid, head, answer: answer.headers })
}

/// The largest message that a leg may bring: the application's, or an item of one.
pub(super) fn bytes_max(sizes: Sizes, is_aware: bool) -> usize {
    if is_aware {
        CONTROL_BYTES_MAX.max(sizes.chunk_bytes_max + HEAD_BYTES_MAX)
    } else {
        sizes.message_bytes_max
    }
}

/// What the application's own refusal means to a client: that it need not come back, unless the
/// status says otherwise.
fn refused(status: StatusCode) -> Undialled {
    match status.as_u16() {
        401 | 403 => Undialled::Refused(code::LOGIN_REFUSED),
        408 | 425 | 429 => Undialled::Later,
        400..=499 => Undialled::Refused(code::REFUSED),
        _ => Undialled::Later,
    }
}

impl First {
    /// The subprotocol that the replica chose.
    pub(super) fn protocol(&self) -> Option<String> {
        let chosen = self.answer.get(SEC_WEBSOCKET_PROTOCOL)?;
        chosen.to_str().ok().map(str::to_owned)
    }
}

impl Leg {
    pub(super) fn replica(&self) -> &Arc<Replica> {
        self.held.replica()
    }
}

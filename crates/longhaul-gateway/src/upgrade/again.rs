//! The handshake of a client offered once more, for another leg of the same session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::ask::{self, Answered};
use super::{Backend, SWITCHING_PROTOCOLS, validate};
use crate::dial::Dial;
use crate::http::failure::Failure;
use crate::http::visit::Visit;
use crate::relay::Leg;
use crate::transport::Transport;
use crate::upstream::{Held, Replica};

/// A leg to a replica that took the handshake, and what it said.
pub(crate) struct Another {
    pub(crate) held: Held,
    pub(crate) answer: HeaderMap,
    pub(crate) leg: Leg<Transport>,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum NoLeg {
    /// No replica answered.
    Failed(Failure),
    /// One answered something else than 101.
    Answered(StatusCode),
    /// One answered a 101 that means nothing.
    Invalid(SocketAddr),
    /// Its connection broke behind the 101.
    Broken,
}

/// Offers a handshake for another leg. Nothing of it is shown to the client.
///
/// # Errors
/// [`NoLeg`], after as many replicas as `dial` has time for.
pub(crate) async fn another_leg(
    visit: &Visit<'_>,
    head: &Parts,
    dial: &mut Dial<'_>,
) -> Result<Another, NoLeg> {
    let (replica, held, answered): (Arc<Replica>, _, _) =
        ask::ask(visit, head, dial).await.map_err(NoLeg::Failed)?;
    let (answer, backend) = match answered {
        Answered::Directly(answer, _, leg) => (answer, Backend::Leg(leg)),
        Answered::ByLibrary(_, answer) if answer.status() != SWITCHING_PROTOCOLS => {
            return Err(NoLeg::Answered(answer.status()));
        }
        Answered::ByLibrary(_, mut answer) => {
            let upgrade = hyper::upgrade::on(&mut answer);
            (answer.into_parts().0, Backend::Library(upgrade))
        }
    };
    if validate(head, &answer).is_err() {
        replica.note_failure(Instant::now());
        return Err(NoLeg::Invalid(replica.address()));
    }
    replica.note_success();
    let leg = backend.leg().await.map_err(|_| NoLeg::Broken)?;
    Ok(Another { held, answer: answer.headers, leg })
}

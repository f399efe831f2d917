//! A backend leg that outlasts its replica: reads and writes like a connection, and dials the next
//! replica by itself when one is lost or left.
//!
//! What is sent again, held back or answered meanwhile is decided by
//! [`longhaul_proto::redial`]; finding the next replica is the work of [`origin`]. The relay on top
//! sees one backend that never goes, until there is none to be found.
//!
//! Start at [`Lasting::new`].

mod agreed;
mod carried;
mod former;
mod lasting;
pub(crate) mod origin;
pub(crate) mod overheard;
mod profile;

use std::sync::Arc;
use std::time::Duration;

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::request::Parts;
use longhaul_proto::redial::RedialPolicy;

use agreed::Agreed;
pub(crate) use agreed::{impose_forgetting, speaks_items};
pub(crate) use carried::{CarriedLeg, CarriedOrigin, LegState};
pub(crate) use lasting::Lasting;
pub(crate) use origin::Origin;

use crate::config::{Cutover, Profile};

/// Readies a handshake for a route whose replicas are replaced: what would not outlast the first one
/// is not offered, and the session gets its name.
pub(crate) fn prepare(head: &mut Parts, terms: &RedialTerms) {
    if profile::may_have_opening(terms.profile, head) {
        // What is compressed cannot be said again.
        head.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
    agreed::restrict_offer(&mut head.headers);
    origin::introduce(&mut head.headers);
}

/// How lost replicas are replaced, for all sessions of one route.
#[derive(Debug, Clone)]
pub(crate) struct RedialTerms {
    pub(crate) policy: Arc<RedialPolicy>,
    /// What WebSockets of the route speak.
    pub(crate) profile: Profile,
    /// How long a next replica is looked for.
    pub(crate) give_up: Duration,
    /// When a replica that drains is left.
    pub(crate) cutover: Cutover,
    /// How long a replica that was left may take for its last words.
    pub(crate) linger: Duration,
}

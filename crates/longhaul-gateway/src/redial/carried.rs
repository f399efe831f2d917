//! A leg that outlasts its replica, and what later legs are dialled with, as they travel to another
//! process.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use longhaul_policy::forwarded::{Client, Scheme};
use longhaul_proto::proxy_protocol::Ends;
use longhaul_proto::redial::{FrozenRedial, Profile, Redial};
use serde::{Deserialize, Serialize};

use super::agreed::Agreed;
use super::lasting::Inner;
use super::origin::{Errand, Origin, Unrest, Wire};
use super::{Lasting, RedialTerms};
use crate::relay::control::Control;
use crate::relay::stream::{Bound, LegIo, PutDown};
use crate::transport::Transport;
use crate::upgrade::CarriedHead;
use crate::upstream::Held;
use crate::worker::Worker;

/// Such a leg, beside the socket of its replica. Not to be shown: there are credentials in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct CarriedLeg {
    state: LegState,
    origin: CarriedOrigin,
    leg: u32,
    /// What is looked for, where no replica is there.
    errand: Option<Errand>,
}

/// The part of it that changes while its replica stays the same.
#[derive(Serialize, Deserialize)]
pub(crate) struct LegState {
    redial: FrozenRedial,
    #[serde(with = "longhaul_proto::frozen::bytes")]
    ahead: Vec<u8>,
    is_deaf: bool,
}

/// What later legs are dialled with.
#[derive(Serialize, Deserialize)]
pub(crate) struct CarriedOrigin {
    client: IpAddr,
    is_secure: bool,
    ends: [SocketAddr; 2],
    head: CarriedHead,
    #[serde(with = "longhaul_proto::frozen::bytes")]
    subprotocol: Vec<u8>,
    extensions: Vec<String>,
    is_aware: bool,
    profile: Profile,
    sid: Option<String>,
    unrest: Option<CarriedUnrest>,
}

#[derive(Serialize, Deserialize)]
struct CarriedUnrest {
    began_us: u64,
    tries: u32,
    found_us: u64,
}

impl std::fmt::Debug for CarriedLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CarriedLeg").field("leg", &self.leg).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LegState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LegState").field("redial", &self.redial).finish_non_exhaustive()
    }
}

impl Inner {
    /// What another process needs to go on with it. What was dialled in advance stays behind; the other
    /// process dials again.
    ///
    /// # Errors
    /// What keeps it here, mostly for a moment.
    pub(super) fn put_down(&self) -> Result<PutDown, Bound> {
        let state = self.state()?;
        let (socket, errand) = match (&self.current, &self.search) {
            (Some(wire), _) => (wire.io.put_down()?.socket, None),
            (None, Some(search)) => (None, Some(search.errand)),
            (None, None) => return Err(Bound::Redial),
        };
        let leg = CarriedLeg {
            state,
            origin: self.origin.carried(self.search.as_ref().map(|search| search.began)),
            leg: self.leg,
            errand,
        };
        Ok(PutDown { socket, leg: Some(Box::new(leg)) })
    }

    /// What may be another thing a moment later, though the replica is the same.
    ///
    /// # Errors
    /// What keeps it here.
    pub(super) fn state(&self) -> Result<LegState, Bound> {
        if self.is_over || self.is_finishing {
            return Err(Bound::Ending);
        }
        if self.former.is_some() {
            return Err(Bound::Redial);
        }
        Ok(LegState {
            redial: self.redial.freeze(Instant::now()).ok_or(Bound::Ending)?,
            ahead: self.current.as_ref().map_or_else(Vec::new, |wire| wire.ahead.to_vec()),
            is_deaf: self.is_deaf,
        })
    }
}

impl Lasting {
    /// A leg of another process, over its socket and at its replica, which does nothing before it
    /// [goes on](Self::go_on). Beside it, what is to be looked for then. `None` for a state that cannot be.
    pub(crate) fn take_up(
        carried: CarriedLeg,
        current: Option<(Transport, Held)>,
        terms: &RedialTerms,
        worker: &Arc<Worker>,
        control: &Arc<Control>,
    ) -> Option<(Self, Option<Errand>)> {
        let CarriedLeg { state, origin, leg, errand } = carried;
        let LegState { redial, ahead, is_deaf } = state;
        if redial.is_between_replicas() != current.is_none()
            || current.is_some() == errand.is_some()
        {
            return None;
        }
        let redial = Redial::thaw(terms.policy.clone(), redial, Instant::now())?;
        let origin = Arc::new(origin.into_origin(worker, terms, control)?);
        let wire = current.map(|(io, held)| Wire { io, ahead: Bytes::from(ahead), held });
        let mut lasting = Self::with(redial, terms.clone(), origin, control.clone(), wire);
        let inner = &mut *lasting.0;
        (inner.leg, inner.is_deaf) = (leg, is_deaf);
        Some((lasting, errand))
    }

    /// What has become of it in the process that still has it. `None` for a state that cannot be.
    pub(crate) fn renew(&mut self, state: LegState) -> Option<()> {
        let inner = &mut *self.0;
        let LegState { redial, ahead, is_deaf } = state;
        if redial.is_between_replicas() {
            return None;
        }
        inner.redial = Redial::thaw(inner.terms.policy.clone(), redial, Instant::now())?;
        inner.current.as_mut()?.ahead = Bytes::from(ahead);
        inner.is_deaf = is_deaf;
        Some(())
    }

    /// This process has it now. To be called in the worker that shall have it.
    pub(crate) fn go_on(&mut self, errand: Option<Errand>) {
        let inner = &mut *self.0;
        inner.search = errand.map(|errand| inner.origin.search(errand));
        // What this process knows of the replica, nobody tells again.
        inner.note_replica_leaves(false);
        inner.note_replica_lost();
    }
}

impl Origin {
    /// `searching_since`: for so long a replica is looked for.
    pub(crate) fn carried(&self, searching_since: Option<Instant>) -> CarriedOrigin {
        let now = Instant::now();
        let since = |at: Instant| {
            u64::try_from(now.saturating_duration_since(at).as_micros()).unwrap_or(u64::MAX)
        };
        let searching = searching_since.map(|began| Unrest { began, tries: 1, found_at: now });
        let unrest = searching.or_else(|| *self.lock_unrest());
        let (subprotocol, extensions, is_aware) = self.agreed.parts();
        CarriedOrigin {
            client: self.client.address,
            is_secure: self.client.scheme == Scheme::Https,
            ends: [self.ends.client, self.ends.local],
            head: CarriedHead::of(&self.head),
            subprotocol: subprotocol.map_or_else(Vec::new, |value| value.as_bytes().to_vec()),
            extensions: extensions.to_vec(),
            is_aware,
            profile: self.profile,
            sid: self.sid.clone(),
            unrest: unrest.map(|Unrest { began, tries, found_at }| CarriedUnrest {
                began_us: since(began),
                tries,
                found_us: since(found_at),
            }),
        }
    }
}

impl CarriedOrigin {
    /// `None` for what no session can have begun with.
    pub(crate) fn into_origin(
        self,
        worker: &Arc<Worker>,
        terms: &RedialTerms,
        control: &Control,
    ) -> Option<Origin> {
        let Self { client, is_secure, ends, head, .. } = self;
        let Self { subprotocol, extensions, is_aware, profile, sid, unrest, .. } = self;
        let now = Instant::now();
        let ago = |us| now.checked_sub(Duration::from_micros(us)).unwrap_or(now);
        let unrest = unrest.map(|CarriedUnrest { began_us, tries, found_us }| Unrest {
            began: ago(began_us),
            tries,
            found_at: ago(found_us),
        });
        let subprotocol = (!subprotocol.is_empty()).then(|| HeaderValue::from_bytes(&subprotocol));
        Some(Origin {
            worker: worker.clone(),
            route: control.card.route.clone(),
            client: Client {
                address: client,
                scheme: if is_secure { Scheme::Https } else { Scheme::Http },
            },
            ends: Ends { client: ends[0], local: ends[1] },
            head: head.into_head()?,
            agreed: Agreed::from_parts(subprotocol.transpose().ok()?, extensions, is_aware),
            profile,
            sid,
            give_up: terms.give_up,
            unrest: Mutex::new(unrest),
            log_id: control.card.id,
        })
    }
}

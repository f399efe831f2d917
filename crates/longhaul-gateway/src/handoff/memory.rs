//! What a gateway has been told or has learnt, and no configuration says: it must hold after an
//! upgrade as well.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use longhaul_policy::admission::revocation::Revocation;
use serde::{Deserialize, Serialize};

use crate::retire;
use crate::shared::Shared;
use crate::upstream::{Draining, Replica, Upstream};

/// What is remembered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    upstreams: Vec<OfUpstream>,
    revoked: Vec<Revoked>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct OfUpstream {
    name: String,
    /// Which replica issued which Engine.IO session id, the least recently used first.
    sids: Vec<(String, SocketAddr)>,
    /// Replicas that an operator drains.
    drained: Vec<SocketAddr>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Revoked {
    subject: Option<String>,
    token: Option<String>,
    /// Tokens from before this time of day, since the epoch.
    at: Duration,
    /// How long that is still remembered.
    left: Duration,
}

impl Memory {
    /// What this gateway remembers.
    pub(crate) fn of(shared: &Shared) -> Self {
        let mut memory = Self::told(shared);
        for (upstream, of) in shared.upstreams.iter().zip(&mut memory.upstreams) {
            of.sids = upstream.known_sids();
        }
        memory
    }

    /// The part of it that operators have told.
    pub(crate) fn told(shared: &Shared) -> Self {
        let now = Instant::now();
        let upstreams = shared.upstreams.iter().map(|upstream| {
            let replicas = upstream.replicas();
            let asked = |one: &&Arc<Replica>| one.draining() == Some(Draining::Asked);
            OfUpstream {
                name: upstream.name().to_owned(),
                sids: Vec::new(),
                drained: replicas.iter().filter(asked).map(|one| one.address()).collect(),
            }
        });
        let revoked = shared.admission.live.revoked().into_iter().map(|(what, at, until)| {
            let (subject, token) = match what {
                Revocation::Subject(subject) => (Some(subject), None),
                Revocation::Token(token) => (None, Some(token)),
            };
            let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            Revoked { subject, token, at, left: until.saturating_duration_since(now) }
        });
        Self { upstreams: upstreams.collect(), revoked: revoked.collect() }
    }

    /// What an operator has told this gateway since then.
    pub(crate) fn since(before: &Self, shared: &Shared) -> Self {
        let mut now = Self::told(shared);
        for upstream in &mut now.upstreams {
            let known = before.upstreams.iter().find(|it| it.name == upstream.name);
            let known = known.map_or(&[][..], |known| &known.drained);
            upstream.drained.retain(|replica| !known.contains(replica));
        }
        now.upstreams.retain(|upstream| !upstream.drained.is_empty());
        let what = |it: &Revoked| (it.subject.clone(), it.token.clone(), it.at);
        let known: Vec<_> = before.revoked.iter().map(what).collect();
        now.revoked.retain(|revoked| !known.contains(&what(revoked)));
        now
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.upstreams.is_empty() && self.revoked.is_empty()
    }

    /// Remembers it from now on.
    pub(crate) fn recall(&self, shared: &Shared) {
        let now = Instant::now();
        for (upstream, of) in self.upstreams(shared) {
            upstream.recall_sids(&of.sids, now);
        }
        for Revoked { subject, token, at, left } in &self.revoked {
            let subject = subject.clone().map(Revocation::Subject);
            if let Some(what) = subject.or_else(|| token.clone().map(Revocation::Token)) {
                let at = UNIX_EPOCH.checked_add(*at).unwrap_or_else(SystemTime::now);
                shared.admission.live.recall(what, *left, at);
            }
        }
    }

    /// Drains what was drained. Must be called inside the runtime.
    pub(crate) fn drain_again(&self, shared: &Shared) {
        for (upstream, of) in self.upstreams(shared) {
            for replica in of.drained.iter().filter_map(|address| upstream.find(*address)) {
                retire::begin(shared, upstream, &replica, Draining::Asked);
            }
        }
    }

    fn upstreams<'a>(
        &'a self,
        shared: &'a Shared,
    ) -> impl Iterator<Item = (&'a Arc<Upstream>, &'a OfUpstream)> {
        let named = |name: &str| shared.upstreams.iter().find(|upstream| upstream.name() == name);
        self.upstreams.iter().filter_map(move |of| Some((named(&of.name)?, of)))
    }
}

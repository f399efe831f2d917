//! Who belongs to an upstream: what its sources found, joined into one list of replicas.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use longhaul_policy::affinity::cookie::Tag;
use longhaul_policy::health::State;
use tracing::info;

use super::{Draining, Replica, Upstream, lock};
use crate::config::ReplicaSource;

/// One address that a source stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
}

/// One source of an upstream, for as long as the config has it. Another one in its place has
/// another id, so that an answer that comes late is not taken for an answer of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceId(pub(super) u64);

#[derive(Debug)]
struct Source {
    id: SourceId,
    spec: ReplicaSource,
    /// `None` before its first answer.
    found: Option<Vec<Endpoint>>,
}

/// What each source found last.
#[derive(Debug)]
pub(super) struct Members {
    /// One for each source of the config, in its order.
    sources: Vec<Source>,
    next: SourceId,
    /// Replicas that left while they held work. One that returns meanwhile goes on counting.
    departed: HashMap<SocketAddr, Weak<Replica>>,
}

impl Members {
    pub(super) fn new(specs: &[ReplicaSource]) -> Self {
        let mut members = Self { sources: Vec::new(), next: SourceId(0), departed: HashMap::new() };
        members.replace(specs);
        members
    }

    /// Takes these sources for all. Those that were there keep their ids and what they found.
    fn replace(&mut self, specs: &[ReplicaSource]) {
        let mut before = std::mem::take(&mut self.sources);
        for spec in specs {
            let known = before.iter().position(|source| source.spec == *spec);
            let source = known.map(|at| before.swap_remove(at)).unwrap_or_else(|| {
                let id = self.next;
                self.next = SourceId(id.0 + 1);
                Source { id, spec: spec.clone(), found: None }
            });
            self.sources.push(source);
        }
    }

    fn find(&mut self, id: SourceId) -> Option<&mut Option<Vec<Endpoint>>> {
        self.sources.iter_mut().find(|source| source.id == id).map(|source| &mut source.found)
    }

    /// All endpoints, each address once: the first source that names it gives its weight.
    fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for endpoint in self.sources.iter().filter_map(|source| source.found.as_ref()).flatten() {
            if !endpoints.iter().any(|known| known.address == endpoint.address) {
                endpoints.push(*endpoint);
            }
        }
        endpoints
    }
}

impl Upstream {
    /// Every source of the config, to be looked up.
    pub(crate) fn sources(&self) -> Vec<(SourceId, ReplicaSource)> {
        lock(&self.members).sources.iter().map(|source| (source.id, source.spec.clone())).collect()
    }

    /// Puts these sources into the place of those there were. A name that was looked up already
    /// stands for what it stood for.
    pub(super) fn replace_sources(&self, specs: &[ReplicaSource], now: Instant) {
        let mut members = lock(&self.members);
        members.replace(specs);
        self.find_fixed(&mut members);
        let pending = members.sources.iter().filter(|source| source.found.is_none()).count();
        self.sources_pending.store(pending, Ordering::Release);
        self.refresh_replicas(&mut members, now);
    }

    /// Takes what one source stands for now. Replicas that stay keep their counters and health;
    /// those that are gone get no new work, and what they hold goes on.
    pub(crate) fn set_endpoints(&self, source: SourceId, found: Vec<Endpoint>, now: Instant) {
        let mut members = lock(&self.members);
        let Some(place) = members.find(source) else { return };
        if place.replace(found).is_none() {
            self.sources_pending.fetch_sub(1, Ordering::AcqRel);
        }
        self.refresh_replicas(&mut members, now);
    }

    /// Makes the replicas those that the sources stand for.
    fn refresh_replicas(&self, members: &mut Members, now: Instant) {
        let endpoints = members.endpoints();
        let before = self.replicas.load_full();
        let mut known: HashMap<SocketAddr, Arc<Replica>> =
            before.iter().map(|replica| (replica.address(), Arc::clone(replica))).collect();
        let mut replicas = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let replica = match known.remove(&endpoint.address) {
                Some(replica) => replica,
                None => self.admit(members, endpoint, now),
            };
            replica.set_weight(endpoint.weight);
            replicas.push(replica);
        }
        self.replicas.store(Arc::new(replicas));
        for gone in known.into_values() {
            self.dismiss(members, &gone);
        }
        self.changed.send_replace(());
    }

    /// Takes note that a source was asked and had no answer: it is not waited for at start.
    pub(crate) fn give_up_waiting(&self, source: SourceId) {
        let mut members = lock(&self.members);
        if let Some(place @ None) = members.find(source) {
            *place = Some(Vec::new());
            self.sources_pending.fetch_sub(1, Ordering::AcqRel);
            self.changed.send_replace(());
        }
    }

    /// Whether every source was asked once and every replica has its first verdict.
    pub(crate) fn is_settled(&self, now: Instant) -> bool {
        self.sources_pending.load(Ordering::Acquire) == 0
            && self.replicas.load().iter().all(|replica| replica.state(now) != State::Unproven)
    }

    /// Finds the addresses that need no looking up.
    fn find_fixed(&self, members: &mut Members) {
        for source in &mut members.sources {
            if let ReplicaSource::Static { address, weight } = source.spec {
                source.found = Some(vec![Endpoint { address, weight }]);
            }
        }
    }

    /// Those that have left and may still hold something.
    pub(super) fn departed(&self) -> Vec<Arc<Replica>> {
        lock(&self.members).departed.values().filter_map(Weak::upgrade).collect()
    }

    /// The replica at this address; where no source names it, as one that has left.
    pub(crate) fn find_or_depart(&self, address: SocketAddr, now: Instant) -> Arc<Replica> {
        if let Some(known) = self.find(address) {
            return known;
        }
        let mut members = lock(&self.members);
        let replica = self.admit(&mut members, Endpoint { address, weight: 1 }, now);
        replica.set_draining(Some(Draining::Left));
        self.ward.discharge(address);
        members.departed.insert(address, Arc::downgrade(&replica));
        replica
    }

    fn admit(&self, members: &mut Members, endpoint: Endpoint, now: Instant) -> Arc<Replica> {
        let standing = self.ward.admit(endpoint.address, now);
        let returning = members.departed.remove(&endpoint.address).and_then(|weak| weak.upgrade());
        info!(upstream = self.name(), replica = %endpoint.address, "replica joined");
        if let Some(replica) = returning {
            if matches!(replica.draining(), Some(Draining::Left | Draining::Unready)) {
                replica.set_draining(None);
            }
            replica.set_standing(standing);
            return replica;
        }
        let tag = Tag::new(&self.affinity_key, self.name(), endpoint.address);
        let ward = Arc::clone(&self.ward);
        Arc::new(Replica::new(endpoint.address, endpoint.weight, tag, ward, standing))
    }

    fn dismiss(&self, members: &mut Members, replica: &Arc<Replica>) {
        let websockets = replica.open_websockets();
        info!(upstream = self.name(), replica = %replica.address(), websockets, "replica left");
        self.ward.discharge(replica.address());
        lock(&self.sessions).forget_replica(replica.address());
        let stays = self.replicas.load_full();
        lock(&self.balancer).keep_only(|id| stays.iter().any(|replica| replica.id() == id));
        members.departed.retain(|_, weak| weak.strong_count() > 0);
        members.departed.insert(replica.address(), Arc::downgrade(replica));
        self.tell_leaving(replica, Draining::Left);
    }

    /// Has a replica left for this reason.
    pub(crate) fn tell_leaving(&self, replica: &Arc<Replica>, why: Draining) {
        if let Some(tell) = self.on_leaving.get() {
            tell(replica, why);
        }
    }
}

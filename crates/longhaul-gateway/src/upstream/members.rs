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

/// What each source found last.
#[derive(Debug)]
pub(super) struct Members {
    /// One list for each source of the config; `None` before its first answer.
    found: Vec<Option<Vec<Endpoint>>>,
    /// Replicas that left while they held work. One that returns meanwhile goes on counting.
    departed: HashMap<SocketAddr, Weak<Replica>>,
}

impl Members {
    pub(super) fn new(sources: usize) -> Self {
        Self { found: vec![None; sources], departed: HashMap::new() }
    }

    /// All endpoints, each address once: the first source that names it gives its weight.
    fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for endpoint in self.found.iter().flatten().flatten() {
            if !endpoints.iter().any(|known| known.address == endpoint.address) {
                endpoints.push(*endpoint);
            }
        }
        endpoints
    }
}

impl Upstream {
    /// Takes what one source stands for now. Replicas that stay keep their counters and health;
    /// those that are gone get no new work, and what they hold goes on.
    pub(crate) fn set_endpoints(&self, source: usize, found: Vec<Endpoint>, now: Instant) {
        let mut members = lock(&self.members);
        let Some(place) = members.found.get_mut(source) else { return };
        if place.replace(found).is_none() {
            self.sources_pending.fetch_sub(1, Ordering::AcqRel);
        }
        let endpoints = members.endpoints();
        let before = self.replicas.load_full();
        let mut known: HashMap<SocketAddr, Arc<Replica>> =
            before.iter().map(|replica| (replica.address(), Arc::clone(replica))).collect();
        let mut replicas = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let replica = match known.remove(&endpoint.address) {
                Some(replica) => replica,
                None => self.admit(&mut members, endpoint, now),
            };
            replica.set_weight(endpoint.weight);
            replicas.push(replica);
        }
        self.replicas.store(Arc::new(replicas));
        for gone in known.into_values() {
            self.dismiss(&mut members, &gone);
        }
        self.changed.send_replace(());
    }

    /// Takes note that a source was asked and had no answer: it is not waited for at start.
    pub(crate) fn give_up_waiting(&self, source: usize) {
        let mut members = lock(&self.members);
        if let Some(place @ None) = members.found.get_mut(source) {
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

    /// Takes in the addresses that need no looking up.
    pub(super) fn set_fixed_replicas(&self, now: Instant) {
        for (index, source) in self.config.sources.iter().enumerate() {
            if let ReplicaSource::Static { address, weight } = source {
                self.set_endpoints(
                    index,
                    vec![Endpoint { address: *address, weight: *weight }],
                    now,
                );
            }
        }
    }

    /// Those that have left and may still hold something.
    pub(super) fn departed(&self) -> Vec<Arc<Replica>> {
        lock(&self.members).departed.values().filter_map(Weak::upgrade).collect()
    }

    fn admit(&self, members: &mut Members, endpoint: Endpoint, now: Instant) -> Arc<Replica> {
        let standing = self.ward.admit(endpoint.address, now);
        let returning = members.departed.remove(&endpoint.address).and_then(|weak| weak.upgrade());
        info!(upstream = self.name(), replica = %endpoint.address, "replica joined");
        if let Some(replica) = returning {
            if replica.draining() == Some(Draining::Left) {
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
        if let Some(tell) = self.on_left.get() {
            tell(replica);
        }
    }
}

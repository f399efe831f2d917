//! Chooses one replica among those that may take work.
//!
//! Who may take work is decided before (see [`crate::health`]), and affinity has had its say (see
//! [`crate::affinity`]). What is open is counted by the gateway and is never reset here.
//!
//! Start at [`Balancer::pick`].

use std::collections::HashMap;

/// How a replica is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The fewest open WebSockets for its weight.
    #[default]
    LeastConnections,
    /// Each in turn, as often as its weight says.
    RoundRobin,
    /// The less loaded of two drawn at random.
    RandomOfTwo,
    /// The same key, the same replica, as long as the set stays.
    ConsistentHash,
}

/// One replica that may be picked.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// The same for the same replica on every gateway and after every restart: see [`stable_hash`].
    pub id: u64,
    /// Work it holds now, in the unit that the caller balances.
    pub open: usize,
    /// Share of new work relative to the others; 0 counts as 1.
    pub weight: u32,
    /// Part of its weight that it takes now: below 1.0 during slow start.
    pub share: f64,
}

/// Picks by one strategy, and remembers whose turn it is where the strategy has turns.
#[derive(Debug, Default)]
pub struct Balancer {
    strategy: Strategy,
    /// Credit of each replica in the smooth weighted round robin; the sum stays at zero.
    credits: HashMap<u64, f64>,
}

impl Balancer {
    /// Nobody has had a turn yet.
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, credits: HashMap::new() }
    }

    /// Returns the place of the chosen candidate, or `None` when there is none.
    ///
    /// `key` is what consistent hashing hashes; without one it falls back to least connections.
    /// `random` is uniform over all values; it breaks ties and draws.
    pub fn pick(
        &mut self,
        candidates: &[Candidate],
        key: Option<&[u8]>,
        random: u64,
    ) -> Option<usize> {
        match (self.strategy, key) {
            (Strategy::LeastConnections, _) | (Strategy::ConsistentHash, None) => {
                least_connections(candidates, random)
            }
            (Strategy::RoundRobin, _) => self.next_in_turn(candidates),
            (Strategy::RandomOfTwo, _) => random_of_two(candidates, random),
            (Strategy::ConsistentHash, Some(key)) => consistent_hash(candidates, key),
        }
    }

    /// Forgets the turns of replicas that are gone, so that memory follows the set.
    pub fn keep_only(&mut self, stays: impl Fn(u64) -> bool) {
        self.credits.retain(|id, _| stays(*id));
    }

    /// Smooth weighted round robin: everyone earns its weight, the richest pays for all.
    ///
    /// With weights 5, 1, 1 the order is a a b a c a a, not five in a row for `a`.
    fn next_in_turn(&mut self, candidates: &[Candidate]) -> Option<usize> {
        let mut total = 0.0;
        let mut richest: Option<(usize, f64)> = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let earns = candidate.capacity();
            total += earns;
            let credit = self.credits.entry(candidate.id).or_insert(0.0);
            *credit += earns;
            if richest.is_none_or(|(_, most)| *credit > most) {
                richest = Some((index, *credit));
            }
        }
        let (index, credit) = richest?;
        self.credits.insert(candidates.get(index)?.id, credit - total);
        Some(index)
    }
}

impl Candidate {
    fn capacity(&self) -> f64 {
        // A share of zero would starve a replica for ever; nobody starts that slowly.
        f64::from(self.weight.max(1)) * self.share.clamp(0.001, 1.0)
    }

    /// How loaded it would be with one more.
    fn load(&self) -> f64 {
        (self.open as f64 + 1.0) / self.capacity()
    }
}

/// Returns the candidate that one more piece of work would load least; equals are drawn by lot.
pub fn least_connections(candidates: &[Candidate], random: u64) -> Option<usize> {
    let lowest = candidates.iter().map(Candidate::load).min_by(f64::total_cmp)?;
    let is_lowest = |candidate: &Candidate| candidate.load() <= lowest;
    let ties = candidates.iter().filter(|candidate| is_lowest(candidate)).count();
    let lot = usize::try_from(random % ties.max(1) as u64).unwrap_or(0);
    candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| is_lowest(candidate))
        .nth(lot)
        .map(|(index, _)| index)
}

/// Draws two different candidates by weight and returns the less loaded: nearly as even as looking
/// at all of them, and gateways that do not know of each other do not all run to the same one.
pub fn random_of_two(candidates: &[Candidate], random: u64) -> Option<usize> {
    let first = draw(candidates, None, fraction(mixed(random)))?;
    let Some(second) = draw(candidates, Some(first), fraction(mixed(!random))) else {
        return Some(first);
    };
    let load = |index: usize| candidates.get(index).map_or(f64::MAX, Candidate::load);
    Some(if load(second) < load(first) { second } else { first })
}

/// Draws one candidate by weight, `except` left out. `lot` is uniform in 0.0..1.0.
fn draw(candidates: &[Candidate], except: Option<usize>, lot: f64) -> Option<usize> {
    let others = || candidates.iter().enumerate().filter(|(index, _)| Some(*index) != except);
    let total: f64 = others().map(|(_, candidate)| candidate.capacity()).sum();
    let mut left = lot * total;
    let mut last = None;
    for (index, candidate) in others() {
        last = Some(index);
        left -= candidate.capacity();
        if left < 0.0 {
            break;
        }
    }
    last
}

/// Weighted rendezvous hashing: every replica bids for the key, the highest bid wins.
///
/// A replica that joins takes keys only to itself, one that leaves gives up only its own, and the
/// order of the candidates does not matter. Slow start has no part in it: a share that grows would
/// move keys while it does.
pub fn consistent_hash(candidates: &[Candidate], key: &[u8]) -> Option<usize> {
    let key = stable_hash(key);
    let bid = |candidate: &Candidate| {
        let lot = fraction(mixed(key ^ mixed(candidate.id)));
        // −w/ln(u) makes the chance to win proportional to the weight.
        -f64::from(candidate.weight.max(1)) / lot.max(f64::MIN_POSITIVE).ln()
    };
    candidates
        .iter()
        .enumerate()
        .max_by(|(_, a), (_, b)| bid(a).total_cmp(&bid(b)).then(a.id.cmp(&b.id)))
        .map(|(index, _)| index)
}

/// Hashes bytes to the same number on every machine and in every version (FNV-1a, then mixed).
///
/// Not keyed: who knows the replicas can choose keys that fall together. It spreads load; it
/// protects nothing.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mixed(hash)
}

/// Spreads every input bit over all output bits (the finaliser of SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Maps a number to 0.0..1.0 by its upper 53 bits, as many as an `f64` holds.
fn fraction(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    // Not the whole prelude: it has a `Strategy` too.
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    fn replica(id: u64, open: usize, weight: u32) -> Candidate {
        Candidate { id, open, weight, share: 1.0 }
    }

    fn counts(rounds: u64, mut pick: impl FnMut(u64) -> usize) -> HashMap<usize, u64> {
        (0..rounds).fold(HashMap::new(), |mut counts, round| {
            *counts.entry(pick(round)).or_default() += 1;
            counts
        })
    }

    #[test]
    fn nobody_is_picked_from_nothing() {
        for strategy in [Strategy::LeastConnections, Strategy::RoundRobin, Strategy::RandomOfTwo] {
            assert_eq!(Balancer::new(strategy).pick(&[], None, 7), None);
        }
        assert_eq!(consistent_hash(&[], b"key"), None);
    }

    #[test]
    fn least_connections_weighs_what_is_open() {
        assert_eq!(least_connections(&[replica(1, 4, 1), replica(2, 3, 1)], 0), Some(1));
        // Nine on a triple weight are fewer than four on a single one.
        assert_eq!(least_connections(&[replica(1, 4, 1), replica(2, 9, 3)], 0), Some(1));
        // A replica at a tenth of its share is as full with none as another with nine.
        let starting = Candidate { share: 0.1, ..replica(3, 0, 1) };
        assert_eq!(least_connections(&[replica(1, 8, 1), starting], 0), Some(0));
        assert_eq!(least_connections(&[replica(1, 10, 1), starting], 0), Some(1));
    }

    #[test]
    fn equals_share_by_lot() {
        let equals = [replica(1, 0, 1), replica(2, 5, 1), replica(3, 0, 1)];
        let counts = counts(1000, |round| least_connections(&equals, round).unwrap());
        assert_eq!(counts, HashMap::from([(0, 500), (2, 500)]));
    }

    #[test]
    fn round_robin_interleaves_by_weight() {
        let mut balancer = Balancer::new(Strategy::RoundRobin);
        let replicas = [replica(1, 0, 5), replica(2, 0, 1), replica(3, 0, 1)];
        let order: Vec<_> = (0..7).map(|_| balancer.pick(&replicas, None, 0).unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn round_robin_forgets_who_is_gone() {
        let mut balancer = Balancer::new(Strategy::RoundRobin);
        balancer.pick(&[replica(1, 0, 1), replica(2, 0, 1)], None, 0);
        balancer.keep_only(|id| id == 1);
        assert_eq!(balancer.credits.len(), 1);
    }

    #[test]
    fn random_of_two_follows_weight_and_load() {
        let by_weight = [replica(1, 0, 3), replica(2, 0, 1), replica(3, 0, 1)];
        let drawn = counts(10_000, |round| draw(&by_weight, None, fraction(mixed(round))).unwrap());
        assert!((5_700..6_300).contains(&drawn[&0]), "{drawn:?}");

        // The most loaded of three is picked only when it is drawn twice, which cannot be.
        let by_load = [replica(1, 9, 1), replica(2, 0, 1), replica(3, 0, 1)];
        let picked = counts(10_000, |round| random_of_two(&by_load, round).unwrap());
        assert!(!picked.contains_key(&0), "{picked:?}");
        assert!((4_700..5_300).contains(&picked[&1]), "{picked:?}");

        assert_eq!(random_of_two(&[replica(1, 9, 1)], 5), Some(0));
    }

    #[test]
    fn consistent_hash_follows_weight() {
        let replicas = [replica(1, 0, 3), replica(2, 0, 1)];
        let counts = counts(10_000, |key| consistent_hash(&replicas, &key.to_be_bytes()).unwrap());
        assert!((7_300..7_700).contains(&counts[&0]), "{counts:?}");
    }

    #[test]
    fn the_hash_is_the_same_in_every_version() {
        // Gateways of different versions must send a key to the same replica.
        assert_eq!(stable_hash(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(stable_hash(b"longhaul"), 0x63e1_7a65_acf0_3ab9);
    }

    proptest! {
        #[test]
        fn round_robin_is_exact_over_a_whole_round(weights in prop::collection::vec(1_u32..8, 1..8)) {
            let replicas: Vec<_> =
                weights.iter().zip(0..).map(|(weight, id)| replica(id, 0, *weight)).collect();
            let mut balancer = Balancer::new(Strategy::RoundRobin);
            let round = u64::from(weights.iter().sum::<u32>());
            let counts = counts(round * 3, |_| balancer.pick(&replicas, None, 0).unwrap());
            for (index, weight) in weights.iter().enumerate() {
                prop_assert_eq!(counts[&index], u64::from(*weight) * 3);
            }
        }

        #[test]
        fn a_replica_that_joins_takes_keys_only_to_itself(
            ids in prop::collection::hash_set(any::<u64>(), 2..12),
            weight in 1_u32..5,
        ) {
            let all: Vec<_> = ids.iter().map(|id| replica(*id, 0, weight)).collect();
            let (_, before) = all.split_last().unwrap();
            let newcomer = all.len() - 1;
            let mut moved = 0_usize;
            for key in 0..500_u32 {
                let key = key.to_be_bytes();
                let was = consistent_hash(before, &key).unwrap();
                let is = consistent_hash(&all, &key).unwrap();
                prop_assert!(is == was || is == newcomer);
                moved += usize::from(is == newcomer);
            }
            // It takes about its share of 500 keys, and never much more.
            prop_assert!(moved < 500 * 2 / all.len() + 60, "{moved} of 500 moved");
        }

        #[test]
        fn every_strategy_picks_somebody_in_range(
            opens in prop::collection::vec((0_usize..100, 0_u32..4, 0.0..=1.0_f64), 1..10),
            random in any::<u64>(),
        ) {
            let replicas: Vec<_> = opens.iter().zip(0..).map(|((open, weight, share), id)| {
                Candidate { id, open: *open, weight: *weight, share: *share }
            }).collect();
            for strategy in [
                Strategy::LeastConnections,
                Strategy::RoundRobin,
                Strategy::RandomOfTwo,
                Strategy::ConsistentHash,
            ] {
                let picked = Balancer::new(strategy).pick(&replicas, Some(b"key"), random);
                prop_assert!(picked.is_some_and(|index| index < replicas.len()));
            }
        }
    }
}

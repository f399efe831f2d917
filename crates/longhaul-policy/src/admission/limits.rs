//! Decides whether one more fits: so many a second, so many at once, for everybody or for each.
//!
//! Who is refused is told when to come again, and no two the same moment: those who were turned away
//! together would otherwise be back together (RFC 6585 §4, RFC 6455 §7.2.3).
//!
//! Start at [`Gate::enter`]; [`Gates`] has one gate for each of many.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// What may pass one gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// How many each second, in the long run.
    pub per_second: Option<NonZeroU32>,
    /// How many in one moment after a pause; one second's worth when not said.
    pub burst: Option<NonZeroU32>,
    /// How many may be inside at once.
    pub open_max: Option<NonZeroU32>,
}

impl Allowance {
    /// Whether everything passes.
    pub fn is_unlimited(&self) -> bool {
        self.per_second.is_none() && self.open_max.is_none()
    }
}

/// Why one did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Too many in this second: come again after this time.
    Rate {
        /// From now.
        retry_after: Duration,
    },
    /// Too many are inside.
    Open,
}

/// The longest time that anybody is sent away for: whoever waits longer than that gives up anyway.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What has passed one gate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gate {
    /// When the debt of those who passed is paid; in the past when nobody came for a while.
    paid_at: Option<Instant>,
    /// The end of the line of those who were sent away and will be back.
    line_ends_at: Option<Instant>,
    open: u32,
}

impl Gate {
    /// Lets one in, or says why not. `random` is uniform in 0.0..1.0.
    ///
    /// # Errors
    /// Which part of the allowance is used up.
    pub fn enter(&mut self, allowed: &Allowance, random: f64, now: Instant) -> Result<(), Excess> {
        if allowed.open_max.is_some_and(|max| self.open >= max.get()) {
            return Err(Excess::Open);
        }
        if let Some(rate) = allowed.per_second {
            let step = Duration::from_secs(1) / rate.get();
            let burst = allowed.burst.unwrap_or(rate).get();
            let paid_at = self.paid_at.map_or(now, |at| at.max(now));
            let ahead = paid_at - now;
            let ahead_max = step * (burst - 1);
            if ahead > ahead_max {
                let retry_after = self.join_line(now + (ahead - ahead_max), step, random, now);
                return Err(Excess::Rate { retry_after });
            }
            self.paid_at = Some(paid_at + step);
        }
        self.open += 1;
        Ok(())
    }

    /// Takes note that one has left.
    pub fn leave(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Whether forgetting this gate would let nobody in who is kept out now.
    fn is_idle(&self, now: Instant) -> bool {
        self.open == 0 && self.paid_at.is_none_or(|at| at <= now)
    }

    /// The next free place in the line of those who come again, so that they come as fast as the
    /// gate lets them in and not all at once.
    fn join_line(
        &mut self,
        free_at: Instant,
        step: Duration,
        random: f64,
        now: Instant,
    ) -> Duration {
        let place = self.line_ends_at.map_or(free_at, |end| end.max(free_at));
        let wait = place - now;
        if wait < RETRY_AFTER_MAX {
            self.line_ends_at = Some(place + step);
            // Clients round to whole seconds: spread over the second that this is in.
            return (wait + Duration::from_secs(1).mul_f64(random)).min(RETRY_AFTER_MAX);
        }
        // Beyond the end of patience there are no places to give, only moments to choose among.
        RETRY_AFTER_MAX.mul_f64(0.5 + 0.5 * random)
    }
}

/// One gate for each key. Beyond `keys_max` of them, the rest share one.
#[derive(Debug)]
pub struct Gates<K> {
    gates: HashMap<K, Gate>,
    shared: Gate,
    keys_max: usize,
    /// When the idle were last swept out for want of room.
    swept_at: Option<Instant>,
}

/// Where one was let in, to say it when it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<K> {
    /// Its own gate.
    Own(K),
    /// The gate of those for whom there was no room.
    Shared,
}

impl<K: Hash + Eq + Clone> Gates<K> {
    /// Room for so many keys.
    pub fn new(keys_max: usize) -> Self {
        Self { gates: HashMap::new(), shared: Gate::default(), keys_max, swept_at: None }
    }

    /// Lets one in by the gate of `key`.
    ///
    /// # Errors
    /// Which part of the allowance of this key is used up.
    pub fn enter(
        &mut self,
        key: &K,
        allowed: &Allowance,
        random: f64,
        now: Instant,
    ) -> Result<Place<K>, Excess> {
        if !self.gates.contains_key(key) && self.gates.len() >= self.keys_max {
            self.sweep(now);
        }
        if let Some(gate) = self.gates.get_mut(key) {
            return gate.enter(allowed, random, now).map(|()| Place::Own(key.clone()));
        }
        if self.gates.len() >= self.keys_max {
            return self.shared.enter(allowed, random, now).map(|()| Place::Shared);
        }
        let gate = self.gates.entry(key.clone()).or_default();
        gate.enter(allowed, random, now).map(|()| Place::Own(key.clone()))
    }

    /// Takes note that one has left.
    pub fn leave(&mut self, place: &Place<K>, now: Instant) {
        match place {
            Place::Shared => self.shared.leave(),
            Place::Own(key) => {
                if let Some(gate) = self.gates.get_mut(key) {
                    gate.leave();
                    if gate.is_idle(now) {
                        self.gates.remove(key);
                    }
                }
            }
        }
    }

    /// Keys that are remembered.
    pub fn len(&self) -> usize {
        self.gates.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.gates.is_empty()
    }

    /// Forgets whom it may. At most once a second: a flood of new keys must not turn each of them
    /// into a walk over all.
    fn sweep(&mut self, now: Instant) {
        const PAUSE: Duration = Duration::from_secs(1);
        if self.swept_at.is_none_or(|at| now.saturating_duration_since(at) >= PAUSE) {
            self.swept_at = Some(now);
            self.gates.retain(|_, gate| !gate.is_idle(now));
        }
    }
}

/// What counts as one client: an IPv4 address, or the network of an IPv6 address, since one machine
/// has 2^64 of those.
pub fn client_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allowance(per_second: u32, burst: u32, open_max: u32) -> Allowance {
        let [per_second, burst, open_max] = [per_second, burst, open_max].map(NonZeroU32::new);
        Allowance { per_second, burst, open_max }
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let allowed = allowance(10, 3, 0);
        let (mut gate, start) = (Gate::default(), Instant::now());
        let mut passed = |at| gate.enter(&allowed, 0.0, start + ms(at)).is_ok();
        assert_eq!([0, 0, 0, 0, 99].map(&mut passed), [true, true, true, false, false]);
        assert_eq!([100, 150, 200].map(&mut passed), [true, false, true]);
        // A pause earns a burst, never more.
        assert_eq!([60_000; 4].map(&mut passed), [true, true, true, false]);
    }

    #[test]
    fn who_leaves_makes_room() {
        let allowed = allowance(0, 0, 2);
        let (mut gate, now) = (Gate::default(), Instant::now());
        assert!(gate.enter(&allowed, 0.0, now).is_ok() && gate.enter(&allowed, 0.0, now).is_ok());
        assert_eq!(gate.enter(&allowed, 0.0, now), Err(Excess::Open));
        gate.leave();
        assert!(gate.enter(&allowed, 0.0, now).is_ok());
    }

    /// Ten thousand come at once to a gate for a hundred a second.
    #[test]
    fn a_storm_comes_back_as_fast_as_the_gate_lets_it_in() {
        let allowed = allowance(100, 100, 0);
        let (mut gate, now) = (Gate::default(), Instant::now());
        let mut returns = [0_u32; 61];
        for number in 0..10_000_u32 {
            let random = f64::from(number.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
            if let Err(Excess::Rate { retry_after }) = gate.enter(&allowed, random, now) {
                assert!(retry_after <= RETRY_AFTER_MAX && !retry_after.is_zero());
                returns[retry_after.as_secs() as usize] += 1;
            }
        }
        let busiest = *returns[..30].iter().max().unwrap();
        assert!(busiest <= 150, "{returns:?}");
        // Those beyond the end of patience are spread over its second half.
        assert!(returns[30..60].iter().all(|&count| count < 400), "{returns:?}");
    }

    #[test]
    fn keys_are_bounded_forgotten_when_idle_and_beyond_the_bound_share_one_gate() {
        let allowed = allowance(1, 1, 0);
        let (mut gates, start) = (Gates::new(2), Instant::now());
        assert!(gates.enter(&1, &allowed, 0.0, start).is_ok());
        assert!(gates.enter(&2, &allowed, 0.0, start).is_ok());
        assert_eq!(gates.enter(&3, &allowed, 0.0, start), Ok(Place::Shared));
        assert!(gates.enter(&4, &allowed, 0.0, start).is_err(), "it shares with 3");
        for key in 0..100 {
            let _ = gates.enter(&key, &allowed, 0.0, start + ms(10));
        }
        assert_eq!(gates.len(), 2);
        for key in [1, 2] {
            gates.leave(&Place::Own(key), start + ms(5_000));
        }
        assert!(gates.is_empty());
    }

    #[test]
    fn one_network_of_ipv6_is_one_client() {
        let key = |text: &str| client_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }

    proptest! {
        #[test]
        fn no_window_lets_in_more_than_the_burst_and_the_rate(
            rate in 1u32..50, burst in 1u32..50, gaps in prop::collection::vec(0u64..200, 1..200),
        ) {
            let allowed = allowance(rate, burst, 0);
            let (mut gate, start) = (Gate::default(), Instant::now());
            let (mut at, mut passed) = (0, Vec::new());
            for gap in gaps {
                at += gap;
                if gate.enter(&allowed, 0.5, start + ms(at)).is_ok() {
                    passed.push(at);
                }
            }
            for (index, from) in passed.iter().enumerate() {
                for (count, to) in passed[index..].iter().enumerate() {
                    let fits = u64::from(burst) + (to - from) * u64::from(rate) / 1000 + 1;
                    prop_assert!((count as u64) < fits);
                }
            }
        }
    }
}

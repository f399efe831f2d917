//! Decides when a replica is up, down or ejected.
//!
//! Two kinds of evidence count. *Probes* are asked for and decide up and down, with hysteresis.
//! *Work* (a connect, a handshake) comes by itself: failures in a row eject a replica for a while,
//! but never so many that the rest could not carry the load. Sending probes is the gateway's work,
//! and so is ending the sockets of a replica that is down.
//!
//! Start at [`Health`]: one for all replicas of an upstream, since the floor under ejections is a
//! decision over all of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// When a replica counts as up, down or ejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Probes in a row that must pass before a replica that was down is up. Default: 2.
    pub rise: u32,
    /// Probes in a row that must fail before a replica is down. Default: 3.
    pub fall: u32,
    /// Connects or handshakes in a row that must fail before a replica is ejected. Default: 3.
    pub eject_after: u32,
    /// First ejection; doubles with each one in a row up to `eject_max`. Default: 10 s.
    pub eject: Duration,
    /// Longest ejection. Default: 60 s.
    pub eject_max: Duration,
    /// How long a returning replica takes to reach its full share. Zero: at once. Default: 0 s.
    pub slow_start: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            rise: 2,
            fall: 3,
            eject_after: 3,
            eject: Duration::from_secs(10),
            eject_max: Duration::from_secs(60),
            slow_start: Duration::ZERO,
        }
    }
}

/// How a replica stands at one moment, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Takes its full share.
    Up,
    /// Takes a growing share.
    Starting,
    /// Waits for its first probe: takes work only when no other can.
    Unproven,
    /// Failed at work: takes none until its time is over, unless no other can.
    Ejected,
    /// Failed its probes: takes work only when all others are down too.
    Down,
}

impl State {
    /// Whether it takes work while others could.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Up | Self::Starting)
    }

    /// Its name in the API and in logs: `up`, `starting`, `ejected` or `down`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Starting | Self::Unproven => "starting",
            Self::Ejected => "ejected",
            Self::Down => "down",
        }
    }
}

/// What changed for a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Its probes pass: new work may go to it.
    CameUp,
    /// Its probes fail: no new work, and what it holds is lost.
    WentDown,
    /// Its work fails: no new work for so long. What it holds may go on.
    Ejected {
        /// How long it stays out.
        out_for: Duration,
    },
}

/// How one replica stands, in a form that can be kept beside it and asked at any time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    verdict: Verdict,
    ejected_until: Option<Instant>,
    /// Since when it takes work, after its last absence.
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Unproven,
    Up,
    Down,
}

impl Standing {
    /// How the replica stands at `now`.
    pub fn state(&self, policy: &HealthPolicy, now: Instant) -> State {
        match self.verdict {
            Verdict::Down => State::Down,
            Verdict::Up | Verdict::Unproven if self.is_ejected(now) => State::Ejected,
            Verdict::Unproven => State::Unproven,
            Verdict::Up if self.share(policy, now) < 1.0 => State::Starting,
            Verdict::Up => State::Up,
        }
    }

    /// Part of its weight that the replica takes at `now`: grows evenly from a tenth to 1.0 over
    /// `slow_start`. A tenth, because less could keep a lone newcomer idle for most of that time.
    pub fn share(&self, policy: &HealthPolicy, now: Instant) -> f64 {
        if policy.slow_start.is_zero() {
            return 1.0;
        }
        let ran = now.saturating_duration_since(self.since);
        (ran.as_secs_f64() / policy.slow_start.as_secs_f64()).clamp(0.1, 1.0)
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }
}

/// The health of all replicas of one upstream.
#[derive(Debug)]
pub struct Health {
    policy: HealthPolicy,
    /// Whether newcomers must pass a probe before they take work.
    is_probed: bool,
    replicas: HashMap<SocketAddr, Record>,
}

#[derive(Debug)]
struct Record {
    standing: Standing,
    /// Probes in a row that spoke against the present verdict.
    contrary_probes: u32,
    /// Failures at work since the last success.
    failures: u32,
    /// Ejections that followed closely on one another.
    ejections: u32,
}

impl Health {
    /// Knows no replica yet. `is_probed` says whether [`Health::note_probe`] will ever be called.
    pub fn new(policy: HealthPolicy, is_probed: bool) -> Self {
        Self { policy, is_probed, replicas: HashMap::new() }
    }

    /// Judges by another policy from now on; what is known of replicas stays. Where probes end, nobody
    /// could take back what they said last, so that every replica counts as up.
    pub fn retune(&mut self, policy: HealthPolicy, is_probed: bool) {
        self.policy = policy;
        self.is_probed = is_probed;
        if !is_probed {
            for record in self.replicas.values_mut() {
                record.standing.verdict = Verdict::Up;
                record.contrary_probes = 0;
            }
        }
    }

    /// Adds a replica, unless it is known. It starts slowly, and unproven where probes are sent.
    pub fn add(&mut self, replica: SocketAddr, now: Instant) {
        let verdict = if self.is_probed { Verdict::Unproven } else { Verdict::Up };
        self.replicas.entry(replica).or_insert(Record {
            standing: Standing { verdict, ejected_until: None, since: now },
            contrary_probes: 0,
            failures: 0,
            ejections: 0,
        });
    }

    /// Forgets a replica.
    pub fn remove(&mut self, replica: SocketAddr) {
        self.replicas.remove(&replica);
    }

    /// How a replica stands, unless it is unknown.
    pub fn standing(&self, replica: SocketAddr) -> Option<Standing> {
        self.replicas.get(&replica).map(|record| record.standing)
    }

    /// Takes the outcome of one probe. The first one decides alone; after that, `fall` failures in a
    /// row take a replica down and `rise` passes in a row bring it back. Coming back ends an
    /// ejection.
    pub fn note_probe(
        &mut self,
        replica: SocketAddr,
        passed: bool,
        now: Instant,
    ) -> Option<Change> {
        let record = self.replicas.get_mut(&replica)?;
        let needed = match (record.standing.verdict, passed) {
            (Verdict::Up, true) | (Verdict::Down, false) => {
                record.contrary_probes = 0;
                return None;
            }
            (Verdict::Unproven, _) => 1,
            (Verdict::Up, false) => self.policy.fall,
            (Verdict::Down, true) => self.policy.rise,
        };
        record.contrary_probes = record.contrary_probes.saturating_add(1);
        if record.contrary_probes < needed {
            return None;
        }
        record.contrary_probes = 0;
        if passed {
            record.failures = 0;
            record.standing = Standing { verdict: Verdict::Up, ejected_until: None, since: now };
            Some(Change::CameUp)
        } else {
            record.standing.verdict = Verdict::Down;
            Some(Change::WentDown)
        }
    }

    /// Takes note that a connect or handshake went well.
    pub fn note_success(&mut self, replica: SocketAddr) {
        if let Some(record) = self.replicas.get_mut(&replica) {
            record.failures = 0;
        }
    }

    /// Takes note that a connect or handshake failed, and ejects the replica when that was one too
    /// many and the others can do without it.
    pub fn note_failure(&mut self, replica: SocketAddr, now: Instant) -> Option<Change> {
        let may_eject = self.may_eject(replica, now);
        let record = self.replicas.get_mut(&replica)?;
        record.failures = record.failures.saturating_add(1);
        let is_one_too_many = record.failures >= self.policy.eject_after.max(1);
        if !is_one_too_many || !may_eject || record.standing.is_ejected(now) {
            return None;
        }
        let is_in_a_row =
            record.standing.ejected_until.is_some_and(|until| now < until + self.policy.eject_max);
        record.ejections = if is_in_a_row { record.ejections.saturating_add(1) } else { 1 };
        let doublings = (record.ejections - 1).min(16);
        let out_for = self.policy.eject.saturating_mul(1 << doublings).min(self.policy.eject_max);
        record.failures = 0;
        record.standing.ejected_until = Some(now + out_for);
        // Slow start begins when it is back, not when it went.
        record.standing.since = now + out_for;
        Some(Change::Ejected { out_for })
    }

    /// The floor: at most half of the replicas are ejected at once, and the last one that takes
    /// work never is. Failing at work is evidence against a replica, but when all fail it is more
    /// likely to be the network, or the clients.
    fn may_eject(&self, replica: SocketAddr, now: Instant) -> bool {
        let others = || self.replicas.iter().filter(|(address, _)| **address != replica);
        let ejected = others().filter(|(_, record)| record.standing.is_ejected(now)).count();
        let one_is_left =
            others().any(|(_, record)| record.standing.state(&self.policy, now).is_usable());
        one_is_left && (ejected + 1) * 2 <= self.replicas.len()
    }
}

#[cfg(test)]
mod tests;

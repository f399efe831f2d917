//! Chooses one replica among those that may take work.

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

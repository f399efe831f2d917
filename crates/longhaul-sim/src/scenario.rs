//! What one run is like, drawn from its seed.

use std::time::Duration;

use fastrand::Rng;
use longhaul_proto::durable::client::{ClientPolicy, Reconnect};
use longhaul_proto::durable::owner::OwnerPolicy;
use longhaul_proto::durable::rule::Keeps;
use longhaul_proto::durable::{Rule, Sizes, Window};

/// What one run is like.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// How the gateway keeps the session.
    pub owner: OwnerPolicy,
    /// How the client does.
    pub client: ClientPolicy,
    /// Messages in each direction.
    pub messages: u64,
    /// Payload bytes of one.
    pub message_bytes: usize,
    /// How far apart messages are begun.
    pub pause: Duration,
    /// The slowest one-way delay of a link.
    pub delay_max: Duration,
    /// How long links live, on average, while there is trouble.
    pub link_life: Duration,
    /// When trouble ends.
    pub trouble: Duration,
    /// A link is lost once it has carried so many messages of the client's.
    pub link_items_max: Option<u64>,
    /// The replica reads nothing while it has something to write.
    pub replica_writes_first: bool,
    /// Replicas acknowledge messages themselves, and die.
    pub is_aware: bool,
    /// Their store refuses those that were given up.
    pub is_fenced: bool,
}

impl Scenario {
    /// A scenario like no other seed's. Windows are small, so that they fill.
    pub fn random(rng: &mut Rng) -> Self {
        let chunk = rng.usize(4..40);
        let window = |rng: &mut Rng| Window { bytes: rng.u64(1..600), items: rng.u64(1..24) };
        let ms = |rng: &mut Rng, low, high| Duration::from_millis(rng.u64(low..high));
        let owner = OwnerPolicy {
            window: window(rng),
            sizes: Sizes { message_bytes_max: chunk * 12, chunk_bytes_max: chunk },
            // Every loss is to be outlived here; that sessions end in time is tried beside the machine.
            grace: Duration::from_secs(900),
            grace_unconfirmed: Duration::from_secs(900),
            stall: Duration::from_secs(900),
            older_link: ms(rng, 200, 10_000),
            token_interval: ms(rng, 500, 20_000),
            migrate_deadline: ms(rng, 500, 20_000),
            ..OwnerPolicy::default()
        };
        let client = ClientPolicy {
            window: window(rng),
            patience: ms(rng, 2_000, 15_000),
            reconnect: Reconnect {
                first: Duration::from_millis(100),
                settled: Duration::from_secs(30),
                steps: [50, 200, 500, 1000, 2000].map(Duration::from_millis).to_vec(),
                tries_max: None,
            },
            ..ClientPolicy::default()
        };
        Self {
            owner,
            client,
            messages: rng.u64(1..60),
            message_bytes: rng.usize(8..chunk * 10 + 1),
            pause: ms(rng, 1, 800),
            delay_max: ms(rng, 1, 2_500),
            link_life: ms(rng, 200, 12_000),
            trouble: ms(rng, 1_000, 60_000),
            link_items_max: None,
            replica_writes_first: rng.u8(..4) == 0,
            is_aware: false,
            is_fenced: true,
        }
    }

    /// The same with replicas that acknowledge messages themselves, and die in the middle of it.
    #[must_use]
    pub fn aware(mut self) -> Self {
        self.is_aware = true;
        self
    }

    /// The same with a store that takes what replicas store that were given up, to see that it must not.
    #[must_use]
    pub fn unfenced(mut self) -> Self {
        self.is_fenced = false;
        self
    }

    /// The same with one rule broken, to see that it is needed.
    #[must_use]
    pub fn breaking(mut self, rule: Rule) -> Self {
        self.owner.keeps = Keeps::all_but(rule);
        self.client.keeps = Keeps::all_but(rule);
        self
    }
}

//! How durable sessions are kept.

use std::time::Duration;

use http::HeaderName;
use longhaul_proto::durable::owner::OwnerPolicy;
use longhaul_proto::durable::{Sizes, Window};

/// How they are kept. They are for clients that ask for the subprotocol `longhaul.v1`.
#[derive(Debug, Clone)]
pub struct DurableConfig {
    /// Whether there are any. Default: yes.
    pub is_enabled: bool,
    /// How long a session lives without a link. Default: 120 s.
    pub grace: Duration,
    /// How long a session without a link may keep its replica waiting. Default: 30 s.
    pub stall: Duration,
    /// How long a replica that acknowledges messages itself may take to say what it has committed of a
    /// session. Default: 5 s.
    pub attach: Duration,
    /// A link on which nothing was heard or said for so long gets a ping; after three it is dead.
    /// Default: 5 s.
    pub heartbeat: Duration,
    /// A link of this age, ±10 %, is asked for its successor before something on the path cuts it.
    /// Default: none.
    pub link_lifetime: Option<Duration>,
    /// Bytes that may be unacknowledged in each direction of a session. Default: 4 MiB.
    pub window_bytes: usize,
    /// Messages and chunks that may. Default: 4,096.
    pub window_items: u64,
    /// Bytes of one message. Default: 1 MiB.
    pub message_bytes_max: usize,
    /// Bytes of the pieces it travels in. At least a thousandth of a message. Default: 16 KiB, which a
    /// link of 1.3 kB/s carries before it counts as dead.
    pub chunk_bytes: usize,
    /// Sessions at once. Default: 100,000.
    pub sessions_max: usize,
    /// Bytes that all sessions together may hold. Default: 256 MiB.
    pub memory_bytes_max: usize,
    /// Links that may resume each second; the others are asked to come back. Default: 1,000.
    pub resumes_per_second: u32,
    /// Header fields that must be the same when a session is resumed. Default: none, so that whoever
    /// has the token has the session.
    pub credentials: Vec<HeaderName>,
}

impl Default for DurableConfig {
    fn default() -> Self {
        Self {
            is_enabled: true,
            grace: Duration::from_secs(120),
            stall: Duration::from_secs(30),
            attach: Duration::from_secs(5),
            heartbeat: Duration::from_secs(5),
            link_lifetime: None,
            window_bytes: 4 << 20,
            window_items: 4096,
            message_bytes_max: 1 << 20,
            chunk_bytes: 16 << 10,
            sessions_max: 100_000,
            memory_bytes_max: 256 << 20,
            resumes_per_second: 1_000,
            credentials: Vec::new(),
        }
    }
}

impl DurableConfig {
    /// What the machine of each session is told.
    pub(crate) fn policy(&self) -> OwnerPolicy {
        OwnerPolicy {
            window: Window { bytes: self.window_bytes as u64, items: self.window_items },
            sizes: Sizes {
                message_bytes_max: self.message_bytes_max,
                // Text is cut between code points, which costs up to three bytes of each chunk.
                chunk_bytes_max: self.chunk_bytes.max(self.message_bytes_max / 1000),
            },
            heartbeat: self.heartbeat,
            grace: self.grace,
            stall: self.stall,
            attach: self.attach,
            ..OwnerPolicy::default()
        }
    }
}

//! How the WebSockets of a route are kept.

use std::time::Duration;

pub use longhaul_proto::redial::{Prelude, Uncertain};
pub use longhaul_proto::session::Bounds;
pub use longhaul_proto::websocket::CloseCode;

/// How they are kept.
#[derive(Debug, Clone)]
pub struct WebSocketPolicy {
    /// A leg that sent or received nothing for so long gets a ping. `None`: no pings. Default: 25 s.
    pub ping: Option<Duration>,
    /// Pings in a row that may stay unanswered before a leg is dead. Default: 2.
    pub pings_missed_max: u32,
    /// Ends a WebSocket over which no message passed for so long (1001). Default: none.
    pub idle: Option<Duration>,
    /// Ends a WebSocket of this age (1001), ±10 % jitter. Default: none.
    pub lifetime: Option<Duration>,
    /// How long the second leg may go on after the first ended or a close frame passed. Default: 10 s.
    pub linger: Duration,
    /// How long a leg may refuse bytes that wait for it. Default: 60 s.
    pub write_stall: Duration,
    /// Bytes that may wait for a slow leg, per direction. Default: 64 KiB.
    pub buffer_bytes_max: usize,
    /// What a client may send. Default: whatever it likes.
    pub bounds: Bounds,
    /// Puts the client for browsers into pages, so that the WebSockets they open to their own host are
    /// durable. Default: no.
    pub injects_client: bool,
    /// What becomes of one whose replica is lost. Default: it ends.
    pub on_replica_loss: OnReplicaLoss,
    /// How a replica is replaced, where it is.
    pub redial: Redial,
    /// When a replica that drains is left. Default: when it closes.
    pub cutover: Cutover,
    /// How long leaving a replica that drains may take. Default: 30 s.
    pub leave_within: Duration,
}

/// What becomes of a WebSocket whose replica is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReplicaLoss {
    /// It ends with 1012.
    Close,
    /// It stays open, and another replica is dialled.
    Redial,
}

/// When a WebSocket leaves a replica that drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cutover {
    /// When the replica closes it, or the time for it is over.
    OnClose,
    /// When no message has passed for so long.
    Quiet(Duration),
    /// Between two messages.
    Now,
}

/// How a lost replica is replaced.
#[derive(Debug, Clone)]
pub struct Redial {
    /// How long a next replica is looked for. Then: 1013. Default: 30 s.
    pub give_up: Duration,
    /// Bytes of one unfinished message that are held, per direction. Default: 256 KiB.
    pub hold_bytes_max: usize,
    /// Bytes of client messages that may wait for the next replica. Default: 256 KiB.
    pub wait_bytes_max: usize,
    /// What becomes of messages that a lost replica may or may not have read.
    pub uncertain: Uncertain,
    /// Close codes with which a replica says that it goes. 1006 stands for an end without one.
    pub codes: Vec<CloseCode>,
    /// What each new replica hears first.
    pub prelude: Prelude,
    /// Which protocol with an opening of its own is spoken. Default: recognised.
    pub profile: Profile,
    /// Bytes of a client's opening that are remembered. Default: 64 KiB.
    pub keep_bytes_max: usize,
}

/// Which protocol the WebSockets of a route speak, as far as its opening has to be said again to each
/// new replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Recognised by path query and subprotocol.
    Auto,
    /// None: messages are opaque.
    Plain,
    /// Socket.IO over Engine.IO 4.
    SocketIo,
    /// The subprotocol `graphql-transport-ws`.
    GraphQl,
}

/// Enough for tokens and some dozens of subscriptions.
const KEEP_BYTES_MAX: usize = 64 * 1024;

impl Default for Redial {
    fn default() -> Self {
        Self {
            give_up: Duration::from_secs(30),
            hold_bytes_max: 256 * 1024,
            wait_bytes_max: 256 * 1024,
            uncertain: Uncertain::AtMostOnce,
            codes: [1001, 1006, 1012, 1013].map(CloseCode).to_vec(),
            prelude: Prelude { first: 0, bytes_max: KEEP_BYTES_MAX, suppress: 0 },
            profile: Profile::Auto,
            keep_bytes_max: KEEP_BYTES_MAX,
        }
    }
}

impl Default for WebSocketPolicy {
    fn default() -> Self {
        Self {
            ping: Some(Duration::from_secs(25)),
            pings_missed_max: 2,
            idle: None,
            lifetime: None,
            linger: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            buffer_bytes_max: 64 * 1024,
            on_replica_loss: OnReplicaLoss::Close,
            redial: Redial::default(),
            cutover: Cutover::OnClose,
            leave_within: Duration::from_secs(30),
            bounds: Bounds::default(),
            injects_client: false,
        }
    }
}

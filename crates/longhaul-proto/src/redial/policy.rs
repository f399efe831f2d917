//! How legs of one route are replaced.

use std::time::Duration;

use crate::websocket::CloseCode;

/// How legs of one route are replaced. Shared by all of them.
#[derive(Debug, Clone)]
pub struct RedialPolicy {
    /// A replica over whose leg nothing passed for so long gets a ping; `None`: no pings.
    pub ping: Option<Duration>,
    /// Pings that may stay unanswered before the replica is lost.
    pub pings_missed_max: u32,
    /// How long a replica may refuse bytes that wait for it.
    pub write_stall: Duration,
    /// Bytes of one unfinished message that are held, per direction.
    pub hold_bytes_max: usize,
    /// Bytes of the client's messages that may wait for the next replica, and that are kept to be
    /// sent again.
    pub wait_bytes_max: usize,
    /// What becomes of messages of which nobody knows whether they were dealt with.
    pub uncertain: Uncertain,
    /// Close codes with which a replica says that it goes, and not that the talk is over. 1006
    /// stands for a connection that ended without a close frame.
    pub codes: Vec<CloseCode>,
    /// Bytes of a client's opening that are remembered for later replicas.
    pub keep_bytes_max: usize,
    /// How long a new replica may take for the opening of the protocol, where it has one.
    pub settle: Duration,
    /// The client's first messages, which each replica must hear before all others.
    pub prelude: Prelude,
}

/// What becomes of messages that went to a replica that was lost before it could say that it had
/// read them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Uncertain {
    /// They are not sent again: some may be lost.
    #[default]
    AtMostOnce,
    /// They are sent to the next replica: some may arrive twice.
    AtLeastOnce,
}

/// What each new replica hears first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prelude {
    /// So many of the client's first messages are kept and sent first on each new leg; of a protocol
    /// with an opening of its own, those behind that.
    pub first: u64,
    /// Bytes of them that are kept; later ones are forgotten when they do not fit.
    pub bytes_max: usize,
    /// So many of the first messages of each new replica answer the prelude and are swallowed.
    pub suppress: u64,
}

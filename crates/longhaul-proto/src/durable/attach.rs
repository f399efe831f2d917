//! Control objects of a leg whose replica acknowledges messages itself: what gateway and replica tell each
//! other about it, as JSON.

use serde::{Deserialize, Serialize};

use super::{CONTROL_BYTES_MAX, Reset, SEQ_MAX, Speaker, code};
use crate::websocket::CloseCode;

/// One control object of a leg. Fields that are not listed are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum LegControl {
    /// The first word of a gateway's: which session this leg carries.
    Attach(Attach),
    /// The replica's answer, and its first word.
    Attached(Attached),
    /// The replica wants to be left: another shall take over.
    Drain {},
    /// The session is over, and whoever keeps something of it may forget it. 1000 when both ends knew.
    Reset(Reset),
    /// Says why the leg will be closed, for people.
    Error {
        /// The code of the close.
        code: u16,
        /// Why.
        #[serde(default)]
        msg: String,
    },
}

/// Where a gateway stands that goes on with a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Name of the session.
    pub sid: String,
    /// Number of the client's newest link.
    pub link: u64,
    /// Counts the attempts to attach. Whoever saw a higher one writes nothing more for a lower one.
    pub leg: u64,
    /// The last b2c item that the gateway has.
    pub recv: u64,
    /// The first c2b item that it still holds: the one behind the last that was acknowledged.
    pub lo: u64,
    /// The last c2b item that it holds.
    pub hi: u64,
    /// What may be unacknowledged b2c: bytes, items.
    pub win: [u64; 2],
    /// Payload bytes of one item.
    pub chunk: u64,
    /// Bytes of a message.
    pub max_msg: u64,
}

/// Where a replica stands that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The last c2b item that is committed; `None` where nobody knows, and the gateway's word counts.
    #[serde(default)]
    pub recv: Option<u64>,
    /// The first b2c item that can be sent.
    pub lo: u64,
    /// The last b2c item that has a number. Never below what the gateway has.
    pub hi: u64,
}

impl LegControl {
    /// Reads an object that `speaker` sent: the gateway is the server's side of the session.
    ///
    /// # Errors
    /// The code to close the leg with: 4900.
    pub fn parse(speaker: Speaker, text: &[u8]) -> Result<Self, CloseCode> {
        if text.len() > CONTROL_BYTES_MAX {
            return Err(code::FAULT);
        }
        let control: Self = serde_json::from_slice(text).map_err(|_| code::FAULT)?;
        let is_good = control.may_come_from(speaker) && control.is_in_range();
        if is_good { Ok(control) } else { Err(code::FAULT) }
    }

    /// As JSON.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and nothing that can fail")
    }

    fn may_come_from(&self, speaker: Speaker) -> bool {
        match self {
            Self::Attach(_) | Self::Reset(_) => speaker == Speaker::Server,
            Self::Attached(_) | Self::Drain {} => speaker == Speaker::Replica,
            Self::Error { .. } => speaker != Speaker::Client,
        }
    }

    fn is_in_range(&self) -> bool {
        let fits = |numbers: &[u64]| numbers.iter().all(|&number| number <= SEQ_MAX);
        match self {
            Self::Attach(it) => {
                let counts = [it.link, it.leg, it.recv, it.lo, it.hi, it.chunk, it.max_msg];
                fits(&it.win) && fits(&counts) && it.chunk > 0 && is_range(it.lo, it.hi)
            }
            Self::Attached(it) => {
                fits(&[it.recv.unwrap_or(0), it.lo, it.hi]) && is_range(it.lo, it.hi)
            }
            Self::Reset(it) => fits(&[it.recv.unwrap_or(0)]),
            Self::Drain {} | Self::Error { .. } => true,
        }
    }
}

/// Whether these are the first and the last of some items, or of none.
fn is_range(lo: u64, hi: u64) -> bool {
    lo > 0 && lo - 1 <= hi
}

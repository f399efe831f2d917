//! A cutter as another process can take it up, in the middle of a message if need be.

use serde::{Deserialize, Serialize};

use super::{Gather, Spent};
use crate::websocket::{Header, Role};

/// Where in its stream a cutter stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::redial) struct FrozenGather {
    #[serde(with = "crate::frozen::bytes")]
    held: Vec<u8>,
    #[serde(with = "crate::frozen::bytes")]
    split: Vec<u8>,
    rest: u64,
    is_last_frame: bool,
    is_inside: bool,
    is_streaming: bool,
}

impl Gather {
    /// Where it stands, between two calls.
    pub(in crate::redial) fn freeze(&self) -> FrozenGather {
        let unspent = |spent, bytes: &Vec<u8>| match self.spent == spent {
            true => Vec::new(),
            false => bytes.clone(),
        };
        FrozenGather {
            held: unspent(Spent::Held, &self.held),
            split: unspent(Spent::Split, &self.split),
            rest: self.rest,
            is_last_frame: self.is_last_frame,
            is_inside: self.is_inside,
            is_streaming: self.is_streaming,
        }
    }

    /// Goes on from there. `None` for a place where none can stand.
    pub(in crate::redial) fn thaw(
        role: Role,
        hold_bytes_max: usize,
        frozen: &FrozenGather,
    ) -> Option<Self> {
        let FrozenGather { held, split, rest, is_last_frame, is_inside, is_streaming } =
            frozen.clone();
        let is_partial = match Header::parse(&split) {
            _ if split.is_empty() => true,
            Ok(None) => true,
            // Of a control frame the payload may be missing.
            Ok(Some(header)) => {
                header.opcode.is_control() && split.len() < header.len + header.payload_len as usize
            }
            Err(_) => false,
        };
        let gather = Self {
            held,
            split,
            rest,
            is_last_frame,
            is_inside,
            is_streaming,
            ..Self::new(role, hold_bytes_max)
        };
        is_partial.then_some(gather)
    }
}

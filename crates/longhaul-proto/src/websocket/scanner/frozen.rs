//! A scanner as another process can take it up, in the middle of a frame if need be.

use serde::{Deserialize, Serialize};

use super::super::frame::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX};
use super::{HeldControl, Role, Scanner};

/// Where in its stream a scanner stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenScanner {
    payload_rest: u64,
    /// The start of a data frame's header; it has been passed on.
    header: Vec<u8>,
    /// The start of a control frame; it has not.
    held: Vec<u8>,
    messages: u64,
}

impl Scanner {
    /// Where it stands.
    pub fn freeze(&self) -> FrozenScanner {
        let held = self.held.as_ref().filter(|_| !self.is_held_spent);
        FrozenScanner {
            payload_rest: self.payload_rest,
            header: self.header[..usize::from(self.header_len)].to_vec(),
            held: held.map_or_else(Vec::new, |held| held.bytes[..held.len].to_vec()),
            messages: self.messages,
        }
    }

    /// Goes on from there. `None` for a place where no scanner can stand.
    pub fn thaw(role: Role, frozen: &FrozenScanner) -> Option<Self> {
        let mut scanner = Self::new(role);
        // A whole header is no longer there, and a whole control frame is not held.
        if frozen.header.len() >= HEADER_BYTES_MAX || frozen.held.len() >= CONTROL_BYTES_MAX {
            return None;
        }
        scanner.header[..frozen.header.len()].copy_from_slice(&frozen.header);
        scanner.header_len = frozen.header.len() as u8;
        scanner.payload_rest = frozen.payload_rest;
        scanner.messages = frozen.messages;
        if !frozen.held.is_empty() {
            let mut held = HeldControl { bytes: [0; CONTROL_BYTES_MAX], len: frozen.held.len() };
            held.bytes[..held.len].copy_from_slice(&frozen.held);
            scanner.held = Some(Box::new(held));
        }
        Some(scanner)
    }
}

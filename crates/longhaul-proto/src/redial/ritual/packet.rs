//! A Socket.IO packet with attachments: one text message and so many binary ones behind it, of which
//! a peer must see all or none.

use serde::{Deserialize, Serialize};

/// One such packet under way, in one direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Packet {
    /// Attachments that are still to come.
    missing: u32,
    /// Its messages so far, unless they were let go.
    #[serde(with = "crate::frozen::bytes")]
    held: Vec<u8>,
    /// More than may be held: what came of it has passed, and cannot be taken back.
    is_let_go: bool,
}

impl Packet {
    pub(super) fn is_open(&self) -> bool {
        self.missing > 0
    }

    pub(super) fn is_let_go(&self) -> bool {
        self.is_let_go
    }

    /// Begins with the message that announces so many attachments, at least one.
    pub(super) fn begin(&mut self, attachments: u32, message: &[u8], bytes_max: usize) {
        *self = Self { missing: attachments, ..Self::default() };
        self.hold(message, bytes_max);
    }

    /// Adds an attachment; true when it was the last.
    pub(super) fn add(&mut self, message: &[u8], bytes_max: usize) -> bool {
        self.missing = self.missing.saturating_sub(1);
        self.hold(message, bytes_max);
        let is_whole = self.missing == 0;
        if is_whole {
            self.is_let_go = false;
        }
        is_whole
    }

    /// An attachment is larger than may be held; true when it was the last.
    pub(super) fn add_large(&mut self) -> bool {
        self.is_let_go = true;
        self.add(&[], 0)
    }

    /// What of it is held; the packet is let go.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.is_let_go = self.missing > 0;
        std::mem::take(&mut self.held)
    }

    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    fn hold(&mut self, message: &[u8], bytes_max: usize) {
        self.held.extend_from_slice(message);
        self.is_let_go |= self.held.len() > bytes_max;
    }
}

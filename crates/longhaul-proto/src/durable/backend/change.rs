//! What the application does with a session: changes, which are made, stored, and applied in their order.

use bytes::Bytes;

use super::outgoing::{self, Numbered};
use super::{Backend, Phase};
use crate::durable::{CHUNKS_MAX, Form, SEQ_MAX};
use crate::websocket::CloseCode;

/// What is to be stored in one step, together with the effect on the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The session; `None` on a plain WebSocket, of which nothing is to be stored.
    pub sid: Option<String>,
    /// Nothing must be stored once a higher one has attached.
    pub leg: u64,
    /// Everything of the client's up to here is dealt with.
    pub recv: u64,
    /// The last number of what is sent.
    pub sent: u64,
    /// What is sent with it.
    pub items: Vec<Numbered>,
    /// The client has everything up to here: it need not be stored any longer.
    pub acked: u64,
}

/// Why a change cannot be made, or applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// The leg is gone, or carries no session yet.
    #[error("the leg is gone; the session goes on with another, in a handler of its own")]
    Detached,
    /// The number was never received.
    #[error("message {0} has not been received and cannot be committed")]
    NotReceived(u64),
    /// A message beyond what the gateway passes on.
    #[error(
        "a message of {bytes} bytes; the gateway takes {bytes_max} (durable.message_bytes_max)"
    )]
    TooBig {
        /// Of the message.
        bytes: usize,
        /// What may be.
        bytes_max: usize,
    },
    /// The application has closed.
    #[error("nothing can be sent behind a close")]
    Ended,
    /// Changes must be applied in the order in which they were made, each once.
    #[error("a change was applied out of order")]
    OutOfOrder,
}

impl Backend {
    /// Makes a change: everything up to `recv` is dealt with, if that is news, and these messages are sent.
    /// Numbers are given now, so what is made must be applied, or the leg given up.
    ///
    /// # Errors
    /// What is wrong with it; nothing was changed.
    pub fn change(
        &mut self,
        recv: Option<u64>,
        messages: Vec<(Form, Bytes)>,
    ) -> Result<Change, Misuse> {
        self.check(recv)?;
        let bytes_max = self.sizes.message_bytes_max;
        let largest = messages.iter().map(|(_, payload)| payload.len()).max().unwrap_or(0);
        if largest > bytes_max {
            return Err(Misuse::TooBig { bytes: largest, bytes_max });
        }
        if self.down.has_ended && !messages.is_empty() {
            return Err(Misuse::Ended);
        }
        let chunk = self.sizes.chunk_bytes_max;
        let items =
            messages.into_iter().flat_map(|(form, message)| outgoing::cut(form, message, chunk));
        let items = self.down.number(items);
        Ok(self.changed(recv, items))
    }

    /// Makes a change that closes behind everything sent before; 1005 is without a status.
    ///
    /// # Errors
    /// What is wrong with it; nothing was changed.
    pub fn end(
        &mut self,
        recv: Option<u64>,
        code: CloseCode,
        reason: &str,
    ) -> Result<Change, Misuse> {
        self.check(recv)?;
        if std::mem::replace(&mut self.down.has_ended, true) {
            return Err(Misuse::Ended);
        }
        let items = self.down.number([outgoing::end(code, reason)]);
        Ok(self.changed(recv, items))
    }

    /// Lets a change take effect that is stored now: says what was dealt with, and sends.
    ///
    /// # Errors
    /// [`Misuse::Detached`] when the leg is gone, which does no harm: the next one finds the change in the
    /// store. [`Misuse::OutOfOrder`].
    pub fn apply(&mut self, change: Change) -> Result<(), Misuse> {
        if self.phase != Phase::Attached || change.leg != self.leg {
            return Err(Misuse::Detached);
        }
        self.down.push(change.items)?;
        if change.recv > self.up.confirmed() {
            let _sizes = self.up.confirm(change.recv);
            self.ack_due = Some(change.recv);
        }
        Ok(())
    }

    fn check(&self, recv: Option<u64>) -> Result<(), Misuse> {
        if self.phase != Phase::Attached {
            return Err(Misuse::Detached);
        }
        if self.down.sent() + CHUNKS_MAX as u64 > SEQ_MAX {
            return Err(Misuse::Ended);
        }
        match recv.filter(|&recv| recv > self.up.whole()) {
            Some(recv) => Err(Misuse::NotReceived(recv)),
            None => Ok(()),
        }
    }

    fn changed(&self, recv: Option<u64>, items: Vec<Numbered>) -> Change {
        Change {
            sid: Some(self.sid.clone()),
            leg: self.leg,
            recv: recv.unwrap_or(0).max(self.up.confirmed()),
            sent: self.down.sent(),
            items,
            acked: self.down.acked(),
        }
    }
}

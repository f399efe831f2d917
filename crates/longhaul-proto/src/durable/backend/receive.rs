//! What the gateway says to a replica's end of a session.

use bytes::Bytes;

use super::{Backend, Output, Phase};
use crate::durable::intake::Arrived;
use crate::durable::{Body, Form, Item, LegControl, Payload, Rank, Sizes, Speaker, code};
use crate::websocket::CloseCode;

impl Backend {
    /// Takes one WebSocket message of the gateway's.
    pub fn receive(&mut self, form: Form, message: &Bytes) {
        if self.phase != Phase::Gone
            && let Err(fault) = self.take(form, message)
        {
            self.close(fault, "the gateway broke the session protocol");
        }
    }

    fn take(&mut self, form: Form, message: &Bytes) -> Result<(), CloseCode> {
        let item = Item::parse(form, message)?;
        if self.phase == Phase::Attached {
            return self.take_attached(form, item, message);
        }
        let Item::Control(text) = item else { return Err(code::FAULT) };
        match (LegControl::parse(Speaker::Server, text)?, &self.phase) {
            (LegControl::Attach(attach), Phase::Waits) => {
                self.sid.clone_from(&attach.sid);
                self.leg = attach.leg;
                self.sizes = Sizes {
                    message_bytes_max: usize::try_from(attach.max_msg).unwrap_or(usize::MAX),
                    chunk_bytes_max: usize::try_from(attach.chunk).unwrap_or(usize::MAX),
                };
                self.outbox.push_back(Output::Attach(attach.clone()));
                self.phase = Phase::Attaching(attach);
                Ok(())
            }
            (LegControl::Reset(reset), _) => {
                self.over(CloseCode(reset.code));
                Ok(())
            }
            (LegControl::Error { .. }, _) => Ok(()),
            _ => Err(code::FAULT),
        }
    }

    fn take_attached(
        &mut self,
        form: Form,
        item: Item<'_>,
        message: &Bytes,
    ) -> Result<(), CloseCode> {
        match item {
            Item::Sequenced { body: Body::Event(_), .. } => return Err(code::FAULT),
            Item::Sequenced { seq, body } => {
                let payload = match body {
                    Body::Message(payload) | Body::Chunk(payload) => {
                        message.slice_ref(payload).into()
                    }
                    Body::Event(_) | Body::End { .. } => Payload::default(),
                };
                let limits = (self.sizes, self.window);
                match self.up.take(form, seq, body, payload, Rank::Newest, limits)? {
                    Arrived::Nothing => {}
                    Arrived::Message(pieces) => {
                        let payload = pieces.to_bytes();
                        self.outbox.push_back(Output::Message { seq, form, payload });
                    }
                    Arrived::End(code, reason) => {
                        self.outbox.push_back(Output::End { seq, code, reason });
                    }
                }
            }
            Item::Ack(seq) => self.down.acknowledge(seq)?,
            Item::Ping(nonce) => self.pong_due = Some(nonce),
            Item::Pong(_) => {}
            Item::Control(text) => match LegControl::parse(Speaker::Server, text)? {
                LegControl::Reset(reset) => self.over(CloseCode(reset.code)),
                LegControl::Error { .. } => {}
                _ => return Err(code::FAULT),
            },
        }
        Ok(())
    }
}

//! What links bring, and how they go.

use std::time::Instant;

use bytes::Bytes;

use super::super::intake::Arrived;
use super::super::rule::Rule;
use super::super::{
    Body, Control, Credential, Form, Item, Letter, LinkKey, Payload, Pieces, Rank, Speaker, code,
};
use super::{Leg, Output, Owner};
use crate::websocket::CloseCode;

impl Owner {
    /// Takes one WebSocket message of a link. What comes on a link that the owner gave up is ignored.
    pub fn receive(&mut self, key: LinkKey, form: Form, message: &Bytes, now: Instant) {
        self.receive_letter(key, form, &message.clone().into(), now);
    }

    /// The same for one that may still be masked.
    pub fn receive_letter(&mut self, key: LinkKey, form: Form, letter: &Letter, now: Instant) {
        self.now = now;
        let Some(rank) = self.rank(key) else { return };
        if let Err(fault) = self.take(rank, form, letter) {
            self.fail(rank, fault);
        }
    }

    /// Notes that a link broke a rule that its messages do not show: of RFC 6455, or of size.
    pub fn link_failed(&mut self, key: LinkKey, fault: CloseCode, now: Instant) {
        self.now = now;
        if let Some(rank) = self.rank(key) {
            self.fail(rank, fault);
        }
    }

    /// Notes that a link is gone; `code` is what its peer closed it with, if it did.
    pub fn link_lost(&mut self, key: LinkKey, closed: Option<CloseCode>, now: Instant) {
        self.now = now;
        match self.rank(key) {
            Some(Rank::Older) => self.older = None,
            Some(Rank::Newest) if closed == Some(CloseCode::NORMAL) && self.is_answered() => {
                self.newest = None;
                self.over(CloseCode::NORMAL);
            }
            Some(Rank::Newest) if closed.is_some_and(is_peers_end) => {
                self.newest = None;
                self.over(code::LOST);
            }
            Some(Rank::Newest) => self.detach(),
            None => {}
        }
    }

    /// Whether the client's end was acknowledged on the newest link.
    fn is_answered(&self) -> bool {
        let told = self.newest.as_ref().and_then(|link| link.acker.told());
        self.up.has_ended() && told >= Some(self.up.recv())
    }

    pub(super) fn detach(&mut self) {
        self.newest = None;
        self.migrating = None;
        self.detached_at = Some(self.now);
        self.note_stall();
    }

    fn rank(&self, key: LinkKey) -> Option<Rank> {
        if self.newest.as_ref().is_some_and(|link| link.key == key) {
            return Some(Rank::Newest);
        }
        self.older.as_ref().is_some_and(|link| link.key == key).then_some(Rank::Older)
    }

    fn take(&mut self, rank: Rank, form: Form, letter: &Letter) -> Result<(), CloseCode> {
        let now = self.now;
        let link = match rank {
            Rank::Newest => &mut self.newest,
            Rank::Older => &mut self.older,
        };
        let Some(link) = link else { return Ok(()) };
        link.received_at = now;
        match Item::parse(form, &letter.bytes)? {
            Item::Sequenced { body: Body::Event(_), .. } => Err(code::FAULT),
            Item::Sequenced { seq, body } => self.take_sequenced(rank, form, seq, body, letter),
            Item::Ack(seq) => self.take_ack(rank, seq),
            Item::Ping(nonce) => {
                link.pong_due = Some(nonce);
                if link.acker.due_at(self.policy.window, self.policy.pace).is_some() {
                    link.acker.hurry();
                }
                Ok(())
            }
            Item::Pong(_) => Ok(()),
            Item::Control(text) => match Control::parse(Speaker::Client, text)? {
                Control::Auth { cred } => {
                    self.outbox.push_back(Output::Authenticate(Credential::new(cred)));
                    Ok(())
                }
                _ => Err(code::FAULT),
            },
        }
    }

    fn take_sequenced(
        &mut self,
        rank: Rank,
        form: Form,
        seq: u64,
        body: Body<'_>,
        letter: &Letter,
    ) -> Result<(), CloseCode> {
        let payload = match body {
            Body::Message(payload) | Body::Chunk(payload) => {
                Payload::masked(letter.bytes.slice_ref(payload), letter.key)
            }
            Body::Event(_) | Body::End { .. } => Payload::default(),
        };
        let limits = (self.policy.sizes, self.policy.window);
        if self.aware.is_some() {
            return self.pass_up(form, seq, body, payload, rank);
        }
        match self.up.take(form, seq, body, payload, rank, limits)? {
            Arrived::Nothing => {}
            Arrived::Message(payload) if self.leg == Leg::Up => self.deliver(form, payload, seq),
            Arrived::Message(_) => self.confirm(seq, self.now),
            Arrived::End(code, reason) => self.close_leg(code, reason),
        }
        Ok(())
    }

    fn deliver(&mut self, form: Form, payload: Pieces, seq: u64) {
        if let Some(legs) = &mut self.legs {
            legs.keep(seq, form, &payload);
            if legs.is_held {
                return;
            }
        }
        self.outbox.push_back(Output::Deliver { form, payload, seq });
    }

    /// The client has ended: so does the leg, and its answer is what the client waits for.
    fn close_leg(&mut self, code: CloseCode, reason: String) {
        if self.leg == Leg::Up {
            self.leg = Leg::Closing(self.now + self.policy.leg_close);
            match self.legs.as_mut().filter(|legs| legs.is_held) {
                Some(legs) => legs.ending = Some((code, reason)),
                None => self.outbox.push_back(Output::CloseLeg { code, reason }),
            }
        } else {
            self.confirm(self.up.whole(), self.now);
        }
    }

    fn take_ack(&mut self, rank: Rank, seq: u64) -> Result<(), CloseCode> {
        let is_news = self.down.acknowledge(seq)?;
        self.down.number();
        self.note_told();
        if is_news {
            self.tell_ack();
        }
        self.note_stall();
        let confirms = rank == Rank::Newest || !self.policy.keeps.keeps(Rule::NewestConfirms);
        if let Some(link) = self.newest.as_mut().filter(|link| confirms && !link.is_confirmed) {
            link.is_confirmed = true;
            self.was_confirmed = true;
            self.tokens.confirm();
            self.drop_older();
        }
        if let Some(link) = self.newest.as_ref().filter(|_| self.down.is_done()) {
            self.outbox.push_back(Output::Close { link: link.key, code: CloseCode::NORMAL });
            self.newest = None;
            self.over(CloseCode::NORMAL);
        }
        Ok(())
    }

    pub(super) fn drop_older(&mut self) {
        if let Some(link) = self.older.take() {
            self.outbox.push_back(Output::Close { link: link.key, code: code::SUPERSEDED });
        }
    }

    pub(super) fn renew_token(&mut self) {
        self.token_at = self.now + self.policy.token_interval;
        if let Some(key) = self.newest.as_ref().map(|link| link.key) {
            let token = self.seal.seal(&self.sid, self.tokens.issue());
            self.say(key, &Control::Token { token });
        }
    }

    /// A fault on the newest link would be replayed on every other, so the session is over with it.
    fn fail(&mut self, rank: Rank, fault: CloseCode) {
        match rank {
            Rank::Newest => self.over(fault),
            Rank::Older => {
                if let Some(link) = self.older.take() {
                    self.outbox.push_back(Output::Close { link: link.key, code: fault });
                }
            }
        }
    }
}

/// Codes with which a client says that the session is over for it.
fn is_peers_end(code: CloseCode) -> bool {
    matches!(code, code::FAULT | code::GAP | code::TOO_BIG | code::LOST)
}

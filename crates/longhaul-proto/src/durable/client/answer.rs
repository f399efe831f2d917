//! What a new link's first item says: a session, the same session, or none.

use std::time::Duration;

use bytes::Bytes;

use super::super::rule::Rule;
use super::super::{CHUNKS_MAX, Control, Form, Item, Resumed, Sizes, Speaker, Welcome, code};
use super::{Client, Output, Session};
use crate::websocket::CloseCode;

impl Client {
    /// Takes the first items of a link that was asked for a session, or to go on.
    pub(super) fn take_answer(&mut self, form: Form, message: &Bytes) -> Result<(), CloseCode> {
        let Item::Control(text) = Item::parse(form, message)? else { return Err(code::FAULT) };
        match (Control::parse(Speaker::Server, text)?, self.session.is_some()) {
            (Control::Welcome(welcome), false) => self.welcomed(welcome),
            (Control::Resumed(resumed), true) => return self.resumed(resumed),
            (Control::Reset(reset), _) => self.reset(CloseCode(reset.code)),
            (Control::Goaway { retry }, _) => self.tries.ask(Duration::from_millis(retry)),
            (Control::Error { .. }, _) => {}
            _ => return Err(code::FAULT),
        }
        Ok(())
    }

    fn welcomed(&mut self, welcome: Welcome) {
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let sizes = Sizes {
            message_bytes_max: size(welcome.max_msg),
            chunk_bytes_max: size(welcome.chunk.max(welcome.max_msg / CHUNKS_MAX as u64)),
        };
        self.session = Some(Session {
            token: welcome.token,
            sizes,
            // A gateway that asks for none would have every link die at once.
            heartbeat: Duration::from_millis(welcome.hb.clamp(100, 600_000)),
            grace: Duration::from_millis(welcome.grace),
        });
        if self.up.waiting_message_bytes_max() > sizes.message_bytes_max {
            return self.closed(code::TOO_BIG, "the gateway takes no message of this size", false);
        }
        self.up.agree(welcome.win.into(), sizes.chunk_bytes_max);
        let Some(mut candidate) = self.candidate.take() else { return };
        self.highest = welcome.link;
        candidate.link.number = welcome.link;
        candidate.link.received_at = self.now;
        candidate.link.acker.hurry();
        self.url = welcome.resume_url.or(self.url.take());
        self.current = Some(candidate.link);
        self.outbox.push_back(Output::Opened { protocol: welcome.protocol });
    }

    fn resumed(&mut self, resumed: Resumed) -> Result<(), CloseCode> {
        let Some(mut candidate) = self.candidate.take() else { return Ok(()) };
        let is_good = resumed.link == candidate.link.number
            && resumed.lo <= self.down.recv() + 1
            && self.down.recv() <= resumed.hi
            && (self.up.acked()..=self.up.sent()).contains(&resumed.recv);
        if !is_good {
            self.candidate = Some(candidate);
            return Err(code::LOST);
        }
        if let Some(session) = &mut self.session {
            session.token = resumed.token;
        }
        self.up.rewind(resumed.recv);
        candidate.link.received_at = self.now;
        if self.policy.keeps.keeps(Rule::AckPerLink) {
            candidate.link.acker.hurry();
        } else {
            candidate.link.acker.note(0, self.now);
        }
        if let Some(old) = self.current.replace(candidate.link) {
            self.outbox.push_back(Output::Close { link: old.key, code: code::GIVEN_UP });
        } else {
            self.lost_at = None;
            self.outbox.push_back(Output::Resumed);
        }
        self.present();
        Ok(())
    }
}

//! What links bring a client, how they go, and what it does when nothing happens.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::super::rule::Rule;
use super::super::{Body, Control, Form, Item, LinkKey, Rank, Speaker, Taken, code};
use super::{Client, End, Output};
use crate::websocket::CloseCode;

/// How long the last link waits for the gateway to close it.
const LINGER: Duration = Duration::from_secs(10);

impl Client {
    /// Takes one WebSocket message of a link. What comes on a link that was given up is ignored.
    pub fn receive(&mut self, key: LinkKey, form: Form, message: &Bytes, now: Instant) {
        self.now = now;
        if self.candidate.as_ref().is_some_and(|it| it.link.key == key && it.has_asked) {
            if let Err(fault) = self.take_answer(form, message) {
                self.fail(key, fault);
            }
        } else if let Some(link) = self.current.as_mut().filter(|link| link.key == key) {
            link.received_at = now;
            self.probed_until = None;
            if let Err(fault) = self.take(form, message) {
                self.fail(key, fault);
            }
        }
    }

    /// Notes that a link is gone, or never came; `closed` is what its peer closed it with.
    pub fn link_lost(&mut self, key: LinkKey, closed: Option<CloseCode>, now: Instant) {
        self.now = now;
        let candidate = self.candidate.take_if(|it| it.link.key == key);
        let current = self.current.take_if(|link| link.key == key);
        let number = match (&candidate, &current) {
            (Some(candidate), _) => candidate.link.number,
            (None, Some(link)) => link.number,
            (None, None) => return,
        };
        if matches!(self.end, End::Told { .. } | End::Over) {
            return;
        }
        match closed {
            Some(code::SUPERSEDED)
                if number < self.highest && self.policy.keeps.keeps(Rule::LowerSuperseded) => {}
            Some(code) if is_final(code) => return self.closed(code, "", false),
            _ => {}
        }
        let has_asked = candidate.as_ref().is_some_and(|it| it.has_asked);
        if has_asked && let Some(old) = self.current.take() {
            // The owner may have moved to the new link before it was lost.
            self.outbox.push_back(Output::Close { link: old.key, code: code::GIVEN_UP });
            self.lose(Some(now - old.opened_at));
        } else if self.current.is_none() && self.candidate.is_none() {
            self.lose(current.map(|link| now - link.opened_at));
        } else if current.is_some() {
            // The candidate goes on alone.
            self.interrupt();
        }
    }

    fn lose(&mut self, lived: Option<Duration>) {
        self.interrupt();
        match self.tries.next(lived, self.now) {
            Some(at) => self.retry_at = Some(at),
            None => self.closed(code::ABNORMAL, "the gateway cannot be reached", false),
        }
    }

    fn interrupt(&mut self) {
        self.probed_until = None;
        self.migrate_at = None;
        if self.session.is_some() && self.lost_at.is_none() {
            self.lost_at = Some(self.now);
            self.outbox.push_back(Output::Interrupted);
        }
    }

    fn take(&mut self, form: Form, message: &Bytes) -> Result<(), CloseCode> {
        let now = self.now;
        let (Some(link), Some(session)) = (&mut self.current, &mut self.session) else {
            return Ok(());
        };
        match Item::parse(form, message)? {
            Item::Sequenced { seq, body } => {
                let taken = self.down.take(form, seq, body, Rank::Newest, session.sizes)?;
                if matches!(taken, Taken::Duplicate | Taken::Ignored) {
                    return Ok(());
                }
                let bytes = match body {
                    Body::Message(payload) | Body::Chunk(payload) => payload.len(),
                    Body::Event(_) | Body::End { .. } => 0,
                };
                link.acker.note(bytes, now);
                self.deliver(form, body, message);
            }
            Item::Ack(seq) => {
                self.up.acknowledge(seq)?;
                self.up.number();
                self.finish_close();
            }
            Item::Ping(nonce) => {
                link.pong_due = Some(nonce);
                if link.acker.due_at(self.policy.window, self.policy.pace).is_some() {
                    link.acker.hurry();
                }
            }
            Item::Pong(_) => {}
            Item::Control(text) => match Control::parse(Speaker::Server, text)? {
                Control::Token { token } => {
                    session.token = token;
                    self.credential = None;
                }
                Control::Migrate { url, delay, .. } => {
                    self.url = url.or(self.url.take());
                    self.migrate_at = Some(now + Duration::from_millis(delay));
                }
                Control::Goaway { retry } => self.tries.ask(Duration::from_millis(retry)),
                Control::Reset(reset) => self.reset(CloseCode(reset.code)),
                Control::Event {} => self.outbox.push_back(Output::Event(message.clone())),
                Control::AuthRequired { deadline } => {
                    let within = Duration::from_millis(deadline);
                    self.outbox.push_back(Output::LoginWanted { within });
                }
                Control::Error { code, msg } if CloseCode(code) == code::LOGIN_REFUSED => {
                    self.credential = None;
                    self.outbox.push_back(Output::LoginRefused { reason: msg });
                }
                Control::Error { .. } => {}
                _ => return Err(code::FAULT),
            },
        }
        Ok(())
    }

    fn deliver(&mut self, form: Form, body: Body<'_>, message: &Bytes) {
        let is_open = self.end == End::Open;
        match body {
            Body::Chunk(payload) => self.pieces.push(message.slice_ref(payload)),
            Body::Message(payload) => {
                let payload = self.join(message.slice_ref(payload));
                if is_open {
                    self.outbox.push_back(Output::Message { form, payload });
                }
            }
            Body::Event(json) => self.outbox.push_back(Output::Event(message.slice_ref(json))),
            Body::End { code, reason } => {
                if let Some(link) = &mut self.current {
                    link.acker.hurry();
                }
                self.tell_closed(code, reason, true);
            }
        }
    }

    fn join(&mut self, last: Bytes) -> Bytes {
        if self.pieces.is_empty() {
            return last;
        }
        self.pieces.push(last);
        let mut whole = BytesMut::with_capacity(self.pieces.iter().map(Bytes::len).sum());
        for piece in self.pieces.drain(..) {
            whole.extend_from_slice(&piece);
        }
        whole.freeze()
    }

    /// Once its own end was answered, the client closes the link, and only then is the session gone.
    fn finish_close(&mut self) {
        let End::Asked { code, reason } = &self.end else { return };
        if self.up.is_done() {
            let (code, reason) = (*code, reason.clone());
            self.closed(code, &reason, true);
        }
    }

    pub(super) fn reset(&mut self, code: CloseCode) {
        self.closed(code, "the session is over", false);
    }

    /// The session is over for this end: what broke a rule would be sent again on every link.
    fn fail(&mut self, key: LinkKey, fault: CloseCode) {
        self.candidate.take_if(|it| it.link.key == key);
        self.current.take_if(|link| link.key == key);
        self.outbox.push_back(Output::Close { link: key, code: fault });
        self.closed(fault, "the gateway broke the protocol", false);
    }

    /// Tells the application, and closes what links there are.
    pub(super) fn closed(&mut self, code: CloseCode, reason: &str, was_clean: bool) {
        let links = [self.current.take(), self.candidate.take().map(|it| it.link)];
        for link in links.into_iter().flatten() {
            self.outbox.push_back(Output::Close { link: link.key, code: CloseCode::NORMAL });
        }
        self.tell_closed(code, reason, was_clean);
    }

    /// Tells the application, and leaves the link to be closed by the gateway.
    fn tell_closed(&mut self, code: CloseCode, reason: &str, was_clean: bool) {
        self.retry_at = None;
        self.migrate_at = None;
        self.lost_at = None;
        if !matches!(self.end, End::Told { .. } | End::Over) {
            self.end = End::Told { until: self.now + LINGER };
            self.outbox.push_back(Output::Closed { code, reason: reason.to_owned(), was_clean });
        }
    }

    /// Looks at every deadline; safe to call early.
    pub fn deadline_reached(&mut self, now: Instant) {
        self.now = now;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let End::Told { until } = self.end {
            if until <= now {
                self.closed(CloseCode::NORMAL, "", true);
                self.end = End::Over;
            }
            return;
        }
        if is_due(self.gives_up_at()) {
            return self.closed(code::UNKNOWN, "no link for longer than the session lives", false);
        }
        if let Some(key) =
            self.candidate.as_ref().filter(|it| it.until <= now).map(|it| it.link.key)
        {
            self.outbox.push_back(Output::Abort(key));
            self.link_lost(key, None, now);
        }
        if (is_due(self.dead_at()) || is_due(self.probed_until))
            && let Some(key) = self.current.as_ref().map(|link| link.key)
        {
            self.outbox.push_back(Output::Abort(key));
            self.link_lost(key, None, now);
        }
        if (is_due(self.retry_at) || is_due(self.migrate_at)) && self.candidate.is_none() {
            self.connect();
        }
    }

    pub(super) fn dead_at(&self) -> Option<Instant> {
        let (link, session) = (self.current.as_ref()?, self.session.as_ref()?);
        Some(link.received_at + session.heartbeat * 5 / 2)
    }

    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        let (lost_at, session) = (self.lost_at?, self.session.as_ref()?);
        Some(lost_at + session.grace + self.policy.beyond_grace)
    }
}

/// Codes after which no link of this session, nor another, makes sense.
fn is_final(code: CloseCode) -> bool {
    matches!(
        code,
        code::FAULT
            | code::SUPERSEDED
            | code::GAP
            | code::LOGIN_REFUSED
            | code::LOGIN_EXPIRED
            | code::UNKNOWN
            | code::LOST
            | code::OVERFLOW
            | code::TOO_BIG
            | code::REFUSED
    )
}

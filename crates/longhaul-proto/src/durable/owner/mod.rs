//! The gateway's end of a durable session: one leg, at most two links, and what both have not
//! confirmed.
//!
//! Tell it what happened, then call [`Owner::poll`] until it returns [`Output::Wait`]. Whoever drives
//! it reads a link always and the leg while [`Owner::wants_leg`]; opens tokens; and knows whether a
//! subject may resume.

mod aware;
mod frozen;
mod login;
mod receive;
mod replace;
mod resume;
mod timers;
mod tokens;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
pub use frozen::FrozenOwner;
pub use replace::Replacement;
pub use resume::Refusal;
pub use tokens::Seal;

use self::aware::Aware;
use self::replace::Legs;
use self::tokens::Tokens;
use super::acker::AckPace;
use super::intake::Intake;
use super::link::Link;
use super::rule::{Keeps, Rule};
use super::{
    Control, Credential, Form, Head, Letter, LinkKey, Payload, Pieces, Reset, Sender, Sizes,
    Welcome, Window, code,
};
use crate::websocket::CloseCode;

/// How sessions of one route are kept. Shared by all of them.
#[derive(Debug, Clone)]
pub struct OwnerPolicy {
    /// What may be unacknowledged in each direction.
    pub window: Window,
    /// How large messages are.
    pub sizes: Sizes,
    /// How fast acknowledgements follow.
    pub pace: AckPace,
    /// A link on which nothing was heard or said for so long gets a ping; after three it is dead.
    pub heartbeat: Duration,
    /// How long a session lives without a link.
    pub grace: Duration,
    /// The same for a session whose client never answered.
    pub grace_unconfirmed: Duration,
    /// How long a session without a link may keep its leg waiting.
    pub stall: Duration,
    /// How long an older link may stay beside the newest.
    pub older_link: Duration,
    /// How long a leg may take to answer a close.
    pub leg_close: Duration,
    /// How long a replica that acknowledges messages itself may take to look up what it has committed of a
    /// session.
    pub attach: Duration,
    /// How often a healthy link gets a newer token.
    pub token_interval: Duration,
    /// How long a client has to migrate.
    pub migrate_deadline: Duration,
    /// All rules, but in a simulation that breaks one.
    pub keeps: Keeps,
}

impl Default for OwnerPolicy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            window: Window::DEFAULT,
            sizes: Sizes { message_bytes_max: 1 << 20, chunk_bytes_max: 16 << 10 },
            pace: AckPace::DEFAULT,
            heartbeat: seconds(5),
            grace: seconds(120),
            grace_unconfirmed: seconds(10),
            stall: seconds(30),
            older_link: seconds(10),
            leg_close: seconds(5),
            attach: seconds(5),
            token_interval: seconds(300),
            migrate_deadline: seconds(30),
            keeps: Keeps::default(),
        }
    }
}

/// What an owner wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write one message to a link: the head, then the payload.
    Send {
        /// The link.
        link: LinkKey,
        /// Its opcode.
        form: Form,
        /// What stands in front.
        head: Head,
        /// The rest.
        payload: Bytes,
    },
    /// Close a link behind what was sent to it, and forget it.
    Close {
        /// The link.
        link: LinkKey,
        /// With what.
        code: CloseCode,
    },
    /// Drop a link that is dead.
    Abort(LinkKey),
    /// Give the leg a message. Once the replica's system has it, call [`Owner::confirm`] with `seq`.
    Deliver {
        /// Its opcode.
        form: Form,
        /// The message, in a fragment for each piece.
        payload: Pieces,
        /// Its last number.
        seq: u64,
    },
    /// Write one item to a leg whose replica acknowledges by itself.
    Tell {
        /// Its opcode.
        form: Form,
        /// What stands in front.
        head: Head,
        /// The rest.
        payload: Payload,
    },
    /// Have somebody judge a newer login of the client's, and call [`Owner::accept_login`] or
    /// [`Owner::refuse_login`]. A later one takes the place of one that is being judged.
    Authenticate(Credential),
    /// The replica wants to be left for another.
    LeaveLeg,
    /// Close the leg behind what was delivered to it; 1005 means without a status.
    CloseLeg {
        /// With what.
        code: CloseCode,
        /// And why.
        reason: String,
    },
    /// The session is over.
    Ended(Ended),
    /// Nothing to do before this moment.
    Wait(Option<Instant>),
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// What a late resume is told; 1000 when both ends knew.
    pub code: CloseCode,
    /// The last c2b item that the leg was handed.
    pub recv: u64,
}

/// The gateway's end of a durable session.
#[derive(Debug, Clone)]
pub struct Owner {
    policy: Arc<OwnerPolicy>,
    seal: Arc<dyn Seal>,
    sid: String,
    tokens: Tokens,
    newest: Option<Link>,
    newest_number: u64,
    older: Option<Link>,
    up: Intake,
    down: Sender,
    leg: Leg,
    /// What legs to come would need; boxed, since most sessions have one leg only.
    legs: Option<Box<Legs>>,
    /// Where the replica acknowledges messages itself: what takes the place of `legs`.
    aware: Option<Box<Aware>>,
    /// Whether any link was ever confirmed.
    was_confirmed: bool,
    detached_at: Option<Instant>,
    /// Since when the leg waits while no link is there.
    stalled_at: Option<Instant>,
    token_at: Instant,
    /// The link that was asked to migrate, and until when.
    migrating: Option<(LinkKey, Instant)>,
    outbox: VecDeque<Output>,
    ended: Option<Ended>,
    now: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leg {
    Up,
    /// The client ended; the leg has until then to answer.
    Closing(Instant),
    Gone,
}

/// What a new session starts from.
#[derive(Debug)]
pub struct Opening {
    /// Its name.
    pub sid: String,
    /// The link that asked for it.
    pub link: LinkKey,
    /// What the client allows to be unacknowledged.
    pub window: Window,
    /// What the replica chose.
    pub protocol: Option<String>,
    /// How its legs are replaced, if they are.
    pub replacement: Option<Replacement>,
    /// Whether the replica acknowledges messages itself. Its legs are always replaced.
    pub is_aware: bool,
}

impl Owner {
    /// Opens a session whose leg is up, and welcomes its client.
    pub fn open(
        policy: Arc<OwnerPolicy>,
        seal: Arc<dyn Seal>,
        opening: Opening,
        now: Instant,
    ) -> Self {
        let Opening { sid, link, window, protocol, replacement, is_aware } = opening;
        let down = Sender::starting_at(0, policy.window.min(window), policy.sizes.chunk_bytes_max);
        let mut owner = Self {
            seal,
            tokens: Tokens::new(),
            newest: Some(Link::new(link, 1, now)),
            newest_number: 1,
            older: None,
            up: Intake::default(),
            down,
            leg: Leg::Up,
            legs: replacement.filter(|_| !is_aware).map(|how| Box::new(Legs::new(how))),
            aware: is_aware.then(|| Box::new(Aware::new(policy.window, policy.sizes))),
            was_confirmed: false,
            detached_at: None,
            stalled_at: None,
            token_at: now + policy.token_interval,
            migrating: None,
            outbox: VecDeque::new(),
            ended: None,
            now,
            sid,
            policy,
        };
        let welcome = owner.welcome(protocol);
        owner.say(link, &Control::Welcome(welcome));
        owner.attach();
        owner
    }

    fn welcome(&self, protocol: Option<String>) -> Welcome {
        let ms = |time: Duration| time.as_millis() as u64;
        Welcome {
            sid: self.sid.clone(),
            token: self.seal.seal(&self.sid, self.tokens.last()),
            link: 1,
            protocol,
            win: self.policy.window.into(),
            max_msg: self.policy.sizes.message_bytes_max as u64,
            chunk: self.policy.sizes.chunk_bytes_max as u64,
            hb: ms(self.policy.heartbeat),
            grace: ms(self.policy.grace),
            class: if self.aware.is_some() { "e2e" } else { "node" }.to_owned(),
            resume_url: None,
        }
    }

    /// Takes what a leg says: a message, or an item where the replica acknowledges messages itself.
    pub fn leg_letter(&mut self, form: Form, letter: Letter, now: Instant) {
        // Servers mask nothing.
        if self.aware.is_some() {
            self.leg_item(form, &letter.into_message(), now);
        } else {
            self.leg_message(form, letter.into_message(), now);
        }
    }

    /// Takes a message of the leg's for the client.
    pub fn leg_message(&mut self, form: Form, payload: Bytes, now: Instant) {
        self.leg_pieces(form, payload.into(), now);
    }

    /// The same for one that came in fragments.
    pub fn leg_pieces(&mut self, form: Form, payload: Pieces, now: Instant) {
        self.now = now;
        if self.aware.is_some() {
            // Items of a replica's come whole, or nearly always.
            return self.leg_item(form, &payload.to_bytes(), now);
        }
        let is_swallowed = self.legs.as_mut().is_some_and(|legs| legs.swallows());
        if self.leg != Leg::Gone && !is_swallowed {
            self.down.pieces(form, payload);
        }
        self.note_stall();
    }

    /// Notes that the leg was closed, or lost.
    pub fn leg_closed(&mut self, code: CloseCode, reason: &str, now: Instant) {
        self.now = now;
        if self.aware.is_some() {
            // An end of the gateway's own would have the number of an item of the replica's.
            self.leg = Leg::Gone;
            return self.over(code::LOST);
        }
        if self.leg == Leg::Up {
            self.down.end(code, reason);
        }
        self.lose_leg();
    }

    /// Notes that the replica's system has everything up to `seq`.
    pub fn confirm(&mut self, seq: u64, now: Instant) {
        self.now = now;
        if self.legs.as_mut().is_some_and(|legs| legs.confirms_later(seq)) {
            return;
        }
        for bytes in self.up.confirm(seq) {
            if let Some(link) = &mut self.newest {
                link.acker.note(bytes, now);
            }
        }
    }

    /// Ends the session in good order: the client is told behind all it has not had yet.
    pub fn finish(&mut self, code: CloseCode, reason: &str, now: Instant) {
        self.now = now;
        if self.aware.is_some() {
            let is_login = code == CloseCode::UNAUTHORIZED;
            return self.over(if is_login { code::LOGIN_REFUSED } else { code::LOST });
        }
        if self.leg == Leg::Up {
            let code_for_leg = CloseCode::GOING_AWAY;
            self.outbox
                .push_back(Output::CloseLeg { code: code_for_leg, reason: reason.to_owned() });
            self.down.end(code, reason);
        }
        self.lose_leg();
    }

    /// Ends the session at once, for want of room.
    pub fn expire(&mut self, now: Instant) {
        self.now = now;
        self.over(code::OVERFLOW);
    }

    /// Asks the client to open another link beside this one after `delay`.
    pub fn migrate(&mut self, delay: Duration, now: Instant) {
        self.now = now;
        let Some(link) = self.newest.as_ref().filter(|link| link.is_confirmed) else { return };
        let (key, within) = (link.key, self.policy.migrate_deadline);
        self.migrating = Some((key, now + delay + within));
        let ms = |time: Duration| time.as_millis() as u64;
        let control =
            Control::Migrate { url: None, delay: ms(delay), deadline: ms(delay + within) };
        self.say(key, &control);
    }

    /// Whether a message of the leg's can be taken now.
    pub fn wants_leg(&self) -> bool {
        // What is full with a replica that acknowledges by itself is told by numbers, and behind what it
        // says come its acknowledgements.
        self.ended.is_none()
            && self.leg != Leg::Gone
            && (self.aware.is_some() || !self.down.is_full())
    }

    /// Whether a message of a link's can be taken now: always, since behind what the client sends come
    /// the acknowledgements that make room.
    pub fn wants_link(&self) -> bool {
        self.policy.keeps.keeps(Rule::AlwaysRead) || !self.up.is_full(self.policy.window)
    }

    /// Whether a link is there.
    pub fn is_attached(&self) -> bool {
        self.newest.is_some()
    }

    /// Since when the newest link is open.
    pub fn link_opened_at(&self) -> Option<Instant> {
        self.newest.as_ref().map(|link| link.opened_at)
    }

    /// Bytes of messages that the session holds.
    pub fn bytes(&self) -> usize {
        let owed = self.legs.as_ref().map_or(0, |legs| legs.bytes());
        let passed = self.aware.as_ref().map_or(0, |aware| aware.bytes());
        self.down.bytes() + self.up.bytes() + owed + passed
    }

    /// Whether bytes wait for the peer of this link. While they do, nothing more is sent to it.
    pub fn note_blocked(&mut self, key: LinkKey, is_blocked: bool) {
        if let Some(link) = self.newest.as_mut().filter(|link| link.key == key) {
            link.is_blocked = is_blocked;
        }
    }

    /// Returns the next thing to do; `Wait` names the next deadline, if there is one.
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.outbox.pop_front() {
            return output;
        }
        if let Some(ended) = self.ended {
            return Output::Ended(ended);
        }
        if self.down.is_exhausted() {
            self.over(code::LOST);
            return self.poll();
        }
        match self.next_for_link().or_else(|| self.next_for_leg()) {
            Some(output) => output,
            None => Output::Wait(self.deadline()),
        }
    }

    /// What the newest link is to be told next: what keeps it alive first, then messages.
    fn next_for_link(&mut self) -> Option<Output> {
        let (policy, now) = (&self.policy, self.now);
        let link = self.newest.as_mut().filter(|link| !link.is_blocked)?;
        let key = link.key;
        let small =
            |head| Output::Send { link: key, form: Form::Text, head, payload: Bytes::new() };
        if let Some(nonce) = link.pong_due.take() {
            link.sent_at = now;
            return Some(small(Head::pong(nonce)));
        }
        if link.acker.is_due(policy.window, policy.pace, now) {
            let seq = self.up.confirmed();
            link.acker.note_told(seq, now);
            link.sent_at = now;
            return Some(small(Head::ack(seq)));
        }
        if link.ping_at(policy.heartbeat) <= now {
            link.pinged_at = Some(now);
            link.sent_at = now;
            let nonce = super::Nonce::of(link.number as u32);
            return Some(small(Head::ping(nonce)));
        }
        let (head, form, payload) = self.down.write_next()?;
        link.sent_at = now;
        Some(Output::Send { link: key, form, head, payload: payload.to_bytes() })
    }

    fn say(&mut self, link: LinkKey, control: &Control) {
        let payload = Bytes::from(control.write());
        self.outbox.push_back(Output::Send { link, form: Form::Text, head: Head::none(), payload });
    }

    fn lose_leg(&mut self) {
        self.leg = Leg::Gone;
        // Nobody will ever confirm the rest, and the end that the client is told speaks for it.
        self.confirm(self.up.whole(), self.now);
        if let Some(link) = self.newest.as_mut().filter(|_| self.up.has_ended()) {
            // The client's close waits for nothing else.
            link.acker.hurry();
        }
    }

    fn note_stall(&mut self) {
        let is_stalled = self.newest.is_none() && self.down.is_full();
        self.stalled_at = is_stalled.then(|| self.stalled_at.unwrap_or(self.now));
    }

    /// Ends the session at once. Both sides are told, the client by its next resume if need be.
    fn over(&mut self, code: CloseCode) {
        if self.ended.is_some() {
            return;
        }
        let recv = if self.aware.is_some() { self.up.confirmed() } else { self.up.whole() };
        let ended = Ended { code, recv };
        if self.leg != Leg::Gone {
            self.tell_end(ended);
            let reason = "the client's session is over".to_owned();
            self.outbox.push_back(Output::CloseLeg { code: CloseCode::GOING_AWAY, reason });
            self.leg = Leg::Gone;
        }
        self.ended = Some(ended);
        self.aware = None;
        let is_reset = matches!(code, code::UNKNOWN | code::LOST | code::OVERFLOW);
        if let Some(key) = self.newest.as_ref().filter(|_| is_reset).map(|link| link.key) {
            self.say(key, &Control::Reset(Reset { code: code.0, recv: Some(ended.recv) }));
        }
        for link in [self.newest.take(), self.older.take()].into_iter().flatten() {
            let code = if is_reset { CloseCode::NORMAL } else { code };
            self.outbox.push_back(Output::Close { link: link.key, code });
        }
    }
}

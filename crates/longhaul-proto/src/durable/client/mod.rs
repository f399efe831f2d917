//! The client's end of a durable session: what an SDK drives.
//!
//! Tell it what happened, then call [`Client::poll`] until it returns [`Output::Wait`]. Whoever drives
//! it opens a WebSocket for each [`Output::Connect`] and reports what becomes of it under the same
//! [`LinkKey`].

mod answer;
mod login;
mod receive;
mod reconnect;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
pub use reconnect::Reconnect;

use self::reconnect::Tries;
use super::acker::AckPace;
use super::link::Link;
use super::rule::Keeps;
use super::{
    BufferFull, Control, Credential, Form, Head, LinkKey, Receiver, Resume, Sender, Sizes, Window,
    code,
};
use crate::websocket::CloseCode;

/// How a client keeps its session.
#[derive(Debug, Clone)]
pub struct ClientPolicy {
    /// What names the library in `hello`.
    pub sdk: String,
    /// What may be unacknowledged in each direction.
    pub window: Window,
    /// Bytes that may wait for the window; beyond them [`Client::send`] refuses.
    pub queue_bytes_max: usize,
    /// How fast acknowledgements follow.
    pub pace: AckPace,
    /// How long to wait for a link, and on it for the answer.
    pub patience: Duration,
    /// How long an answer to a probe may take.
    pub probe: Duration,
    /// How long to go on trying after the gateway has forgotten the session.
    pub beyond_grace: Duration,
    /// How to try again.
    pub reconnect: Reconnect,
    /// All rules, but in a simulation that breaks one.
    pub keeps: Keeps,
}

impl Default for ClientPolicy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            sdk: concat!("rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            window: Window::DEFAULT,
            queue_bytes_max: 16 << 20,
            pace: AckPace::DEFAULT,
            patience: seconds(10),
            probe: seconds(2),
            beyond_grace: seconds(60),
            reconnect: Reconnect::default(),
            keeps: Keeps::default(),
        }
    }
}

/// What a client wants done, or tells the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a WebSocket that offers the subprotocol; to this URL, or the first one.
    Connect {
        /// What to call it.
        link: LinkKey,
        /// Where to, if not to where the first one went.
        url: Option<String>,
    },
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
    /// For the application: the session is there.
    Opened {
        /// The application's subprotocol.
        protocol: Option<String>,
    },
    /// For the application: the link is lost, and will be replaced.
    Interrupted,
    /// For the application: the session goes on.
    Resumed,
    /// For the application: a message.
    Message {
        /// Its opcode.
        form: Form,
        /// The message.
        payload: Bytes,
    },
    /// For the application: what the gateway tells at this place, as JSON.
    Event(Bytes),
    /// For the application: the gateway wants a newer login, by [`Client::authenticate`].
    LoginWanted {
        /// Until the old one ends.
        within: Duration,
    },
    /// For the application: the gateway did not accept it.
    LoginRefused {
        /// Why.
        reason: String,
    },
    /// For the application: the end.
    Closed {
        /// Its code.
        code: CloseCode,
        /// Its reason.
        reason: String,
        /// Whether both ends agreed on it.
        was_clean: bool,
    },
    /// Nothing to do before this moment.
    Wait(Option<Instant>),
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// More waits than may wait.
    #[error(transparent)]
    Full(#[from] BufferFull),
    /// The gateway takes no message of this size.
    #[error("the gateway takes messages of at most {bytes_max} bytes")]
    TooBig {
        /// What it takes.
        bytes_max: usize,
    },
    /// The session was closed.
    #[error("the session is closed")]
    Closed,
}

/// The client's end of a durable session.
#[derive(Debug, Clone)]
pub struct Client {
    policy: ClientPolicy,
    session: Option<Session>,
    /// A newer login that the gateway has not answered yet.
    credential: Option<Credential>,
    /// The highest link number ever written.
    highest: u64,
    /// The link that carries the session.
    current: Option<Link>,
    /// The link that is about to.
    candidate: Option<Candidate>,
    up: Sender,
    down: Receiver,
    /// Pieces of the message that is not whole.
    pieces: Vec<Bytes>,
    tries: Tries,
    retry_at: Option<Instant>,
    /// Since when there is no link that carries the session.
    lost_at: Option<Instant>,
    probed_until: Option<Instant>,
    /// A second link is asked for, here or elsewhere.
    migrate_at: Option<Instant>,
    url: Option<String>,
    end: End,
    keys: u64,
    outbox: VecDeque<Output>,
    now: Instant,
}

/// What the gateway said of the session.
#[derive(Debug, Clone)]
struct Session {
    token: String,
    sizes: Sizes,
    heartbeat: Duration,
    grace: Duration,
}

#[derive(Debug, Clone)]
struct Candidate {
    link: Link,
    /// Whether `hello` or `resume` was written.
    has_asked: bool,
    until: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Open,
    /// The application closed, and the other end has not answered.
    Asked {
        code: CloseCode,
        reason: String,
    },
    /// The application knows; the last link may linger until then.
    Told {
        until: Instant,
    },
    /// Nothing will ever be due again.
    Over,
}

impl Client {
    /// Starts with a first link. `random` spreads this client's tries from those of others.
    pub fn new(policy: ClientPolicy, random: u64, now: Instant) -> Self {
        let mut client = Self {
            session: None,
            credential: None,
            highest: 0,
            current: None,
            candidate: None,
            up: Sender::unagreed(policy.window),
            down: Receiver::default(),
            pieces: Vec::new(),
            tries: Tries::new(policy.reconnect.clone(), random),
            retry_at: None,
            lost_at: None,
            probed_until: None,
            migrate_at: None,
            url: None,
            end: End::Open,
            keys: 0,
            outbox: VecDeque::new(),
            now,
            policy,
        };
        client.connect();
        client
    }

    /// Takes a message for the other end.
    ///
    /// # Errors
    /// [`SendError`], when it is not taken.
    pub fn send(&mut self, form: Form, payload: Bytes, now: Instant) -> Result<(), SendError> {
        self.now = now;
        if self.end != End::Open {
            return Err(SendError::Closed);
        }
        let bytes_max = self.session.as_ref().map(|session| session.sizes.message_bytes_max);
        if let Some(bytes_max) = bytes_max.filter(|&max| payload.len() > max) {
            return Err(SendError::TooBig { bytes_max });
        }
        if self.up.waiting_bytes() + payload.len() > self.policy.queue_bytes_max {
            return Err(BufferFull.into());
        }
        self.up.message(form, payload);
        Ok(())
    }

    /// Closes the session behind everything that was sent.
    pub fn close(&mut self, code: CloseCode, reason: &str, now: Instant) {
        self.now = now;
        if self.end != End::Open {
            return;
        }
        if self.session.is_none() {
            return self.closed(code::ABNORMAL, "closed before the session was there", false);
        }
        self.up.end(code, reason);
        self.end = End::Asked { code, reason: reason.to_owned() };
    }

    /// Bytes that the other end has not answered for.
    pub fn buffered_bytes(&self) -> usize {
        self.up.bytes()
    }

    /// Whether a link carries the session.
    pub fn is_live(&self) -> bool {
        self.current.is_some()
    }

    /// Makes sure soon that the link is alive: the device woke up, or its network changed.
    pub fn probe(&mut self, now: Instant) {
        self.now = now;
        if let Some(link) = &mut self.current {
            self.probed_until = Some(now + self.policy.probe);
            link.sent_at = now;
            let head = Head::ping(super::Nonce::of(self.highest as u32));
            let (link, payload) = (link.key, Bytes::new());
            self.outbox.push_back(Output::Send { link, form: Form::Text, head, payload });
        } else if self.retry_at.is_some() {
            self.retry_at = Some(now);
        }
    }

    /// Notes that a link is open and speaks the subprotocol.
    pub fn link_open(&mut self, key: LinkKey, now: Instant) {
        self.now = now;
        let Some(candidate) = self.candidate.as_mut().filter(|it| it.link.key == key) else {
            return;
        };
        candidate.has_asked = true;
        candidate.until = now + self.policy.patience;
        candidate.link.opened_at = now;
        let control = match &self.session {
            None => {
                let (sdk, win) = (self.policy.sdk.clone(), self.policy.window.into());
                Control::Hello { v: 1, sdk, win }
            }
            Some(session) => {
                self.highest += 1;
                candidate.link.number = self.highest;
                Control::Resume(Resume {
                    v: 1,
                    token: session.token.clone(),
                    link: self.highest,
                    recv: self.down.recv(),
                    lo: self.up.acked() + 1,
                    hi: self.up.sent(),
                })
            }
        };
        self.say(key, &control);
    }

    /// Notes whether bytes wait for the peer of this link.
    pub fn note_blocked(&mut self, key: LinkKey, is_blocked: bool) {
        if let Some(link) = self.current.as_mut().filter(|link| link.key == key) {
            link.is_blocked = is_blocked;
        }
    }

    /// Returns the next thing to do; `Wait` names the next deadline, if there is one.
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.outbox.pop_front() {
            return output;
        }
        match self.next_for_link() {
            Some(output) => output,
            None => Output::Wait(self.deadline()),
        }
    }

    fn next_for_link(&mut self) -> Option<Output> {
        let (policy, now) = (&self.policy, self.now);
        let link = self.current.as_mut().filter(|link| !link.is_blocked)?;
        let key = link.key;
        let small =
            |head| Output::Send { link: key, form: Form::Text, head, payload: Bytes::new() };
        if let Some(nonce) = link.pong_due.take() {
            return Some(small(Head::pong(nonce)));
        }
        if link.acker.is_due(policy.window, policy.pace, now) {
            let seq = self.down.recv();
            link.acker.note_told(seq, now);
            return Some(small(Head::ack(seq)));
        }
        let (head, form, payload) = self.up.write_next()?;
        Some(Output::Send { link: key, form, head, payload: payload.to_bytes() })
    }

    fn connect(&mut self) {
        self.retry_at = None;
        self.migrate_at = None;
        self.keys += 1;
        let link = LinkKey(self.keys);
        let until = self.now + self.policy.patience;
        let new = Link::new(link, 0, self.now);
        self.candidate = Some(Candidate { link: new, has_asked: false, until });
        self.outbox.push_back(Output::Connect { link, url: self.url.clone() });
    }

    fn say(&mut self, link: LinkKey, control: &Control) {
        let payload = Bytes::from(control.write());
        self.outbox.push_back(Output::Send { link, form: Form::Text, head: Head::none(), payload });
    }

    fn deadline(&self) -> Option<Instant> {
        let policy = &self.policy;
        let speaks = self.current.as_ref().filter(|link| !link.is_blocked);
        let ack = speaks.and_then(|link| link.acker.due_at(policy.window, policy.pace));
        let told = match self.end {
            End::Told { until } => Some(until),
            End::Open | End::Asked { .. } | End::Over => None,
        };
        let answer = self.candidate.as_ref().map(|candidate| candidate.until);
        let rest = [self.retry_at, self.migrate_at, self.probed_until, self.dead_at()];
        [ack, told, answer, self.gives_up_at()].into_iter().chain(rest).flatten().min()
    }
}

//! The gateway's end: a lobby that reads first messages, owners, and the replica behind each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use longhaul_proto::durable::owner::{FrozenOwner, Opening, Output, Owner, Refusal, Seal};
use longhaul_proto::durable::{Control, Form, Item, Letter, LinkKey, Speaker};
use longhaul_proto::websocket::{CloseCode, mask};

use crate::audit::{self, Audit};
use crate::aware::Replicas;
use crate::scenario::Scenario;

/// Names session and generation; nobody in here forges one.
#[derive(Debug)]
struct Bare;

impl Seal for Bare {
    fn seal(&self, sid: &str, generation: u64) -> String {
        format!("{sid}.{generation}")
    }
}

/// One session at the node.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) owner: Owner,
    pub(crate) replica: Replica,
    /// The replicas, where they acknowledge messages themselves.
    pub(crate) aware: Option<Replicas>,
    pub(crate) newest: LinkKey,
    pub(crate) is_over: bool,
    /// What a link brought while the owner read none: only when a rule is broken.
    pub(crate) unread: VecDeque<(LinkKey, Form, Bytes)>,
}

/// The application behind one session.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    pub(crate) audit: Audit,
    pub(crate) sent: u64,
    /// Messages that were delivered and not confirmed, with their numbers.
    pub(crate) unread: VecDeque<(u64, Form, Bytes)>,
    /// The last number that was confirmed.
    pub(crate) confirmed: u64,
    pub(crate) closed: Option<CloseCode>,
}

/// The gateway's end.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) sessions: Vec<Held>,
}

impl Node {
    /// Takes what a link brought. A link that no session knows is in the lobby.
    pub(crate) fn receive(
        &mut self,
        key: LinkKey,
        form: Form,
        message: &Bytes,
        scenario: &Scenario,
        now: Instant,
    ) -> Option<Refusal> {
        let Ok(Item::Control(text)) = Item::parse(form, message) else {
            return self.receive_on_session(key, form, message, now);
        };
        match Control::parse(Speaker::Client, text) {
            Ok(Control::Hello { win, .. }) => {
                let sid = self.sessions.len().to_string();
                let opening = Opening {
                    sid,
                    link: key,
                    window: win.into(),
                    protocol: None,
                    replacement: None,
                    is_aware: scenario.is_aware,
                };
                let policy = Arc::new(scenario.owner.clone());
                self.sessions.push(Held {
                    owner: Owner::open(policy, Arc::new(Bare), opening, now),
                    replica: Replica::default(),
                    aware: scenario.is_aware.then(Replicas::default),
                    newest: key,
                    is_over: false,
                    unread: VecDeque::new(),
                });
                None
            }
            Ok(Control::Resume(resume)) => {
                let (sid, generation) = resume.token.split_once('.')?;
                let held = self.sessions.get_mut(sid.parse::<usize>().ok()?)?;
                match held.owner.resume(key, generation.parse().ok()?, &resume, now) {
                    Ok(()) => {
                        held.newest = key;
                        None
                    }
                    Err(refusal) => Some(refusal),
                }
            }
            _ => self.receive_on_session(key, form, message, now),
        }
    }

    fn receive_on_session(
        &mut self,
        key: LinkKey,
        form: Form,
        message: &Bytes,
        now: Instant,
    ) -> Option<Refusal> {
        for held in &mut self.sessions {
            held.unread.push_back((key, form, message.clone()));
            held.read(now);
        }
        None
    }
}

/// The message as its client's WebSocket masks it, under a key that each message changes.
fn masked(message: &Bytes, link: LinkKey) -> Letter {
    let key = [link.0 as u8, message.len() as u8, message.first().copied().unwrap_or(1), 0xa5];
    let mut bytes = BytesMut::from(&message[..]);
    mask::apply(&mut bytes, key, 0);
    Letter::open(bytes, key)
}

impl Held {
    /// Puts the owner down and takes it up as another process would.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(crate) fn move_over(&mut self, scenario: &Scenario, now: Instant) -> Result<(), String> {
        if !scenario.upgrades {
            return Ok(());
        }
        let frozen = self.owner.freeze(now).ok_or("a session at rest does not move")?;
        let text = serde_json::to_string(&frozen).map_err(|error| error.to_string())?;
        let frozen: FrozenOwner = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let policy = Arc::new(scenario.owner.clone());
        let moved = Owner::thaw(policy, Arc::new(Bare), None, frozen, now);
        self.owner = moved.ok_or("a session that moved is none")?;
        Ok(())
    }

    /// Takes what links brought, as far as the owner reads.
    pub(crate) fn read(&mut self, now: Instant) {
        while self.owner.wants_link()
            && let Some((key, form, message)) = self.unread.pop_front()
        {
            self.owner.receive_letter(key, form, &masked(&message, key), now);
        }
    }

    /// Lets the replica read one message, and tells the owner that it has it.
    ///
    /// # Errors
    /// When it is not the one that comes next.
    pub(crate) fn replica_reads(
        &mut self,
        session: u64,
        bytes_max: usize,
        now: Instant,
    ) -> Result<bool, String> {
        let Some((seq, form, payload)) = self.replica.unread.pop_front() else { return Ok(false) };
        self.replica.audit.take(session, form, &payload, bytes_max)?;
        self.replica.confirmed = seq;
        self.owner.confirm(seq, now);
        Ok(true)
    }

    /// Lets the replica write one message, if the gateway reads.
    pub(crate) fn replica_writes(
        &mut self,
        session: u64,
        scenario: &Scenario,
        now: Instant,
    ) -> bool {
        let wants = self.owner.wants_leg() && self.replica.closed.is_none();
        if !wants || self.replica.sent == scenario.messages {
            return false;
        }
        let (form, payload) = audit::message(session, self.replica.sent, scenario.message_bytes);
        self.replica.sent += 1;
        self.owner.leg_message(form, payload, now);
        true
    }

    /// Checks what the owner says against what it may say.
    ///
    /// # Errors
    /// What it should not have said.
    pub(crate) fn check(&self, output: &Output, scenario: &Scenario) -> Result<(), String> {
        let Output::Send { link, head, payload, form } = output else { return Ok(()) };
        if *link != self.newest {
            return Err("a link that is not the newest was written to (I5)".to_owned());
        }
        let message = [head.as_bytes(), payload].concat();
        if let Ok(Item::Ack(seq)) = Item::parse(*form, &message)
            && self.replica.closed.is_none()
            && seq > self.aware.as_ref().map_or(self.replica.confirmed, Replicas::committed)
        {
            return Err(format!("{seq} was acknowledged before the replica had it (I2)"));
        }
        let sizes = scenario.owner.sizes;
        let bytes_max = scenario.owner.window.bytes.max(sizes.message_bytes_max as u64) as usize;
        // One message waits for the window, and one is being put together.
        // With a replica that acknowledges by itself, as much again is on its way up.
        let bytes_max = if self.aware.is_some() { 2 * bytes_max } else { bytes_max };
        if self.owner.bytes() > bytes_max + 2 * sizes.message_bytes_max {
            return Err(format!("{} bytes are held (I3)", self.owner.bytes()));
        }
        Ok(())
    }
}

//! Plays one run: an event queue, virtual time, and trouble.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::time::{Duration, Instant};

use fastrand::Rng;
use longhaul_proto::durable::client::{Client, Output};
use longhaul_proto::durable::owner::{self, Refusal};
use longhaul_proto::durable::{Control, LinkKey, code};
use longhaul_proto::websocket::CloseCode;

use crate::audit::{self, Audit};
use crate::node::Node;
use crate::scenario::Scenario;
use crate::wire::{End, Packet, Wire};

/// How long a run may go on after trouble has ended: as long as the slowest client waits to try again,
/// several times over.
const CALM: Duration = Duration::from_secs(600);

/// How a run went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Links that were opened.
    pub links: u64,
    /// Messages that arrived, both ways.
    pub messages: u64,
    /// Replicas that died.
    pub crashes: u64,
    /// Virtual time it took.
    pub took: Duration,
}

/// What went wrong in a run.
#[derive(Debug)]
pub struct Failure {
    /// The virtual time.
    pub at: Duration,
    /// What.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.3} s: {}", self.at.as_secs_f64(), self.what)
    }
}

#[derive(Debug)]
enum Event {
    /// A client's new link is open, or was refused.
    Connected(LinkKey, bool),
    Arrive(LinkKey, End, Packet),
    /// This end learns that the link is gone.
    Lost(LinkKey, End),
    /// The link breaks, in one way or another.
    Cut(LinkKey),
    ClientSends,
    ReplicaWorks,
    Migrate,
}

struct World<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    start: Instant,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    events: BTreeMap<u64, Event>,
    serial: u64,
    wires: BTreeMap<LinkKey, Wire>,
    client: Client,
    node: Node,
    /// The session that the client was welcomed to.
    session: Option<u64>,
    sent: u64,
    audit: Audit,
    has_closed: bool,
    closed: Option<CloseCode>,
    links: u64,
    /// When a machine wants to be looked at.
    look_at: Option<Instant>,
}

/// Plays `scenario` with what `seed` draws.
///
/// # Errors
/// [`Failure`], when something was lost, doubled, reordered, said wrongly, or never finished.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Report, Failure> {
    let start = Instant::now();
    let mut world = World {
        scenario,
        rng: Rng::with_seed(seed),
        start,
        now: Duration::ZERO,
        queue: BinaryHeap::new(),
        events: BTreeMap::new(),
        serial: 0,
        wires: BTreeMap::new(),
        client: Client::new(scenario.client.clone(), seed, start),
        node: Node::default(),
        session: None,
        sent: 0,
        audit: Audit::default(),
        has_closed: false,
        closed: None,
        links: 0,
        look_at: None,
    };
    for event in [Event::ClientSends, Event::ReplicaWorks, Event::Migrate] {
        world.schedule(Duration::ZERO, event);
    }
    match world.play() {
        Ok(()) => Ok(Report {
            links: world.links,
            messages: world.sent + world.audit.received,
            crashes: world.crashes(),
            took: world.now,
        }),
        Err(what) => Err(Failure { at: world.now, what }),
    }
}

impl World<'_> {
    fn play(&mut self) -> Result<(), String> {
        loop {
            self.settle()?;
            if self.is_finished() {
                return Ok(());
            }
            if self.now > self.scenario.trouble + CALM {
                return Err(self.unfinished());
            }
            let &Reverse((at, serial)) = self.queue.peek().expect("working is always scheduled");
            // A machine that wants to be looked at again and again costs a millisecond each time.
            let look_at = self.look_at.map(|look_at| look_at.saturating_duration_since(self.start));
            let look_at = look_at.map(|look_at| look_at.max(self.now + Duration::from_millis(1)));
            if let Some(look_at) = look_at.filter(|&look_at| look_at <= at) {
                self.now = look_at;
                self.look();
                continue;
            }
            self.queue.pop();
            self.now = self.now.max(at);
            let event = self.events.remove(&serial).expect("each is scheduled once");
            self.happen(event)?;
        }
    }

    fn unfinished(&self) -> String {
        let read = self.session.map(|at| self.node.sessions[at as usize].replica.audit.received);
        format!(
            "not finished: sent {}, the replica read {read:?}; the client received {}; closed {:?}",
            self.sent, self.audit.received, self.closed
        )
    }

    /// Every message arrived, and both ends know that it is over. When the client's last close is lost
    /// on the way, an owner without a link waits out its grace.
    fn is_finished(&self) -> bool {
        let held = self.session.and_then(|session| self.node.sessions.get(session as usize));
        self.closed.is_some()
            && held.is_some_and(|held| {
                let is_told = match &held.aware {
                    Some(replicas) => replicas.has_ended,
                    None => held.replica.closed.is_some(),
                };
                held.is_over || is_told && !held.owner.is_attached()
            })
    }

    fn crashes(&self) -> u64 {
        let replicas = self.node.sessions.iter().filter_map(|held| held.aware.as_ref());
        replicas.map(|replicas| replicas.crashes).sum()
    }

    fn clock(&self) -> Instant {
        self.start + self.now
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.serial += 1;
        self.events.insert(self.serial, event);
        self.queue.push(Reverse((self.now + after, self.serial)));
    }

    fn pause(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.rng.f64())
    }

    fn is_troubled(&self) -> bool {
        self.now < self.scenario.trouble
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        let now = self.clock();
        match event {
            Event::Connected(key, true) => {
                let life = self.pause(self.scenario.link_life * 2);
                if self.is_troubled() {
                    self.schedule(life, Event::Cut(key));
                }
                if self.wires.get(&key).is_some_and(|wire| wire.client.is_open) {
                    self.client.link_open(key, now);
                }
            }
            Event::Connected(key, false) => {
                self.wires.remove(&key);
                self.client.link_lost(key, None, now);
            }
            Event::Arrive(key, to, packet) => self.arrive(key, to, packet),
            Event::Lost(key, end) => self.lost(key, end, None),
            Event::Cut(key) if self.is_troubled() => self.cut(key),
            Event::Cut(_) => {}
            Event::ClientSends => self.client_sends(),
            Event::ReplicaWorks => self.replicas_work()?,
            Event::Migrate => self.migrate(),
        }
        Ok(())
    }

    fn look(&mut self) {
        let now = self.clock();
        self.client.deadline_reached(now);
        for held in &mut self.node.sessions {
            held.owner.deadline_reached(now);
            held.read(now);
        }
    }

    fn client_sends(&mut self) {
        let now = self.clock();
        if let Some(session) = self.session.filter(|_| self.sent < self.scenario.messages) {
            let (form, payload) = audit::message(session, self.sent, self.scenario.message_bytes);
            if self.client.send(form, payload, now).is_ok() {
                self.sent += 1;
            }
        }
        let is_all =
            self.sent == self.scenario.messages && self.audit.received == self.scenario.messages;
        if is_all && !self.has_closed {
            self.has_closed = true;
            self.client.close(CloseCode(4000), "all is said", now);
        }
        let pause = self.pause(self.scenario.pause);
        self.schedule(pause.max(Duration::from_millis(1)), Event::ClientSends);
    }

    fn replicas_work(&mut self) -> Result<(), String> {
        let now = self.clock();
        let bytes_max = self.scenario.message_bytes;
        for (session, held) in self.node.sessions.iter_mut().enumerate() {
            let session = session as u64;
            if let Some(replicas) = &mut held.aware {
                let (told, how) = ((session, self.scenario), (&mut self.rng, now));
                replicas.work(&mut held.owner, &mut held.replica.audit, told, how)?;
                if self.now < self.scenario.trouble && self.rng.u8(..24) == 0 {
                    replicas.lose(&mut held.owner, &mut self.rng, now);
                }
                continue;
            }
            let has_more = held.replica.sent < self.scenario.messages;
            let wrote = self.rng.bool() && held.replica_writes(session, self.scenario, now);
            let waits = self.scenario.replica_writes_first && has_more && !wrote;
            if !waits && self.rng.bool() {
                held.replica_reads(session, bytes_max, now)?;
                held.read(now);
            }
        }
        let pause = self.pause(self.scenario.pause);
        self.schedule(pause.max(Duration::from_millis(1)), Event::ReplicaWorks);
        Ok(())
    }

    fn migrate(&mut self) {
        let (now, delay) = (self.clock(), self.pause(Duration::from_secs(1)));
        if self.is_troubled() {
            for held in &mut self.node.sessions {
                held.owner.migrate(delay, now);
            }
            if self.rng.bool() {
                self.client.probe(now);
            }
        }
        let pause = self.pause(self.scenario.link_life * 3);
        self.schedule(pause + Duration::from_millis(50), Event::Migrate);
    }

    fn arrive(&mut self, key: LinkKey, to: End, packet: Packet) {
        let now = self.clock();
        let Some(wire) = self.wires.get_mut(&key) else { return };
        let from = wire.side(to.other());
        from.in_flight -= 1;
        let (is_blocked, is_open) = (from.is_blocked(), wire.side(to).is_open);
        match to.other() {
            End::Client => self.client.note_blocked(key, is_blocked),
            End::Node => {
                let sessions = &mut self.node.sessions;
                sessions.iter_mut().for_each(|held| held.owner.note_blocked(key, is_blocked));
            }
        }
        if !is_open {
            return;
        }
        match (to, packet) {
            (_, Packet::Close(code)) => self.lost(key, to, Some(code)),
            (End::Client, Packet::Message(form, message)) => {
                self.client.receive(key, form, &message, now);
            }
            (End::Node, Packet::Message(form, message)) => {
                let refusal = self.node.receive(key, form, &message, self.scenario, now);
                if let Some(refusal) = refusal {
                    self.refuse(key, refusal);
                }
                self.count_item(key);
            }
        }
    }

    fn count_item(&mut self, key: LinkKey) {
        let Some(wire) = self.wires.get_mut(&key) else { return };
        wire.items += 1;
        if self.scenario.link_items_max.is_some_and(|max| wire.items == max) {
            wire.is_stalled = true;
            self.schedule(Duration::ZERO, Event::Lost(key, End::Client));
            self.schedule(Duration::ZERO, Event::Lost(key, End::Node));
        }
    }

    fn refuse(&mut self, key: LinkKey, refusal: Refusal) {
        let code = match refusal {
            Refusal::Close(code) => code,
            Refusal::Reset(reset) => {
                let control = Control::Reset(reset).write().into();
                let text = longhaul_proto::durable::Form::Text;
                self.send(key, End::Node, Packet::Message(text, control));
                CloseCode::NORMAL
            }
        };
        self.send(key, End::Node, Packet::Close(code));
    }

    fn lost(&mut self, key: LinkKey, end: End, closed: Option<CloseCode>) {
        let now = self.clock();
        let Some(wire) = self.wires.get_mut(&key) else { return };
        if !std::mem::replace(&mut wire.side(end).is_open, false) {
            return;
        }
        match end {
            End::Client => self.client.link_lost(key, closed, now),
            End::Node => {
                let sessions = &mut self.node.sessions;
                sessions.iter_mut().for_each(|held| held.owner.link_lost(key, closed, now));
            }
        }
    }

    /// Breaks a link: both ends learn of it, in their own time; or neither, and it is silent.
    fn cut(&mut self, key: LinkKey) {
        let Some(wire) = self.wires.get_mut(&key) else { return };
        // What is on the way may still arrive, as from a proxy that has read it already.
        wire.is_stalled = true;
        let ends = match self.rng.u8(..4) {
            0 => [None, None],
            1 => [Some(0), Some(30_000)],
            2 => [Some(30_000), Some(0)],
            _ => [Some(200), Some(200)],
        };
        for (end, within) in [End::Client, End::Node].into_iter().zip(ends) {
            if let Some(within) = within {
                let after = Duration::from_millis(self.rng.u64(0..=within));
                self.schedule(after, Event::Lost(key, end));
            }
        }
    }

    /// Puts a packet on a wire, if anything put there still arrives.
    fn send(&mut self, key: LinkKey, from: End, packet: Packet) {
        let now = self.now;
        let jitter = self.rng.f64();
        let Some(wire) = self.wires.get_mut(&key) else { return };
        let (delay, is_stalled) = (wire.delay.mul_f64(0.5 + jitter), wire.is_stalled);
        let is_close = matches!(packet, Packet::Close(_));
        let side = wire.side(from);
        if !side.is_open {
            return;
        }
        side.is_open = !is_close;
        if is_stalled {
            return;
        }
        side.in_flight += 1;
        side.arrives_at = side.arrives_at.max(now + delay);
        let (after, is_blocked) = (side.arrives_at - now, side.is_blocked());
        self.schedule(after, Event::Arrive(key, from.other(), packet));
        match from {
            End::Client => self.client.note_blocked(key, is_blocked),
            End::Node => {
                let sessions = &mut self.node.sessions;
                sessions.iter_mut().for_each(|held| held.owner.note_blocked(key, is_blocked));
            }
        }
    }

    /// Does what the machines want done.
    fn settle(&mut self) -> Result<(), String> {
        self.look_at = loop {
            match self.client.poll() {
                Output::Wait(deadline) => break deadline,
                output => self.obey_client(output)?,
            }
        };
        for at in 0..self.node.sessions.len() {
            loop {
                let held = &mut self.node.sessions[at];
                let output = held.owner.poll();
                held.check(&output, self.scenario)?;
                match output {
                    owner::Output::Wait(deadline) => {
                        self.look_at = self.look_at.into_iter().chain(deadline).min();
                        held.move_over(self.scenario, self.start + self.now)?;
                        break;
                    }
                    owner::Output::Ended(_) => {
                        held.is_over = true;
                        break;
                    }
                    output => self.obey_owner(at, output),
                }
            }
        }
        Ok(())
    }

    fn obey_client(&mut self, output: Output) -> Result<(), String> {
        match output {
            Output::Connect { link, .. } => {
                self.links += 1;
                let delay = self.pause(self.scenario.delay_max) + Duration::from_micros(100);
                self.wires.insert(link, Wire::new(link, delay));
                let is_lucky = !self.is_troubled() || self.rng.u8(..5) > 0;
                self.schedule(delay, Event::Connected(link, is_lucky));
            }
            Output::Send { link, form, head, payload } => {
                let message = [head.as_bytes(), &payload].concat().into();
                self.send(link, End::Client, Packet::Message(form, message));
            }
            Output::Close { link, code } => self.send(link, End::Client, Packet::Close(code)),
            Output::Abort(link) => {
                if let Some(wire) = self.wires.get_mut(&link) {
                    wire.client.is_open = false;
                }
            }
            Output::Opened { .. } => {
                // The last one that was welcomed: earlier welcomes were lost on the way.
                let sessions = self.node.sessions.iter();
                let key =
                    self.wires.values().filter(|wire| wire.client.is_open).map(|w| w.key).max();
                self.session = sessions
                    .enumerate()
                    .find(|(_, held)| Some(held.newest) == key)
                    .map(|(at, _)| at as u64);
            }
            Output::Message { form, payload } => {
                let session = self.session.unwrap_or_default();
                self.audit.take(session, form, &payload, self.scenario.message_bytes)?;
            }
            Output::Closed { code, was_clean, .. } => {
                self.closed = Some(code);
                if (code, was_clean) != (CloseCode(4000), true) {
                    return Err(format!("the client was closed with {code}"));
                }
            }
            Output::Interrupted
            | Output::Resumed
            | Output::Event(_)
            | Output::LoginWanted { .. }
            | Output::LoginRefused { .. }
            | Output::Wait(_) => {}
        }
        Ok(())
    }

    fn obey_owner(&mut self, at: usize, output: owner::Output) {
        match output {
            owner::Output::Send { link, form, head, payload } => {
                let message = [head.as_bytes(), &payload].concat().into();
                self.send(link, End::Node, Packet::Message(form, message));
            }
            owner::Output::Close { link, code } => {
                self.send(link, End::Node, Packet::Close(code));
            }
            owner::Output::Abort(link) => {
                if let Some(wire) = self.wires.get_mut(&link) {
                    wire.node.is_open = false;
                }
            }
            owner::Output::Deliver { form, payload, seq } => {
                self.node.sessions[at].replica.unread.push_back((seq, form, payload.to_bytes()));
            }
            owner::Output::Tell { form, head, payload } => {
                if let Some(replicas) = &mut self.node.sessions[at].aware {
                    replicas.tell(form, [head.as_bytes(), &payload.to_bytes()].concat().into());
                }
            }
            owner::Output::LeaveLeg | owner::Output::Authenticate(_) => {}
            owner::Output::CloseLeg { code, .. } => {
                let (now, held) = (self.start + self.now, &mut self.node.sessions[at]);
                if let Some(replicas) = &mut held.aware {
                    replicas.close();
                }
                held.replica.closed = Some(code);
                held.owner.leg_closed(code::NO_STATUS, "", now);
            }
            owner::Output::Ended(_) | owner::Output::Wait(_) => {}
        }
    }
}

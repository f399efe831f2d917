//! A small session as the checker sees it: the two machines as they are, and everything between them that
//! may happen in another order. Time stands still: what waits for time alone is played by seed instead.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use longhaul_proto::durable::client::{self, Client, ClientPolicy, Reconnect};
use longhaul_proto::durable::owner::{
    self, Opening, Owner, OwnerPolicy, Refusal, Replacement, Seal,
};
use longhaul_proto::durable::rule::Keeps;
use longhaul_proto::durable::{Control, Form, Item, LinkKey, Sizes, Speaker, Window};
use longhaul_proto::redial::{Prelude, Uncertain};
use longhaul_proto::websocket::CloseCode;

use crate::aware::{Care, Deed, Replicas};

/// The one moment of a model.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Longer than anything happens.
const NEVER: Duration = Duration::from_secs(1 << 30);
/// What the client closes with once all is said.
const ALL_SAID: CloseCode = CloseCode(4000);

/// How much may happen.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// Messages from the client, to it.
    pub(crate) messages: [u64; 2],
    /// Bytes of one item. Messages have two bytes.
    pub(crate) chunk: usize,
    /// Items that may be unacknowledged, in each direction.
    pub(crate) window: u64,
    pub(crate) cuts: u8,
    /// Links that the gateway asks for beside the one it has.
    pub(crate) migrations: u8,
    /// Replicas that die, each followed by another.
    pub(crate) crashes: u8,
    /// The replica reads nothing while it has something to write.
    pub(crate) writes_first: bool,
    /// The replicas acknowledge messages themselves, with this care.
    pub(crate) aware: Option<Care>,
    pub(crate) keeps: Keeps,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A client's new link opens.
    Open(LinkKey),
    /// The next message of a link arrives at this end.
    ToNode(LinkKey),
    ToClient(LinkKey),
    /// A link breaks, and this end learns of it at once; what it had sent may still arrive.
    CutAtNode(LinkKey),
    CutAtClient(LinkKey),
    /// The other end learns of it.
    NodeLearns(LinkKey),
    ClientLearns(LinkKey),
    ClientSends,
    ReplicaWrites,
    ReplicaReads,
    Migrate,
    /// The replica dies with what it was given, or before it was written.
    Crash {
        is_written: bool,
    },
    NextReplica,
    /// The leg of one that acknowledges messages itself is lost: it died, or was given up and goes on.
    LoseLeg {
        is_dead: bool,
    },
    Replica(Deed),
    ClientCloses,
}

#[derive(Debug, Clone)]
enum Packet {
    Message(Form, Bytes),
    Close(CloseCode),
}

/// One link.
#[derive(Debug, Clone)]
struct Wire {
    is_connecting: bool,
    is_cut: bool,
    /// Whether each end still knows the link.
    client: bool,
    node: bool,
    to_client: VecDeque<Packet>,
    to_node: VecDeque<Packet>,
}

/// One state of the model.
#[derive(Debug, Clone)]
pub(crate) struct World {
    client: Client,
    owner: Option<Owner>,
    wires: BTreeMap<LinkKey, Wire>,
    newest: LinkKey,
    /// Messages that the replica was given and has not read, with their numbers.
    unread: VecDeque<(u64, Bytes)>,
    /// The replicas, where they acknowledge messages themselves.
    aware: Option<Replicas>,
    is_replica_dead: bool,
    is_leg_closed: bool,
    sent: [u64; 2],
    got: [u64; 2],
    /// The last item that the replica has, and the last that each end said to have.
    confirmed: u64,
    recv: [u64; 2],
    left: [u8; 3],
    has_closed: bool,
    closed: Option<CloseCode>,
    /// The first thing that must not be.
    pub(crate) wrong: Option<String>,
}

// The machines show all they know.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        format!("{self:?}").hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

#[derive(Debug)]
struct Bare;

impl Seal for Bare {
    fn seal(&self, sid: &str, generation: u64) -> String {
        format!("{sid}.{generation}")
    }
}

fn message(index: u64) -> Bytes {
    format!("{index:02}").into()
}

impl World {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let reconnect = Reconnect {
            first: Duration::ZERO,
            settled: Duration::ZERO,
            steps: Vec::new(),
            tries_max: None,
        };
        let policy = ClientPolicy {
            window: bounds.window(),
            pace: bounds.pace(),
            patience: NEVER,
            beyond_grace: NEVER,
            reconnect,
            keeps: bounds.keeps,
            ..ClientPolicy::default()
        };
        let mut world = Self {
            client: Client::new(policy, 1, *NOW),
            owner: None,
            wires: BTreeMap::new(),
            newest: LinkKey(0),
            unread: VecDeque::new(),
            aware: None,
            is_replica_dead: false,
            is_leg_closed: false,
            sent: [0; 2],
            got: [0; 2],
            confirmed: 0,
            recv: [0; 2],
            left: [bounds.cuts, bounds.migrations, bounds.crashes],
            has_closed: false,
            closed: None,
            wrong: None,
        };
        world.settle();
        world
    }

    /// Everything that may happen next.
    pub(crate) fn steps(&self, bounds: &Bounds, steps: &mut Vec<Step>) {
        if self.wrong.is_some() {
            return;
        }
        let [cuts, migrations, crashes] = self.left;
        let reads_links = self.owner.as_ref().is_none_or(Owner::wants_link);
        for (&key, wire) in &self.wires {
            let can_cut = cuts > 0 && !wire.is_cut && !wire.is_connecting;
            let mut may = |may: bool, step| steps.extend(may.then_some(step));
            may(wire.is_connecting, Step::Open(key));
            may(wire.node && reads_links && !wire.to_node.is_empty(), Step::ToNode(key));
            may(wire.client && !wire.to_client.is_empty(), Step::ToClient(key));
            may(wire.client && can_cut, Step::CutAtClient(key));
            may(wire.node && can_cut, Step::CutAtNode(key));
            may(wire.node && wire.is_cut, Step::NodeLearns(key));
            may(wire.client && wire.is_cut, Step::ClientLearns(key));
        }
        let Some(owner) = &self.owner else { return };
        let mut may = |may: bool, step| steps.extend(may.then_some(step));
        let [up, down] = bounds.messages;
        let waits = bounds.writes_first && self.sent[1] < down;
        may(self.sent[0] < up, Step::ClientSends);
        may(!self.unread.is_empty() && !waits, Step::ReplicaReads);
        if let Some(replicas) = &self.aware {
            let deeds = replicas.deeds(self.sent[1] < down);
            deeds.for_each(|deed| may(true, Step::Replica(deed)));
            if crashes > 0 && owner.may_replace_leg() && !self.is_replica_dead {
                may(true, Step::LoseLeg { is_dead: true });
                may(true, Step::LoseLeg { is_dead: false });
            }
        }
        let is_plain = self.aware.is_none();
        let writes = owner.wants_leg() && !self.is_replica_dead && !self.is_leg_closed;
        may(is_plain && self.sent[1] < down && writes, Step::ReplicaWrites);
        may(migrations > 0 && owner.is_attached(), Step::Migrate);
        if is_plain && crashes > 0 && owner.may_replace_leg() && !self.is_replica_dead {
            may(true, Step::Crash { is_written: true });
            may(!self.unread.is_empty(), Step::Crash { is_written: false });
        }
        may(self.is_replica_dead && owner.wants_next_leg(), Step::NextReplica);
        may(
            self.sent == bounds.messages && self.got[1] == down && !self.has_closed,
            Step::ClientCloses,
        );
    }

    /// Whether nothing is left to be done: all arrived, and the client closed as it wanted.
    pub(crate) fn is_complete(&self, bounds: &Bounds) -> bool {
        self.got == bounds.messages && self.closed == Some(ALL_SAID)
    }

    pub(crate) fn take(&mut self, step: &Step, bounds: &Bounds) {
        let now = *NOW;
        match *step {
            Step::Open(key) => {
                self.wire(key).is_connecting = false;
                self.client.link_open(key, now);
            }
            Step::ToNode(key) => match self.wire(key).to_node.pop_front() {
                Some(Packet::Message(form, message)) => {
                    self.node_hears(key, form, &message, bounds)
                }
                Some(Packet::Close(code)) => self.node_loses(key, Some(code)),
                None => {}
            },
            Step::ToClient(key) => match self.wire(key).to_client.pop_front() {
                Some(Packet::Message(form, message)) => {
                    self.client.receive(key, form, &message, now);
                }
                Some(Packet::Close(code)) => self.client_loses(key, Some(code)),
                None => {}
            },
            Step::CutAtNode(key) => {
                self.left[0] -= 1;
                self.wire(key).is_cut = true;
                self.node_loses(key, None);
            }
            Step::CutAtClient(key) => {
                self.left[0] -= 1;
                self.wire(key).is_cut = true;
                self.client_loses(key, None);
            }
            Step::NodeLearns(key) => self.node_loses(key, None),
            Step::ClientLearns(key) => self.client_loses(key, None),
            Step::ClientSends => {
                let sent = self.client.send(Form::Text, message(self.sent[0]), now);
                sent.expect("the client is open and its queue is large");
                self.sent[0] += 1;
            }
            Step::ReplicaWrites => {
                let payload = message(self.sent[1]);
                self.sent[1] += 1;
                self.owner(|owner| owner.leg_message(Form::Text, payload, now));
            }
            Step::ReplicaReads => {
                let (seq, payload) = self.unread.pop_front().expect("there is one");
                self.arrived(0, &payload);
                self.confirmed = self.confirmed.max(seq);
                self.owner(|owner| owner.confirm(seq, now));
            }
            Step::Migrate => {
                self.left[1] -= 1;
                self.owner(|owner| owner.migrate(Duration::ZERO, now));
            }
            Step::Crash { is_written } => {
                self.left[2] -= 1;
                self.is_replica_dead = true;
                let last = self.unread.back().filter(|_| is_written).map_or(0, |(seq, _)| *seq);
                self.unread.clear();
                self.owner(|owner| {
                    owner.leg_lost(last, now);
                });
                if last > 0 {
                    // Nobody else is to be given them, and the client is told so.
                    self.got[0] = last * bounds.chunk as u64 / 2;
                    self.confirmed = last;
                }
            }
            Step::LoseLeg { is_dead } => {
                self.left[2] -= 1;
                self.is_replica_dead = true;
                self.aware.as_mut().expect("such replicas").lose(is_dead);
                self.owner(|owner| {
                    owner.leg_lost(0, now);
                });
            }
            Step::Replica(deed) => self.replica_does(deed, bounds),
            Step::NextReplica => {
                self.is_replica_dead = false;
                self.owner(|owner| owner.leg_replaced("crash", now));
            }
            Step::ClientCloses => {
                self.has_closed = true;
                self.client.close(ALL_SAID, "", now);
            }
        }
        self.settle();
    }

    fn replica_does(&mut self, deed: Deed, bounds: &Bounds) {
        let (Some(replicas), Some(care)) = (&mut self.aware, bounds.aware) else { return };
        let dealt_with = match deed {
            Deed::Hears => replicas.hear().map(|()| None),
            Deed::IsHeard => {
                let heard = replicas.down.pop_front();
                let owner = self.owner.as_mut().filter(|_| !self.is_replica_dead);
                if let Some(((form, item), owner)) = heard.zip(owner) {
                    owner.leg_item(form, &item, *NOW);
                }
                Ok(None)
            }
            Deed::DealsWithOne => replicas.begin(None, care),
            Deed::Writes => {
                self.sent[1] += 1;
                replicas.begin(Some(message(self.sent[1] - 1)), care)
            }
            Deed::Finishes => replicas.finish(care),
            Deed::ZombieDealsWithOne => Ok(replicas.zombie_deals(care)),
        };
        self.confirmed = replicas.committed();
        match dealt_with {
            Ok(payload) => payload.into_iter().for_each(|payload| self.arrived(0, &payload)),
            Err(what) => self.wrong(what),
        }
    }

    fn wire(&mut self, key: LinkKey) -> &mut Wire {
        self.wires.get_mut(&key).expect("steps name links that are there")
    }

    fn owner(&mut self, happen: impl FnOnce(&mut Owner)) {
        happen(self.owner.as_mut().expect("steps that need a session come behind its opening"));
    }

    fn wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// I1: the next one, and no other.
    fn arrived(&mut self, side: usize, payload: &Bytes) {
        let expected = message(self.got[side]);
        if *payload != expected {
            self.wrong(format!("{payload:?} came instead of {expected:?} (I1)"));
        }
        self.got[side] += 1;
    }

    /// I6: what an end says to have never becomes less.
    fn note_recv(&mut self, side: usize, recv: u64) {
        if recv < self.recv[side] {
            self.wrong(format!("recv fell from {} to {recv} (I6)", self.recv[side]));
        }
        self.recv[side] = recv;
    }

    fn node_loses(&mut self, key: LinkKey, closed: Option<CloseCode>) {
        let wire = self.wire(key);
        wire.node = false;
        wire.to_node.clear();
        if let Some(owner) = &mut self.owner {
            owner.link_lost(key, closed, *NOW);
        }
    }

    fn client_loses(&mut self, key: LinkKey, closed: Option<CloseCode>) {
        let wire = self.wire(key);
        wire.client = false;
        wire.to_client.clear();
        self.client.link_lost(key, closed, *NOW);
    }

    fn node_hears(&mut self, key: LinkKey, form: Form, message: &Bytes, bounds: &Bounds) {
        let control = match Item::parse(form, message) {
            Ok(Item::Control(text)) => Control::parse(Speaker::Client, text).ok(),
            _ => None,
        };
        match (control, &mut self.owner) {
            // From a link that the client gave up long ago: a session that nobody will ever use.
            (Some(Control::Hello { .. }), _) if key < self.newest => {
                self.refuse(key, None, CloseCode::NORMAL)
            }
            (Some(Control::Hello { win, .. }), owner) => {
                // A client that was never welcomed begins anew, and so does its replica.
                *owner = Some(bounds.open(key, win.into()));
                self.aware = bounds.aware.map(|_| Replicas::default());
                self.newest = key;
                self.unread.clear();
                (self.sent[1], self.got[0], self.confirmed) = (0, 0, 0);
                (self.recv, self.is_replica_dead) = ([0; 2], false);
            }
            (Some(Control::Resume(resume)), Some(owner)) => {
                let generation = resume.token.split('.').next_back().and_then(|it| it.parse().ok());
                let generation = generation.expect("the node's own tokens");
                let resumed = owner.resume(key, generation, &resume, *NOW);
                match resumed {
                    Ok(()) => {
                        self.newest = key;
                        self.note_recv(1, resume.recv);
                    }
                    Err(Refusal::Close(code)) => self.refuse(key, None, code),
                    Err(Refusal::Reset(reset)) => {
                        self.refuse(key, Some(Control::Reset(reset)), CloseCode::NORMAL);
                    }
                }
            }
            (_, Some(owner)) => owner.receive(key, form, message, *NOW),
            (_, None) => self.wrong("something came before hello".to_owned()),
        }
    }

    fn refuse(&mut self, key: LinkKey, control: Option<Control>, code: CloseCode) {
        let wire = self.wire(key);
        let control = control.map(|control| Packet::Message(Form::Text, control.write().into()));
        wire.to_client.extend(control);
        wire.to_client.push_back(Packet::Close(code));
        wire.node = false;
        wire.to_node.clear();
    }

    /// Does what the machines want done.
    fn settle(&mut self) {
        loop {
            if self.is_leg_closed && self.unread.is_empty() && self.confirmed < u64::MAX {
                // The replica has read all before its close, and answers.
                self.confirmed = u64::MAX;
                self.owner(|owner| owner.leg_closed(CloseCode::NORMAL, "", *NOW));
            }
            self.client.deadline_reached(*NOW);
            let from_client = self.client.poll();
            let is_at_rest = matches!(from_client, client::Output::Wait(_));
            self.obey_client(from_client);
            let from_owner = self.owner.as_mut().map(Owner::poll);
            let rests =
                matches!(from_owner, None | Some(owner::Output::Wait(_) | owner::Output::Ended(_)));
            from_owner.into_iter().for_each(|output| self.obey_owner(output));
            if is_at_rest && rests {
                // A link that neither end knows is nothing any more.
                self.wires.retain(|_, wire| wire.client || wire.node);
                return;
            }
        }
    }

    fn obey_client(&mut self, output: client::Output) {
        match output {
            client::Output::Connect { link, .. } => {
                let (to_client, to_node) = Default::default();
                let wire = Wire {
                    is_connecting: true,
                    is_cut: false,
                    client: true,
                    node: true,
                    to_client,
                    to_node,
                };
                self.wires.insert(link, wire);
            }
            client::Output::Send { link, form, head, payload } => {
                let message = [head.as_bytes(), &payload].concat().into();
                self.put(link, false, Packet::Message(form, message));
            }
            client::Output::Close { link, code } => {
                self.put(link, false, Packet::Close(code));
                self.forget(link, false);
            }
            client::Output::Abort(link) => self.forget(link, false),
            client::Output::Message { payload, .. } => self.arrived(1, &payload),
            client::Output::Closed { code, was_clean, .. } => {
                self.closed = Some(code);
                if (code, was_clean) != (ALL_SAID, true) {
                    self.wrong(format!("the client was closed with {code}"));
                }
            }
            client::Output::Opened { .. }
            | client::Output::Interrupted
            | client::Output::Resumed
            | client::Output::Event(_)
            | client::Output::LoginWanted { .. }
            | client::Output::LoginRefused { .. }
            | client::Output::Wait(_) => {}
        }
    }

    fn obey_owner(&mut self, output: owner::Output) {
        match output {
            owner::Output::Send { link, form, head, payload } => {
                if link != self.newest {
                    self.wrong(format!("{link:?} was written to beside {:?} (I5)", self.newest));
                }
                let message: Bytes = [head.as_bytes(), &payload].concat().into();
                self.judge(form, &message);
                self.put(link, true, Packet::Message(form, message));
            }
            owner::Output::Close { link, code } => {
                self.put(link, true, Packet::Close(code));
                self.forget(link, true);
            }
            owner::Output::Abort(link) => self.forget(link, true),
            owner::Output::Deliver { payload, seq, .. } => {
                self.unread.push_back((seq, payload.to_bytes()))
            }
            owner::Output::CloseLeg { .. } => match &mut self.aware {
                Some(replicas) => replicas.close(),
                None => self.is_leg_closed = true,
            },
            owner::Output::Tell { form, head, payload } => {
                let message = [head.as_bytes(), &payload.to_bytes()].concat().into();
                self.aware.as_mut().expect("only such replicas are told").tell(form, message);
            }
            owner::Output::LeaveLeg | owner::Output::Authenticate(_) => {}
            owner::Output::Ended(_) | owner::Output::Wait(_) => {}
        }
    }

    /// I2: nothing is acknowledged that the replica's end does not have.
    fn judge(&mut self, form: Form, message: &Bytes) {
        match Item::parse(form, message) {
            Ok(Item::Ack(seq)) if seq > self.confirmed => {
                self.wrong(format!("{seq} was acknowledged before {} (I2)", self.confirmed + 1));
            }
            Ok(Item::Control(text)) => {
                if let Ok(Control::Resumed(resumed)) = Control::parse(Speaker::Server, text) {
                    self.note_recv(0, resumed.recv);
                }
            }
            _ => {}
        }
    }

    fn put(&mut self, link: LinkKey, is_node: bool, packet: Packet) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        let (knows, hears, queue) = match is_node {
            true => (wire.node, wire.client, &mut wire.to_client),
            false => (wire.client, wire.node, &mut wire.to_node),
        };
        // What is put on a link that broke goes nowhere.
        if knows && hears && !wire.is_cut {
            queue.push_back(packet);
        }
    }

    fn forget(&mut self, link: LinkKey, is_node: bool) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        match is_node {
            true => (wire.node, wire.to_node) = (false, VecDeque::new()),
            false => (wire.client, wire.to_client) = (false, VecDeque::new()),
        }
    }
}

impl Bounds {
    fn window(&self) -> Window {
        Window { bytes: 1 << 20, items: self.window }
    }

    fn pace(&self) -> longhaul_proto::durable::AckPace {
        longhaul_proto::durable::AckPace { delay: Duration::ZERO, spacing: Duration::ZERO }
    }

    fn open(&self, link: LinkKey, window: Window) -> Owner {
        let policy = OwnerPolicy {
            window: self.window(),
            sizes: Sizes { message_bytes_max: 2, chunk_bytes_max: self.chunk },
            pace: self.pace(),
            heartbeat: NEVER,
            grace: NEVER,
            grace_unconfirmed: NEVER,
            stall: NEVER,
            older_link: NEVER,
            leg_close: NEVER,
            attach: NEVER,
            token_interval: NEVER,
            migrate_deadline: NEVER,
            keeps: self.keeps,
        };
        let uncertain = Uncertain::AtMostOnce;
        let replacement =
            (self.crashes > 0).then(|| Replacement { uncertain, prelude: Prelude::default() });
        let opening = Opening {
            sid: "s".to_owned(),
            link,
            window,
            protocol: None,
            replacement,
            is_aware: self.aware.is_some(),
        };
        Owner::open(Arc::new(policy), Arc::new(Bare), opening, *NOW)
    }
}

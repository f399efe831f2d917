//! The task of one durable session: owns the leg, the links and the machine that decides.

mod carried;
mod links;
mod login;
mod next_leg;
mod replica;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use longhaul_proto::durable::owner::{Ended, Opening, Output, Owner};
use longhaul_proto::durable::{LinkKey, Window};
use longhaul_proto::websocket::CloseCode;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep_until};
use tracing::{debug, info};

pub(crate) use self::carried::{CarriedSession, Resumed};
use self::links::{Lane, Parting};
use self::login::Logins;
pub(super) use self::login::Verdict;
use self::next_leg::NextLeg;
use super::leg::{First, Leg};
use super::lobby::{self, Caller};
use super::sessions::{Entry, Link, Mail, Sessions};
use crate::admission::Live;
use crate::handoff::Movers;
use crate::registry::Registry;
use crate::relay::control::{Control, Hold, Order};
use crate::shared::Shared;
use crate::telemetry::Card;
use crate::worker::Worker;

/// Reads in a row before other tasks of the worker get their turn.
const TURNS_MAX: usize = 32;
/// Bytes for a link that are gathered before they are written.
const BATCH_BYTES: usize = 64 << 10;
/// How often it is asked whether the replica's system has confirmed what was written.
const CONFIRM_TICK: Duration = Duration::from_millis(20);
/// How often a session that must not take more looks whether it may again.
const TIGHT_TICK: Duration = Duration::from_secs(1);

/// What clients are told whose right has ended.
const TOKEN_OVER: CloseCode = CloseCode(4401);

/// One session.
struct Session {
    live: Arc<Live>,
    sessions: Arc<Sessions>,
    registry: Arc<Registry>,
    sid: String,
    owner: Owner,
    links: Vec<Lane>,
    parting: Vec<Parting>,
    leg: Option<Leg>,
    /// How the leg is replaced, where its route wants that.
    next_leg: Option<Box<NextLeg>>,
    /// Where in the leg's bytes each message ends that was not confirmed, and its number.
    unconfirmed: VecDeque<(u64, u64)>,
    /// What the leg is watched by: when it was last heard, and pings since.
    leg_heard_at: Instant,
    leg_pings: u32,
    leg_until: Option<Instant>,
    ping: Option<Duration>,
    pings_missed_max: u32,
    mail: mpsc::Receiver<Mail>,
    entry: Arc<Entry>,
    control: Arc<Control>,
    movers: Arc<Movers>,
    worker: Arc<Worker>,
    bytes_noted: usize,
    keys: u64,
    migrate_at: Option<Instant>,
    logins: Logins,
    timer: Pin<Box<Sleep>>,
    ended: Option<Ended>,
    /// Whether it was copied for another process while it went on, and has the same leg and links since.
    is_as_copied: bool,
}

/// Opens a session on this leg for a client that asked for one, in a task of its own.
pub(super) fn open(link: Link, first: First, caller: Box<Caller>, window: Window) {
    let shared = &caller.connection.shared;
    let Some((entry, mail)) = shared.sessions.add(&first.sid, caller.subject) else {
        // Ends by its deadlines.
        tokio::spawn(lobby::later(link, Duration::from_secs(5)));
        return;
    };
    let (now, key) = (Instant::now(), LinkKey(1));
    let replica = first.leg.replica().address();
    let sid = first.sid.clone();
    let (route, client) = (shared.relay_policy(caller.route).route.clone(), caller.client.address);
    info!(sid, route = &*route, %replica, %client, "session opened");
    let card = Card::new(&shared.telemetry, route, client);
    let next_leg = NextLeg::of(&caller, &first, card.id);
    let opening = Opening {
        sid: sid.clone(),
        link: key,
        window,
        protocol: first.protocol(),
        replacement: next_leg.as_ref().map(NextLeg::replacement),
        is_aware: first.is_aware,
    };
    let policy = shared.relay_policy(caller.route).session.clone();
    let mut session = Session {
        owner: Owner::open(
            shared.sessions.policy.clone(),
            shared.sessions.sealer.clone(),
            opening,
            now,
        ),
        links: Vec::with_capacity(1),
        parting: Vec::new(),
        leg: Some(first.leg),
        next_leg: next_leg.map(Box::new),
        unconfirmed: VecDeque::new(),
        leg_heard_at: now,
        leg_pings: 0,
        leg_until: None,
        ping: policy.ping,
        pings_missed_max: policy.pings_missed_max,
        mail,
        entry,
        control: Arc::new(Control::new(replica, card)),
        movers: shared.movers.clone(),
        worker: caller.connection.worker.clone(),
        bytes_noted: 0,
        keys: 1,
        migrate_at: None,
        logins: Logins::default(),
        timer: Box::pin(sleep_until(now.into())),
        ended: None,
        is_as_copied: false,
        sid,
        sessions: shared.sessions.clone(),
        registry: shared.registry.clone(),
        live: shared.admission.live.clone(),
    };
    session.add_lane(key, link);
    start(session, shared);
}

/// Has a session run, in a task of its own.
fn start(mut session: Session, shared: &Shared) {
    let slot = session.registry.add(session.control.clone());
    let is_bound = !session.owner.is_aware()
        && session.leg.as_ref().is_some_and(|leg| leg.wire.bound().is_some());
    if shared.readiness.is_draining() || is_bound && shared.readiness.is_leaving() {
        // It came between the last look at readiness and the list of those to be told.
        session.control.order(Order::Drain);
    }
    // Ends with the session, whose deadlines bound it; a panic drops its links and its leg.
    tokio::spawn(async move {
        let (sessions, sid) = (session.sessions.clone(), session.sid.clone());
        let _guard = Guard { sessions, sid };
        let ended = poll_fn(|cx| session.poll_if_here(cx)).await;
        session.registry.remove(slot);
        session.links.iter().for_each(|lane| session.hang_up_if_copied(&lane.link.wire));
        let Some(ended) = ended else {
            debug!(sid = session.sid, "session moved");
            return;
        };
        let duration_s = session.control.card.opened_at.elapsed().as_secs_f64();
        let (sid, code, links) = (&session.sid, ended.code, session.keys);
        info!(sid, %code, links, delivered = ended.recv, duration_s, "session closed");
    });
}

/// Takes the session off the books even if its task panics.
struct Guard {
    sessions: Arc<Sessions>,
    sid: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.sessions.remove(&self.sid, None, Instant::now());
    }
}

impl Session {
    /// Nothing at the end of a session that another process has.
    fn poll_if_here(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended>> {
        match self.control.look(cx) {
            Hold::Free => self.poll(cx).map(Some),
            Hold::Ahead => {
                let turn = self.poll(cx);
                // Behind this turn: what happens from here on has it polled, and that is seen.
                if turn.is_pending() {
                    self.copy_ahead();
                }
                turn.map(Some)
            }
            Hold::Wanted(since) => {
                self.put_down(since);
                Poll::Pending
            }
            Hold::Still => Poll::Pending,
            Hold::Gone => {
                self.leave();
                self.movers.forward(&self.control, cx);
                Poll::Ready(None)
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.take_orders(cx);
        let mut deadline = None;
        for turn in 0..TURNS_MAX {
            let has_heard = self.read_links(cx) | self.read_leg(cx) | self.seek_leg(cx);
            self.note_confirmed();
            deadline = self.settle(cx);
            if !has_heard {
                break;
            }
            if turn + 1 == TURNS_MAX {
                cx.waker().wake_by_ref();
            }
        }
        loop {
            // Whoever was just seen off gets its words now.
            self.part(cx, Instant::now());
            if self.seek_leg(cx) {
                // It is to be read, and given what waits for it.
                cx.waker().wake_by_ref();
            }
            self.keep_books();
            if let Some(ended) = self.ended
                && self.leg.is_none()
                && self.parting.is_empty()
            {
                return Poll::Ready(ended);
            }
            let Some(at) = self.next_look(deadline) else { return Poll::Pending };
            let at = tokio::time::Instant::from_std(at);
            // A deadline that moved later is left alone: the timer fires early once, and only then is it
            // set anew. So nothing is re-armed per message.
            if self.timer.deadline() > at || self.timer.is_elapsed() {
                self.timer.as_mut().reset(at);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            self.owner.deadline_reached(now);
            self.watch_leg(now);
            self.consider_leaving(now);
            self.want_login(now);
            if self.migrate_at.is_some_and(|at| at <= now) {
                self.migrate_at = None;
                self.owner.migrate(Duration::ZERO, now);
            }
            self.note_confirmed();
            deadline = self.settle(cx);
        }
    }

    fn take_orders(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        match self.control.take_order(cx) {
            Some(Order::Drain) if self.owner.is_attached() => {
                self.owner.finish(CloseCode::SERVICE_RESTART, "draining", now);
            }
            Some(Order::Drain) => self.owner.expire(now),
            // Looked up, since the word may be about a replica that was left meanwhile.
            Some(Order::ReplicaLost) if self.leg.as_ref().is_some_and(|leg| leg.held.is_lost()) => {
                self.lose_leg(now);
            }
            Some(Order::ReplicaLost) => {}
            Some(Order::ReplicaLeaves) => self.note_replica_leaves(false, now),
            Some(Order::ReplicaLeft) => self.note_replica_leaves(true, now),
            Some(Order::ReplicaDrained) if self.owner.may_replace_leg() => {
                self.note_replica_leaves(true, now);
            }
            Some(Order::ReplicaDrained) => {
                let reason = "the replica was drained";
                self.owner.finish(CloseCode::SERVICE_RESTART, reason, now);
            }
            // As a plain WebSocket is told; whoever comes back needs another token.
            Some(Order::Expired) => self.owner.finish(TOKEN_OVER, "the token has expired", now),
            Some(Order::Revoked) => self.owner.finish(TOKEN_OVER, "the token was revoked", now),
            Some(Order::Close) => self.owner.finish(CloseCode::GOING_AWAY, "", now),
            None => {}
        }
        while let Poll::Ready(Some(mail)) = self.mail.poll_recv(cx) {
            match mail {
                Mail::Link(arrival) => self.attach(*arrival, now),
                Mail::Migrate(delay) => self.owner.migrate(delay, now),
                Mail::Judged(verdict) => self.note_verdict(verdict, now),
                Mail::Expire if !self.owner.is_attached() => self.owner.expire(now),
                Mail::Expire => {}
            }
        }
    }

    /// Does what the machine wants done, and writes it. Returns when it wants to be looked at.
    fn settle(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        loop {
            self.flush(cx);
            let wait = loop {
                match self.owner.poll() {
                    Output::Wait(deadline) => break Some(deadline),
                    Output::Ended(ended) => {
                        self.note_end(ended);
                        break Some(None);
                    }
                    output => {
                        if self.obey(output) >= BATCH_BYTES {
                            break None;
                        }
                    }
                }
            };
            if let Some(deadline) = wait
                && !self.flush(cx)
            {
                return deadline;
            }
        }
    }

    /// Does one thing. Returns how many bytes now wait for the link it was about.
    fn obey(&mut self, output: Output) -> usize {
        match output {
            Output::Send { link, form, head, payload } => {
                let Some(lane) = self.links.iter_mut().find(|lane| lane.key == link) else {
                    return 0;
                };
                lane.link.wire.send(form, &head, payload);
                return lane.link.wire.queued_bytes();
            }
            Output::Close { link, code } => self.see_off(link, code),
            Output::Abort(link) => self.drop_link(link),
            Output::Deliver { form, payload, seq } => {
                if let Some(leg) = &mut self.leg {
                    leg.wire.send_pieces(form, payload);
                    let end = leg.wire.bytes_written + leg.wire.queued_bytes() as u64;
                    self.unconfirmed.push_back((end, seq));
                }
            }
            Output::Tell { form, head, payload } => {
                if let Some(leg) = &mut self.leg {
                    leg.wire.send(form, &head, payload);
                }
            }
            Output::Authenticate(credential) => self.judge_login(credential),
            Output::LeaveLeg => self.leave_leg(),
            Output::CloseLeg { code, reason } => self.close_leg(code, &reason),
            Output::Ended(_) | Output::Wait(_) => {}
        }
        0
    }

    /// From now on links that come late are told by the lobby; those that are here already, by the
    /// machine.
    fn note_end(&mut self, ended: Ended) {
        if self.ended.is_none() {
            self.ended = Some(ended);
            let now = Instant::now();
            self.sessions.remove(&self.sid, Some(ended), now);
            self.mail.close();
            while let Ok(mail) = self.mail.try_recv() {
                if let Mail::Link(arrival) = mail {
                    self.attach(*arrival, now);
                }
            }
        }
    }

    /// Writes what waits. Says whether a link that took nothing does again.
    fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let mut has_room_again = false;
        let mut lost = Vec::new();
        for lane in &mut self.links {
            if lane.link.wire.flush(cx).is_err() {
                lost.push(lane.key);
                continue;
            }
            let is_blocked = lane.link.wire.queued_bytes() > 0;
            has_room_again |= lane.is_blocked && !is_blocked;
            lane.is_blocked = is_blocked;
            self.owner.note_blocked(lane.key, is_blocked);
        }
        for key in lost {
            self.lose_link(key, None, now);
        }
        if self.leg.as_mut().is_some_and(|leg| leg.wire.flush(cx).is_err()) {
            self.lose_leg(now);
        }
        has_room_again
    }

    fn keep_books(&mut self) {
        if self.ended.is_some() {
            // It is off the books, with all that it held.
            return;
        }
        let bytes = self.owner.bytes();
        if bytes != self.bytes_noted {
            self.bytes_noted = bytes;
            self.sessions.note_bytes(&self.entry, bytes);
        }
        let is_detached = !self.owner.is_attached();
        self.entry.is_detached.store(is_detached, Ordering::Relaxed);
    }

    /// The next moment at which something is due.
    fn next_look(&self, machine: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let confirm = (!self.unconfirmed.is_empty()).then(|| now + CONFIRM_TICK);
        let tight = self.must_not_take_more().then(|| now + TIGHT_TICK);
        let parting = self.parting.iter().map(|parting| parting.until).min();
        let own = [self.migrate_at, self.logins.ask_at];
        let rest = [self.leg_due_at(), self.leave_due_at(), parting];
        [machine, confirm, tight].into_iter().chain(own).chain(rest).flatten().min()
    }
}

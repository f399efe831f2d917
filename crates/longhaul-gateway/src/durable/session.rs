//! One durable session: owns the leg, the links and the machine that decides.
//!
//! `task` begins and ends it; each of its turns is [`Session::poll`]. What the gateway says is heard in
//! `orders`, what clients say in `links`, what the replica says in `replica`.

mod carried;
mod links;
mod login;
mod next_leg;
mod orders;
mod replica;
mod resumed;
mod task;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use longhaul_proto::durable::owner::{Ended, Output, Owner};
use longhaul_proto::session::SessionPolicy;
use tokio::sync::mpsc;
use tokio::time::Sleep;

pub(crate) use self::carried::CarriedSession;
use self::links::{Lane, Parting};
use self::login::Logins;
pub(super) use self::login::Verdict;
use self::next_leg::NextLeg;
pub(crate) use self::resumed::Resumed;
pub(super) use self::task::open;
use super::leg::Leg;
use super::sessions::{Entry, Mail, Sessions};
use crate::admission::Live;
use crate::handoff::Movers;
use crate::registry::Registry;
use crate::relay::control::Control;
use crate::shared::Shared;
use crate::worker::Worker;

/// Reads in a row before other tasks of the worker get their turn.
const TURNS_MAX: usize = 32;
/// Bytes for a link that are gathered before they are written.
const BATCH_BYTES: usize = 64 << 10;
/// How often it is asked whether the replica's system has confirmed what was written.
const CONFIRM_TICK: Duration = Duration::from_millis(20);
/// How often a session that must not take more looks whether it may again.
const TIGHT_TICK: Duration = Duration::from_secs(1);

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

/// What a session is built on, in whichever process it began.
struct Bones {
    worker: Arc<Worker>,
    control: Arc<Control>,
    timer: Pin<Box<Sleep>>,
}

impl Session {
    /// One that has no link yet and no leg, and on which nothing has happened.
    fn new(
        shared: &Shared,
        policy: &SessionPolicy,
        sid: String,
        owner: Owner,
        (entry, mail): (Arc<Entry>, mpsc::Receiver<Mail>),
        Bones { worker, control, timer }: Bones,
    ) -> Self {
        Self {
            live: shared.admission.live.clone(),
            sessions: shared.sessions.clone(),
            registry: shared.registry.clone(),
            sid,
            owner,
            links: Vec::with_capacity(1),
            parting: Vec::new(),
            leg: None,
            next_leg: None,
            unconfirmed: VecDeque::new(),
            leg_heard_at: Instant::now(),
            leg_pings: 0,
            leg_until: None,
            ping: policy.ping,
            pings_missed_max: policy.pings_missed_max,
            mail,
            entry,
            control,
            movers: shared.movers.clone(),
            worker,
            bytes_noted: 0,
            keys: 0,
            migrate_at: None,
            logins: Logins::default(),
            timer,
            ended: None,
            is_as_copied: false,
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

//! The links of a session: those in use, and those that are being seen off.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::{Duration, Instant};

use longhaul_proto::durable::owner::Refusal;
use longhaul_proto::durable::{LinkKey, code};
use longhaul_proto::websocket::CloseCode;
use tracing::debug;

use super::Session;
use crate::durable::lobby;
use crate::durable::sessions::{Arrival, Link};
use crate::durable::wire::Read;
use crate::relay::stream::with_scratch;

/// What is read of a link at once.
const READ_BYTES: usize = 64 << 10;
/// Reads of one link before the others get their turn.
const READS_MAX: usize = 4;
/// How long a client may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(5);

/// A link in use.
pub(super) struct Lane {
    pub(super) key: LinkKey,
    pub(super) link: Link,
    pub(super) is_blocked: bool,
}

/// A link that was closed, until its client has closed too.
pub(super) struct Parting {
    link: Link,
    pub(super) until: Instant,
}

impl Parting {
    /// Waits for its end, for a session that has left.
    pub(super) async fn end(mut self) {
        let parted = poll_fn(|cx| self.link.wire.poll_parting(cx));
        let _ = tokio::time::timeout_at(self.until.into(), parted).await;
    }
}

impl Session {
    pub(super) fn add_lane(&mut self, key: LinkKey, mut link: Link) {
        if let Some(pass) = &mut link.pass {
            // The session ends when the right of the link that carries it does.
            pass.list(&self.live, &self.control);
        }
        // ±10 %, so that those that came together do not leave together.
        let life = self.sessions.config.link_lifetime;
        let life = life.map(|life| life.mul_f64(0.9 + 0.2 * fastrand::f64()));
        self.migrate_at = life.map(|life| Instant::now() + life);
        self.links.push(Lane { key, link, is_blocked: false });
        self.is_as_copied = false;
        self.plan_login(Instant::now());
    }

    /// Lets a link that resumes in, or sends it back to the lobby.
    pub(super) fn attach(&mut self, arrival: Arrival, now: Instant) {
        let Arrival { link, caller, generation, resume } = arrival;
        self.keys += 1;
        let key = LinkKey(self.keys);
        match self.owner.resume(key, generation, &resume, now) {
            Ok(()) => {
                self.sessions.counters.resumed.fetch_add(1, Ordering::Relaxed);
                debug!(sid = self.sid, link = resume.link, peer = %link.peer, "session resumed");
                self.add_lane(key, link);
            }
            // Both end by their deadlines.
            Err(Refusal::Reset(reset)) => drop(tokio::spawn(lobby::say_reset(link, caller, reset))),
            Err(Refusal::Close(code)) => drop(tokio::spawn(lobby::close(link, code))),
        }
    }

    /// Reads every link. Says whether one had something.
    pub(super) fn read_links(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let mut has_heard = false;
        let mut at = 0;
        while let Some(lane) = self.links.get_mut(at) {
            let (key, count) = (lane.key, self.links.len());
            has_heard |= self.read_link(cx, at, key, now);
            // A link that was lost has left its place to the next.
            at += usize::from(self.links.len() == count);
        }
        has_heard
    }

    fn read_link(&mut self, cx: &mut Context<'_>, at: usize, key: LinkKey, now: Instant) -> bool {
        for reads in 0..READS_MAX {
            let (wire, owner) = (&mut self.links[at].link.wire, &mut self.owner);
            let mut last = None;
            let polled = with_scratch(READ_BYTES, |scratch| {
                wire.poll_read(cx, scratch, |read| match read {
                    Read::Message(form, letter) => {
                        owner.receive_letter(key, form, &letter, now);
                        ControlFlow::Continue(())
                    }
                    // No client cuts items into fragments of its own accord.
                    Read::Pieces(form, pieces) => {
                        owner.receive(key, form, &pieces.to_bytes(), now);
                        ControlFlow::Continue(())
                    }
                    end => {
                        last = Some(end);
                        ControlFlow::Break(())
                    }
                })
            });
            if polled.is_pending() {
                return reads > 0;
            }
            if let Some(end) = last {
                self.end_link(key, end, now);
                return true;
            }
        }
        true
    }

    /// Deals with the last thing that a link says.
    fn end_link(&mut self, key: LinkKey, end: Read, now: Instant) {
        match end {
            Read::Close(code, _) => {
                let answer = code.unwrap_or(CloseCode::NORMAL);
                self.lose_link_with(key, code, Some(answer), now);
            }
            Read::Fault(fault) => {
                let too_big = fault == CloseCode::TOO_BIG;
                let fault = if too_big { code::TOO_BIG } else { code::FAULT };
                self.owner.link_failed(key, fault, now);
                // The machine closes it; what else comes on it cannot be read.
                self.see_off(key, fault);
            }
            Read::End => self.lose_link(key, None, now),
            Read::Message(..) | Read::Pieces(..) => {}
        }
    }

    /// Closes a link behind what was sent to it.
    pub(super) fn see_off(&mut self, key: LinkKey, code: CloseCode) {
        let Some(at) = self.links.iter().position(|lane| lane.key == key) else { return };
        let mut link = self.links.swap_remove(at).link;
        link.wire.close(Some(code), "");
        self.parting.push(Parting { link, until: Instant::now() + FAREWELL });
        self.is_as_copied = false;
    }

    /// Lets go of a link without a word.
    pub(super) fn drop_link(&mut self, key: LinkKey) {
        let Some(at) = self.links.iter().position(|lane| lane.key == key) else { return };
        let lane = self.links.remove(at);
        self.note_parted(&lane.link.wire);
    }

    pub(super) fn lose_link(&mut self, key: LinkKey, closed: Option<CloseCode>, now: Instant) {
        self.lose_link_with(key, closed, None, now);
    }

    fn lose_link_with(
        &mut self,
        key: LinkKey,
        closed: Option<CloseCode>,
        answer: Option<CloseCode>,
        now: Instant,
    ) {
        self.owner.link_lost(key, closed, now);
        match answer {
            Some(code) => self.see_off(key, code),
            None => self.drop_link(key),
        }
    }

    /// Goes on with the links that are being seen off.
    pub(super) fn part(&mut self, cx: &mut Context<'_>, now: Instant) {
        let is_ahead = self.control.is_ahead();
        self.parting.retain_mut(|parting| {
            let wire = &mut parting.link.wire;
            let stays = parting.until > now && wire.poll_parting(cx).is_pending();
            if !stays && is_ahead {
                wire.hang_up();
            }
            stays
        });
    }
}

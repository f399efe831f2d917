//! The leg of a session: what the replica says, what it has confirmed, and how it goes.

use std::ops::ControlFlow;
use std::task::Context;
use std::time::{Duration, Instant};

use bytes::Bytes;
use longhaul_proto::durable::code;
use longhaul_proto::websocket::CloseCode;

use super::Session;
use crate::durable::wire::Read;
use crate::relay::stream::with_scratch;

/// What is read of a leg at once.
const READ_BYTES: usize = 64 << 10;
/// Bytes of answers to pings that may wait for a replica.
const ANSWERS: u64 = 1 << 20;
/// Reads before the links get their turn.
const READS_MAX: usize = 4;
/// How long a replica may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(5);

impl Session {
    /// Whether the node has no room for more from this leg, since no link takes it.
    pub(super) fn must_not_take_more(&self) -> bool {
        !self.owner.is_attached() && self.sessions.is_tight()
    }

    /// Reads the leg, if the machine wants to hear it. Says whether it had something.
    pub(super) fn read_leg(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let must_wait = self.must_not_take_more();
        for reads in 0..READS_MAX {
            let Some(leg) = &mut self.leg else { return reads > 0 };
            if leg.wire.queued_bytes() as u64 > 2 * self.sessions.policy.window.bytes + ANSWERS {
                // It asks and asks, and reads none of the answers: what clients say is bounded.
                self.lose_leg(now);
                return true;
            }
            // Once it is closed, only its answer is waited for.
            let wants = leg.wire.is_closing() || self.owner.wants_leg() && !must_wait;
            if !wants {
                self.leg_heard_at = now;
                return reads > 0;
            }
            let (wire, owner) = (&mut leg.wire, &mut self.owner);
            let mut last = None;
            // To the end of what a read brings, even where the window is full meanwhile: what was left of it
            // would have to be kept, and copied again.
            let polled = with_scratch(READ_BYTES, |scratch| {
                wire.poll_read(cx, scratch, |read| match read {
                    Read::Message(form, letter) => {
                        owner.leg_letter(form, letter, now);
                        ControlFlow::Continue(())
                    }
                    Read::Pieces(form, pieces) => {
                        owner.leg_pieces(form, pieces, now);
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
            (self.leg_heard_at, self.leg_pings) = (now, 0);
            match last {
                None | Some(Read::Message(..) | Read::Pieces(..)) => {}
                Some(Read::Close(code, reason)) => {
                    wire.close(code, "");
                    // Whether the answer still reaches it is its own affair.
                    let _ = wire.flush(cx);
                    self.end_leg(code.unwrap_or(code::NO_STATUS), &reason, now);
                }
                Some(Read::Fault(fault)) => {
                    wire.close(Some(fault), "");
                    let _ = wire.flush(cx);
                    self.end_leg(fault, "the replica broke the WebSocket protocol", now);
                }
                Some(Read::End) => self.lose_leg(now),
            }
        }
        true
    }

    /// The leg is gone without a word.
    pub(super) fn lose_leg(&mut self, now: Instant) {
        self.end_leg(code::ABNORMAL, "the connection to the replica was lost", now);
    }

    fn end_leg(&mut self, code: CloseCode, reason: &str, now: Instant) {
        if self.owner.is_aware() && is_fault(code) {
            self.owner.leg_failed(code, now);
            return self.drop_leg();
        }
        if !self.replace_leg(code, now) {
            // Without a word is what a restart looks like.
            let is_wordless = code == code::ABNORMAL;
            let code = if is_wordless { CloseCode::SERVICE_RESTART } else { code };
            self.drop_leg();
            self.owner.leg_closed(code, reason, now);
        }
    }

    pub(super) fn drop_leg(&mut self) {
        if let Some(leg) = self.leg.take() {
            self.note_parted(&leg.wire);
        }
        self.leg_until = None;
        self.unconfirmed.clear();
    }

    pub(super) fn close_leg(&mut self, code: CloseCode, reason: &str) {
        if let Some(leg) = &mut self.leg {
            let code = (code != code::NO_STATUS).then_some(code);
            leg.wire.close(code, reason);
            self.leg_until = Some(Instant::now() + FAREWELL);
        }
    }

    /// Tells the machine what the replica's system has confirmed.
    pub(super) fn note_confirmed(&mut self) {
        if self.unconfirmed.is_empty() {
            return;
        }
        let Some(leg) = &self.leg else { return };
        let confirmed = leg.wire.bytes_confirmed();
        let mut last = None;
        while let Some(&(end, seq)) = self.unconfirmed.front()
            && end <= confirmed
        {
            self.unconfirmed.pop_front();
            last = Some(seq);
        }
        if let Some(seq) = last {
            self.owner.confirm(seq, Instant::now());
        }
    }

    /// Pings a leg that is silent, and gives up one that stays so.
    pub(super) fn watch_leg(&mut self, now: Instant) {
        if self.leg_until.is_some_and(|until| until <= now) {
            return self.lose_leg(now);
        }
        let (Some(leg), Some(interval)) = (&mut self.leg, self.ping) else { return };
        if self.leg_heard_at + interval * (self.leg_pings + 1) > now {
            return;
        }
        if self.leg_pings >= self.pings_missed_max {
            return self.lose_leg(now);
        }
        self.leg_pings += 1;
        leg.wire.ping(Bytes::from_static(b"lh"));
    }

    pub(super) fn leg_due_at(&self) -> Option<Instant> {
        self.leg.as_ref()?;
        let ping = self.ping.map(|interval| self.leg_heard_at + interval * (self.leg_pings + 1));
        [ping, self.leg_until].into_iter().flatten().min()
    }
}

/// Codes with which a replica that speaks items says that another leg would fare no better, or shows it.
fn is_fault(code: CloseCode) -> bool {
    use code::{FAULT, GAP, LOST, TOO_BIG};
    let of_websocket = [CloseCode::PROTOCOL_ERROR, CloseCode::INVALID_PAYLOAD, CloseCode::TOO_BIG];
    [FAULT, GAP, LOST, TOO_BIG].contains(&code) || of_websocket.contains(&code)
}

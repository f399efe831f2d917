//! A backend leg that outlasts its replica: what was half sent when one is lost, what waits for the
//! next, and what the next is told.
//!
//! It stands between a [`Session`](crate::session::Session), which sees one backend that never goes,
//! and the legs to one replica after the other. Both directions pass in whole messages, so a leg can
//! break anywhere and leave no half of one on either side. The price is a copy of what a read has
//! cut, up to a bound; a message beyond the bound passes as it comes, and a break inside of it
//! cannot be hidden.
//!
//! Owns no socket, clock or task. Bytes of the session go through [`Redial::send`], bytes of the
//! replica through [`Redial::receive`]; dialling is the caller's work.

mod gather;
mod owed;
mod pulse;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use gather::{Gather, Kind, Place};
use owed::{Owed, Rest};
use pulse::{Answer, Pulse};

use crate::websocket::frame::{CONTROL_PAYLOAD_BYTES_MAX, OwnFrame};
use crate::websocket::{CloseCode, ControlFrame, FrameFault, Opcode, Role};

/// How legs of one route are replaced. Shared by all of them.
#[derive(Debug, Clone)]
pub struct RedialPolicy {
    /// A replica over whose leg nothing passed for so long gets a ping; `None`: no pings.
    pub ping: Option<Duration>,
    /// Pings that may stay unanswered before the replica is lost.
    pub pings_missed_max: u32,
    /// How long a replica may refuse bytes that wait for it.
    pub write_stall: Duration,
    /// Bytes of one unfinished message that are held, per direction.
    pub hold_bytes_max: usize,
    /// Bytes of the client's messages that may wait for the next replica, and that are kept to be
    /// sent again.
    pub wait_bytes_max: usize,
    /// What becomes of messages of which nobody knows whether they were dealt with.
    pub uncertain: Uncertain,
    /// Close codes with which a replica says that it goes, and not that the talk is over. 1006
    /// stands for a connection that ended without a close frame.
    pub codes: Vec<CloseCode>,
    /// The client's first messages, which each replica must hear before all others.
    pub prelude: Prelude,
}

/// What becomes of messages that went to a replica that was lost before it could say that it had
/// read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncertain {
    /// They are not sent again: some may be lost.
    AtMostOnce,
    /// They are sent to the next replica: some may arrive twice.
    AtLeastOnce,
}

/// What each new replica hears first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prelude {
    /// So many of the client's first messages are kept and sent first on each new leg.
    pub first: u64,
    /// Bytes of them that are kept; later ones are forgotten when they do not fit.
    pub bytes_max: usize,
    /// So many of the first messages of each new replica answer the prelude and are swallowed.
    pub suppress: u64,
}

/// A backend leg that outlasts its replica.
#[derive(Debug)]
pub struct Redial {
    policy: Arc<RedialPolicy>,
    /// Cuts what the client sends.
    up: Gather,
    /// Cuts what the replica sends.
    down: Gather,
    /// The same for a replica that was left in good order and still has something to say.
    former_down: Option<Gather>,
    owed: Owed,
    /// What passes to the client and did not lie whole in the caller's buffer.
    to_client: Vec<u8>,
    pulse: Pulse,
    is_up: bool,
    /// A close frame passed that ends the session: no leg is replaced any more.
    is_closing: bool,
    /// The rest of a message whose start is lost is dropped.
    is_skipping: bool,
    blocked_since: Option<Instant>,
    /// Since when no message passed in either direction.
    data_at: Instant,
    /// Client messages that were written whole, and those of them that a replica has read.
    sent: u64,
    read: u64,
    recent: Recent,
    prelude: Vec<u8>,
    prelude_count: u64,
    /// Messages of this replica that are still to be swallowed.
    suppress: u64,
    random: u64,
}

/// Messages kept to be sent again: those before the last answered ping, and those after it. So each
/// is kept until it was read, and for at least as long as one question takes after that.
#[derive(Debug, Default)]
struct Recent {
    older: Vec<u8>,
    newer: Vec<u8>,
}

/// What [`Redial::receive`] made of the replica's bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// So many bytes from the start pass to the client where they are. Whatever else passes comes
    /// behind them, by [`Redial::take_for_client`].
    pub pass: usize,
    /// What the replica said about itself.
    pub news: News,
}

/// What a replica said about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// It closed with a code that means that it goes; its leg is over.
    Goes(CloseCode),
    /// What it sent cannot be followed; all of it was passed on.
    Garbled,
}

/// What losing a leg means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The client need not notice: dial again. Messages by number, counted from 1, of which nobody
    /// knows whether the replica had read them.
    Hidden {
        /// First and last, when there are any.
        uncertain: Option<(u64, u64)>,
    },
    /// Half a message has passed to the client already, or the session was ending: it ends.
    Fatal,
}

/// What the clock asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Nothing.
    None,
    /// The replica answers no ping.
    Silent,
    /// The replica takes no byte.
    Stalled,
}

impl Redial {
    /// Begins with a leg that stands at a frame boundary. `random` seeds mask keys.
    pub fn new(policy: Arc<RedialPolicy>, random: u64, now: Instant) -> Self {
        Self {
            up: Gather::new(Role::Client, policy.hold_bytes_max),
            down: Gather::new(Role::Server, policy.hold_bytes_max),
            former_down: None,
            owed: Owed::default(),
            to_client: Vec::new(),
            pulse: Pulse::new(now),
            is_up: true,
            is_closing: false,
            is_skipping: false,
            blocked_since: None,
            data_at: now,
            sent: 0,
            read: 0,
            recent: Recent::default(),
            prelude: Vec::new(),
            prelude_count: 0,
            suppress: 0,
            random: random | 1,
            policy,
        }
    }

    /// Takes bytes of the session. Gives how many of them, from the start, may be written at once and
    /// uncopied: then say with [`Self::wrote_directly`] how many were. Otherwise all that fitted is
    /// owed. Zero in both: there is no room.
    ///
    /// # Errors
    /// What cannot be followed as frames of a client.
    pub fn send(&mut self, bytes: &[u8], now: Instant) -> Result<Sending, FrameFault> {
        let room = self.room().min(bytes.len());
        let mut taken = 0;
        while taken < room {
            let next = self.up.next(&bytes[taken..room], self.messages_max_up())?;
            let piece = &bytes[taken..taken + next.consumed];
            let Some(unit) = next.unit else {
                taken += next.consumed;
                continue;
            };
            let is_direct = taken == 0
                && self.is_up
                && self.owed.is_empty()
                && unit.place == Place::Input
                && matches!(unit.kind, Kind::Messages(_));
            if matches!(unit.kind, Kind::Messages(_) | Kind::Piece { .. }) {
                self.data_at = now;
            }
            if is_direct {
                self.keep_prelude(piece);
                return Ok(Sending::Direct(next.consumed));
            }
            let stash = (unit.place == Place::Stash).then(|| self.up.take_stash());
            self.owe(unit.kind, stash.as_deref().unwrap_or(piece));
            taken += next.consumed;
        }
        Ok(Sending::Owed(taken))
    }

    /// Says how much of what [`Self::send`] gave for direct writing was written. The rest is owed.
    pub fn wrote_directly(&mut self, bytes: &[u8], written: usize, now: Instant) {
        if written == bytes.len() {
            self.pulse.note_spoken(now);
            for message in gather::each_message(bytes) {
                self.note_sent(message);
            }
            return;
        }
        for message in gather::each_message(bytes) {
            self.owed.push(owed::Kind::Message, message);
        }
        self.wrote(written, now);
    }

    /// What to write to the replica now.
    pub fn owed(&self) -> &[u8] {
        if self.is_up { self.owed.bytes() } else { &[] }
    }

    /// Says that so many bytes of [`Self::owed`] were written; with 0 that the replica took none.
    pub fn wrote(&mut self, count: usize, now: Instant) {
        if count > 0 {
            self.pulse.note_spoken(now);
            let mut owed = std::mem::take(&mut self.owed);
            owed.wrote(count, |kind, bytes| match kind {
                owed::Kind::Message => self.note_sent(bytes),
                owed::Kind::Piece { is_last: true, .. } => self.sent += 1,
                owed::Kind::Piece { .. }
                | owed::Kind::Again
                | owed::Kind::Control
                | owed::Kind::Own => {}
            });
            self.owed = owed;
        }
        self.blocked_since = match (self.owed.is_empty(), self.blocked_since) {
            (true, _) => None,
            (false, Some(since)) if count == 0 => Some(since),
            (false, _) => Some(now),
        };
    }

    /// Takes what the replica sent; `is_former` when it came over the leg that was left.
    pub fn receive(&mut self, bytes: &[u8], is_former: bool, now: Instant) -> Received {
        if !is_former {
            self.pulse.note_heard(now);
        }
        let mut received = Received { pass: 0, news: News::None };
        let mut at = 0;
        while at < bytes.len() {
            let messages_max = if self.suppress > 0 { 1 } else { u64::MAX };
            let down = match &mut self.former_down {
                Some(former) if is_former => former,
                _ => &mut self.down,
            };
            let Ok(next) = down.next(&bytes[at..], messages_max) else {
                // The session finds the fault by itself, and says whose it is.
                self.to_client.extend_from_slice(&bytes[at..]);
                self.is_closing = true;
                received.news = News::Garbled;
                return received;
            };
            let from = at;
            at += next.consumed;
            let Some(unit) = next.unit else { continue };
            let stash = (unit.place == Place::Stash).then(|| down.take_stash());
            let wire = stash.as_deref().unwrap_or(&bytes[from..at]);
            match self.judge(unit.kind, wire, is_former, now) {
                Verdict::Swallow => {}
                Verdict::Goes(code) => {
                    received.news = News::Goes(code);
                    return received;
                }
                Verdict::Pass
                    if stash.is_none() && from == received.pass && self.to_client.is_empty() =>
                {
                    received.pass = at;
                }
                Verdict::Pass => self.to_client.extend_from_slice(wire),
            }
        }
        received
    }

    /// Moves what passes to the client into `buffer`; returns how much.
    pub fn take_for_client(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.to_client.len());
        buffer[..count].copy_from_slice(&self.to_client[..count]);
        if count == self.to_client.len() {
            self.to_client = Vec::new();
        } else {
            self.to_client.drain(..count);
        }
        count
    }

    /// Whether something waits to be taken for the client.
    pub fn has_for_client(&self) -> bool {
        !self.to_client.is_empty()
    }

    /// The leg is gone. `is_abrupt` when no close frame came before.
    pub fn lose(&mut self, is_abrupt: bool) -> Loss {
        let is_meant = !is_abrupt || self.policy.codes.contains(&ABNORMAL);
        self.is_up = false;
        self.blocked_since = None;
        if self.is_closing || !is_meant || self.down.is_streaming() {
            return Loss::Fatal;
        }
        match self.owed.rewind() {
            Rest::None => {}
            Rest::Dropped => self.sent += 1,
            Rest::ToCome => {
                self.is_skipping = true;
                self.sent += 1;
            }
        }
        Loss::Hidden { uncertain: (self.read < self.sent).then_some((self.read + 1, self.sent)) }
    }

    /// A new leg is up: it hears the prelude, then what is to be sent again, then what waited.
    pub fn connect(&mut self, now: Instant) {
        self.down = Gather::new(Role::Server, self.policy.hold_bytes_max);
        let recent = std::mem::take(&mut self.recent);
        if self.policy.uncertain == Uncertain::AtLeastOnce {
            // Those behind the prelude: the first ones are in both when they are still recent.
            let again = [recent.older, recent.newer].concat();
            self.owed.push_front(owed::Kind::Again, &again);
            self.recent.newer = again;
        } else {
            self.read = self.sent;
        }
        self.begin_leg(now);
    }

    /// Goes over to a leg that is up while the one before still is; what that one still says is
    /// received as the former's. Only while [`Self::may_move`].
    pub fn switch(&mut self, now: Instant) {
        let fresh = Gather::new(Role::Server, self.policy.hold_bytes_max);
        self.former_down = Some(std::mem::replace(&mut self.down, fresh));
        self.recent = Recent::default();
        self.read = self.sent;
        self.begin_leg(now);
    }

    /// The former leg has said its last. False when half a message of it has passed to the client.
    pub fn end_former(&mut self) -> bool {
        self.former_down.take().is_none_or(|down| !down.is_streaming())
    }

    /// Whether the leg may be left now without cutting a message of the client's in two.
    pub fn may_move(&self) -> bool {
        self.is_up && !self.is_closing && self.owed.is_empty() && !self.up.is_streaming()
    }

    /// Since when no message passed, if none is under way in either direction.
    pub fn quiet_since(&self) -> Option<Instant> {
        (self.up.is_idle() && self.down.is_idle() && self.owed.is_empty()).then_some(self.data_at)
    }

    /// Whether the session ends: a close frame has passed, or its side was finished.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// The client's side is finished: no leg is replaced any more.
    pub fn finish(&mut self) {
        self.is_closing = true;
    }

    /// Whether a client that closes while no replica is there must be answered here: nothing of its
    /// own waits to be delivered first.
    pub fn is_closed_alone(&self) -> bool {
        !self.is_up && self.is_closing && self.owed.is_empty()
    }

    /// Looks at the clock. `was_read` says that the replica had nothing to read just now: without that
    /// nobody knows whether it is silent.
    pub fn check(&mut self, was_read: bool, now: Instant) -> Alarm {
        if !self.is_up {
            return Alarm::None;
        }
        if self.blocked_since.is_some_and(|since| since + self.policy.write_stall <= now) {
            return Alarm::Stalled;
        }
        if self.pulse.dead_at(&self.policy).is_some_and(|at| at <= now) {
            return if was_read { Alarm::Silent } else { Alarm::None };
        }
        if self.ping_at().is_some_and(|at| at <= now) && self.may_ping() {
            let payload = self.pulse.ping(self.sent, now);
            let mask = self.mask_key();
            self.owed.push(owed::Kind::Own, OwnFrame::ping(&payload, Some(mask)).as_bytes());
        }
        Alarm::None
    }

    /// When [`Self::check`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.is_up {
            return None;
        }
        let ping = self.ping_at().filter(|_| self.may_ping());
        let stall = self.blocked_since.map(|since| since + self.policy.write_stall);
        [ping, self.pulse.dead_at(&self.policy), stall].into_iter().flatten().min()
    }

    /// The close frame with which a leg is left.
    pub fn farewell(&mut self, code: CloseCode) -> OwnFrame {
        let mask = self.mask_key();
        OwnFrame::close(code, "moved", Some(mask))
    }

    fn ping_at(&self) -> Option<Instant> {
        // What is kept to be sent again is let go by answers, too.
        let question = match self.read < self.sent || self.kept() > 0 {
            false => None,
            // Before the client has to wait because so much is kept for it.
            true if self.kept() > self.policy.wait_bytes_max / 2 => Some(Duration::ZERO),
            true => Some(QUESTION),
        };
        self.pulse.ping_at(&self.policy, question)
    }

    /// Bytes kept to be sent again.
    fn kept(&self) -> usize {
        self.recent.older.len() + self.recent.newer.len()
    }

    /// Whether a ping may stand behind what was written.
    fn may_ping(&self) -> bool {
        self.owed.is_empty() && self.up.is_at_frame_boundary() && !self.is_closing
    }

    fn begin_leg(&mut self, now: Instant) {
        self.pulse = Pulse::new(now);
        self.is_up = true;
        if self.prelude_count > 0 {
            let prelude = self.prelude.clone();
            self.owed.push_front(owed::Kind::Again, &prelude);
            self.suppress = self.policy.prelude.suppress;
        }
    }

    /// How many more bytes of the client's may be taken.
    fn room(&self) -> usize {
        match self.is_up {
            // A replica that does not keep up holds its client back at once.
            true if !self.owed.is_empty() || self.kept() > self.policy.wait_bytes_max => 0,
            true => usize::MAX,
            false => self.policy.wait_bytes_max.saturating_sub(self.owed.len()),
        }
    }

    /// While the prelude is kept its messages are looked at one by one.
    fn messages_max_up(&self) -> u64 {
        if self.prelude_count < self.policy.prelude.first { 1 } else { u64::MAX }
    }

    fn keep_prelude(&mut self, message: &[u8]) {
        let Prelude { first, bytes_max, .. } = self.policy.prelude;
        if self.prelude_count < first && self.prelude.len() + message.len() <= bytes_max {
            self.prelude_count += 1;
            self.prelude.extend_from_slice(message);
        }
    }

    fn owe(&mut self, kind: Kind, bytes: &[u8]) {
        match kind {
            Kind::Messages(_) => {
                for message in gather::each_message(bytes) {
                    self.keep_prelude(message);
                    self.owed.push(owed::Kind::Message, message);
                }
            }
            Kind::Piece { is_last, .. } if self.is_skipping => self.is_skipping = !is_last,
            Kind::Piece { is_first, is_last } => {
                self.owed.push(owed::Kind::Piece { is_first, is_last }, bytes);
            }
            Kind::Control(header) => {
                self.is_closing |= header.opcode == Opcode::CLOSE;
                if header.opcode == Opcode::CLOSE && !self.is_up && self.owed.is_empty() {
                    let answer = ControlFrame { header, wire: bytes }.close_code();
                    self.answer_close(answer);
                    return;
                }
                self.owed.push(owed::Kind::Control, bytes);
            }
        }
    }

    /// Answers a client that closes while no replica is there to do it.
    fn answer_close(&mut self, code: Option<CloseCode>) {
        match code {
            Some(code) => {
                let frame = OwnFrame::close(code, "", None);
                self.to_client.extend_from_slice(frame.as_bytes());
            }
            None => self.to_client.extend_from_slice(&[0x88, 0]),
        }
    }

    fn note_sent(&mut self, message: &[u8]) {
        self.sent += 1;
        if self.policy.uncertain == Uncertain::AtLeastOnce {
            self.recent.newer.extend_from_slice(message);
        }
    }

    fn judge(&mut self, kind: Kind, wire: &[u8], is_former: bool, now: Instant) -> Verdict {
        let Kind::Control(header) = kind else {
            self.data_at = now;
            if self.suppress == 0 || is_former {
                return Verdict::Pass;
            }
            self.suppress -= u64::from(!matches!(kind, Kind::Piece { is_last: false, .. }));
            return Verdict::Swallow;
        };
        let frame = ControlFrame { header, wire };
        match header.opcode {
            Opcode::CLOSE => self.judge_close(frame.close_code(), is_former),
            Opcode::PONG => {
                let mut buffer = [0; CONTROL_PAYLOAD_BYTES_MAX];
                match self.pulse.answered(frame.payload(&mut buffer)) {
                    Answer::Foreign => return Verdict::Pass,
                    Answer::Late => {}
                    Answer::Read(sent) => {
                        self.read = self.read.max(sent);
                        self.recent.older = std::mem::take(&mut self.recent.newer);
                    }
                }
                Verdict::Swallow
            }
            _ => Verdict::Pass,
        }
    }

    fn judge_close(&mut self, code: Option<CloseCode>, is_former: bool) -> Verdict {
        match code {
            // A leg that was left closes for itself alone.
            code if is_former => Verdict::Goes(code.unwrap_or(CloseCode::GOING_AWAY)),
            Some(code) if !self.is_closing && self.policy.codes.contains(&code) => {
                Verdict::Goes(code)
            }
            _ => {
                self.is_closing = true;
                Verdict::Pass
            }
        }
    }

    /// xorshift64, as the session does it: see RFC 6455 §10.3.
    fn mask_key(&mut self) -> [u8; 4] {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 32) as u32).to_be_bytes()
    }
}

/// What [`Redial::send`] did with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// So many bytes from the start are whole messages: write them as they are.
    Direct(usize),
    /// So many bytes were taken.
    Owed(usize),
}

/// What becomes of something a replica sent.
enum Verdict {
    Pass,
    Swallow,
    Goes(CloseCode),
}

/// How soon after a message a ping asks whether it was read.
const QUESTION: Duration = Duration::from_secs(1);

/// Stands for an end without a close frame (RFC 6455 §7.1.5); never on the wire.
const ABNORMAL: CloseCode = CloseCode(1006);

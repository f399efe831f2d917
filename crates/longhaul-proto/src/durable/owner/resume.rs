//! Going on with another link.

use std::time::Instant;

use super::super::link::Link;
use super::super::rule::Rule;
use super::super::{Control, LinkKey, Reset, Resume, Resumed, code};
use super::Owner;
use crate::websocket::CloseCode;

/// How far link numbers may jump: more is not a client that tried often, but one that guesses.
const LINK_JUMP_MAX: u64 = 10_000;

/// Why a link is not the session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// To be said on the link, which may then ask for a new session.
    Reset(Reset),
    /// To close the link with.
    Close(CloseCode),
}

impl Owner {
    /// Goes on with another link. `generation` is what its token shows; that the token is genuine,
    /// names this session and comes from the session's subject is known already.
    ///
    /// # Errors
    /// What to do with the link instead. The owner keeps nothing of it.
    pub fn resume(
        &mut self,
        key: LinkKey,
        generation: u64,
        resume: &Resume,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.now = now;
        self.judge(generation, resume)?;
        let answer_generation = self.tokens.resume(generation);
        if let Some(before) = self.newest.take() {
            self.drop_older();
            self.older = Some(before);
        }
        if let Some(older) = &mut self.older {
            // Its ten seconds begin with the new link.
            older.opened_at = now;
        }
        let mut link = Link::new(key, resume.link, now);
        if self.policy.keeps.keeps(Rule::AckPerLink) {
            link.acker.hurry();
        }
        self.newest = Some(link);
        self.newest_number = resume.link;
        self.migrating = None;
        self.detached_at = None;
        self.stalled_at = None;
        self.token_at = now + self.policy.token_interval;
        self.down.rewind(resume.recv);
        let resumed = self.resumed(answer_generation, resume.link);
        self.say(key, &Control::Resumed(resumed));
        Ok(())
    }

    fn judge(&mut self, generation: u64, resume: &Resume) -> Result<(), Refusal> {
        let keeps = self.policy.keeps;
        if let Some(ended) = self.ended {
            return Err(Refusal::Reset(ended.reset()));
        }
        let is_accepted = if keeps.keeps(Rule::TokenRange) {
            self.tokens.accepts(generation)
        } else {
            generation == self.tokens.last()
        };
        if !is_accepted {
            return Err(Refusal::Reset(Reset { code: code::UNKNOWN.0, recv: None }));
        }
        if resume.link <= self.newest_number && keeps.keeps(Rule::LateResume) {
            return Err(Refusal::Close(code::SUPERSEDED));
        }
        if resume.link > self.newest_number + LINK_JUMP_MAX {
            return Err(Refusal::Close(code::FAULT));
        }
        let is_behind = resume.recv < self.down.acked() && !keeps.keeps(Rule::OlderRecv);
        if resume.recv > self.down.sent() || resume.lo > self.up.recv() + 1 || is_behind {
            let reset = Reset { code: code::LOST.0, recv: Some(self.up.whole()) };
            self.over(code::LOST);
            return Err(Refusal::Reset(reset));
        }
        Ok(())
    }

    fn resumed(&self, generation: u64, link: u64) -> Resumed {
        let counts_chunks = self.policy.keeps.keeps(Rule::RecvCountsChunks);
        Resumed {
            token: self.seal.seal(&self.sid, generation),
            link,
            recv: if counts_chunks { self.up.recv() } else { self.up.whole() },
            lo: self.down.acked() + 1,
            hi: self.down.sent(),
        }
    }
}

impl super::Ended {
    /// What a late resume is told.
    pub fn reset(&self) -> Reset {
        let code = if self.code == code::OVERFLOW { code::OVERFLOW } else { code::UNKNOWN };
        Reset { code: code.0, recv: Some(self.recv) }
    }
}

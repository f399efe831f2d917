//! Which of the client's acknowledgements still have somebody who waits for them.
//!
//! Each replica numbers its questions from 0. The answer to one of a replica that is gone would be
//! taken by the next for the answer to its own.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Questions that are remembered; older ones are taken for answered.
const OPEN_MAX: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Questions {
    /// Of the replica of the moment.
    current: VecDeque<Question>,
    /// Of those that are gone.
    stale: VecDeque<Question>,
}

/// A namespace and a number, as they stand in a packet.
type Question = Box<[u8]>;

impl Questions {
    /// A replica asks; `is_former` when it was left.
    pub(super) fn ask(&mut self, question: &[u8], is_former: bool) {
        let open = if is_former { &mut self.stale } else { &mut self.current };
        push(open, question.into());
    }

    /// The client answers. Whether the replica of the moment may see it.
    pub(super) fn answer(&mut self, question: &[u8]) -> bool {
        if take(&mut self.stale, question) {
            return false;
        }
        take(&mut self.current, question);
        true
    }

    /// The replica is gone, or left.
    pub(super) fn forget_replica(&mut self) {
        for question in std::mem::take(&mut self.current) {
            push(&mut self.stale, question);
        }
    }
}

fn push(open: &mut VecDeque<Question>, question: Question) {
    if open.len() == OPEN_MAX {
        open.pop_front();
    }
    open.push_back(question);
}

fn take(open: &mut VecDeque<Question>, question: &[u8]) -> bool {
    let Some(at) = open.iter().position(|one| **one == *question) else { return false };
    open.remove(at);
    if open.is_empty() {
        *open = VecDeque::new();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_replica_that_is_gone_is_shown_to_no_other() {
        let mut questions = Questions::default();
        questions.ask(b"0", false);
        questions.forget_replica();
        questions.ask(b"0", false);
        assert_eq!([questions.answer(b"0"), questions.answer(b"0")], [false, true]);
        assert!(questions.answer(b"7"), "nobody knows better");
    }
}

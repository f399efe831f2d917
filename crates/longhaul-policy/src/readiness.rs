//! Decides when a replica that answers its probes, and says that it is not ready, is to be left, and
//! when it may have work again.
//!
//! That is no failure: what it holds goes on there until it can go elsewhere. A replica that answers
//! nothing, or anything else, is [`health`](crate::health)'s to judge.

use crate::health::HealthPolicy;

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is to be left.
    Leave,
    /// It may have work again.
    Return,
}

/// The answers of one replica.
#[derive(Debug, Default)]
pub struct Readiness {
    /// Answers in a row that speak against how it is treated now.
    contrary: u32,
}

impl Readiness {
    /// Takes one answer. As many in a row as make a failed replica count as down have it left, and as
    /// many as bring one back end that.
    pub fn note(&mut self, is_ready: bool, is_left: bool, policy: &HealthPolicy) -> Option<Turn> {
        if is_ready != is_left {
            self.contrary = 0;
            return None;
        }
        self.contrary = self.contrary.saturating_add(1);
        let (needed, turn) =
            if is_ready { (policy.rise, Turn::Return) } else { (policy.fall, Turn::Leave) };
        (self.contrary >= needed).then(|| {
            self.contrary = 0;
            turn
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_answers_in_a_row_leave_and_two_return() {
        let policy = HealthPolicy::default();
        let mut readiness = Readiness::default();
        let mut is_left = false;
        let answers =
            [false, false, true, false, false, false, false, true, false, true, true, true];
        let mut turns = Vec::new();
        for (at, is_ready) in answers.into_iter().enumerate() {
            if let Some(turn) = readiness.note(is_ready, is_left, &policy) {
                is_left = turn == Turn::Leave;
                turns.push((at, turn));
            }
        }
        assert_eq!(turns, [(5, Turn::Leave), (10, Turn::Return)]);
    }
}

//! What the taker says behind the last word.

use std::time::{Duration, Instant};

use tracing::warn;

use super::Giver;
use crate::handoff::message::FromTaker;
use crate::handoff::wire::WireError;
use crate::handoff::{HandoffError, at};

impl Giver {
    /// The last word was said: either the other process has the connections, or it is dead.
    pub(super) fn hear_taken(&mut self, deadline: Instant) -> Result<(), HandoffError> {
        let step = "waiting for the new process to serve";
        match (self.wire.receive(deadline), &self.taker) {
            (Ok((FromTaker::Taken, _)), _) => Ok(()),
            (Ok((other, _)), _) => Err(unexpected(step, &other)),
            (Err(error @ WireError::Ended), _) => Err(at(step)(error)),
            (Err(error), Some(taker)) => {
                taker.kill();
                // What it had said before it was ended still counts.
                let until = Instant::now() + self.patience.step;
                match self.wire.receive(until) {
                    Ok((FromTaker::Taken, _)) => Ok(()),
                    _ => Err(at(step)(error)),
                }
            }
            (Err(error), None) => {
                warn!(%error, "the other process does not say that it serves; it is believed to");
                Ok(())
            }
        }
    }

    /// How long connections stood still. What is left of them here is put away only when the other
    /// process says that they go on: that takes time that they would wait for. `None` where it does
    /// not say so; it has them all the same.
    pub(super) fn hear_gone_on(&mut self, deadline: Instant) -> Option<Duration> {
        match self.wire.receive(deadline) {
            Ok((FromTaker::GoneOn { pause_us }, _)) => Some(Duration::from_micros(pause_us)),
            Ok((other, _)) => {
                warn!(said = ?other, "the other process was to say that connections go on");
                None
            }
            Err(error) => {
                warn!(%error, "the other process does not say that connections go on");
                None
            }
        }
    }
}

pub(super) fn unexpected(step: &'static str, said: &FromTaker) -> HandoffError {
    let source = format!("it said {said:?} instead").into();
    HandoffError::Wire { step, source }
}

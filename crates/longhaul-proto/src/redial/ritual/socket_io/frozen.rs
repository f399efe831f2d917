//! Socket.IO as another process can take it up.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::heart::{FrozenHeart, Heart};
use super::super::packet::Packet;
use super::super::questions::Questions;
use super::{SocketIo, Space, Stage};

/// What was settled, and what is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::redial) struct FrozenSocketIo {
    stage: Stage,
    awaits_open: bool,
    spaces: Vec<Space>,
    has_lost_count: bool,
    is_refused: bool,
    up: Packet,
    down: Packet,
    heart: FrozenHeart,
    questions: Questions,
}

impl SocketIo {
    pub(in crate::redial::ritual) fn freeze(&self, now: Instant) -> FrozenSocketIo {
        FrozenSocketIo {
            stage: self.stage,
            awaits_open: self.awaits_open,
            spaces: self.spaces.clone(),
            has_lost_count: self.has_lost_count,
            is_refused: self.is_refused,
            up: self.up.clone(),
            down: self.down.clone(),
            heart: self.heart.freeze(now),
            questions: self.questions.clone(),
        }
    }

    pub(in crate::redial::ritual) fn thaw(
        frozen: &FrozenSocketIo,
        keep_bytes_max: usize,
        hold_bytes_max: usize,
        now: Instant,
    ) -> Self {
        Self {
            stage: frozen.stage,
            awaits_open: frozen.awaits_open,
            spaces: frozen.spaces.clone(),
            has_lost_count: frozen.has_lost_count,
            is_refused: frozen.is_refused,
            up: frozen.up.clone(),
            down: frozen.down.clone(),
            heart: Heart::thaw(&frozen.heart, now),
            questions: frozen.questions.clone(),
            ..Self::new(false, keep_bytes_max, hold_bytes_max, now)
        }
    }
}

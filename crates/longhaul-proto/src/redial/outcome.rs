//! What the machine answers to whoever drives it.

use crate::websocket::CloseCode;

/// What [`Redial::send`](super::Redial::send) did with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// So many bytes from the start are whole messages: write them as they are.
    Direct(usize),
    /// So many bytes were taken.
    Owed(usize),
}

/// What [`Redial::receive`](super::Redial::receive) made of the replica's bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// So many bytes from the start pass to the client where they are. Whatever else passes comes
    /// behind them, by [`Redial::take_for_client`](super::Redial::take_for_client).
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
    /// It does not take the client, who was with another before.
    Refuses,
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
    /// It does not go through with the opening of the protocol.
    Unsettled,
}

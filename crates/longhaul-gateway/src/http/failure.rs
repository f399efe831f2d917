//! A refusal with what only the log may say about it: which replica, and what the system said.

use std::fmt;
use std::net::SocketAddr;

use super::answer::Refusal;

/// Why a request got no answer from a replica.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the client is told.
    pub(crate) refusal: Refusal,
    /// The replica it was about, if one was picked.
    pub(crate) replica: Option<SocketAddr>,
    /// What the system, or the library, said.
    pub(crate) detail: Option<String>,
}

impl Refusal {
    /// Adds what the log should say about it.
    pub(crate) fn of(self, replica: SocketAddr, detail: impl fmt::Display) -> Failure {
        Failure { refusal: self, replica: Some(replica), detail: Some(detail.to_string()) }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, replica: None, detail: None }
    }
}

//! A refusal with what only the log may say about it: which replica, and what the system said.

use std::fmt;
use std::net::SocketAddr;

use http::{HeaderMap, Response};

use super::answer::Refusal;
use super::body::Body;

/// Why a request got no answer from a replica.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the client is told.
    pub(crate) refusal: Refusal,
    /// The replica it was about, if one was picked.
    pub(crate) replica: Option<SocketAddr>,
    /// What the system, or the library, said.
    pub(crate) detail: Option<String>,
    /// What the answer carries beside its own fields.
    pub(crate) fields: Option<Box<HeaderMap>>,
}

impl Refusal {
    /// Adds what the log should say about it.
    pub(crate) fn of(self, replica: SocketAddr, detail: impl fmt::Display) -> Failure {
        Failure { replica: Some(replica), ..self.because(detail) }
    }

    /// The same where no replica is concerned.
    pub(crate) fn because(self, detail: impl fmt::Display) -> Failure {
        Failure { detail: Some(detail.to_string()), ..Failure::from(self) }
    }
}

impl Failure {
    /// The whole answer, in the form that the request asks for.
    pub(crate) fn answer(self, request_headers: &HeaderMap) -> Response<Body> {
        let mut answer = self.refusal.answer(request_headers);
        answer.headers_mut().extend(self.fields.map(|fields| *fields).unwrap_or_default());
        answer
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, replica: None, detail: None, fields: None }
    }
}

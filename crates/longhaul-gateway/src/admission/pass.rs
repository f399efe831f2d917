//! What somebody who was let in holds while the WebSocket is open.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use longhaul_policy::token::Grant;

use super::limits::Permit;
use super::live::{Listed, Live, Right};
use super::rechecks::{Kept, Recheck};
use crate::relay::control::Control;
use crate::telemetry::returns::{Presence, Returns, Who};

/// Boxed where it is kept: most hold nothing.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    _permit: Option<Permit>,
    grant: Option<Grant>,
    /// The subprotocol to answer with, should the application choose none.
    pub(crate) subprotocol: Option<HeaderValue>,
    listed: Option<Listed>,
    /// What is asked about it again, where that is wanted.
    recheck: Option<Box<Recheck>>,
    kept: Option<Kept>,
    _presence: Option<Presence>,
}

impl Pass {
    pub(super) fn new(
        permit: Option<Permit>,
        grant: Option<Grant>,
        recheck: Option<Box<Recheck>>,
    ) -> Self {
        Self { _permit: permit, grant, recheck, ..Self::default() }
    }

    /// Whose right it is, where one was asked for.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.grant.as_ref()?.subject.as_deref()
    }

    /// Has it noted when somebody who is known leaves this route. To be called before [`Pass::list`].
    pub(crate) fn note_presence(&mut self, returns: &Arc<Returns>, route: &str) {
        let subject = self.subject().map(Who::Subject);
        self._presence = subject.map(|who| returns.note_presence(route, who));
    }

    /// By what right it is here, where one was asked for.
    pub(crate) fn freeze(&self, live: &Live) -> Option<Right> {
        let mut right = live.right_of(self.listed.as_ref()?)?;
        right.recheck = self.kept.as_ref().and_then(Kept::freeze).map(Box::new);
        Some(right)
    }

    /// Goes on by a newer grant, if it is of the same subject. Says whether it is.
    pub(crate) fn renew(&self, live: &Live, grant: &Grant) -> bool {
        self.listed.as_ref().is_some_and(|listed| live.renew(listed, grant))
    }

    /// When its right ends, if it does.
    pub(crate) fn ends_at(&self, live: &Live) -> Option<Instant> {
        live.ends_at(self.listed.as_ref()?)
    }

    /// Has the WebSocket told when its right ends.
    pub(crate) fn list(&mut self, live: &Arc<Live>, control: &Arc<Control>) {
        self.listed = self.grant.take().map(|grant| live.watch(control, &grant));
        self.kept = self.recheck.take().map(|recheck| recheck.keep(control));
    }
}

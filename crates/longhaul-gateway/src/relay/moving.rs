//! A relay goes elsewhere: to the reactor of its worker, or to another process.

use std::sync::Arc;
use std::time::Instant;

use longhaul_proto::session::Session;

use super::control::Control;
use super::stream::{Bound, LegIo, Stream, shut_down};
use super::{Relay, RelayPolicy};

use crate::handoff::state::{RelayState, Sockets};
use crate::reactor::Socket;
use crate::redial::Lasting;
use crate::telemetry::tally::Tally;

impl<C: LegIo, B: LegIo> Relay<C, B> {
    /// The same WebSocket for another thread's reactor, as it stands and without its timer, counted by
    /// nobody yet. `None` where its legs cannot go there.
    pub(crate) fn into_sockets(self, tally: Arc<Tally>) -> Option<Relay<Socket, Socket>> {
        Some(Relay {
            client: self.client.into_socket()?,
            backend: self.backend.into_socket()?,
            session: self.session,
            control: self.control,
            tally,
            timer: None,
            leftovers: self.leftovers,
            buffer_bytes_max: self.buffer_bytes_max,
        })
    }

    /// What another process needs to go on with it, as it stands. Nothing here changes.
    ///
    /// # Errors
    /// What keeps it here.
    pub(crate) fn freeze(&self) -> Result<(RelayState, Sockets), Bound> {
        let state = self.freeze_changes()?;
        let (to_client, to_backend) = (self.client.io().put_down()?, self.backend.io().put_down()?);
        let sockets = to_client.socket.into_iter().chain(to_backend.socket).collect();
        Ok((RelayState { leg: to_backend.leg, ..state }, sockets))
    }

    /// The part of it that changes with each message, but for that of a leg that outlasts its replica.
    ///
    /// # Errors
    /// What keeps it here.
    pub(crate) fn freeze_changes(&self) -> Result<RelayState, Bound> {
        let session = self.session.freeze(Instant::now()).ok_or(Bound::Ending)?;
        let (client, backend) = (self.client.freeze(), self.backend.freeze());
        Ok(RelayState { session, client, backend, leg: None })
    }

    /// Goes on from there instead, before it has begun. `None` for a state that cannot be.
    pub(crate) fn renew(&mut self, state: RelayState, policy: &RelayPolicy) -> Option<()> {
        let now = Instant::now();
        self.session = Session::thaw(policy.session.clone(), &state.session, now)?;
        self.client.renew(state.client);
        self.backend.renew(state.backend);
        Some(())
    }

    /// Has both peers hear at once that it has ended, though another process has descriptors too.
    pub(crate) fn hang_up(&self) {
        self.client.io().socket().into_iter().for_each(shut_down);
        match self.backend.io().as_lasting() {
            Some(leg) => leg.hang_up(),
            None => self.backend.io().socket().into_iter().for_each(shut_down),
        }
    }

    /// Whether it can be copied while it goes on, and the copy be brought up to date later.
    pub(crate) fn may_go_ahead(&self) -> bool {
        let backend = self.backend.io();
        let has_leg =
            backend.as_lasting().map_or_else(|| backend.is_socket(), Lasting::may_go_ahead);
        !self.is_new() && self.client.io().is_socket() && has_leg
    }

    /// Whether that copy can be brought up to date, by [`Self::freeze_changes`] and what has become of the
    /// [leg](Lasting::state).
    pub(crate) fn is_as_copied(&self) -> bool {
        self.backend.io().as_lasting().is_none_or(Lasting::is_as_copied)
    }

    /// The backend leg, if it outlasts its replica.
    pub(crate) fn lasting(&mut self) -> Option<&mut Lasting> {
        self.backend.lasting()
    }

    /// Goes on where another process has left off. `None` for a state that cannot be.
    pub(crate) fn thaw(
        state: RelayState,
        client: C,
        backend: B,
        policy: &RelayPolicy,
        control: Arc<Control>,
        tally: Arc<Tally>,
    ) -> Option<Self> {
        let now = Instant::now();
        Some(Self {
            session: Session::thaw(policy.session.clone(), &state.session, now)?,
            client: Stream::thaw(client, state.client),
            backend: Stream::thaw(backend, state.backend),
            control,
            tally,
            timer: None,
            leftovers: None,
            buffer_bytes_max: policy.buffer_bytes_max,
        })
    }
}

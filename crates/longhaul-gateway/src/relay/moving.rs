//! A relay goes elsewhere: to the reactor of its worker, or to another process.

use std::sync::Arc;
use std::time::Instant;

use longhaul_proto::session::Session;
use rustix::net::Shutdown;

use super::control::Control;
use super::stream::{Bound, LegIo, Stream};
use super::{Relay, RelayPolicy};

use crate::handoff::state::{RelayState, Sockets};
use crate::reactor::Socket;
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

    /// The part of it that changes with each message, where sockets alone carry both legs.
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
        let sockets = [self.client.io().socket(), self.backend.io().socket()];
        for socket in sockets.into_iter().flatten() {
            // What refuses it has ended already.
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
    }

    /// Whether sockets are all that carries the legs.
    pub(crate) fn is_plain(&self) -> bool {
        self.client.io().is_socket() && self.backend.io().is_socket()
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

//! What another process is given of a WebSocket: a copy while it goes on, and what has changed since, or
//! all of it, when it stands still.

use super::Tunnel;
use crate::handoff::state::{Change, Kind, News, Parcel, Sockets};
use crate::redial::Lasting;
use crate::relay::Relay;
use crate::relay::control::Since;
use crate::relay::stream::{Bound, LegIo};
use crate::shared::Shared;
use crate::trace::Sequel;

impl Tunnel {
    /// Gives a copy of itself to whoever moves it to another process: it stands still now. What went
    /// ahead is not said again.
    pub(super) fn put_down<C: LegIo, B: LegIo>(&self, relay: &Relay<C, B>, since: Since) {
        let shared = self.worker.current.load();
        match since {
            Since::Untouched => shared.movers.tell_change(&self.control, Ok(None)),
            Since::Touched if relay.is_as_copied() => {
                let change = self.change(relay).map(Some);
                shared.movers.tell_change(&self.control, change);
            }
            Since::Never | Since::Touched => {
                shared.movers.tell(&self.control, self.copy(relay, &shared));
            }
        }
    }

    fn change<C: LegIo, B: LegIo>(&self, relay: &Relay<C, B>) -> Result<Change, Bound> {
        let leg = relay.ios().1.as_lasting().map(Lasting::state).transpose()?.map(Box::new);
        let news = News::WebSocket { relay: relay.freeze_changes()?, leg };
        Ok(Change::of(&self.control, news))
    }

    /// Gives a copy of itself and goes on, if that copy can be brought up to date in few words. Otherwise
    /// it goes over as a whole, when it stands still.
    pub(super) fn copy_ahead<C: LegIo, B: LegIo>(&self, relay: &mut Relay<C, B>) {
        let shared = self.worker.current.load();
        let copied = relay.may_go_ahead().then(|| self.copy(relay, &shared).ok()).flatten();
        let Some((parcel, sockets)) = copied else {
            return shared.movers.decline_ahead(&self.control);
        };
        if let Some(leg) = relay.lasting() {
            leg.note_copied();
        }
        shared.movers.tell_ahead(&self.control, parcel, sockets);
    }

    fn copy<C: LegIo, B: LegIo>(
        &self,
        relay: &Relay<C, B>,
        shared: &Shared,
    ) -> Result<(Parcel, Sockets), Bound> {
        let (relay, sockets) = relay.freeze()?;
        let extras = self.extras.as_deref();
        let pass = extras.and_then(|extras| extras.pass.as_deref());
        let pass = pass.and_then(|pass| pass.freeze(&shared.admission.live));
        let sequel = extras.and_then(|extras| extras.sequel.as_deref());
        let kind = Kind::WebSocket { relay, pass, trace: sequel.map(Sequel::carried) };
        Ok((Parcel::of(&self.control, self.worker.index, sockets.len(), kind), sockets))
    }
}

//! Open connections, one by one: listed, found, closed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Handle;
use crate::relay::control::{Control, Order};
use crate::telemetry::tally::Number;

/// One open connection.
#[derive(Debug, Clone)]
pub struct ConnectionSnapshot {
    /// As in the log; unique within the process.
    pub id: u64,
    /// Whether it is raw TCP, not a WebSocket.
    pub is_tcp: bool,
    /// Its route.
    pub route: Arc<str>,
    /// The client's address; behind trusted proxies, the forwarded one.
    pub client: IpAddr,
    /// The replica it is at.
    pub replica: SocketAddr,
    /// Since it opened.
    pub open_for: Duration,
    /// Messages to the replica, to the client. Of a WebSocket only.
    pub messages: [u64; 2],
    /// Bytes to the replica, to the client. Of a WebSocket only.
    pub bytes: [u64; 2],
}

/// Which connections to show. `None` means any.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// On this route.
    pub route: Option<String>,
    /// At this replica.
    pub replica: Option<SocketAddr>,
    /// Of this client.
    pub client: Option<IpAddr>,
    /// With a larger id: where the page before ended.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
}

impl Handle {
    /// Open connections, oldest first, and how many there are beyond this page and with it.
    pub fn connections(&self, wanted: &Wanted) -> (Vec<ConnectionSnapshot>, usize) {
        let shared = self.shared();
        let registries = [(&shared.registry, false), (&shared.streams, true)];
        let all = registries.into_iter().flat_map(|(registry, is_tcp)| {
            registry.all().into_iter().map(move |control| (control, is_tcp))
        });
        let mut found: Vec<(Arc<Control>, bool)> =
            all.filter(|(control, _)| wanted.wants(control)).collect();
        let total = found.len();
        found.sort_unstable_by_key(|(control, _)| control.card.id);
        let page = found.iter().take(wanted.limit);
        (page.map(|(control, is_tcp)| ConnectionSnapshot::of(control, *is_tcp)).collect(), total)
    }

    /// One open connection.
    pub fn connection(&self, id: u64) -> Option<ConnectionSnapshot> {
        let shared = self.shared();
        let websocket = shared.registry.find(id).map(|control| (control, false));
        let found = websocket.or_else(|| Some((shared.streams.find(id)?, true)));
        found.map(|(control, is_tcp)| ConnectionSnapshot::of(&control, is_tcp))
    }

    /// Ends one connection: a WebSocket with 1001. Says whether it was there.
    pub fn close(&self, id: u64) -> bool {
        let shared = self.shared();
        let found = shared.registry.find(id).or_else(|| shared.streams.find(id));
        found.is_some_and(|control| {
            control.order(Order::Close);
            true
        })
    }
}

impl Wanted {
    fn wants(&self, control: &Control) -> bool {
        let card = &control.card;
        card.id > self.after
            && self.route.as_deref().is_none_or(|route| route == &*card.route)
            && self.replica.is_none_or(|replica| replica == control.replica())
            && self.client.is_none_or(|client| client == card.client)
    }
}

impl ConnectionSnapshot {
    fn of(control: &Control, is_tcp: bool) -> Self {
        let card = &control.card;
        Self {
            id: card.id,
            is_tcp,
            route: card.route.clone(),
            client: card.client,
            replica: control.replica(),
            open_for: card.opened_at.elapsed(),
            messages: card.messages.each_ref().map(Number::get),
            bytes: card.bytes.each_ref().map(Number::get),
        }
    }
}

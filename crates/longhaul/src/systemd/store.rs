//! The descriptor store: listening sockets that systemd keeps while this service is not there
//! (systemd.service(5), `FileDescriptorStoreMax`).
//!
//! Clients who connect after a crash or during a restart wait in the queue of a socket that never
//! closed. A socket that nobody accepts from would make them wait for ever, so what no listener wants
//! any more is taken out of the store again.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::fd::AsFd;

use longhaul_gateway::Handle;
use longhaul_gateway::config::Listener;

use super::{Passed, tell, tell_with};

/// Begins the names that are ours in the store; what else comes back is not our business.
const PREFIX: &str = "longhaul-";

/// What this process has in the store.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// How many descriptors it takes; 0 where there is none.
    room: usize,
    names: BTreeSet<String>,
}

impl Store {
    /// Sorts what came back: gives the sockets that listeners of this configuration want, and has
    /// the others forgotten. The sockets that were passed otherwise stay in `passed`.
    pub(crate) fn take_back(
        passed: &mut Vec<Passed>,
        listeners: &[Listener],
    ) -> (Self, Vec<TcpListener>) {
        // Said by systemd 254 and later, where the unit has a store.
        let room = std::env::var("FDSTORE").ok().and_then(|room| room.parse().ok()).unwrap_or(0);
        let mut store = Self { room, names: BTreeSet::new() };
        let (ours, others): (Vec<Passed>, Vec<Passed>) =
            passed.drain(..).partition(|one| one.name.starts_with(PREFIX));
        *passed = others;
        let mut wanted = Vec::new();
        for Passed { name, listener } in ours {
            let at = listener.local_addr().ok();
            if at.is_some_and(|at| listeners.iter().any(|one| one.address == at)) {
                store.names.insert(name);
                wanted.push(listener);
            } else {
                // Closed before anything is bound: it may be in the way of what takes its place.
                forget(&name);
            }
        }
        (store, wanted)
    }

    /// Makes the store hold the sockets that the gateway listens on now, and no others.
    pub(crate) async fn keep(&mut self, handle: &Handle) {
        if self.room == 0 {
            return;
        }
        let sockets = match handle.sockets().await {
            Ok(sockets) => sockets,
            Err(error) => return tracing::warn!(%error, "systemd is not given the listeners"),
        };
        if sockets.len() > self.room {
            tracing::warn!(
                sockets = sockets.len(),
                room = self.room,
                "the descriptor store is too small for all listeners; raise FileDescriptorStoreMax"
            );
        }
        let named: Vec<(String, TcpListener)> = named(sockets).collect();
        let wanted: BTreeSet<String> = named.iter().map(|(name, _)| name.clone()).collect();
        self.names.difference(&wanted).for_each(|name| forget(name));
        for (name, socket) in &named {
            if !self.names.contains(name) {
                // Nobody has to watch a listener for its end.
                tell_with(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &[socket.as_fd()]);
            }
        }
        self.names = wanted;
    }
}

fn forget(name: &str) {
    tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
}

/// A name for each socket: by its address, and counted where workers have sockets of their own.
fn named(sockets: Vec<TcpListener>) -> impl Iterator<Item = (String, TcpListener)> {
    let mut before = None;
    let mut count = 0;
    sockets.into_iter().filter_map(move |socket| {
        let address = socket.local_addr().ok()?;
        count = if before == Some(address) { count + 1 } else { 0 };
        before = Some(address);
        // Names go into a list with colons between them.
        Some((format!("{PREFIX}{address}-{count}").replace(':', "."), socket))
    })
}

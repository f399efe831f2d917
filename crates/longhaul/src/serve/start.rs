//! From settings to a running gateway, which clients can connect to.

use std::time::Duration;

use longhaul_gateway::config::{Limits, Listener, ReplicaSource};
use longhaul_gateway::handoff::Arrival;
use longhaul_gateway::readiness::Readiness;
use longhaul_gateway::{Config, Gateway, Handle};
use serde_json::json;
use tokio::sync::mpsc;

use super::admin::{Admin, bind_admin};
use super::end::Ending;
use super::{ServeError, Started};
use crate::config::{App, Settings};
use crate::house::{InForce, ThisProcess};
use crate::reload::Reloader;
use crate::succession::{
    Attempt, Desk, Heir, Means, Program, Succeeded, Succession, fulfil, meet, prepare_app, take_up,
};
use crate::{descriptors, parent, systemd};

/// The gateway's drain ends in time by itself; this is for the case that it does not.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// What was started, and how it hears what is wanted of it.
pub(super) struct Serving {
    pub(super) app: Option<parent::App>,
    pub(super) reloads: mpsc::Sender<()>,
    pub(super) upgrades: Desk,
    pub(super) succession: Successors,
    pub(super) ending: Ending,
}

/// Who may come after this process.
pub(super) struct Successors {
    pub(super) succeeded: mpsc::Receiver<Succeeded>,
    pub(super) attempt: Attempt,
    /// The process in between, for one that has taken everything back.
    pub(super) between: Option<Heir>,
}

/// Starts everything, or leaves nothing running.
pub(super) async fn start(
    settings: Settings,
    mut reloader: Option<Reloader>,
    succession: &mut Option<Succession>,
    announce: impl FnOnce(&Started<'_>),
) -> Result<Serving, ServeError> {
    let readiness = Readiness::default();
    // Read and checked by now: a process without one does not get here.
    drop(readiness.startup_step("configuration"));
    let mut config = settings.gateway;
    fit_to_descriptors(&mut config);
    let mut arrival = meet(succession).await?;
    let stop_grace = settings.app.as_ref().map(|app| app.settings.stop_grace).unwrap_or_default();
    let (mut app, mut app_address) = (None, None);
    if let Some(App { upstream, settings }) = settings.app {
        let (child, address) = prepare_app(settings, &readiness, succession, arrival.as_ref())?;
        config.upstreams[upstream].sources = vec![ReplicaSource::Static { address, weight: 1 }];
        reloader.iter_mut().for_each(|reloader| reloader.set_app(address));
        (app, app_address) = (child, Some(address));
    }
    let listeners = config.listeners.clone();
    let drain_deadline = config.timeouts.drain + DRAIN_MARGIN;
    let mut gateway = match &mut arrival {
        Some(arrival) => Gateway::start_after(config, readiness, arrival)?,
        None => Gateway::start(config, readiness)?,
    };
    let handle = gateway.handle();

    // Until both hops of an upgrade are over there is no other one.
    let (desk, wishes) = Desk::new(succession.is_some());
    let config = match &reloader {
        Some(reloader) => reloader.in_force(),
        None => InForce::new(settings.in_force),
    };
    let this_process = ThisProcess { config, desk: reloader.as_ref().map(|_| desk.clone()) };
    let inherited = arrival.as_mut().and_then(Arrival::take_admin);
    let server = bind_admin(settings.admin, &handle, this_process, inherited).await?;
    let means = Means {
        handle: handle.clone(),
        program: Program::own(),
        admin: server.as_ref().and_then(|server| server.socket().ok()),
        house: json!({ "app": app_address }),
        attempt: Attempt::default(),
    };
    let taking = match arrival {
        Some(arrival) => Some(take_up(&gateway, arrival).await?),
        None => None,
    };
    let admin = server.map(Admin::start);
    tell(&handle, admin.as_ref(), &listeners, announce);

    let reloads = read_again(reloader, &mut gateway).await;
    let attempt = means.attempt.clone();
    let (successors, succeeded) = mpsc::channel(1);
    let taken = succession.take().zip(taking);
    let between = fulfil(taken, wishes, &desk, means, successors);
    systemd::ready();
    Ok(Serving {
        app,
        reloads,
        upgrades: desk,
        succession: Successors { succeeded, attempt, between },
        ending: Ending { gateway, admin, drain_deadline, stop_grace },
    })
}

/// Clients can connect: the log hears it, and whoever asked.
fn tell(
    handle: &Handle,
    admin: Option<&Admin>,
    listeners: &[Listener],
    announce: impl FnOnce(&Started<'_>),
) {
    for (listener, address) in listeners.iter().zip(handle.listeners()) {
        tracing::info!(listener = listener.name, "listening on {address}");
    }
    let is_secure = |it: &Listener| it.tls.as_ref().is_some_and(|terms| !terms.takes_plain);
    let secure: Vec<bool> = listeners.iter().map(is_secure).collect();
    announce(&Started { handle, admin: admin.map(|admin| &admin.address), secure: &secure });
}

/// Has the configuration read again when that is asked for: by signals, which are to be sent to what comes
/// back, and by others. Without a reloader, wishes are refused.
async fn read_again(reloader: Option<Reloader>, gateway: &mut Gateway) -> mpsc::Sender<()> {
    let (reloads, hups) = mpsc::channel(1);
    if let (Some(mut reloader), Some(asks)) = (reloader, gateway.take_reload_asks()) {
        let handle = gateway.handle();
        reloader.store_listeners(&handle).await;
        tokio::spawn(reloader.run(handle, asks, hups));
    }
    reloads
}

/// A limit that the descriptors cannot carry would end in failed accepts instead of a queue.
pub(crate) fn fit_to_descriptors(config: &mut Config) {
    let possible = descriptors::raise();
    let wanted = config.limits.connections_max;
    if wanted <= possible {
        return;
    }
    config.limits.connections_max = possible;
    if wanted == Limits::default().connections_max {
        tracing::debug!(possible, "the descriptor limit bounds limits.connections_max");
    } else {
        tracing::warn!(
            wanted,
            possible,
            "limits.connections_max is lowered to what the descriptor limit carries; raise that \
             (ulimit -Hn, LimitNOFILE) or ask for less"
        );
    }
}

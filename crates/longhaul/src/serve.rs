//! From settings to a running gateway, and to its end in good order.
//!
//! Start, announce, wait to be asked to end, drain, end the application, stop the admin API. The
//! same path serves `run` and `demo`. A second request to end ends at once, whatever is under way.

mod admin;
mod end;
mod leave;

use std::io;
use std::pin::Pin;
use std::time::Duration;

use longhaul_admin::{Address, UpgradeWish};
use longhaul_gateway::config::{Limits, ReplicaSource};
use longhaul_gateway::handoff::{Arrival, HandoffError};
use longhaul_gateway::readiness::Readiness;
use longhaul_gateway::{Config, Gateway, Handle};
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::mpsc;

use self::admin::{Admin, bind_admin};
use self::end::Ending;
use crate::config::{App, Settings};
use crate::house::{InForce, ThisProcess};
use crate::parent::{self, Ask, Ended};
use crate::reload::Reloader;
use crate::signals::{Event, Signals};
use crate::succession::{
    self, Attempt, Desk, GiveBack, Means, Program, Role, Succeeded, Succession, meet, prepare_app,
    take_up,
};
use crate::{descriptors, systemd};

/// The gateway's drain ends in time by itself; this is for the case that it does not.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// Why serving did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("signals cannot be taken")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    App(#[from] parent::StartError),
    #[error(transparent)]
    Gateway(#[from] longhaul_gateway::StartError),
    #[error("cannot listen on {address} for the admin API (server.admin)")]
    Admin {
        address: Address,
        #[source]
        source: io::Error,
    },
    #[error("cannot take over from the process before")]
    Succession(#[from] HandoffError),
}

/// What runs now.
pub(crate) struct Started<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) admin: Option<&'a Address>,
    /// Which listeners speak TLS alone, in the order of the config.
    pub(crate) secure: &'a [bool],
}

/// Serves until asked to end, or until the application is given up. Returns the exit code.
///
/// Without a `reloader` the configuration is never read again. `announce` is called once, when clients can connect. The future must be polled by the thread
/// that the process ends with (`block_on` of the main thread): see [`App::run`].
///
/// # Errors
/// When something could not be started. Then nothing is left running.
pub(crate) async fn serve(
    settings: Settings,
    mut reloader: Option<Reloader>,
    succession: &mut Option<Succession>,
    announce: impl FnOnce(&Started<'_>),
) -> Result<u8, ServeError> {
    let mut signals = Signals::install().map_err(ServeError::Signals)?;
    let readiness = Readiness::default();
    // Read and checked by now: a process without one does not get here.
    drop(readiness.startup_step("configuration"));
    let mut config = settings.gateway;
    fit_to_descriptors(&mut config);
    let mut arrival = meet(succession).await?;
    let stop_grace = settings.app.as_ref().map(|app| app.settings.stop_grace).unwrap_or_default();
    let (app, app_address) = match settings.app {
        Some(App { upstream, settings }) => {
            let (app, address) = prepare_app(settings, &readiness, succession, arrival.as_ref())?;
            let source = ReplicaSource::Static { address, weight: 1 };
            config.upstreams[upstream].sources = vec![source];
            if let Some(reloader) = &mut reloader {
                reloader.set_app(address);
            }
            (app, Some(address))
        }
        None => (None, None),
    };
    let names: Vec<String> = config.listeners.iter().map(|at| at.name.clone()).collect();
    let secure: Vec<bool> = (config.listeners.iter())
        .map(|listener| listener.tls.as_ref().is_some_and(|terms| !terms.takes_plain))
        .collect();
    let drain_deadline = config.timeouts.drain + DRAIN_MARGIN;

    let mut gateway = match &mut arrival {
        Some(arrival) => Gateway::start_after(config, readiness, arrival)?,
        None => Gateway::start(config, readiness)?,
    };
    let handle = gateway.handle();
    let config = match &reloader {
        Some(reloader) => reloader.in_force(),
        None => InForce::new(settings.in_force),
    };
    // Until both hops of an upgrade are over there is no other one.
    let (desk, wishes) = Desk::new(succession.is_some());
    let this_process = ThisProcess { config, desk: reloader.as_ref().map(|_| desk.clone()) };
    let inherited = arrival.as_mut().and_then(Arrival::take_admin);
    let server = bind_admin(settings.admin, &handle, this_process, inherited).await?;
    let admin_socket = server.as_ref().and_then(|server| server.socket().ok());
    let taking = match arrival {
        Some(arrival) => Some(take_up(&gateway, arrival).await?),
        None => None,
    };
    let admin = server.map(Admin::start);
    for (name, address) in names.iter().zip(handle.listeners()) {
        tracing::info!(listener = name, "listening on {address}");
    }
    announce(&Started {
        handle: &handle,
        admin: admin.as_ref().map(|admin| &admin.address),
        secure: &secure,
    });

    let (reloads, hups) = mpsc::channel(1);
    // Dropped without a reloader: then wishes are refused.
    if let (Some(mut reloader), Some(asks)) = (reloader, gateway.take_reload_asks()) {
        reloader.store_listeners(&handle).await;
        tokio::spawn(reloader.run(handle.clone(), asks, hups));
    }

    let program = Program::own();
    let house = json!({ "app": app_address });
    let (successors, mut succeeded) = mpsc::channel(1);
    let attempt = Attempt::default();
    let means = Means {
        handle: handle.clone(),
        program: program.clone(),
        admin: admin_socket,
        house,
        attempt: attempt.clone(),
    };
    let mut between = None;
    match (succession.take(), taking) {
        (Some(Succession { role: Role::Heir, .. }), Some(taking)) => {
            let next = GiveBack { taking, desk: desk.clone(), successors: successors.clone() };
            tokio::spawn(next.when_asked(wishes, means));
        }
        (Some(Succession { role: Role::Same { heir, .. }, .. }), Some(taking)) => {
            between = Some(heir.clone());
            tokio::spawn(succession::await_end(taking, heir, desk.clone()));
            tokio::spawn(wishes.fulfil(means, successors));
        }
        _ => drop(tokio::spawn(wishes.fulfil(means, successors))),
    }
    systemd::ready();

    let has_app = app.is_some();
    // Bounded: a flood of signals is passed on as far as it fits, as the system itself does.
    let (asks, asked) = mpsc::channel(64);
    let life = async move {
        match app {
            Some(app) => app.run(asked).await,
            None => std::future::pending().await,
        }
    };
    let mut house = House {
        signals: &mut signals,
        reloads,
        upgrades: desk,
        succeeded: &mut succeeded,
        life: std::pin::pin!(life),
        ended: None,
    };

    let asked = house.until_asked(has_app.then_some(&asks)).await;
    let signal = match asked {
        Asked::ToEnd(signal) => Some(signal),
        Asked::AppGone => None,
        Asked::ToLeave(succeeded) => {
            let leaving = Ending { gateway, admin, drain_deadline, stop_grace };
            return Ok(house.leave(*succeeded, leaving, has_app.then_some(&asks)).await);
        }
    };
    // An heir that serves already, or a process in between that is not quite done.
    let heir = attempt.call_off().or(between);
    let ending = Ending { gateway, admin, drain_deadline, stop_grace };
    Ok(house.end(signal, ending, heir, has_app.then_some(&asks)).await)
}

/// The main task's view while it runs: signals and the life of the application, which is polled
/// here and nowhere else.
struct House<'a, L> {
    signals: &'a mut Signals,
    /// Who reads the configuration again.
    reloads: mpsc::Sender<()>,
    upgrades: Desk,
    succeeded: &'a mut mpsc::Receiver<Succeeded>,
    life: Pin<&'a mut L>,
    ended: Option<Ended>,
}

/// Why the waiting is over.
enum Asked {
    ToEnd(Signal),
    /// The application was given up.
    AppGone,
    /// Another process serves.
    ToLeave(Box<Succeeded>),
}

impl<L: Future<Output = Ended>> House<'_, L> {
    /// Waits to be asked to end, to be succeeded, or for the application to be given up.
    async fn until_asked(&mut self, asks: Option<&mpsc::Sender<Ask>>) -> Asked {
        loop {
            tokio::select! {
                event = self.signals.next() => if let Some(signal) = self.hear(event, asks) {
                    return Asked::ToEnd(signal);
                },
                ended = &mut self.life => {
                    self.ended = Some(ended);
                    return Asked::AppGone;
                }
                Some(succeeded) = self.succeeded.recv() => {
                    return Asked::ToLeave(Box::new(succeeded));
                }
            }
        }
    }
    /// Passes on what is for somebody else. A wish to end is returned.
    fn hear(&self, event: Event, asks: Option<&mpsc::Sender<Ask>>) -> Option<Signal> {
        match (event, asks) {
            (Event::Stop(signal), _) => return Some(signal),
            // Some platforms and images stop their containers with QUIT.
            (Event::Other(Signal::QUIT), None) => return Some(Signal::QUIT),
            (Event::Other(signal), Some(asks)) => {
                let _ = asks.try_send(Ask::Forward(signal));
            }
            (Event::Other(Signal::HUP), None) => {
                // One that waits already will read what is there by then.
                let _ = self.reloads.try_send(());
            }
            (Event::Other(Signal::USR2), None) => {
                let asked = self.upgrades.clone().ask(UpgradeWish::default());
                tokio::spawn(async {
                    // What came of it is logged by who does it; a refusal, here.
                    if let Err(reason) = asked.await {
                        tracing::warn!(reason, "USR2 did not upgrade");
                    }
                });
            }
            (Event::Other(_), None) => {}
        }
        None
    }
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

//! From settings to a running gateway, and to its end in good order.
//!
//! Start, announce, wait to be asked to end, drain, end the application, stop the admin API. The
//! same path serves `run` and `demo`. A second request to end ends at once, whatever is under way.

mod admin;
mod end;
mod leave;
mod start;

use std::io;
use std::pin::Pin;

use longhaul_admin::{Address, UpgradeWish};
use longhaul_gateway::Handle;
use longhaul_gateway::handoff::HandoffError;
use rustix::process::Signal;
use tokio::sync::mpsc;

pub(crate) use self::start::fit_to_descriptors;
use self::start::{Serving, Successors, start};
use crate::config::Settings;
use crate::parent::{self, Ask, Ended};
use crate::reload::Reloader;
use crate::signals::{Event, Signals};
use crate::succession::{Desk, Succeeded, Succession};

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
/// Without a `reloader` the configuration is never read again. `announce` is called once, when clients can
/// connect. The future must be polled by the thread that the process ends with (`block_on` of the main
/// thread): see [`parent::App::run`].
///
/// # Errors
/// When something could not be started. Then nothing is left running.
pub(crate) async fn serve(
    settings: Settings,
    reloader: Option<Reloader>,
    succession: &mut Option<Succession>,
    announce: impl FnOnce(&Started<'_>),
) -> Result<u8, ServeError> {
    let mut signals = Signals::install().map_err(ServeError::Signals)?;
    let Serving { app, reloads, upgrades, succession, ending } =
        start(settings, reloader, succession, announce).await?;
    // Bounded: a flood of signals is passed on as far as it fits, as the system itself does.
    let (asks, asked) = mpsc::channel(64);
    let has_app = app.is_some();
    let life = async move {
        match app {
            Some(app) => app.run(asked).await,
            None => std::future::pending().await,
        }
    };
    let mut house = House {
        signals: &mut signals,
        reloads,
        upgrades,
        asks: has_app.then_some(asks),
        life: std::pin::pin!(life),
        ended: None,
    };
    let Successors { mut succeeded, attempt, between } = succession;
    let signal = match house.until_asked(&mut succeeded).await {
        Asked::ToEnd(signal) => signal,
        Asked::ToLeave(succeeded) => return Ok(house.leave(*succeeded, ending).await),
    };
    // An heir that serves already, or a process in between that is not quite done.
    let heir = attempt.call_off().or(between);
    Ok(house.end(signal, ending, heir).await)
}

/// The main task's view while it runs: signals and the life of the application, which is polled
/// here and nowhere else.
struct House<'a, L> {
    signals: &'a mut Signals,
    /// Who reads the configuration again.
    reloads: mpsc::Sender<()>,
    upgrades: Desk,
    /// What the application's life is asked for, if there is an application.
    asks: Option<mpsc::Sender<Ask>>,
    life: Pin<&'a mut L>,
    ended: Option<Ended>,
}

/// Why the waiting is over.
enum Asked {
    /// `None`: nobody did, and the application was given up.
    ToEnd(Option<Signal>),
    /// Another process serves.
    ToLeave(Box<Succeeded>),
}

impl<L: Future<Output = Ended>> House<'_, L> {
    /// Waits to be asked to end, to be succeeded, or for the application to be given up.
    async fn until_asked(&mut self, succeeded: &mut mpsc::Receiver<Succeeded>) -> Asked {
        loop {
            tokio::select! {
                event = self.signals.next() => if let Some(signal) = self.hear(event) {
                    return Asked::ToEnd(Some(signal));
                },
                ended = &mut self.life => {
                    self.ended = Some(ended);
                    return Asked::ToEnd(None);
                }
                Some(succeeded) = succeeded.recv() => {
                    return Asked::ToLeave(Box::new(succeeded));
                }
            }
        }
    }

    /// Passes on what is for somebody else. A wish to end is returned.
    fn hear(&self, event: Event) -> Option<Signal> {
        match (event, &self.asks) {
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

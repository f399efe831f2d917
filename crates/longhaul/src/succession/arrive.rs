//! What a process does that takes another one's place.

use std::net::SocketAddr;
use std::time::Duration;

use longhaul_gateway::Gateway;
use longhaul_gateway::handoff::{Arrival, Giver, HandoffError, Taking};
use longhaul_gateway::readiness::Readiness;
use tokio::sync::mpsc;

use super::{Desk, Heir, Means, Role, Succeeded, Succession, Wishes, stand_by};
use crate::error_chain;
use crate::parent::{App, AppSettings, StartError};
use crate::signals;

impl Succession {
    /// It could not take over: an heir ends, and who is to stay keeps its place. Returns the exit code.
    pub(crate) fn fall_back(self, exit_code: u8) -> u8 {
        let Role::Same { heir, app } = self.role else { return exit_code };
        // They are since long, unless a program in between has thought better of it.
        signals::hold();
        // Tells the heir that nobody comes.
        drop(self.socket);
        let Ok(runtime) = crate::runtime() else { return exit_code };
        runtime.block_on(stand_by(&heir, app.and_then(|app| app.pid)))
    }
}

/// Hears what the process before has, if there is one.
///
/// # Errors
/// When it cannot be understood.
pub(crate) async fn meet(succession: &Option<Succession>) -> Result<Option<Arrival>, HandoffError> {
    let Some(succession) = succession else { return Ok(None) };
    let socket = succession
        .socket
        .try_clone()
        .map_err(|source| HandoffError::System { what: "a descriptor", source })?;
    let met = tokio::task::spawn_blocking(move || Arrival::meet(socket)).await;
    met.unwrap_or(Err(HandoffError::Aborted)).map(Some)
}

/// The application and where it listens: a new one, or the one that is there. An heir has none to look
/// after.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn prepare_app(
    settings: AppSettings,
    readiness: &Readiness,
    succession: &Option<Succession>,
    arrival: Option<&Arrival>,
) -> Result<(Option<App>, SocketAddr), StartError> {
    let of_heir = arrival.and_then(|arrival| arrival.house()["app"].as_str()?.parse().ok());
    let app = match (succession.as_ref().map(|it| &it.role), of_heir) {
        (Some(Role::Heir), Some(address)) => return Ok((None, address)),
        (Some(Role::Same { app: Some(state), .. }), _) => {
            App::resume(settings, readiness.clone(), state)?
        }
        _ => App::prepare(settings, readiness.clone())?,
    };
    let address = app.address();
    Ok((Some(app), address))
}

/// Takes connections up; from then on this process serves.
///
/// # Errors
/// [`HandoffError`]; the process before goes on.
pub(crate) async fn take_up(gateway: &Gateway, arrival: Arrival) -> Result<Taking, HandoffError> {
    let (taken, taking) = gateway.take_up(arrival).await?;
    gateway.handle().note_upgrade("taken");
    let ms = |pause: Duration| (pause.as_secs_f64() * 10_000.0).round() / 10.0;
    tracing::info!(
        connections = taken.connections,
        pause_ms = ms(taken.pause),
        pause_p50_ms = ms(taken.pause_p50),
        pause_p99_ms = ms(taken.pause_p99),
        "took over from the process before"
    );
    Ok(taking)
}

/// Fulfils wishes for upgrades from here on. Where this process has `taken` over from another one, the
/// rest of that upgrade comes first; who has its place back gets the process in between returned.
pub(crate) fn fulfil(
    taken: Option<(Succession, Taking)>,
    wishes: Wishes,
    desk: &Desk,
    means: Means,
    successors: mpsc::Sender<Succeeded>,
) -> Option<Heir> {
    let Some((Succession { role, .. }, taking)) = taken else {
        tokio::spawn(wishes.fulfil(means, successors));
        return None;
    };
    match role {
        Role::Heir => {
            let next = GiveBack { taking, desk: desk.clone(), successors };
            tokio::spawn(next.when_asked(wishes, means));
            None
        }
        Role::Same { heir, .. } => {
            tokio::spawn(await_end(taking, heir.clone(), desk.clone()));
            tokio::spawn(wishes.fulfil(means, successors));
            Some(heir)
        }
    }
}

/// Takes what still comes from the process in between, and waits for its end; then there may be another
/// upgrade.
async fn await_end(taking: Taking, heir: Heir, desk: Desk) {
    let _ = tokio::task::spawn_blocking(move || taking.take_rest()).await;
    heir.gone().await;
    desk.open();
}

/// The second hop, as the heir sees it.
struct GiveBack {
    taking: Taking,
    desk: Desk,
    successors: mpsc::Sender<Succeeded>,
}

impl GiveBack {
    /// Takes what still comes, then gives everything to what the process before has become. If that
    /// never asks, this process goes on by itself, and can be upgraded like any other.
    async fn when_asked(self, wishes: Wishes, means: Means) {
        let Self { taking, desk, successors } = self;
        let (handle, house) = (means.handle.clone(), means.house.clone());
        let program = means.program.clone();
        let admin = means.admin.as_ref().and_then(|socket| socket.try_clone().ok());
        let given = tokio::task::spawn_blocking(move || {
            let socket = taking.take_rest()?;
            let mut giver = match Giver::meet(socket, &handle, house, admin, None) {
                Ok(giver) => giver,
                Err(error) => return failed(&error),
            };
            match giver.give() {
                Ok(_) => Some(giver),
                Err(error) => failed(&error),
            }
        });
        match given.await.ok().flatten() {
            Some(giver) => {
                let succeeded = Succeeded { giver, heir: None, program };
                let _ = successors.send(succeeded).await;
            }
            None => {
                tracing::warn!("nobody takes over; this process goes on serving");
                desk.open();
                wishes.fulfil(means, successors).await;
            }
        }
    }
}

fn failed(error: &HandoffError) -> Option<Giver> {
    tracing::error!(error = error_chain(error), "the second hop of the upgrade failed");
    None
}

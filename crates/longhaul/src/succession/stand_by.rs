//! A process that cannot take back what its heir serves: the heir goes on, and this one keeps its
//! place.

use rustix::process::{Pid, Signal};

use super::Heir;
use crate::parent::end_adopted;
use crate::signals::{Event, Signals};

/// Passes signals on until the heir has ended, then ends the application. Returns the exit code.
pub(crate) async fn stand_by(heir: &Heir, app: Option<i32>) -> u8 {
    let words = "the process in between goes on serving; this one keeps its place";
    if heir.ended().is_some() {
        tracing::error!("the process in between has ended as well");
    } else if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(heir = heir.id(), "{words}");
    } else {
        // It came no further than its configuration, where the log is described.
        eprintln!("longhaul: {words} (process {})", heir.id());
    }
    let Ok(mut signals) = Signals::install() else { return 1 };
    let mut asked = None;
    loop {
        tokio::select! {
            event = signals.next() => match (event, app.and_then(Pid::from_raw)) {
                // Some platforms and images stop their containers with QUIT.
                (Event::Stop(signal), _) | (Event::Other(signal @ Signal::QUIT), None) => {
                    asked = Some(signal);
                    heir.signal(signal);
                }
                (Event::Other(signal), Some(app)) => {
                    let _ = rustix::process::kill_process(app, signal);
                }
                (Event::Other(signal), None) => heir.signal(signal),
            },
            () = heir.gone() => {
                // Both may have been asked at once.
                asked = asked.or_else(|| signals.take_stop());
                break;
            }
        }
    }
    let ended = match app {
        Some(app) => end_adopted(app, asked.unwrap_or(Signal::TERM)).await,
        None => None,
    };
    let unasked = u8::from(asked.is_none());
    ended.map_or(unasked, |exit_code| exit_code.max(unasked))
}

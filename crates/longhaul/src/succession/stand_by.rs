//! A process that cannot take back what its heir serves: the heir goes on, and this one keeps its
//! place.

use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::Heir;
use crate::signals::{Event, Signals};

const LOOK: Duration = Duration::from_millis(100);

/// Passes signals on until the heir has ended. Returns the exit code.
pub(crate) async fn stand_by(heir: &Heir, app: Option<i32>) -> u8 {
    let words = "the process in between goes on serving; this one keeps its place";
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(heir = heir.id(), "{words}");
    } else {
        // It came no further than its configuration, where the log is described.
        eprintln!("longhaul: {words} (process {})", heir.id());
    }
    let Ok(mut signals) = Signals::install() else { return 1 };
    let mut was_asked = false;
    loop {
        tokio::select! {
            event = signals.next() => if let Event::Stop(signal) = event {
                was_asked = true;
                heir.signal(signal);
            },
            () = tokio::time::sleep(LOOK) => if heir.ended().is_some() {
                break;
            }
        }
    }
    if let Some(app) = app.and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(app, Signal::TERM);
    }
    u8::from(!was_asked)
}

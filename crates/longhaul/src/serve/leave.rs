//! The end of a process whose place another one has taken: it finishes what could not be moved, and
//! then becomes the new binary, or ends.

use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::oneshot;

use super::House;
use super::end::Ending;
use crate::parent::{AppState, Ask, Ended};
use crate::signals::Event;
use crate::succession::{Heir, Leaving, Succeeded, stand_by};

/// How long the application may take to say how it stands.
const STATE_MAX: Duration = Duration::from_secs(5);

impl<L: Future<Output = Ended>> House<'_, L> {
    /// Finishes what stayed here, and becomes the new binary. Returns the exit code when it does not:
    /// because it was asked to end, or because it is the child of whoever succeeds it.
    pub(super) async fn leave(&mut self, succeeded: Succeeded, ending: Ending) -> u8 {
        let Succeeded { giver, heir, program } = succeeded;
        let Ending { gateway, admin, drain_deadline, stop_grace } = ending;
        let leaving = Leaving::begin(giver);
        let mut socket = None;
        let end = async {
            if let Some(admin) = admin {
                admin.leave().await;
            }
            if tokio::time::timeout(drain_deadline, gateway.drain()).await.is_err() {
                tracing::error!("the drain did not end in time; what is left is cut");
            }
            // What becomes movable at the last moment takes its time, in which signals are heard as well.
            socket = leaving.end().await;
        };
        let asked = self.finish_with_heir(heir.as_ref(), end).await;
        let Some(heir) = heir else {
            tracing::info!("another process serves; ended");
            return 0;
        };
        if asked.is_some() || self.ended.is_some() || socket.is_none() {
            return self.end_with_heir(&heir, asked, stop_grace).await;
        }
        let app = self.pass_app_on().await;
        if self.ended.is_some() {
            heir.signal(Signal::TERM);
            return self.end_with_heir(&heir, None, stop_grace).await;
        }
        let Some(socket) = socket else { return 1 };
        // A signal that comes from here on waits for what this process becomes.
        let error = program.become_it(socket, &heir, app.as_ref());
        tracing::error!(%error, "cannot become the new binary");
        stand_by(&heir, app.and_then(|app| app.pid)).await
    }

    /// Does the work while signals are heard, by the heir as well. The signal to end, if there was one.
    async fn finish_with_heir(
        &mut self,
        heir: Option<&Heir>,
        work: impl Future<Output = ()>,
    ) -> Option<Signal> {
        let tell = |signal| heir.into_iter().for_each(|heir| heir.signal(signal));
        tokio::pin!(work);
        let mut asked = None;
        loop {
            tokio::select! {
                () = &mut work => return asked,
                event = self.signals.next() => match (event, &self.asks) {
                    // Who serves now is to read its configuration again.
                    (Event::Other(Signal::HUP), None) => tell(Signal::HUP),
                    (event, _) => if let Some(signal) = self.hear(event) {
                        asked = Some(signal);
                        tell(signal);
                    }
                },
                ended = &mut self.life, if self.ended.is_none() => {
                    self.ended = Some(ended);
                    tell(Signal::TERM);
                }
            }
        }
    }

    /// Somebody wants an end of it all, of which the heir was told: first that, then the application.
    async fn end_with_heir(
        &mut self,
        heir: &Heir,
        asked: Option<Signal>,
        stop_grace: Duration,
    ) -> u8 {
        let again = self.finish_with_heir(Some(heir), heir.gone()).await;
        // Both may have been asked at once, and the heir was quicker.
        let asked = asked.or(again).or_else(|| self.signals.take_stop());
        let _ = self.stop_app(asked.unwrap_or(Signal::TERM), stop_grace).await;
        self.ended.map_or(u8::from(asked.is_none()), |ended| ended.exit_code)
    }

    /// How the application stands; from here on nobody looks after it until the new binary does.
    async fn pass_app_on(&mut self) -> Option<AppState> {
        let (answer, answered) = oneshot::channel();
        let asks = self.asks.clone()?;
        // The queue may be full of signals that were passed on; the app's life empties it.
        let state = async {
            asks.send(Ask::PassOn(answer)).await.ok()?;
            answered.await.ok()
        };
        tokio::select! {
            state = state => state,
            ended = &mut self.life => {
                self.ended = Some(ended);
                None
            }
            () = tokio::time::sleep(STATE_MAX) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use nix::sys::signal::{Signal as Number, raise};
    use tokio::sync::mpsc;

    use super::*;
    use crate::signals::{Signals, hold};
    use crate::succession::Desk;

    /// What is read here is lost: this process becomes another program next.
    #[test]
    fn a_wish_to_end_that_comes_while_the_application_is_passed_on_waits_for_the_new_binary() {
        hold();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut signals = Signals::install().unwrap();
            let (asks, mut asked) = mpsc::channel(1);
            let life = async {
                let Some(Ask::PassOn(answer)) = asked.recv().await else { panic!("asked to") };
                raise(Number::SIGTERM).unwrap();
                // The runtime looks at descriptors every few dozen turns: whoever listens has heard it then.
                for _ in 0..1000 {
                    tokio::task::yield_now().await;
                }
                let state = r#"{"pid":7,"address":"127.0.0.1:1","is_up":true,"quick_deaths":0}"#;
                answer.send(serde_json::from_str(state).unwrap()).unwrap();
                std::future::pending().await
            };
            let mut house = House {
                signals: &mut signals,
                reloads: mpsc::channel(1).0,
                upgrades: Desk::new(false).0,
                asks: Some(asks),
                life: pin!(life),
                ended: None,
            };
            let state = house.pass_app_on().await.expect("it says how it stands");
            assert_eq!(state.pid, Some(7));
            assert!(house.ended.is_none());
            assert_eq!(signals.take_stop(), Some(Signal::TERM));
        });
    }
}

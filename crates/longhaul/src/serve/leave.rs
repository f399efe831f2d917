//! The end of a process whose place another one has taken: it finishes what could not be moved, and
//! then becomes the new binary, or ends.

use std::time::Duration;

use longhaul_gateway::Gateway;
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};

use super::{Admin, House, KILL_MARGIN};
use crate::parent::{AppState, Ask, Ended};
use crate::signals::Event;
use crate::succession::{Leaving, Succeeded, stand_by};

/// How long the application may take to say how it stands.
const STATE_MAX: Duration = Duration::from_secs(5);

/// What is to be ended.
pub(super) struct Leave {
    pub(super) gateway: Gateway,
    pub(super) admin: Option<Admin>,
    pub(super) drain_deadline: Duration,
    pub(super) stop_grace: Duration,
}

impl<L: Future<Output = Ended>> House<'_, L> {
    /// Finishes what stayed here, and becomes the new binary. Returns the exit code when it does not:
    /// because it was asked to end, or because it is the child of whoever succeeds it.
    pub(super) async fn leave(
        &mut self,
        succeeded: Succeeded,
        leave: Leave,
        asks: Option<&mpsc::Sender<Ask>>,
    ) -> u8 {
        let Succeeded { giver, heir, program } = succeeded;
        let Leave { gateway, admin, drain_deadline, stop_grace } = leave;
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
        let asked = self.finish_with_heir(end).await;
        let Some(heir) = heir else {
            tracing::info!("another process serves; ended");
            return 0;
        };
        if asked.is_some() || self.ended.is_some() || socket.is_none() {
            return self.end_with_heir(&heir, asked, asks, stop_grace).await;
        }
        let app = self.pass_app_on(asks).await;
        let Some(socket) = socket else { return 1 };
        let error = program.become_it(socket, &heir, app.as_ref());
        tracing::error!(%error, "cannot become the new binary");
        stand_by(&heir, app.and_then(|app| app.pid)).await
    }

    /// Does the work while signals are heard. The signal to end, if there was one.
    async fn finish_with_heir(&mut self, work: impl Future<Output = ()>) -> Option<Signal> {
        tokio::pin!(work);
        let mut asked = None;
        loop {
            tokio::select! {
                () = &mut work => return asked,
                event = self.signals.next() => if let Event::Stop(signal) = event {
                    asked = Some(signal);
                },
                ended = &mut self.life, if self.ended.is_none() => self.ended = Some(ended),
            }
        }
    }

    /// Somebody wants an end of it all: the heir is told, then the application.
    async fn end_with_heir(
        &mut self,
        heir: &crate::succession::Heir,
        asked: Option<Signal>,
        asks: Option<&mpsc::Sender<Ask>>,
        stop_grace: Duration,
    ) -> u8 {
        const LOOK: Duration = Duration::from_millis(50);
        let signal = asked.unwrap_or(Signal::TERM);
        if asked.is_some() || self.ended.is_some() {
            heir.signal(signal);
        }
        let mut is_asked = asked.is_some();
        while heir.ended().is_none() {
            tokio::select! {
                event = self.signals.next() => if let Event::Stop(signal) = event {
                    is_asked = true;
                    heir.signal(signal);
                },
                ended = &mut self.life, if self.ended.is_none() => {
                    self.ended = Some(ended);
                    heir.signal(Signal::TERM);
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        if let Some(asks) = asks
            && self.ended.is_none()
        {
            let _ = self.stop_app(asks, signal, stop_grace + KILL_MARGIN).await;
        }
        self.ended.map_or(u8::from(!is_asked), |ended| ended.exit_code)
    }

    /// How the application stands; from here on nobody looks after it until the new binary does.
    async fn pass_app_on(&mut self, asks: Option<&mpsc::Sender<Ask>>) -> Option<AppState> {
        let (answer, answered) = oneshot::channel();
        asks?.try_send(Ask::PassOn(answer)).ok()?;
        tokio::select! {
            state = answered => state.ok(),
            _ = &mut self.life => None,
            () = tokio::time::sleep(STATE_MAX) => None,
        }
    }
}

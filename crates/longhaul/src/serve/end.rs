//! The end in good order: clients first, then the application, then the admin API.

use std::time::Duration;

use longhaul_gateway::Gateway;
use rustix::process::Signal;

use super::House;
use super::admin::Admin;
use crate::parent::{Ask, Ended};
use crate::succession::Heir;
use crate::{signals, systemd};

/// After the kill at the end of its grace, an application is gone in no time.
const KILL_MARGIN: Duration = Duration::from_secs(5);

/// From the last word to an heir to its first look at what was signalled, and from the end of its drain to
/// its own, on a machine that has much else to do.
const HEIR_MARGIN: Duration = Duration::from_secs(10);

/// What is to be ended.
pub(super) struct Ending {
    pub(super) gateway: Gateway,
    pub(super) admin: Option<Admin>,
    pub(super) drain_deadline: Duration,
    pub(super) stop_grace: Duration,
}

/// Somebody asked for the second time.
pub(super) struct Impatient;

impl<L: Future<Output = Ended>> House<'_, L> {
    /// Drains, and ends the application with the signal that this process was asked to end with. An
    /// `heir` is another process that serves or finishes something. Returns the exit code.
    pub(super) async fn end(
        &mut self,
        signal: Option<Signal>,
        ending: Ending,
        heir: Option<Heir>,
    ) -> u8 {
        // Without one, the application was given up, which has been logged.
        if let Some(signal) = signal {
            tracing::info!(signal = signal.as_raw(), "asked to end");
        }
        systemd::stopping();
        let signal = signal.unwrap_or(Signal::TERM);
        if let Some(heir) = &heir {
            heir.signal(signal);
        }
        if self.end_patiently(signal, ending, heir.as_ref()).await.is_err()
            && let Some(heir) = heir
        {
            heir.kill();
        }
        let exit_code = self.ended.map_or(0, |ended| ended.exit_code);
        tracing::info!(exit_code, "ended");
        exit_code
    }

    async fn end_patiently(
        &mut self,
        signal: Signal,
        ending: Ending,
        heir: Option<&Heir>,
    ) -> Result<(), Impatient> {
        let Ending { gateway, admin, drain_deadline, stop_grace } = ending;
        if let Some(asks) = &self.asks {
            let _ = asks.try_send(Ask::NoMoreStarts);
        }
        let drain = tokio::time::timeout(drain_deadline, gateway.drain());
        if self.finish(drain).await?.is_err() {
            tracing::error!("the drain did not end in time; what is left is cut");
        }
        if let Some(heir) = heir {
            // Its drain begins with ours, or as soon as it serves; then it has all of its time.
            let gone = tokio::time::timeout(drain_deadline + HEIR_MARGIN, heir.gone());
            if self.finish(gone).await?.is_err() {
                tracing::error!("the process in between did not end in time and is killed");
                heir.kill();
            }
        }
        self.stop_app(signal, stop_grace).await?;
        if let Some(admin) = admin {
            self.finish(admin.stop()).await?;
        }
        Ok(())
    }

    /// Waits for `work`; a signal to end that comes meanwhile stops the waiting.
    async fn finish<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Impatient> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                signal = self.signals.next_stop_again() => return Err(self.give_in(signal)),
                ended = &mut self.life, if self.ended.is_none() => self.ended = Some(ended),
            }
        }
    }

    /// Asks the application to end, if it is there, and waits until it has, by force in the end.
    pub(super) async fn stop_app(
        &mut self,
        signal: Signal,
        stop_grace: Duration,
    ) -> Result<(), Impatient> {
        let Some(asks) = self.asks.clone().filter(|_| self.ended.is_none()) else { return Ok(()) };
        // The queue may be full of signals that were passed on; the app's life empties it.
        let _ = self.finish(asks.send(Ask::Stop(signal))).await?;
        if self.ended.is_some() {
            return Ok(());
        }
        tokio::select! {
            ended = &mut self.life => self.ended = Some(ended),
            signal = self.signals.next_stop_again() => return Err(self.give_in(signal)),
            () = tokio::time::sleep(stop_grace + KILL_MARGIN) => {
                tracing::error!("the app cannot be killed");
                self.ended = Some(Ended { exit_code: 1 });
            }
        }
        Ok(())
    }

    fn give_in(&mut self, signal: Signal) -> Impatient {
        tracing::warn!(signal = signal.as_raw(), "asked again; ending at once");
        self.ended = Some(Ended { exit_code: signals::exit_code(signal) });
        Impatient
    }
}

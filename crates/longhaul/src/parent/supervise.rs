//! Keeps the application alive: starts it, waits for its first answer, starts it again, ends it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use longhaul_gateway::readiness::{GateGuard, Readiness};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::child::{self, Child, Death, StartError};
use super::{AppSettings, ready};

/// A life at least this long was no failed start.
const STABLE: Duration = Duration::from_secs(60);

/// The first pause before a restart; it doubles with each quick death.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest pause before a restart.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What the gateway asks of the one who looks after the application.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Pass a signal on to the program.
    Forward(Signal),
    /// Do not start it again when it ends: the gateway drains.
    NoMoreStarts,
    /// End it with this signal, and by force after the grace.
    Stop(Signal),
    /// Say how it stands, and leave it alone: this process becomes another binary.
    PassOn(oneshot::Sender<AppState>),
}

/// How the application stands, for the binary that this process becomes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AppState {
    /// `None` between two lives.
    pub(crate) pid: Option<i32>,
    address: SocketAddr,
    is_up: bool,
    quick_deaths: usize,
}

/// The application is gone for good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// With which the gateway ends, too.
    pub(crate) exit_code: u8,
}

/// The application, from before its first start to its end.
#[derive(Debug)]
pub(crate) struct App {
    settings: AppSettings,
    address: SocketAddr,
    readiness: Readiness,
    /// Keeps requests away until the application answers.
    gate: Option<GateGuard>,
    ends_of_children: SignalStream,
    may_start: bool,
    quick_deaths: usize,
    /// The program as the process before left it.
    adopted: Option<Child>,
}

/// How one life went.
struct Life {
    death: Death,
    lasted: Duration,
    /// The signal that was sent to end it, when it was asked to.
    asked: Option<Signal>,
}

/// Where in its life it is.
enum Phase {
    Starting {
        until: Instant,
    },
    Up,
    /// Asked to end; killed at this time.
    Ending {
        kill_at: Instant,
    },
    Killed,
}

impl App {
    /// Finds the program and a free port, and keeps requests away from now on.
    ///
    /// # Errors
    /// When there is no such program or no port.
    pub(crate) fn prepare(settings: AppSettings, readiness: Readiness) -> Result<Self, StartError> {
        child::check(settings.command.first().map(String::as_str).unwrap_or_default())?;
        child::adopt_orphans();
        let gate = readiness.startup_step("the first answer of the app");
        Ok(Self {
            settings,
            address: free_port().map_err(StartError::Port)?,
            readiness,
            gate: Some(gate),
            // Before the first start, so that no end is missed.
            ends_of_children: signal(SignalKind::child()).map_err(StartError::Watch)?,
            may_start: true,
            quick_deaths: 0,
            adopted: None,
        })
    }

    /// Goes on looking after the program that this process has started under another binary.
    ///
    /// # Errors
    /// When its end cannot be watched.
    pub(crate) fn resume(
        settings: AppSettings,
        readiness: Readiness,
        state: &AppState,
    ) -> Result<Self, StartError> {
        let ends_of_children = signal(SignalKind::child()).map_err(StartError::Watch)?;
        let waits = || readiness.startup_step("the first answer of the app");
        Ok(Self {
            settings,
            address: state.address,
            gate: (!state.is_up).then(waits),
            readiness,
            ends_of_children,
            may_start: true,
            quick_deaths: state.quick_deaths,
            adopted: state.pid.and_then(Child::adopt),
        })
    }

    /// Where the application is told to listen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Looks after the application until it is gone for good: ended when asked to, or dead too
    /// often. Dropping the future ends its process group at once.
    ///
    /// Must be polled by one thread that lives as long as the process (see [`Child::start`]).
    pub(crate) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) -> Ended {
        loop {
            let mut child = match self.adopted.take() {
                Some(child) => child,
                None => match self.start() {
                    Ok(child) => child,
                    Err(ended) => return ended,
                },
            };
            let life = self.live(&mut child, &mut asks).await;
            if let Some(ended) = self.judge(&life) {
                return ended;
            }
            if let Some(ended) = self.pause(life.death, &mut asks).await {
                return ended;
            }
        }
    }

    fn start(&self) -> Result<Child, Ended> {
        let port = self.address.port();
        match Child::start(&self.settings.command, self.address) {
            Ok(child) => {
                tracing::info!(pid = child.id(), port, "the app is starting");
                Ok(child)
            }
            Err(error) => {
                let error = crate::error_chain(&error);
                tracing::error!(error, "the app cannot be started");
                Err(Ended { exit_code: 1 })
            }
        }
    }

    /// One life, from its start to its death.
    async fn live(&mut self, child: &mut Child, asks: &mut mpsc::Receiver<Ask>) -> Life {
        let started = Instant::now();
        let mut phase = match self.gate {
            Some(_) => Phase::Starting { until: started + self.settings.start_deadline },
            None => Phase::Up,
        };
        // One that was adopted may have ended before anybody listened.
        if let Some(death) = child.reap() {
            return Life { death, lasted: started.elapsed(), asked: None };
        }
        let mut asked = None;
        let path = self.settings.ready_path.clone();
        let answers = ready::answers(self.address, self.settings.ready, &path);
        tokio::pin!(answers);
        loop {
            let deadline = match phase {
                Phase::Starting { until } => Some(until),
                Phase::Ending { kill_at } => Some(kill_at),
                Phase::Up | Phase::Killed => None,
            };
            tokio::select! {
                _ = self.ends_of_children.recv() => {
                    if let Some(death) = child.reap() {
                        return Life { death, lasted: started.elapsed(), asked };
                    }
                }
                () = &mut answers, if matches!(phase, Phase::Starting { .. }) => {
                    phase = Phase::Up;
                    self.gate = None;
                    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(took_ms, "the app answers");
                }
                () = at(deadline), if deadline.is_some() => {
                    phase = self.act_on_deadline(&phase, child);
                }
                Some(ask) = asks.recv() => match ask {
                    Ask::Forward(signal) => child.signal(signal),
                    Ask::NoMoreStarts => self.may_start = false,
                    Ask::PassOn(answer) => {
                        let _ = answer.send(self.state(Some(child.pass_on())));
                        // Whoever asked does not come back.
                        std::future::pending::<()>().await;
                    }
                    Ask::Stop(signal) => {
                        self.may_start = false;
                        asked = Some(signal);
                        child.signal_group(signal);
                        phase = Phase::Ending { kill_at: Instant::now() + self.settings.stop_grace };
                    }
                },
            }
        }
    }

    fn state(&self, pid: Option<i32>) -> AppState {
        AppState {
            pid,
            address: self.address,
            is_up: self.gate.is_none(),
            quick_deaths: self.quick_deaths,
        }
    }

    fn act_on_deadline(&self, phase: &Phase, child: &Child) -> Phase {
        match phase {
            Phase::Starting { .. } => {
                let port = self.address.port();
                let waited_s = self.settings.start_deadline.as_secs();
                tracing::error!(
                    port,
                    waited_s,
                    "the app did not answer in time and is ended; does it listen on {{port}} or \
                     $PORT? app.start_deadline gives it longer"
                );
                child.signal_group(Signal::TERM);
                Phase::Ending { kill_at: Instant::now() + self.settings.stop_grace }
            }
            Phase::Ending { .. } | Phase::Up | Phase::Killed => {
                tracing::warn!("the app did not end within app.stop_grace and is killed");
                child.signal_group(Signal::KILL);
                Phase::Killed
            }
        }
    }

    /// Decides after a death whether this was the last one.
    fn judge(&mut self, life: &Life) -> Option<Ended> {
        if let Some(asked) = life.asked {
            let exit_code = life.death.exit_code_when_asked(asked);
            tracing::info!(exit_code, "the app has ended");
            return Some(Ended { exit_code });
        }
        if !self.may_start {
            tracing::warn!(how = life.death.describe(), "the app ended by itself while draining");
            return Some(Ended { exit_code: life.death.exit_code() });
        }
        if self.gate.is_none() {
            self.gate = Some(self.readiness.hold("the app starts again"));
        }
        self.quick_deaths = if life.lasted < STABLE { self.quick_deaths + 1 } else { 0 };
        let lasted_s = life.lasted.as_secs();
        let how = life.death.describe();
        if self.quick_deaths >= self.settings.quick_deaths_max {
            let times = self.quick_deaths;
            tracing::error!(how, lasted_s, times, "the app died again and again; giving up");
            // It never worked: whatever it says, this is no success.
            return Some(Ended { exit_code: life.death.exit_code().max(1) });
        }
        tracing::error!(how, lasted_s, "the app died and will be started again");
        None
    }

    /// Waits before the next start. Returns early when there will be none.
    async fn pause(&mut self, last: Death, asks: &mut mpsc::Receiver<Ask>) -> Option<Ended> {
        let doublings = u32::try_from(self.quick_deaths.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(PAUSE_MAX);
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(until) => return None,
                _ = self.ends_of_children.recv() => child::reap_orphans(),
                Some(ask) = asks.recv() => match ask {
                    Ask::Forward(_) => {}
                    Ask::PassOn(answer) => {
                        let _ = answer.send(self.state(None));
                        std::future::pending::<()>().await;
                    }
                    Ask::NoMoreStarts | Ask::Stop(_) => {
                        return Some(Ended { exit_code: last.exit_code() });
                    }
                },
            }
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A port that was free a moment ago, from below the range in which Linux picks the ports of outgoing
/// connections, so that it is still free when the application has loaded its models. When somebody
/// takes it all the same, the application says so and ends, and the next gateway picks another one.
fn free_port() -> io::Result<SocketAddr> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    const TRIES: usize = 32;
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr();
    let mut random = [0; 2 * TRIES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    random
        .chunks(2)
        .map(|bytes| FIRST + u16::from_le_bytes([bytes[0], bytes[1]]) % COUNT)
        .find_map(|port| bind(port).ok())
        .map_or_else(|| bind(0), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_free_and_not_one_of_outgoing_connections() {
        let address = free_port().unwrap();
        assert!((20_000..32_000).contains(&address.port()), "{address}");
        TcpListener::bind(address).expect("it is free");
    }
}

//! Another binary in the place of this one, with its listeners and open connections.
//!
//! It takes two hops (docs/decisions/0012). The process that serves starts an *heir*, which takes
//! everything over and serves; when the old process has finished what could not be moved, it becomes
//! the new binary in place, and takes everything back from the heir. So the process id stays, and with
//! it the application's parent, process 1 of a container and what systemd follows.
//!
//! What moves is the gateway's work (`longhaul_gateway::handoff`). Here processes are started, become
//! others and end. Start at [`Desk`], where wishes are brought, and [`Succession::at_start`], which says
//! whether this process is to take over.

mod arrive;
mod attempt;
mod heir;
mod leave;
mod program;
mod stand_by;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longhaul_admin::{UpgradeWish, Upgraded};
use longhaul_gateway::Handle;
use longhaul_gateway::handoff::{Giver, Report};
use rustix::fd::OwnedFd;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::arrive::{fulfil, meet, prepare_app, take_up};
pub(crate) use self::attempt::Attempt;
pub(crate) use self::heir::Heir;
pub(crate) use self::leave::Leaving;
pub(crate) use self::program::Program;
pub(crate) use self::stand_by::stand_by;
use crate::parent::AppState;

/// Says to a process that was started as which it is, with the socket to the other one as its input.
const ROLE: &str = "LONGHAUL_HANDOFF";
/// How the application stands, for a process that takes back.
const APP: &str = "LONGHAUL_HANDOFF_APP";
const OVER: &str = "over";
const BACK: &str = "back:";

/// What this process is to take over, and from whom.
#[derive(Debug)]
pub(crate) struct Succession {
    pub(crate) socket: UnixStream,
    pub(crate) role: Role,
}

/// Which of the two hops this process is the end of.
#[derive(Debug)]
pub(crate) enum Role {
    /// The first: it serves until its parent takes everything back.
    Heir,
    /// The second: it is what it was before, under another binary.
    Same {
        /// The process that served meanwhile.
        heir: Heir,
        app: Option<AppState>,
    },
}

impl Succession {
    /// Whether this process serves for a while only, or perhaps never.
    pub(crate) fn is_of_heir(&self) -> bool {
        matches!(self.role, Role::Heir)
    }

    /// What the process before has left, if there was one. To be asked once, before anything reads
    /// the standard input.
    pub(crate) fn at_start() -> Option<Self> {
        let role = std::env::var(ROLE).ok()?;
        let role = match (role.as_str(), role.strip_prefix(BACK)) {
            (OVER, _) => Role::Heir,
            (_, Some(heir)) => Role::Same {
                heir: Heir::of(heir.parse().ok()?),
                app: std::env::var(APP).ok().and_then(|text| serde_json::from_str(&text).ok()),
            },
            _ => return None,
        };
        let socket = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
        // From here on nobody else shall speak into it.
        let nothing = std::fs::File::open("/dev/null").ok()?;
        rustix::stdio::dup2_stdin(&nothing).ok()?;
        Some(Self { socket: socket.into(), role })
    }
}

/// Where wishes for an upgrade are brought. One at a time: another one is refused.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    wishes: mpsc::Sender<Wish>,
    is_busy: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Wish {
    what: UpgradeWish,
    answer: oneshot::Sender<Result<Upgraded, String>>,
}

impl Desk {
    /// `is_busy`: wishes are refused until [`Desk::open`].
    pub(crate) fn new(is_busy: bool) -> (Self, Wishes) {
        let (sender, receiver) = mpsc::channel(1);
        let is_busy = Arc::new(AtomicBool::new(is_busy));
        let desk = Self { wishes: sender, is_busy: is_busy.clone() };
        (desk, Wishes { wishes: receiver, is_busy })
    }

    /// Takes wishes from here on.
    pub(crate) fn open(&self) {
        self.is_busy.store(false, Ordering::Release);
    }

    /// Has the gateway upgraded. Dropping the future takes nothing back.
    pub(crate) async fn ask(self, what: UpgradeWish) -> Result<Upgraded, String> {
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return Err("another upgrade is under way".to_owned());
        }
        let (answer, answered) = oneshot::channel();
        let refused = || "the gateway is about to end".to_owned();
        self.wishes.try_send(Wish { what, answer }).map_err(|_| refused())?;
        answered.await.unwrap_or_else(|_| Err(refused()))
    }
}

/// Such wishes, for whoever fulfils them.
#[derive(Debug)]
pub(crate) struct Wishes {
    wishes: mpsc::Receiver<Wish>,
    is_busy: Arc<AtomicBool>,
}

/// Another process serves.
#[derive(Debug)]
pub(crate) struct Succeeded {
    pub(crate) giver: Giver,
    /// Our child, unless we are its.
    pub(crate) heir: Option<Heir>,
    /// What this process becomes.
    pub(crate) program: Program,
}

/// What wishes are fulfilled with.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) handle: Handle,
    pub(crate) program: Program,
    /// The socket of the admin API.
    pub(crate) admin: Option<OwnedFd>,
    /// What heirs are told of the application.
    pub(crate) house: Value,
    pub(crate) attempt: Attempt,
}

impl Wishes {
    /// Fulfils wishes until one has come true, which is passed on.
    pub(crate) async fn fulfil(mut self, means: Means, succeeded: mpsc::Sender<Succeeded>) {
        let means = Arc::new(means);
        while let Some(Wish { what, answer }) = self.wishes.recv().await {
            let (with, is_rehearsal) = (means.clone(), what.is_rehearsal);
            let tried = tokio::task::spawn_blocking(move || attempt::attempt(&with, what)).await;
            let tried = tried.unwrap_or_else(|panic| Err(panic.to_string()));
            if !matches!(tried, Ok((_, Some(_)))) {
                // Before anybody is told: the next wish may come at once.
                self.is_busy.store(false, Ordering::Release);
            }
            match tried {
                Ok((report, succession)) => {
                    tracing::info!(
                        version = report.version,
                        moved = report.moved,
                        is_rehearsal,
                        pause_ms = report.pause.as_secs_f64() * 1000.0,
                        "the new binary {}",
                        if is_rehearsal { "could serve" } else { "serves" }
                    );
                    let _ = answer.send(Ok(upgraded(report)));
                    if let Some(succession) = succession {
                        // Nothing more is taken: this process is on its way out.
                        let _ = succeeded.send(succession).await;
                        return;
                    }
                    means.handle.note_upgrade("rehearsed");
                }
                Err(reason) => {
                    means.handle.note_upgrade("failed");
                    tracing::error!(reason, "the upgrade failed; this binary goes on");
                    let _ = answer.send(Err(reason));
                }
            }
        }
    }
}

fn upgraded(report: Report) -> Upgraded {
    Upgraded {
        version: report.version,
        moved: report.moved,
        stays: report.stays.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        pause_s: report.pause.as_secs_f64(),
    }
}
